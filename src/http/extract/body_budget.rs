//! The memory of all request bodies together, with a fair share for each user.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::domain::UserId;
use crate::http::error::{ApiError, ErrorCode};

/// Bytes of a body that are not counted: nearly all bodies are smaller.
const UNCOUNTED: u64 = 16 * 1024;
/// Bodies grow in the budget by at least this.
const STEP: u64 = 64 * 1024;
/// Bytes of all bodies together, read and parsed.
const TOTAL: u64 = 64 * 1024 * 1024;
/// Bytes of the bodies of one user; the largest body fits.
const PER_USER: u64 = 32 * 1024 * 1024;
/// How long a body waits for room.
const WAIT: Duration = Duration::from_secs(5);
/// Parsing of a longer body would hold up other requests, so it happens on a thread of its own.
const LONG: usize = 64 * 1024;

/// The budget; clones share it.
#[derive(Clone)]
pub struct BodyBudget(Arc<Shared>);

struct Shared {
    used: Mutex<Used>,
    freed: Notify,
    parsers: Semaphore,
}

#[derive(Default)]
struct Used {
    total: u64,
    users: HashMap<UserId, u64>,
}

/// The room of one body, until it is dropped.
pub struct BodyRoom {
    budget: BodyBudget,
    user: UserId,
    /// What the body needs.
    needed: u64,
    /// What is taken from the budget: nothing, or at least what is needed.
    taken: u64,
}

impl Default for BodyBudget {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Shared {
            used: Mutex::default(),
            freed: Notify::new(),
            parsers: Semaphore::new(cores),
        }))
    }
}

impl BodyBudget {
    #[must_use]
    pub fn room(&self, user: UserId) -> BodyRoom {
        BodyRoom { budget: self.clone(), user, needed: 0, taken: 0 }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_take(&self, user: UserId, bytes: u64) -> bool {
        let mut budget = self.used();
        let own = budget.users.get(&user).copied().unwrap_or_default();
        if budget.total + bytes > TOTAL || own + bytes > PER_USER {
            return false;
        }
        budget.total += bytes;
        budget.users.insert(user, own + bytes);
        true
    }

    fn give_back(&self, user: UserId, bytes: u64) {
        let mut budget = self.used();
        budget.total -= bytes;
        let own = budget.users.get(&user).copied().unwrap_or_default().saturating_sub(bytes);
        if own == 0 {
            budget.users.remove(&user);
        } else {
            budget.users.insert(user, own);
        }
        drop(budget);
        self.0.freed.notify_waiters();
    }
}

impl BodyRoom {
    /// Makes room for more bytes; see [`BodyRoom::grow_to`].
    pub async fn grow(&mut self, bytes: u64) -> Result<(), ApiError> {
        self.grow_to(self.needed + bytes).await
    }

    /// Makes room for so many bytes in all; waits for other bodies if there is none.
    ///
    /// # Errors
    /// 503 when there is no room for too long.
    pub async fn grow_to(&mut self, bytes: u64) -> Result<(), ApiError> {
        self.needed = self.needed.max(bytes);
        if self.needed <= self.taken.max(UNCOUNTED) {
            return Ok(());
        }
        let missing = (self.needed - self.taken).max(STEP);
        let taking = async {
            loop {
                // Before the look at the budget, so that nothing that is freed after it is missed.
                let freed = self.budget.0.freed.notified();
                if self.budget.try_take(self.user, missing) {
                    return;
                }
                freed.await;
            }
        };
        timeout(WAIT, taking).await.map_err(|_| busy())?;
        self.taken += missing;
        Ok(())
    }

    /// Gives back what the body needs no more than `bytes` of.
    pub fn shrink(&mut self, bytes: u64) {
        self.needed = self.needed.min(bytes);
        let excess = self.taken.saturating_sub(self.needed);
        if excess > 0 {
            self.taken -= excess;
            self.budget.give_back(self.user, excess);
        }
    }

    /// Parses a body of `length` bytes: a long one on a thread where that may take its time, at most one per core.
    ///
    /// # Errors
    /// As for `parse`.
    pub async fn parse<T: Send + 'static>(
        &self,
        length: usize,
        parse: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        if length <= LONG {
            return parse();
        }
        // The semaphore is never closed.
        let _core = self.budget.0.parsers.acquire().await;
        spawn_blocking(parse).await.map_err(|error| ApiError::internal(&error))?
    }
}

impl Drop for BodyRoom {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.budget.give_back(self.user, self.taken);
        }
    }
}

fn busy() -> ApiError {
    ApiError::unavailable(
        ErrorCode::TooManyBodies,
        "too many large bodies are being received, of you or in all; send fewer at the same time",
        2,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: UserId = UserId(1);

    #[tokio::test]
    async fn a_user_cannot_take_the_room_of_others() {
        let budget = BodyBudget::default();
        let mut rooms: Vec<BodyRoom> = (0..2).map(|_| budget.room(ANNA)).collect();
        for room in &mut rooms {
            room.grow(PER_USER / 2).await.expect("room");
        }
        assert!(!budget.try_take(ANNA, 1));
        let mut other = budget.room(UserId(2));
        other.grow(PER_USER).await.expect("the other half");
        assert!(!budget.try_take(UserId(3), 1), "all is taken");
        // Small bodies need no room.
        budget.room(ANNA).grow(UNCOUNTED).await.expect("uncounted");
        drop(rooms);
        drop(other);
        let used = budget.used();
        assert_eq!((used.total, used.users.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_body_waits_for_room() {
        let budget = BodyBudget::default();
        let mut first = budget.room(ANNA);
        first.grow(PER_USER).await.expect("room");
        let mut second = budget.room(ANNA);
        let free = async {
            tokio::task::yield_now().await;
            first.shrink(PER_USER - 2 * STEP);
        };
        let (grown, ()) = tokio::join!(second.grow(STEP), free);
        assert!(grown.is_ok());
        assert_eq!(budget.used().total, PER_USER - STEP);
    }
}
