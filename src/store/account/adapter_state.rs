//! The state that an adapter stores by key, encrypted by the layer above: of an account, under the lease of its session; and of a registration by the
//! network's codes, under the lease of that, until the account has the new login.

use crate::db::DbError;
use crate::domain::{AccountId, Lease};
use crate::store::{RegistrationLease, Store};

/// A row of adapter_state or registration_state.
struct Row {
    key: String,
    value: Vec<u8>,
}

impl Store {
    /// The values of these keys, in the same order.
    pub async fn adapter_state(
        &self,
        account: AccountId,
        keys: &[String],
    ) -> Result<Vec<Option<Vec<u8>>>, DbError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT state.key AS "key!", state.value AS "value!" FROM unnest($2::text[]) AS wanted (key)
               CROSS JOIN LATERAL (
                   SELECT key, value FROM adapter_state
                   WHERE account_id = $1 AND key = wanted.key LIMIT 1) state"#,
            account.0,
            keys
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(in_order(keys, &rows))
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

    /// Writes `after` under each of these keys whose value is still `before`.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn replace_adapter_state(
        &self,
        lease: &Lease,
        keys: &[String],
        before: &[Vec<u8>],
        after: &[Vec<u8>],
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "UPDATE adapter_state SET value = new.after FROM (
                 SELECT old.place, n.after FROM unnest($2::text[], $3::bytea[], $4::bytea[]) AS n (key, before, after)
                 CROSS JOIN LATERAL (
                     SELECT ctid AS place, value FROM adapter_state
                     WHERE account_id = $1 AND key = n.key LIMIT 1) old
                 WHERE old.value = n.before) new
             WHERE adapter_state.ctid = new.place",
            lease.account.0,
            keys,
            before,
            after
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
        let rows = sqlx::query_as!(
            Row,
            "SELECT key, value FROM adapter_state WHERE account_id = $1 AND starts_with(key, $2)",
            account.0,
            prefix
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(sorted(rows))
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

    /// The values of these keys of the registration, in the same order.
    pub async fn registration_state(
        &self,
        account: AccountId,
        keys: &[String],
    ) -> Result<Vec<Option<Vec<u8>>>, DbError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT state.key AS "key!", state.value AS "value!" FROM unnest($2::text[]) AS wanted (key)
               CROSS JOIN LATERAL (
                   SELECT key, value FROM registration_state
                   WHERE account_id = $1 AND key = wanted.key LIMIT 1) state"#,
            account.0,
            keys
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(in_order(keys, &rows))
    }

    /// The keys of the registration that begin with `prefix`, in order, with their values.
    pub async fn list_registration_state(
        &self,
        account: AccountId,
        prefix: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, DbError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT key, value FROM registration_state WHERE account_id = $1 AND starts_with(key, $2)",
            account.0,
            prefix
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(sorted(rows))
    }

    /// Writes all of these or none.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn put_registration_state(
        &self,
        lease: &RegistrationLease,
        keys: &[String],
        values: &[Vec<u8>],
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_registration(lease).await?;
        // The account may have been deleted, and its registration with it.
        sqlx::query_scalar!(
            "SELECT account_id FROM registration WHERE account_id = $1 FOR KEY SHARE",
            lease.account.0
        )
        .fetch_optional(&mut *tx.inner)
        .await?
        .ok_or(DbError::Fenced)?;
        sqlx::query!(
            "INSERT INTO registration_state (account_id, key, value)
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

    /// Deletes all of these.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn delete_registration_state(
        &self,
        lease: &RegistrationLease,
        keys: &[String],
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_registration(lease).await?;
        sqlx::query!(
            "DELETE FROM registration_state WHERE account_id = $1 AND key = ANY ($2)",
            lease.account.0,
            keys
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }
}

/// The values of these keys, in the same order.
fn in_order(keys: &[String], rows: &[Row]) -> Vec<Option<Vec<u8>>> {
    keys.iter().map(|key| rows.iter().find(|row| row.key == *key).map(|row| row.value.clone())).collect()
}

fn sorted(rows: Vec<Row>) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = rows.into_iter().map(|row| (row.key, row.value)).collect();
    found.sort();
    found
}
