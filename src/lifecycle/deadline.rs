//! The deadline of a request: one for all that is done for it, in whichever layer.
//!
//! The task of a request carries its deadline, so that a layer that waits for something else than PostgreSQL can end its
//! wait before the request is given up, with an error that says what did not answer. Time in which the request itself
//! arrives does not count.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

tokio::task_local! {
    static CURRENT: Deadline;
}

/// The deadline of one request; clones share it.
#[derive(Clone, Debug)]
pub struct Deadline(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: Duration,
    clock: Mutex<Clock>,
    given_up: CancellationToken,
}

#[derive(Debug)]
struct Clock {
    /// Since when the request waits for this server; `None` while it waits for its own input.
    since: Option<Instant>,
    /// How many waits for something else than the database are under way.
    elsewhere: usize,
}

/// A wait for something else than the database.
struct Elsewhere(Deadline);

impl Deadline {
    /// A deadline in this time from now on.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        let clock = Mutex::new(Clock { since: Some(Instant::now()), elsewhere: 0 });
        Self(Arc::new(Shared { limit, clock, given_up: CancellationToken::new() }))
    }

    /// The deadline of the request for which this task works.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Runs work under this deadline.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The work under the current deadline, for a task that is spawned: by itself that has none.
    pub fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
        let current = Self::current();
        async move {
            match current {
                Some(deadline) => deadline.scope(work).await,
                None => work.await,
            }
        }
    }

    /// The shorter one of `timeout` and the time that is left to the current request, less what it needs afterwards.
    #[must_use]
    pub fn shorten(timeout: Duration, needed_afterwards: Duration) -> Duration {
        let left = Self::current().map(|deadline| deadline.left().saturating_sub(needed_afterwards));
        left.map_or(timeout, |left| left.min(timeout))
    }

    /// Awaits something that is not the database: if the deadline passes meanwhile, the database is not at fault.
    pub async fn elsewhere<F: Future>(work: F) -> F::Output {
        let _elsewhere = Self::current().map(|deadline| {
            deadline.clock().elsewhere += 1;
            Elsewhere(deadline)
        });
        work.await
    }

    /// Awaits something that the caller chose to wait for: the clock of the current request stands still meanwhile.
    pub async fn paused<F: Future>(work: F) -> F::Output {
        struct Paused(Deadline);
        impl Drop for Paused {
            fn drop(&mut self) {
                self.0.wait_for_input(false);
            }
        }
        let _paused = Self::current().map(|deadline| {
            deadline.wait_for_input(true);
            Paused(deadline)
        });
        work.await
    }

    /// How long the request has waited for this server, since its last input arrived.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.clock().since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The time until the request is given up, if no more input is needed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.0.limit.saturating_sub(self.waited())
    }

    /// Stops the clock while the request waits for its input, or starts it anew.
    pub fn wait_for_input(&self, waits: bool) {
        self.clock().since = (!waits).then(Instant::now);
    }

    /// Whether something else than the database is being waited for.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.clock().elsewhere > 0
    }

    /// Marks the request as given up: its caller has been refused, so nothing may happen for it any more.
    pub fn give_up(&self) {
        self.0.given_up.cancel();
    }

    /// Whether the request was given up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.0.given_up.is_cancelled()
    }

    /// Returns when the current request is given up: never for work without a request.
    pub async fn current_given_up() {
        match Self::current() {
            Some(deadline) => deadline.0.given_up.cancelled().await,
            None => std::future::pending().await,
        }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.0.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.0.clock().elsewhere -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_wait_is_cut_to_what_is_left_of_its_request() {
        assert_eq!(Deadline::shorten(LONG, LONG), LONG, "work without a request has no deadline");
        let cut = async |limit: u64, needed: u64| {
            let cut = async { Deadline::shorten(LONG, Duration::from_secs(needed)) };
            Deadline::after(Duration::from_secs(limit)).scope(cut).await
        };
        assert_eq!(cut(28, 3).await, LONG);
        let left = cut(10, 3).await;
        assert!((Duration::from_secs(6)..=Duration::from_secs(7)).contains(&left), "{left:?}");
        assert_eq!(cut(2, 3).await, Duration::ZERO);
    }

    #[tokio::test]
    async fn the_time_in_which_input_arrives_does_not_count() {
        let limit = Duration::from_millis(50);
        let deadline = Deadline::after(limit);
        deadline.wait_for_input(true);
        tokio::time::sleep(limit * 2).await;
        assert_eq!((deadline.waited(), deadline.left()), (Duration::ZERO, limit));
        deadline.wait_for_input(false);
        tokio::time::sleep(limit * 2).await;
        assert_eq!(deadline.left(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_wait_elsewhere_is_known_until_it_ends_or_is_dropped() {
        let deadline = Deadline::after(LONG);
        let scoped = deadline.clone();
        deadline.clone().scope(Deadline::elsewhere(async { assert!(scoped.is_elsewhere()) })).await;
        assert!(!deadline.is_elsewhere());
        let waiting = deadline.clone().scope(Deadline::elsewhere(std::future::pending::<()>()));
        assert!(tokio::time::timeout(Duration::from_millis(1), waiting).await.is_err());
        assert!(!deadline.is_elsewhere());
    }
}
