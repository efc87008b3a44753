//! The schema, brought up to date at start.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::{Store, StoreError};

/// The advisory lock of whoever migrates: "windu" in ASCII.
const LOCK: i64 = 0x77_69_6e_64_75;
const LOOK: Duration = Duration::from_millis(200);

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database is away, or refused something beside the migrations.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A migration failed, or is not the one that was applied under its number.
    #[error("the database's schema could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl Store {
    /// Applies the migrations that this program brings and the database lacks. Those that only the database knows
    /// are a newer program's, and the previous version of the program must run beside its schema.
    ///
    /// Several programs may do this at once: one works, the others look again and again whether it is done. They do
    /// not wait inside PostgreSQL, because a statement that waits there deadlocks with CREATE INDEX CONCURRENTLY.
    ///
    /// # Errors
    /// When a migration fails, or was changed after it was applied.
    pub async fn migrate(&self) -> Result<(), SchemaError> {
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?.detach();
        while !try_lock(&mut connection).await? {
            tokio::time::sleep(LOOK).await;
        }
        let mut migrator = sqlx::migrate!();
        migrator.set_locking(false).set_ignore_missing(true);
        let result = migrator.run(&mut connection).await;
        // The lock goes with the connection, however the migrations ended.
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "closing the connection of the migrations");
        }
        Ok(result?)
    }
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let locked = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "locked!""#, LOCK);
    Ok(locked.fetch_one(connection).await?)
}
