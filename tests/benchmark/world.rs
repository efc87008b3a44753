//! The server under measurement, and its database.

use std::sync::Arc;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::support::postgres::Database;
use crate::support::server::{Server, Setup};

/// A fresh database with a connection of our own.
pub struct World {
    /// With all tables.
    pub database: Arc<Database>,
    /// One connection for preparation and checks.
    pub pool: PgPool,
}

impl World {
    /// An empty one.
    pub async fn new() -> Self {
        let database = Arc::new(Database::create());
        let pool =
            PgPoolOptions::new().max_connections(1).connect(&database.url()).await.expect("a database");
        Self { database, pool }
    }

    /// The server on it, not started. `log` is what it logs.
    pub fn setup(&self, log: &str) -> Setup {
        Server::setup().database(self.database.clone()).env("WINDU_LOG", log)
    }

    /// The number that a query returns.
    pub async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.expect("a number")
    }

    /// Collects the statistics of a database in use. Not while its tables are empty: PostgreSQL would plan for
    /// empty tables and keep these plans when they fill.
    pub async fn analyze(&self) {
        sqlx::query("ANALYZE").execute(&self.pool).await.expect("statistics");
    }

    /// Writes out dirty pages, so that each measurement starts in the same state.
    pub async fn checkpoint(&self) {
        sqlx::query("CHECKPOINT").execute(&self.pool).await.expect("a checkpoint");
    }

    /// The committed transactions, and the WAL bytes that PostgreSQL wrote.
    pub async fn written(&self) -> (i64, i64) {
        let commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
        let bytes = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
        (self.number(commits).await, self.number(bytes).await)
    }
}
