//! The only SQL. [`Store`] holds the pool, [`Tx`] is one transaction; one file per entity adds the queries to both.
//!
//! No method here awaits anything but PostgreSQL, and no transaction is open while another layer awaits.

pub mod cluster;
mod deployment;
mod error;
mod migrate;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};
use std::time::Duration;

use crate::config::ConfigError;

pub use deployment::KeyError;
pub use error::StoreError;
pub use migrate::SchemaError;

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

/// One transaction; dropped without [`Tx::commit`] it changes nothing.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
}

/// How to connect to the database that `DATABASE_URL` names.
///
/// # Errors
/// When the URL cannot be understood. The text does not repeat it, since it holds a password.
pub fn options_of_url(url: &str) -> Result<PgConnectOptions, ConfigError> {
    url.parse().map_err(|_| {
        ConfigError::new(
            "DATABASE_URL",
            "a URL such as postgres://user:password@host/database is expected, special signs written as %XX",
        )
    })
}

impl Store {
    /// A pool of at most `connections` connections. Does not connect yet: a database that is away is found
    /// by the first query.
    #[must_use]
    pub fn new(options: PgConnectOptions, connections: u32) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            // A round trip per checkout for nothing: a dead connection is found by its first query.
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(Duration::from_mins(10))
            .connect_lazy_with(options.application_name("windu"));
        Self { pool }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx { inner: self.pool.begin().await? })
    }

    /// Closes the pool and waits until every connection is given back.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Tx {
    /// Makes the changes durable.
    ///
    /// # Errors
    /// When the database went away: whether the changes were made is unknown then.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.inner.commit().await?)
    }
}
