//! The stanzas that a connection has passed to its session and that are not acknowledged yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::stanza::Stanza;

/// Stanzas in flight at one time. At the limit the mailbox is not read until some are acknowledged.
pub(super) const IN_FLIGHT_LIMIT: usize = 400;

/// By the id of the stanza: the delivered receipt, if the stanza is a message. Clones share the map.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<BTreeMap<i64, Option<Stanza>>>>);

impl InFlight {
    pub fn ids(&self) -> Vec<i64> {
        self.lock().keys().copied().collect()
    }

    pub fn add(&self, stanzas: Vec<(i64, Option<Stanza>)>) {
        self.lock().extend(stanzas);
    }

    /// The delivered receipts of those of the stanzas that are messages.
    pub fn receipts(&self, ids: &[i64]) -> Vec<(i64, Stanza)> {
        let in_flight = self.lock();
        ids.iter().filter_map(|id| Some((*id, in_flight.get(id)?.clone()?))).collect()
    }

    /// Removes stanzas, and returns whether the limit was reached before.
    pub fn remove(&self, ids: &[i64]) -> bool {
        let mut in_flight = self.lock();
        let was_full = in_flight.len() >= IN_FLIGHT_LIMIT;
        for id in ids {
            in_flight.remove(id);
        }
        was_full
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Option<Stanza>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
