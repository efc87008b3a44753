//! What the holder of the lease knows from one connection to the next.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::error::BrokerError;
use crate::domain::{CounterId, UserId};
use crate::events::RenderedEvent;
use crate::secrets;

/// The pause after a failure, less a random half, and the longest one.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Reasons that are not logged again. Only an unusual broker has more of them.
const REASONS: usize = 50;
/// The least time between two lines about events that were too large.
const TOO_LARGE: Duration = Duration::from_mins(1);

#[derive(Default)]
pub struct Memory {
    /// Events that were committed before this time have their places.
    pub numbered: Mutex<DateTime<Utc>>,
    /// The place of the last event of an account that the broker has, while no position beyond it is stored.
    acknowledged: Mutex<HashMap<CounterId, i64>>,
    /// The users of whom an event was refused.
    refused: Mutex<HashMap<UserId, Trouble>>,
    too_large: Mutex<TooLarge>,
}

/// Events that were published without what they are about and are in no line of the log yet.
#[derive(Default)]
struct TooLarge {
    count: u64,
    said: Option<Instant>,
}

/// What is wrong, so that the log says it once.
#[derive(Default)]
pub struct Trouble {
    said: HashSet<String>,
    failures: u32,
}

impl Memory {
    /// The events of each account that the broker does not have.
    pub fn unacknowledged<'a>(
        &self,
        events: &'a [RenderedEvent],
    ) -> BTreeMap<CounterId, Vec<&'a RenderedEvent>> {
        let acknowledged = lock(&self.acknowledged);
        let mut accounts: BTreeMap<CounterId, Vec<&RenderedEvent>> = BTreeMap::new();
        for event in events {
            if acknowledged.get(&event.counter).is_none_or(|place| event.place > *place) {
                accounts.entry(event.counter).or_default().push(event);
            }
        }
        accounts
    }

    /// The broker has this event, and all of its account that come before it.
    pub fn acknowledged(&self, event: &RenderedEvent) {
        lock(&self.acknowledged).insert(event.counter, event.place);
    }

    /// A position beyond these events is stored.
    pub fn stored(&self, events: &[RenderedEvent]) {
        let mut acknowledged = lock(&self.acknowledged);
        for event in events {
            acknowledged.remove(&event.counter);
        }
    }

    /// Notes that an event of a user was refused. Returns for how long the user waits now.
    pub fn refused(&self, user: UserId, error: &BrokerError) -> Duration {
        let mut refused = lock(&self.refused);
        let trouble = refused.entry(user).or_default();
        if trouble.is_new(error) {
            tracing::warn!(user = user.0, %error, "an event was refused by the broker; those of its user wait");
        }
        trouble.pause()
    }

    /// No event of a user is refused any more.
    pub fn taken(&self, user: UserId) {
        if lock(&self.refused).remove(&user).is_some() {
            tracing::info!(user = user.0, "events of the user are published to the broker again");
        }
    }

    /// Notes that an event was too large. One line a minute says so, with their number since the last one.
    pub fn too_large(&self, event: &RenderedEvent) {
        let mut too_large = lock(&self.too_large);
        too_large.count += 1;
        if too_large.said.is_none_or(|at| at.elapsed() >= TOO_LARGE) {
            let events = too_large.count;
            tracing::warn!(
                events,
                last = event.id,
                "too large for the broker; published without what they are about"
            );
            *too_large = TooLarge { count: 0, said: Some(Instant::now()) };
        }
    }
}

impl Trouble {
    /// Notes a failure. Returns whether its reason is another one than before.
    pub fn is_new(&mut self, error: &BrokerError) -> bool {
        self.failures += 1;
        if self.said.len() >= REASONS {
            self.said.clear();
        }
        self.said.insert(error.to_string())
    }

    /// Whether there was any.
    pub fn is_over(&mut self) -> bool {
        std::mem::take(self).failures > 0
    }

    /// How long to wait after the last failure.
    pub fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(8);
        let whole = PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
        Duration::from_millis(half + secrets::random_below(half + 1))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
