//! Migrations of the schema to this program's version, and the check whether they are applied.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::postgres::PgConnection;

use super::{Db, DbError};

static MIGRATOR: Migrator = sqlx::migrate!();

/// The table of sqlx with the applied migrations.
pub(super) const TABLE: &str = "_sqlx_migrations";

/// The key in the table `deployment` under which a migration stores the lowest version that a program must have: the number
/// of its newest migration. A migration that older programs can work with stores nothing.
const OLDEST_PROGRAM: &str = "oldest_program";

/// The advisory lock of the program that migrates: "windu" in ASCII.
const LOCK: i64 = 0x77_69_6e_64_75;

/// The interval at which a program that waits for another one's migration tries the lock.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The reason why the tables are not at this program's version.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database is unavailable: worth a retry.
    #[error(transparent)]
    Database(#[from] DbError),
    /// Only newer programs can work with the tables.
    #[error(
        "the database's tables are those of a newer version of this program, and this one cannot work with them: \
         start the newer version, or restore a backup from before the upgrade"
    )]
    TooNew,
    /// A migration failed, or was changed after it was applied.
    #[error("the database's tables cannot be brought to this version")]
    Migration(#[source] MigrateError),
    /// The database refused a statement of a migration.
    #[error("the database's tables cannot be brought to this version")]
    Refused(#[source] DbError),
}

impl From<MigrateError> for SchemaError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
                match DbError::from(cause) {
                    refused @ DbError::Refused(_) => Self::Refused(refused),
                    other @ (DbError::Unavailable(_) | DbError::Fenced | DbError::Corrupt(_)) => {
                        Self::Database(other)
                    }
                }
            }
            other => Self::Migration(other),
        }
    }
}

impl Db {
    /// Applies the migrations that the database lacks, in one program at a time. Migrations that only the database has
    /// are from a newer program: with them this one works until one of them says that it cannot.
    pub async fn migrate(&self) -> Result<(), SchemaError> {
        let mut connection = self.pool.acquire().await.map_err(DbError::from)?;
        // A program that waits inside pg_advisory_lock has an open snapshot, and an index that is built concurrently
        // waits for those: a deadlock. So the lock is polled.
        while !sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "taken!""#, LOCK)
            .fetch_one(&mut *connection)
            .await
            .map_err(DbError::from)?
        {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        refuse_newer(&mut connection).await?;
        let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
        migrator.set_locking(false).set_ignore_missing(true);
        let outcome = migrator.run(&mut *connection).await;
        // Closed rather than unlocked: the lock ends with the connection, whatever state that is in.
        let _ = connection.close().await;
        Ok(outcome?)
    }

    /// Applies exactly these migrations to an empty database.
    ///
    /// # Errors
    /// [`SchemaError::TooNew`] when this program does not know one of them.
    pub async fn migrate_to(&self, versions: &[i64]) -> Result<(), SchemaError> {
        let wanted: Vec<_> = MIGRATOR.iter().filter(|one| versions.contains(&one.version)).cloned().collect();
        if wanted.len() != versions.len() {
            return Err(SchemaError::TooNew);
        }
        let mut connection = self.pool.acquire().await.map_err(DbError::from)?;
        // A migration that is applied and not wanted is an error.
        Ok(Migrator::with_migrations(wanted).run(&mut *connection).await?)
    }

    /// Whether every migration of this program is applied.
    pub async fn is_migrated(&self) -> Result<bool, SchemaError> {
        let mut connection = self.pool.acquire().await.map_err(DbError::from)?;
        let present = sqlx::query_scalar!(r#"SELECT to_regclass($1) IS NOT NULL AS "present!""#, TABLE)
            .fetch_one(&mut *connection)
            .await
            .map_err(DbError::from)?;
        if !present {
            return Ok(false);
        }
        refuse_newer(&mut connection).await?;
        let applied = connection.list_applied_migrations(TABLE).await?;
        Ok(MIGRATOR.iter().all(|ours| applied.iter().any(|one| one.version == ours.version)))
    }

    /// The migrations in the database that this program does not know.
    pub async fn newer_migrations(&self) -> Result<usize, SchemaError> {
        let mut connection = self.pool.acquire().await.map_err(DbError::from)?;
        let applied = connection.list_applied_migrations(TABLE).await?;
        Ok(applied.iter().filter(|one| MIGRATOR.iter().all(|ours| ours.version != one.version)).count())
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        Ok(self.pool.acquire().await?.ping().await?)
    }
}

async fn refuse_newer(connection: &mut PgConnection) -> Result<(), SchemaError> {
    let has_table = sqlx::query_scalar!(r#"SELECT to_regclass('deployment') IS NOT NULL AS "present!""#);
    if !has_table.fetch_one(&mut *connection).await.map_err(DbError::from)? {
        return Ok(());
    }
    let oldest = sqlx::query_scalar!("SELECT value FROM deployment WHERE key = $1", OLDEST_PROGRAM)
        .fetch_optional(connection)
        .await
        .map_err(DbError::from)?;
    let newest = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default();
    match oldest {
        // What is no number was written by a program that knows more than this one.
        Some(oldest) if oldest.parse().map_or(true, |oldest: i64| oldest > newest) => {
            Err(SchemaError::TooNew)
        }
        _ => Ok(()),
    }
}
