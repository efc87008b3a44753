//! Connections that lines of calls keep from one round trip to the next.
//!
//! Whatever comes back to the pool is tried first, which takes a round trip, and goes out again in turn, so that each of
//! PostgreSQL's processes is a cold one. What always does the same and never leaves anything behind needs neither.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Postgres};

use super::{Store, StoreError};

/// The part of the pool that may be kept: everybody else needs connections too.
const SHARE: u32 = 2;
/// After so long one goes back to the pool, which replaces old ones.
const LONGEST: Duration = Duration::from_mins(1);
/// One that nobody used for so long is tried before its next use, as the pool would have.
const FRESH: Duration = Duration::from_millis(10);

/// Those that wait for the next round trip. The last one kept is the first to go.
#[derive(Default)]
pub(super) struct Shelf(Mutex<Vec<Waiting>>);

struct Waiting {
    connection: PoolConnection<Postgres>,
    /// When it was taken out of the pool.
    taken: Instant,
    /// When it was used last.
    used: Instant,
}

/// Says what became of one: dropped, that it broke.
pub(super) struct Loan<'a> {
    taken: Instant,
    store: &'a Store,
    is_over: bool,
}

impl Store {
    /// A connection for one statement that is a transaction of its own.
    ///
    /// # Errors
    /// When there is none in time.
    pub(super) async fn kept(&self) -> Result<(PoolConnection<Postgres>, Loan<'_>), StoreError> {
        let waiting = self.shelf.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(Waiting { mut connection, taken, used }) = waiting {
            let loan = Loan { taken, store: self, is_over: false };
            if used.elapsed() < FRESH || connection.ping().await.is_ok() {
                return Ok((connection, loan));
            }
        }
        let connection = self.pool.acquire().await?;
        Ok((connection, Loan { taken: Instant::now(), store: self, is_over: false }))
    }

    /// Has the pool try all connections that wait: one was found broken, which the others may be too.
    pub(super) fn try_all(&self) {
        self.clear_shelf();
        // Each is tried when it is given back.
        drop(std::iter::from_fn(|| self.pool.try_acquire()).collect::<Vec<_>>());
    }

    /// Gives all back. None is kept after the pool was closed.
    pub(super) fn clear_shelf(&self) {
        self.shelf.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Loan<'_> {
    /// Keeps the connection, unless somebody else may be waiting for one: the statement was done.
    pub fn keep(mut self, connection: PoolConnection<Postgres>) {
        self.is_over = true;
        let pool = &self.store.pool;
        let limit = pool.options().get_max_connections();
        let others_find_one = pool.num_idle() > 0 || pool.size() < limit;
        let mut waiting = self.store.shelf.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = usize::try_from(limit / SHARE).is_ok_and(|most| waiting.len() < most);
        // Closed is asked under the lock that closing takes after it has closed the pool.
        if others_find_one && has_room && self.taken.elapsed() < LONGEST && !pool.is_closed() {
            waiting.push(Waiting { connection, taken: self.taken, used: Instant::now() });
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.store.try_all();
        }
    }
}
