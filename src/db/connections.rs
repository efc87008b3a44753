//! A cache of connections between statements that are transactions of their own.
//!
//! The pool tests each connection that comes back, which costs a round trip, and gives out the one that was idle longest,
//! whose PostgreSQL process has cold caches. A statement that leaves no state behind needs neither the test nor the turn.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Postgres};

use super::{Db, DbError};
use crate::metrics::METRICS;

/// The cache holds at most this part of the pool (a half): other statements need connections too.
const POOL_PART: u32 = 2;
/// A connection goes back to the pool after this time, and the pool replaces old ones.
const MAX_AGE: Duration = Duration::from_mins(1);
/// A connection that was idle for longer is tested before its next use, as the pool does.
const MAX_IDLE: Duration = Duration::from_millis(10);

/// The idle connections; the last one put back is taken first.
#[derive(Default)]
pub(super) struct ConnectionCache(Mutex<Vec<Idle>>);

struct Idle {
    connection: PoolConnection<Postgres>,
    /// When it left the pool.
    taken: Instant,
    /// When it was used last.
    used: Instant,
}

/// The duty to put a connection back. Dropped without that, it counts as a sign that connections broke.
pub struct Checkout<'a> {
    taken: Instant,
    db: &'a Db,
    is_put_back: bool,
}

impl Db {
    /// A connection for one statement that is a transaction of its own.
    pub async fn checkout(&self) -> Result<(PoolConnection<Postgres>, Checkout<'_>), DbError> {
        let asked = Instant::now();
        let idle = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(Idle { mut connection, taken, used }) = idle {
            let checkout = Checkout { taken, db: self, is_put_back: false };
            if used.elapsed() < MAX_IDLE || connection.ping().await.is_ok() {
                METRICS.connection_wait(asked.elapsed());
                return Ok((connection, checkout));
            }
        }
        let connection = self.pool.acquire().await;
        METRICS.connection_wait(asked.elapsed());
        let connection = connection?;
        Ok((connection, Checkout { taken: Instant::now(), db: self, is_put_back: false }))
    }

    /// Has the pool test all idle connections: one was found broken, so the others may be too.
    pub(super) fn test_all_connections(&self) {
        self.clear_connections();
        // Each is tested when it is given back.
        drop(std::iter::from_fn(|| self.pool.try_acquire()).collect::<Vec<_>>());
    }

    /// Gives all cached connections back to the pool. None is cached once the pool is closed.
    pub(super) fn clear_connections(&self) {
        self.connections.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Checkout<'_> {
    /// Puts the connection into the cache after its statement was done, unless somebody else may be waiting for one.
    pub fn put_back(mut self, connection: PoolConnection<Postgres>) {
        self.is_put_back = true;
        let pool = &self.db.pool;
        let limit = pool.options().get_max_connections();
        let others_find_one = pool.num_idle() > 0 || pool.size() < limit;
        let mut idle = self.db.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = usize::try_from(limit / POOL_PART).is_ok_and(|most| idle.len() < most);
        // Whether the pool is closed is looked at under the lock that closing takes after it has closed the pool.
        if others_find_one && has_room && self.taken.elapsed() < MAX_AGE && !pool.is_closed() {
            idle.push(Idle { connection, taken: self.taken, used: Instant::now() });
        }
    }
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        if !self.is_put_back {
            self.db.test_all_connections();
        }
    }
}
