//! The stanzas that the session has not acknowledged yet, and what their acknowledgement brings about.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::failure::{IqFailure, bounce, room_bounce};
use super::inbound::WantedReceipt;
use super::memberships::Place;
use crate::upstream::SendFailure;

/// The first number of events that come in no stanza of their own, as those of rooms' archives.
const UNNUMBERED: u64 = 1 << 63;

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Shared>);

#[derive(Default)]
struct Shared {
    entries: Mutex<Entries>,
    /// A sent message has an outcome.
    settled: Notify,
}

#[derive(Default)]
struct Entries {
    /// By the number of the stanza.
    received: BTreeMap<u64, Entry>,
    /// Events without a stanza so far.
    unnumbered: u64,
    /// Sent messages that somebody waits for, by id.
    sent: HashMap<String, Sent>,
}

/// A sent message.
struct Sent {
    to_room: bool,
    /// The error that came back, or that the room has passed it on.
    outcome: Option<Result<(), SendFailure>>,
}

/// A received stanza whose events are with the session.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub receipt: Option<WantedReceipt>,
    /// The room whose archive is stored up to here then.
    pub place: Option<(String, Place)>,
}

/// Whether a number is one of a received stanza.
pub(super) fn is_stanza(number: u64) -> bool {
    number < UNNUMBERED
}

impl InFlight {
    pub fn add(&self, number: u64, entry: Entry) {
        self.lock().received.insert(number, entry);
    }

    /// Adds an event that came in no stanza of its own; returns its number.
    pub fn add_unnumbered(&self, entry: Entry) -> u64 {
        let mut entries = self.lock();
        let number = UNNUMBERED + entries.unnumbered;
        entries.unnumbered += 1;
        entries.received.insert(number, entry);
        number
    }

    /// Removes stanzas, and returns their entries in order.
    pub fn remove(&self, numbers: &[u64]) -> Vec<Entry> {
        let mut entries = self.lock();
        numbers.iter().filter_map(|number| entries.received.remove(number)).collect()
    }

    /// Begins to wait for what becomes of a message.
    pub fn expect(&self, id: &str, to_room: bool) {
        self.lock().sent.insert(id.to_owned(), Sent { to_room, outcome: None });
    }

    /// Notes the error of a sent message. False: nobody waits for it any more.
    pub fn fail(&self, id: &str, failure: &IqFailure) -> bool {
        let mut entries = self.lock();
        let Some(sent) = entries.sent.get_mut(id) else { return false };
        sent.outcome = Some(Err(if sent.to_room { room_bounce(failure) } else { bounce(failure) }));
        self.0.settled.notify_waiters();
        true
    }

    /// Notes that a room has passed on a message.
    pub fn pass(&self, id: &str) {
        if let Some(sent) = self.lock().sent.get_mut(id).filter(|sent| sent.to_room) {
            sent.outcome = Some(Ok(()));
            self.0.settled.notify_waiters();
        }
    }

    /// Waits until all of these messages have an outcome, but not longer.
    pub async fn all_settled(&self, ids: &[&str], deadline: Instant) {
        loop {
            let mut settled = std::pin::pin!(self.0.settled.notified());
            settled.as_mut().enable();
            let is_open = |id: &&&str| self.lock().sent.get(**id).is_some_and(|sent| sent.outcome.is_none());
            if !ids.iter().any(|id| is_open(&id)) || timeout_at(deadline, settled).await.is_err() {
                return;
            }
        }
    }

    /// What has become of a sent message, for which nobody waits from now on.
    pub fn outcome(&self, id: &str) -> Option<Result<(), SendFailure>> {
        self.lock().sent.remove(id)?.outcome
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
