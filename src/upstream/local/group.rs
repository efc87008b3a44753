//! Groups of the local network in the words of the trait.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::connection::LocalConnection;
use super::failure;
use super::stanza::Stanza;
use crate::db::DbError;
use crate::domain::{FailureReason, PhoneNumber};
use crate::upstream::local::network::{
    Group as LocalGroup, GroupDelivery, GroupEdit as LocalWish, GroupNews, GroupRefusal, LocalChange,
    LocalNet,
};
use crate::upstream::{
    Address, Failure, Group, GroupChange, GroupEdit, GroupFailure, Groups, Member, Outgoing, SendFailure,
    UpstreamEvent,
};

#[async_trait]
impl Groups for LocalConnection {
    async fn create_group(
        &self,
        operation: &str,
        subject: &str,
        members: &[Address],
    ) -> Result<Group, GroupFailure> {
        let numbers = numbers(members)?;
        answer(self.net.create_group(&self.subscriber, operation, subject, &numbers, write_news).await)
    }

    async fn change_group(
        &self,
        operation: &str,
        group: &Address,
        wish: &GroupEdit,
    ) -> Result<Group, GroupFailure> {
        let member = |address: &Address| address.0.parse().map_err(|_| GroupFailure::NotAMember);
        let wish = match wish {
            GroupEdit::Subject { subject } => LocalWish::Subject(subject.clone()),
            GroupEdit::Photo { photo } => LocalWish::Photo(*photo),
            GroupEdit::Add { who } => LocalWish::Add(numbers(who)?),
            GroupEdit::Remove { who } => LocalWish::Remove(member(who)?),
            GroupEdit::Promote { who } => LocalWish::Promote(member(who)?),
            GroupEdit::Demote { who } => LocalWish::Demote(member(who)?),
            GroupEdit::Leave => LocalWish::Leave,
        };
        answer(self.net.change_group(&self.subscriber, operation, &group.0, &wish, write_news).await)
    }
}

/// Sends messages to groups, in order per group, and says of each what became of it.
pub(super) async fn send(from: &LocalConnection, messages: &[&Outgoing]) -> Vec<Result<(), SendFailure>> {
    let mut outcomes = vec![Err(SendFailure::Retry); messages.len()];
    if let Err(error) = from.upload(messages).await {
        failure(&error);
        return outcomes;
    }
    let mut of_group: BTreeMap<&str, (Vec<usize>, Vec<Value>)> = BTreeMap::new();
    for (place, message) in messages.iter().enumerate() {
        let group = message.to.0.as_str();
        if let Some(stanza) = Stanza::message(&message.id, &message.content, &from.reference(&message.id)) {
            let (places, bodies) = of_group.entry(group).or_default();
            places.push(place);
            bodies.push(stanza.within(Some(group)).to_json());
        } else {
            outcomes[place] = Err(SendFailure::Refused(FailureReason::Refused));
        }
    }
    for (group, (places, bodies)) in of_group {
        let outcome = match from.net.send_to_group(&from.subscriber, group, bodies).await {
            Ok(GroupDelivery::Delivered) => Ok(()),
            Ok(GroupDelivery::NotInGroup) => Err(SendFailure::Refused(FailureReason::Refused)),
            // The reader ends this connection with the right reason; the session asks again if it lives on.
            Ok(GroupDelivery::LoggedOut) => Err(SendFailure::Retry),
            Err(error) => {
                failure(&error);
                Err(SendFailure::Retry)
            }
        };
        for place in places {
            outcomes[place] = outcome;
        }
    }
    outcomes
}

/// How news of a group lie in a mailbox.
pub(super) fn write_news(news: &GroupNews) -> Value {
    Stanza::Group(news.clone()).to_json()
}

/// What a member's connection tells of news; nothing of a group that is not there any more.
///
/// # Errors
/// When the group cannot be read.
pub(super) async fn event(net: &LocalNet, news: GroupNews) -> Result<Option<UpstreamEvent>, DbError> {
    let Some(group) = net.group(&news.group, news.revision).await? else { return Ok(None) };
    Ok(Some(UpstreamEvent::GroupChanged {
        group: Arc::new(snapshot(&group)),
        revision: news.revision,
        subject: news.subject,
        changes: news.changes.iter().map(told).collect(),
    }))
}

fn snapshot(group: &LocalGroup) -> Group {
    Group {
        address: Address(group.address.clone()),
        subject: group.subject.clone(),
        creator: Some(address(&group.creator)),
        created_at: group.created_at,
        revision: group.revision,
        photo: group.photo,
        members: group
            .members
            .iter()
            .map(|member| Member {
                address: address(&member.number),
                admin: member.admin,
                since: member.since,
            })
            .collect(),
    }
}

fn told(change: &LocalChange) -> GroupChange {
    GroupChange { kind: change.kind, who: change.who.iter().map(address).collect() }
}

fn address(number: &PhoneNumber) -> Address {
    Address(number.to_string())
}

/// All of them, or those that are no numbers as a refusal.
fn numbers(addresses: &[Address]) -> Result<Vec<PhoneNumber>, GroupFailure> {
    let (mut numbers, mut others) = (Vec::new(), Vec::new());
    for address in addresses {
        match address.0.parse() {
            Ok(number) => numbers.push(number),
            Err(_) => others.push(address.clone()),
        }
    }
    if others.is_empty() { Ok(numbers) } else { Err(GroupFailure::CannotAdd(others)) }
}

fn answer(answered: Result<Result<LocalGroup, GroupRefusal>, DbError>) -> Result<Group, GroupFailure> {
    match answered.map_err(|error| failure(&error))? {
        Ok(group) => Ok(snapshot(&group)),
        Err(GroupRefusal::LoggedOut) => Err(Failure::Retry("logged_out").into()),
        Err(GroupRefusal::NotInGroup) => Err(GroupFailure::NotInGroup),
        Err(GroupRefusal::NotAnAdmin) => Err(GroupFailure::NotAnAdmin),
        Err(GroupRefusal::NotAMember) => Err(GroupFailure::NotAMember),
        Err(GroupRefusal::TooLarge) => Err(GroupFailure::TooLarge),
        Err(GroupRefusal::NoSubscribers(numbers)) => {
            Err(GroupFailure::CannotAdd(numbers.iter().map(address).collect()))
        }
    }
}
