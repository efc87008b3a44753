//! The state that an adapter stores for an account, by key.

use crate::db::DbError;
use crate::domain::{AccountId, Lease};
use crate::store::Store;

impl Store {
    /// The values of these keys, in the same order.
    pub async fn adapter_state(
        &self,
        account: AccountId,
        keys: &[String],
    ) -> Result<Vec<Option<Vec<u8>>>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT state.key AS "key!", state.value AS "value!" FROM unnest($2::text[]) AS wanted (key)
               CROSS JOIN LATERAL (
                   SELECT key, value FROM adapter_state
                   WHERE account_id = $1 AND key = wanted.key LIMIT 1) state"#,
            account.0,
            keys
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(keys
            .iter()
            .map(|key| rows.iter().find(|row| row.key == *key).map(|row| row.value.clone()))
            .collect())
    }

    /// Writes all of these or none.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn put_adapter_state(
        &self,
        lease: &Lease,
        keys: &[String],
        values: &[Vec<u8>],
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "INSERT INTO adapter_state (account_id, key, value)
             SELECT $1, * FROM unnest($2::text[], $3::bytea[])
             ON CONFLICT (account_id, key) DO UPDATE SET value = excluded.value",
            lease.account.0,
            keys,
            values
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// The keys that begin with `prefix`, in order, with their values. Reads all keys of the account.
    pub async fn list_adapter_state(
        &self,
        account: AccountId,
        prefix: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, DbError> {
        let rows = sqlx::query!(
            "SELECT key, value FROM adapter_state WHERE account_id = $1 AND starts_with(key, $2)",
            account.0,
            prefix
        )
        .fetch_all(self.db.pool())
        .await?;
        let mut found: Vec<(String, Vec<u8>)> = rows.into_iter().map(|row| (row.key, row.value)).collect();
        found.sort();
        Ok(found)
    }

    /// Deletes all of these.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn delete_adapter_state(&self, lease: &Lease, keys: &[String]) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "DELETE FROM adapter_state WHERE account_id = $1 AND key = ANY ($2)",
            lease.account.0,
            keys
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }
}
