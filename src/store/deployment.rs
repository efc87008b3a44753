//! Facts about the whole deployment: the version of PostgreSQL and the fingerprint of the master key.

use super::Store;
use crate::db::DbError;
use crate::secrets::MasterKey;

const KEY_FINGERPRINT: &str = "key_fingerprint";

/// The reason why the master key does not fit the database.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The data in the database was encrypted with another key. The program must not start.
    #[error(
        "WINDU_SECRET_KEY is not the key that this database was used with: put that key back (without DATABASE_URL \
         it is secret.key in the data folder), or give it as WINDU_SECRET_KEY_OLD to change keys"
    )]
    Other,
    #[error(transparent)]
    Store(#[from] DbError),
}

/// The database server's version.
#[derive(Clone, Debug)]
pub struct ServerVersion {
    /// Such as `15.18`.
    pub name: String,
    /// Such as 150018.
    pub number: i32,
}

impl Store {
    pub async fn server_version(&self) -> Result<ServerVersion, DbError> {
        Ok(sqlx::query_as!(
            ServerVersion,
            r#"SELECT split_part(current_setting('server_version'), ' ', 1) AS "name!",
                      current_setting('server_version_num')::int AS "number!""#
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// Compares the fingerprint of the master key with the stored one; the first key of a database is stored. When the
    /// stored one is the old key of a rotation, the new key replaces it.
    ///
    /// # Errors
    /// [`KeyError::Other`] when neither key is the stored one.
    pub async fn check_key_fingerprint(&self, key: &MasterKey) -> Result<(), KeyError> {
        let fingerprint = key.fingerprint();
        sqlx::query!(
            "INSERT INTO deployment (key, value) VALUES ($1, $2)
             ON CONFLICT (key) DO UPDATE SET value = $2 WHERE deployment.value = $3",
            KEY_FINGERPRINT,
            fingerprint,
            key.old_fingerprint(),
        )
        .execute(self.db.pool())
        .await
        .map_err(DbError::from)?;
        let stored = sqlx::query_scalar!("SELECT value FROM deployment WHERE key = $1", KEY_FINGERPRINT)
            .fetch_optional(self.db.pool())
            .await
            .map_err(DbError::from)?;
        if stored.as_ref() == Some(&fingerprint) { Ok(()) } else { Err(KeyError::Other) }
    }
}
