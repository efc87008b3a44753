//! Desired state: what the network should show of an account, and which version of it a session has applied.

use serde_json::Value;

use crate::db::DbError;
use crate::domain::{AccountId, Aspect, Lease};
use crate::store::{Store, Tx};

/// One aspect of an account on its network.
#[derive(Clone, Debug)]
pub struct Desired {
    pub aspect: Aspect,
    /// How it should be.
    pub value: Value,
    /// Grows with each change.
    pub version: i64,
    /// Whether this version was not applied yet.
    pub due: bool,
}

impl Tx {
    /// Asks the session to send the network a new list of the people whose profile the account follows.
    pub(in crate::store) async fn roster_changed(&mut self, account: AccountId) -> Result<(), DbError> {
        self.set_desired(account, Aspect::Roster, &Value::Null).await
    }

    /// Writes the desired value of an aspect; the account's session applies it. The counter must be locked, because these
    /// rows are locked after it; an account that is made in the same transaction needs no lock.
    pub async fn set_desired(
        &mut self,
        account: AccountId,
        aspect: Aspect,
        value: &Value,
    ) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO desired_state (account_id, aspect, value) VALUES ($1, $2, $3)
             ON CONFLICT (account_id, aspect)
             DO UPDATE SET value = excluded.value, version = desired_state.version + 1",
            account.0,
            aspect.name(),
            value
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

impl Store {
    /// What the session has to apply: what changed, or everything after a fresh connection. Aspects that only a newer
    /// version of this program knows are left to it.
    pub async fn desired(&self, account: AccountId, everything: bool) -> Result<Vec<Desired>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT aspect, value, version, applied < version AS "due!" FROM desired_state
               WHERE account_id = $1 AND (applied < version OR $2) ORDER BY aspect"#,
            account.0,
            everything
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let aspect = Aspect::from_name(&row.aspect)?;
                Some(Desired { aspect, value: row.value, version: row.version, due: row.due })
            })
            .collect())
    }

    /// Marks this version of the aspect as applied.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn applied(&self, lease: &Lease, aspect: Aspect, version: i64) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "UPDATE desired_state SET applied = greatest(applied, $3) WHERE account_id = $1 AND aspect = $2",
            lease.account.0,
            aspect.name(),
            version
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }
}
