//! Groups: events of the network, and commands over an open connection.

mod commands;
mod membership;
mod messages;

use std::sync::Arc;

use windu::domain::{Account, ChatName, GroupChangeKind, GroupId};
use windu::sessions::AskError;
use windu::store::{GroupInfo, Message};
use windu::upstream::{Address, Group, GroupChange, GroupEdit, Incoming, Member, UpstreamEvent};

use crate::scripted::{address, incoming, long_ago};
use crate::world::Process;

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";
const CLEO: &str = "15550100003";
/// Groups are named by who made them and when.
pub const GROUP: &str = "15550100001-1466000000";

fn group_address() -> Address {
    Address("one@groups.scripted".to_owned())
}

/// The group at a revision with these members; the first is its admin.
pub fn group(revision: i64, subject: &str, members: &[&str]) -> Group {
    let members = members.iter().enumerate().map(|(index, number)| Member {
        address: address(number),
        admin: index == 0,
        since: long_ago(),
    });
    Group {
        address: group_address(),
        subject: subject.to_owned(),
        creator: Some(address(ANNA)),
        created_at: long_ago(),
        revision,
        photo: None,
        members: members.collect(),
    }
}

/// The event about a change by the group's creator that made the group what it is now.
pub fn news(group: &Group, kind: GroupChangeKind, who: &[&str], number: u64) -> Incoming {
    let who = who.iter().map(|who| address(who)).collect();
    let change = GroupChange { kind, who, by: group.creator.clone() };
    let event = UpstreamEvent::GroupChanged {
        group: Arc::new(group.clone()),
        revision: group.revision,
        subject: group.subject.clone(),
        changes: vec![change],
    };
    incoming(event, number)
}

/// The same event, in the group.
pub fn within(incoming: Incoming) -> Incoming {
    let mut incoming = incoming;
    if let UpstreamEvent::Message { group, .. } | UpstreamEvent::Receipt { group, .. } = &mut incoming.event {
        *group = Some(group_address());
    }
    incoming
}

impl Process {
    async fn groups(&self, account: &Account) -> Vec<GroupInfo> {
        self.store.groups(account, None).await.unwrap()
    }

    async fn change(&self, account: &Account, edit: GroupEdit) -> Result<GroupId, AskError> {
        self.sessions.change_group(account.id, group_address(), edit, None).await
    }

    /// A message that the account sent to the group, as it is listed.
    pub async fn group_message(&self, account: &Account, id: &str) -> Message {
        self.message(account, GROUP, id).await
    }

    pub async fn send_into(&self, account: &Account, text: &str) -> String {
        let id: GroupId = GROUP.parse().unwrap();
        let group = self.store.group(account, &id).await.unwrap().expect("the group");
        let content = windu::domain::Content::Text(text.to_owned());
        let outgoing = windu::store::NewMessage {
            id: &windu::secrets::random_id(),
            peer: group.peer.id,
            named: true,
            chat: &ChatName::Group(id),
            content: &content,
            time_to_live: crate::world::A_DAY,
            reservation: None,
        };
        let accepted = self.store.accept_send(account, &outgoing, None).await.unwrap();
        let windu::store::Accepted::Queued(id) = accepted else { panic!("{accepted:?}") };
        self.until_message(account, GROUP, &id, "sent").await;
        id
    }
}
