//! Messages on their way into mailboxes.

use std::collections::BTreeMap;

use super::failure::send_failure;
use super::network::{GroupDelivery, LocalNet, NewStanza, Subscriber, is_group};
use super::stanza::Stanza;
use crate::db::DbError;
use crate::domain::{BlobHash, FailureReason, MediaFile, PhoneNumber};
use crate::upstream::{Outgoing, SendFailure};

/// Sends messages, in order within each chat, and returns the outcome of each.
pub(super) async fn send(
    net: &LocalNet,
    from: &Subscriber,
    messages: &[Outgoing],
) -> Vec<Result<(), SendFailure>> {
    let (groups, people): (Vec<&Outgoing>, Vec<&Outgoing>) =
        messages.iter().partition(|message| is_group(&message.to.0));
    let mut to_people = send_to_people(net, from, &people).await.into_iter();
    let mut to_groups = send_to_groups(net, from, &groups).await.into_iter();
    messages
        .iter()
        .map(|message| {
            let outcome = if is_group(&message.to.0) { to_groups.next() } else { to_people.next() };
            outcome.unwrap_or(Err(SendFailure::Retry))
        })
        .collect()
}

async fn send_to_people(
    net: &LocalNet,
    from: &Subscriber,
    messages: &[&Outgoing],
) -> Vec<Result<(), SendFailure>> {
    match deliver_to_people(net, from, messages).await {
        Ok(outcomes) => outcomes,
        Err(error) => vec![Err(send_failure(&error)); messages.len()],
    }
}

async fn deliver_to_people(
    net: &LocalNet,
    from: &Subscriber,
    messages: &[&Outgoing],
) -> Result<Vec<Result<(), SendFailure>>, DbError> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let mut stanzas = Vec::with_capacity(messages.len());
    for message in messages {
        if let Some(recipient) = PhoneNumber::from_stored(&message.to.0)
            && let Some(stanza) = stanza(from, message)
        {
            stanzas.push(NewStanza { recipient, stanza, personal: true });
        }
    }
    let full = net.full(stanzas.iter().map(|stanza| &stanza.recipient)).await?;
    stanzas.retain(|stanza| !full.contains(&stanza.recipient));
    upload(net, from, messages).await?;
    // Without a valid login the reader ends this connection with the right reason; the session repeats the message.
    let Some(reached) = net.deliver(from, &stanzas).await? else {
        return Ok(vec![Err(SendFailure::Retry); messages.len()]);
    };
    let outcome = |message: &&Outgoing| {
        if reached.iter().any(|number| number.as_str() == message.to.0) {
            Ok(())
        } else if full.iter().any(|number| number.as_str() == message.to.0) {
            Err(SendFailure::Retry)
        } else {
            Err(SendFailure::Refused(FailureReason::RecipientGone))
        }
    };
    Ok(messages.iter().map(outcome).collect())
}

async fn send_to_groups(
    net: &LocalNet,
    from: &Subscriber,
    messages: &[&Outgoing],
) -> Vec<Result<(), SendFailure>> {
    let mut outcomes = vec![Err(SendFailure::Retry); messages.len()];
    if let Err(error) = upload(net, from, messages).await {
        return vec![Err(send_failure(&error)); messages.len()];
    }
    let mut by_group: BTreeMap<&str, (Vec<usize>, Vec<Stanza>)> = BTreeMap::new();
    for (index, message) in messages.iter().enumerate() {
        let group = message.to.0.as_str();
        if let Some(stanza) = stanza(from, message) {
            let (indexes, stanzas) = by_group.entry(group).or_default();
            indexes.push(index);
            stanzas.push(stanza.within(Some(group)));
        } else {
            outcomes[index] = Err(SendFailure::Refused(FailureReason::Refused));
        }
    }
    for (group, (indexes, stanzas)) in by_group {
        let outcome = match net.send_to_group(from, group, stanzas).await {
            Ok(GroupDelivery::Delivered) => Ok(()),
            Ok(GroupDelivery::NotInGroup) => Err(SendFailure::Refused(FailureReason::Refused)),
            // As above, the reader ends this connection.
            Ok(GroupDelivery::LoggedOut) => Err(SendFailure::Retry),
            Err(error) => Err(send_failure(&error)),
        };
        for index in indexes {
            outcomes[index] = outcome;
        }
    }
    outcomes
}

fn stanza(from: &Subscriber, message: &Outgoing) -> Option<Stanza> {
    Stanza::message(&message.id, &message.content, &file_reference(from, &message.id))
}

/// The reference under which the network stores a message's file.
fn file_reference(from: &Subscriber, id: &str) -> String {
    format!("{}/{id}", from.number)
}

/// Stores the files of these messages on the network.
async fn upload(net: &LocalNet, from: &Subscriber, messages: &[&Outgoing]) -> Result<(), DbError> {
    let files: Vec<(String, BlobHash)> = messages
        .iter()
        .filter_map(|message| match message.content.file()? {
            MediaFile::Stored(stored) => Some((file_reference(from, &message.id), stored.hash)),
            MediaFile::Remote(_) => None,
        })
        .collect();
    if files.is_empty() { Ok(()) } else { net.upload(&files).await }
}
