//! Which received stanzas are dealt with: stream management (XEP-0198) acknowledges them only up to the first one that is
//! not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Stanzas that may be open at one time. At the limit the socket is not read until some are closed.
pub(super) const OPEN_LIMIT: usize = 400;

/// The received stanzas of one connection, numbered from 1. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stanzas: Mutex<Stanzas>,
    changed: Notify,
}

#[derive(Default)]
struct Stanzas {
    received: u64,
    open: BTreeSet<u64>,
}

impl Ledger {
    /// Counts a stanza, which stays open; returns its number.
    pub fn receive(&self) -> u64 {
        let mut stanzas = self.lock();
        stanzas.received += 1;
        let number = stanzas.received;
        stanzas.open.insert(number);
        number
    }

    /// Closes stanzas: the server may forget them.
    pub fn close(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut stanzas = self.lock();
        for number in numbers {
            stanzas.open.remove(&number);
        }
        drop(stanzas);
        self.0.changed.notify_one();
    }

    /// The number of the last stanza before the first open one: what may be acknowledged.
    pub fn handled(&self) -> u64 {
        let stanzas = self.lock();
        stanzas.open.first().map_or(stanzas.received, |first| first - 1)
    }

    pub fn is_full(&self) -> bool {
        self.lock().open.len() >= OPEN_LIMIT
    }

    /// Returns after stanzas were closed since the last call.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Stanzas> {
        self.0.stanzas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_before_the_first_open_stanza_is_handled() {
        let ledger = Ledger::default();
        assert_eq!(ledger.handled(), 0);
        assert_eq!([ledger.receive(), ledger.receive(), ledger.receive()], [1, 2, 3]);
        assert_eq!(ledger.handled(), 0);
        ledger.close([2]);
        assert_eq!(ledger.handled(), 0);
        ledger.close([1]);
        assert_eq!(ledger.handled(), 2);
        ledger.close([3, 3]);
        assert_eq!(ledger.handled(), 3);
    }
}
