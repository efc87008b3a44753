//! The stanzas that the session has not acknowledged yet, and what their acknowledgement brings about.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inbound::WantedReceipt;
use crate::upstream::SendFailure;

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// By the number of the stanza.
    received: BTreeMap<u64, Entry>,
    /// Sent messages without an outcome, by id, with the error that came back.
    sent: HashMap<String, Option<SendFailure>>,
}

/// A received stanza whose events are with the session.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub receipt: Option<WantedReceipt>,
}

impl InFlight {
    pub fn add(&self, number: u64, entry: Entry) {
        self.lock().received.insert(number, entry);
    }

    /// Removes stanzas, and returns their entries in order.
    pub fn remove(&self, numbers: &[u64]) -> Vec<Entry> {
        let mut entries = self.lock();
        numbers.iter().filter_map(|number| entries.received.remove(number)).collect()
    }

    /// Begins to wait for errors of these messages.
    pub fn expect(&self, ids: impl IntoIterator<Item = String>) {
        self.lock().sent.extend(ids.into_iter().map(|id| (id, None)));
    }

    /// Notes the error of a sent message. False: nobody waits for it any more.
    pub fn fail(&self, id: &str, failure: SendFailure) -> bool {
        match self.lock().sent.get_mut(id) {
            Some(outcome) => {
                *outcome = Some(failure);
                true
            }
            None => false,
        }
    }

    /// The error of a sent message, for which nobody waits from now on.
    pub fn outcome(&self, id: &str) -> Option<SendFailure> {
        self.lock().sent.remove(id).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
