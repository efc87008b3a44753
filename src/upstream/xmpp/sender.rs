//! The messages of one connection on their way out, each behind its file and the earlier messages of its chat.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::address;
use super::in_flight::InFlight;
use super::iq::is_handled;
use super::link::Link;
use super::memberships::Memberships;
use super::outbound;
use super::rooms::Rooms;
use super::sharing::file_of;
use super::uploads::{Started, Uploads};
use super::xml::Element;
use crate::domain::FailureReason;
use crate::upstream::{Address, Outgoing, SendFailure};

/// An upload that has just begun is awaited for so long, so that a small file is sent at once. Other chats wait too.
const SMALL_UPLOAD: Duration = Duration::from_secs(5);

/// For a room to pass on messages.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);
/// For a room to let the account in. Other chats wait too.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

type Outcome = Result<(), SendFailure>;

pub(super) struct Sender {
    pub domain: String,
    pub link: Link,
    pub in_flight: InFlight,
    pub uploads: Uploads,
    /// The account's address without a resource.
    pub own: String,
    pub memberships: Memberships,
    pub groups: Arc<Rooms>,
}

impl Sender {
    /// Sends messages, in order within each chat. One whose file is not uploaded yet is to be tried again.
    pub async fn send(&self, messages: &[Outgoing]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; messages.len()];
        let mut begun = Vec::new();
        for message in messages {
            if let Some(file) = file_of(&message.content)
                && self.uploads.start(&message.id, &file).await == Started::New
            {
                begun.push(message.id.clone());
            }
        }
        self.send_ready(messages, &mut outcomes).await;
        if !begun.is_empty() {
            // When it is over, the rest waits for the next call.
            let _ = timeout(SMALL_UPLOAD, self.uploads.finished(&begun)).await;
            self.send_ready(messages, &mut outcomes).await;
        }
        self.forget_files(messages, &outcomes).await;
        let mut waiting = HashSet::<&Address>::new();
        let mut finished = Vec::with_capacity(messages.len());
        for (message, outcome) in messages.iter().zip(outcomes) {
            finished.push(match outcome {
                Some(outcome) => outcome,
                None if waiting.insert(&message.to) => Err(SendFailure::Retry),
                None => Err(SendFailure::NotTried),
            });
        }
        finished
    }

    /// Sends the messages without an outcome that need not wait for a file, theirs or that of an earlier one of the chat.
    async fn send_ready(&self, messages: &[Outgoing], outcomes: &mut [Option<Outcome>]) {
        let (mut ready, mut waiting) = (Vec::new(), HashSet::<&Address>::new());
        for (index, message) in messages.iter().enumerate() {
            if outcomes[index].is_some() || waiting.contains(&message.to) {
                continue;
            }
            match self.is_inside(&message.to).await.and_then(|()| self.stanza(message)) {
                Ok(stanza) => ready.push((index, stanza)),
                Err(SendFailure::Refused(reason)) => {
                    outcomes[index] = Some(Err(SendFailure::Refused(reason)));
                }
                Err(SendFailure::Retry | SendFailure::RateLimited(_) | SendFailure::NotTried) => {
                    waiting.insert(&message.to);
                }
            }
        }
        if ready.is_empty() {
            return;
        }
        let (indexes, stanzas): (Vec<usize>, Vec<Element>) = ready.into_iter().unzip();
        let sent: Vec<(usize, Option<&str>)> =
            indexes.into_iter().map(|index| (index, address::room(&messages[index].to))).collect();
        for (index, room) in &sent {
            self.in_flight.expect(&messages[*index].id, room.is_some());
        }
        let is_taken = self.link.send(stanzas).await.is_ok() && is_handled(&self.link, &self.domain).await;
        // A room answers by itself, not before the server does.
        let to_rooms = sent.iter().filter(|(_, room)| room.is_some());
        let to_rooms: Vec<&str> = to_rooms.map(|(index, _)| messages[*index].id.as_str()).collect();
        if is_taken && !to_rooms.is_empty() {
            self.in_flight.all_settled(&to_rooms, Instant::now() + ROOM_TIMEOUT).await;
        }
        for (index, room) in sent {
            outcomes[index] = Some(match (self.in_flight.outcome(&messages[index].id), room) {
                (Some(Err(SendFailure::Retry)), Some(room)) => {
                    self.memberships.lose(room);
                    Err(SendFailure::Retry)
                }
                (Some(outcome), _) => outcome,
                (None, None) if is_taken => Ok(()),
                (None, _) => Err(SendFailure::Retry),
            });
        }
    }

    /// Whether messages to a group can be sent: the account is in its room, or will be.
    async fn is_inside(&self, group: &Address) -> Result<(), SendFailure> {
        let Some(room) = address::room(group) else { return Ok(()) };
        if !self.memberships.contains(room) {
            let record = self.groups.record(room).await.map_err(|_| SendFailure::Retry)?;
            if record.is_none_or(|record| record.member(&self.own).is_none()) {
                return Err(SendFailure::Refused(FailureReason::Refused));
            }
        }
        if self.memberships.is_inside(room, Instant::now() + JOIN_TIMEOUT).await {
            Ok(())
        } else {
            Err(SendFailure::Retry)
        }
    }

    fn stanza(&self, message: &Outgoing) -> Result<Element, SendFailure> {
        let file = match file_of(&message.content) {
            Some(file) => Some((file, self.uploads.url(&message.id)?)),
            None => None,
        };
        let file = file.as_ref().map(|(file, url)| (file, url.as_str()));
        outbound::message(message, file).map_err(SendFailure::Refused)
    }

    /// Forgets the files of messages that are not sent again.
    async fn forget_files(&self, messages: &[Outgoing], outcomes: &[Option<Outcome>]) {
        let is_final =
            |outcome: &Option<Outcome>| matches!(outcome, Some(Ok(()) | Err(SendFailure::Refused(_))));
        let settled = messages.iter().zip(outcomes).filter(|(_, outcome)| is_final(outcome));
        let ids: Vec<String> = settled.map(|(message, _)| message.id.clone()).collect();
        self.uploads.forget(&ids).await;
    }
}
