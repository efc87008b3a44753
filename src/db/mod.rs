//! PostgreSQL, without a word of the product: the pool, transactions, batches, notifications, the schema, and the
//! private cluster for a deployment that brings no server of its own.

pub mod batcher;
pub mod cluster;
mod connections;
pub mod copy;
mod error;
mod notify;
mod reachable;
mod schema;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};

use crate::lifecycle::Lifecycle;
use crate::metrics::METRICS;
use connections::ConnectionCache;

pub use connections::Checkout;
pub use error::DbError;
pub use notify::{Collected, Collector, Hints, Kind, Notifications, Subscription, Topic};
pub use reachable::Unreachable;
pub use schema::SchemaError;

/// The database; clones share it.
#[derive(Clone)]
pub struct Db {
    pool: PgPool,
    notifications: Notifications,
    connections: Arc<ConnectionCache>,
}

/// One transaction; dropped without [`Tx::commit`] it changes nothing.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    notifications: Notifications,
    /// Notified after the commit.
    topics: Vec<Topic>,
}

/// How PostgreSQL treats our connections.
///
/// All our statements find few rows by an index, and their plans are kept. One made while a table was small would read
/// the whole table long after it has grown; one made for each call's own parameters takes longer than the call, and
/// compiling one to machine code longer still. A program that is stopped in the middle of a transaction keeps its locks
/// no longer than its leases.
const SETTINGS: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    // A bitmap is made of all rows that fit, also for a statement that wants the first few.
    ("enable_bitmapscan", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("idle_in_transaction_session_timeout", "10s"),
];

impl Db {
    /// A pool of at most `connections` connections. Does not connect yet: a database that is away is found by the first
    /// query.
    #[must_use]
    pub fn new(options: PgConnectOptions, connections: u32) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            // A round trip per checkout for nothing: a dead connection is found by its first query.
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(Duration::from_mins(10))
            .connect_lazy_with(options.application_name("windu").options(SETTINGS));
        Self { pool, notifications: Notifications::default(), connections: Arc::default() }
    }

    /// A pool on the database at `url`; `None` when that is no PostgreSQL URL.
    #[must_use]
    pub fn from_url(url: &str, connections: u32) -> Option<Self> {
        Some(Self::new(url.parse().ok()?, connections))
    }

    /// The pool, for single statements.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The notifications of this process.
    #[must_use]
    pub fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    /// Starts to carry notifications to and from the other processes on this database.
    pub fn connect_notifications(&self, lifecycle: &Lifecycle) {
        self.notifications.connect(&self.pool, lifecycle);
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        let (pool, asked) = (self.pool.clone(), Instant::now());
        // In a task of its own, which hears the answer even when the caller goes away before it: sqlx 0.9 forgets a
        // BEGIN that it did not see answered and puts the connection back into the pool with its transaction open.
        #[expect(clippy::disallowed_methods, reason = "it outlives the caller by one round trip, no more")]
        let begun = tokio::spawn(async move { pool.begin().await });
        let begun = begun.await;
        METRICS.connection_wait(asked.elapsed());
        match begun {
            Ok(Ok(inner)) => Ok(Tx { inner, notifications: self.notifications.clone(), topics: Vec::new() }),
            Ok(Err(error)) => {
                self.test_all_connections();
                Err(error.into())
            }
            // The program ends.
            Err(_) => Err(DbError::shutting_down()),
        }
    }

    /// How many connections are in use, and how many are idle.
    #[must_use]
    pub fn connection_counts(&self) -> (usize, usize) {
        let (all, idle) = (self.pool.size() as usize, self.pool.num_idle());
        (all.saturating_sub(idle), idle)
    }

    /// Closes the pool and waits until every connection is given back.
    pub async fn close(&self) {
        // Closed as soon as that is called; it waits for the cached connections, too.
        let closed = self.pool.close();
        self.clear_connections();
        closed.await;
    }
}

impl Tx {
    /// Makes the changes durable, then notifies the topics. An error leaves unknown whether the changes were made.
    pub async fn commit(self) -> Result<(), DbError> {
        self.inner.commit().await?;
        for topic in self.topics {
            self.notifications.wake(topic);
        }
        Ok(())
    }

    /// Has a topic notified after the commit.
    pub fn notify_on_commit(&mut self, topic: Topic) {
        self.topics.push(topic);
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}
