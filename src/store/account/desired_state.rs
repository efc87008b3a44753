//! Desired state: what the user wants the network to show, and how far a session has applied it.

use serde_json::Value;

use crate::db::DbError;
use crate::domain::{AccountId, Lease};
use crate::store::{Store, Tx};

/// One aspect that the network does not show yet.
#[derive(Clone, Debug)]
pub struct Desired {
    /// What: `blocked`, `contacts`, `nickname`, `photo`, `presence`, `privacy`, `roster`, `status_message`.
    pub aspect: String,
    /// How it should be.
    pub value: Value,
    /// Grows with each change.
    pub version: i64,
    /// Whether this version was not applied yet.
    pub due: bool,
}

impl Tx {
    /// Asks the session to tell the network anew whom the account wants to hear of.
    pub(in crate::store) async fn roster_changed(&mut self, account: AccountId) -> Result<(), DbError> {
        self.set_desired(account, "roster", &Value::Null).await
    }

    /// Writes how an aspect should be; the account's session applies it. The counter must be locked, or nobody
    /// else know the account yet: these rows come after it.
    pub async fn set_desired(
        &mut self,
        account: AccountId,
        aspect: &str,
        value: &Value,
    ) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO desired_state (account_id, aspect, value) VALUES ($1, $2, $3)
             ON CONFLICT (account_id, aspect)
             DO UPDATE SET value = excluded.value, version = desired_state.version + 1",
            account.0,
            aspect,
            value
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

impl Store {
    /// What the session has to apply: what changed, or everything after a fresh connection.
    pub async fn desired(&self, account: AccountId, everything: bool) -> Result<Vec<Desired>, DbError> {
        Ok(sqlx::query_as!(
            Desired,
            r#"SELECT aspect, value, version, applied < version AS "due!" FROM desired_state
               WHERE account_id = $1 AND (applied < version OR $2) ORDER BY aspect"#,
            account.0,
            everything
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// Notes that the network shows this version of the aspect.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn applied(&self, lease: &Lease, aspect: &str, version: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "UPDATE desired_state SET applied = greatest(applied, $3) WHERE account_id = $1 AND aspect = $2",
            lease.account.0,
            aspect,
            version
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }
}
