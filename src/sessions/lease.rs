//! The clock of a process's leases.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::store::LEASE_SECONDS;

/// When the process's leases were last renewed, by its own monotonic clock, counted from before the renewal was sent.
/// Clones share it.
#[derive(Clone)]
pub(super) struct LeaseClock(Arc<Mutex<Instant>>);

impl LeaseClock {
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    pub fn renewed(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// False: another process may hold the leases by now.
    pub fn is_valid(&self) -> bool {
        let renewed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.elapsed().as_secs_f64() < LEASE_SECONDS
    }
}
