//! Registrations by codes that the network sends, until their numbers are proved: the lease of a request, and the new login.

use std::time::Duration;

use crate::db::DbError;
use crate::domain::{AccountId, PhoneNumber, ProcessId};
use crate::store::{LEASE_SECONDS, Store, Tx};

/// A registration that nobody goes on with is forgotten after this time.
const RETENTION_SECONDS: f64 = 24.0 * 3600.0;

/// The right of one request to speak to a network about the registration of a number. Each write of it asserts the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationLease {
    pub account: AccountId,
    network: String,
    number: PhoneNumber,
    /// Differs for each claim.
    fence: i64,
}

/// What is known of a registration under way.
#[derive(Clone, Debug)]
pub struct PendingRegistration {
    /// `None`: the network has sent no code yet.
    pub code_length: Option<usize>,
    /// The network has accepted the code and waits for the password.
    pub needs_password: bool,
    /// The new login, encrypted by the layer above: the number is proved, and only the account does not have it yet.
    pub credentials: Option<Vec<u8>>,
}

impl Store {
    /// Claims the registration of a number on a network for one request, for `limit` at most. `None`: another request has
    /// it, or this process has no heartbeat. The lease of a dead process is free.
    pub async fn claim_registration(
        &self,
        process: ProcessId,
        account: AccountId,
        network: &str,
        number: &PhoneNumber,
        limit: Duration,
    ) -> Result<Option<RegistrationLease>, DbError> {
        // A process that is not in the list any more has left in order, and its requests may still run.
        let fence = sqlx::query_scalar!(
            "INSERT INTO registration_lease AS held (network, number, owner, fence, held_until)
             SELECT $1, $2, id, nextval('registration_fence'), clock_timestamp() + make_interval(secs => $4)
             FROM process WHERE id = $3 AND heartbeat_at > clock_timestamp() - make_interval(secs => $5)
             ON CONFLICT (network, number) DO UPDATE
             SET owner = excluded.owner, fence = excluded.fence, held_until = excluded.held_until
             WHERE held.held_until < clock_timestamp()
                OR EXISTS (SELECT 1 FROM process WHERE id = held.owner
                           AND heartbeat_at <= clock_timestamp() - make_interval(secs => $5))
             RETURNING fence",
            network,
            number.as_str(),
            process.0,
            limit.as_secs_f64(),
            LEASE_SECONDS
        )
        .fetch_optional(self.db.pool())
        .await?;
        let (network, number) = (network.to_owned(), number.clone());
        Ok(fence.map(|fence| RegistrationLease { account, network, number, fence }))
    }

    /// Ends a lease, if it is still held.
    pub async fn release_registration(&self, lease: &RegistrationLease) -> Result<(), DbError> {
        sqlx::query!(
            "DELETE FROM registration_lease WHERE network = $1 AND number = $2 AND fence = $3",
            lease.network,
            lease.number.as_str(),
            lease.fence
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// The account's registration, if one is under way.
    pub async fn pending_registration(
        &self,
        account: AccountId,
    ) -> Result<Option<PendingRegistration>, DbError> {
        let row = sqlx::query!(
            "SELECT code_length, needs_password, credentials FROM registration
             WHERE account_id = $1 AND updated_at > clock_timestamp() - make_interval(secs => $2)",
            account.0,
            RETENTION_SECONDS
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(row.map(|row| PendingRegistration {
            code_length: row.code_length.and_then(|length| usize::try_from(length).ok()),
            needs_password: row.needs_password,
            credentials: row.credentials,
        }))
    }

    /// Begins a registration, without anything of an earlier one.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn start_registration(&self, lease: &RegistrationLease) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_registration(lease).await?;
        sqlx::query!("DELETE FROM registration WHERE account_id = $1", lease.account.0)
            .execute(&mut *tx.inner)
            .await?;
        sqlx::query!(
            "INSERT INTO registration (account_id, number) VALUES ($1, $2)",
            lease.account.0,
            lease.number.as_str()
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// Stores that the network has sent a code of `length` digits, and sends no other before `again_after`.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn network_code_sent(
        &self,
        lease: &RegistrationLease,
        length: usize,
        again_after: Duration,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_registration(lease).await?;
        sqlx::query!(
            "UPDATE registration SET code_length = $2, needs_password = false, updated_at = clock_timestamp(),
                    again_at = clock_timestamp() + make_interval(secs => $3)
             WHERE account_id = $1",
            lease.account.0,
            i16::try_from(length).unwrap_or(i16::MAX),
            again_after.as_secs_f64()
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// Stores that the network waits for the account's password.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn network_needs_password(&self, lease: &RegistrationLease) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_registration(lease).await?;
        sqlx::query!(
            "UPDATE registration SET needs_password = true, updated_at = clock_timestamp() WHERE account_id = $1",
            lease.account.0
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// Stores the encrypted credentials of a new login, which the network gives only once, until the account has them.
    /// False: the account was deleted meanwhile.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn keep_login(&self, lease: &RegistrationLease, credentials: &[u8]) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        tx.assert_registration(lease).await?;
        let kept = sqlx::query!(
            "UPDATE registration SET credentials = $2, updated_at = clock_timestamp() WHERE account_id = $1",
            lease.account.0,
            credentials
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(kept.rows_affected() == 1)
    }

    /// Deletes up to `batch` registrations that nobody goes on with, and as many leases that have run out. Returns how many.
    pub async fn prune_registrations(&self, batch: i64) -> Result<u64, DbError> {
        let registrations = sqlx::query!(
            "DELETE FROM registration WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM registration
                WHERE updated_at < statement_timestamp() - make_interval(secs => $2) ORDER BY updated_at LIMIT $1))
             AND updated_at < statement_timestamp() - make_interval(secs => $2)",
            batch,
            RETENTION_SECONDS
        )
        .execute(self.db.pool())
        .await?;
        let leases = sqlx::query!(
            "DELETE FROM registration_lease WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM registration_lease WHERE held_until < statement_timestamp()
                ORDER BY held_until LIMIT $1))
             AND held_until < statement_timestamp()",
            batch
        )
        .execute(self.db.pool())
        .await?;
        Ok(registrations.rows_affected() + leases.rows_affected())
    }
}

impl Tx {
    /// Locks the lease until the transaction ends.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when it has passed on.
    pub async fn assert_registration(&mut self, lease: &RegistrationLease) -> Result<(), DbError> {
        sqlx::query_scalar!(
            "SELECT fence FROM registration_lease WHERE network = $1 AND number = $2 AND fence = $3
             FOR NO KEY UPDATE",
            lease.network,
            lease.number.as_str(),
            lease.fence
        )
        .fetch_optional(&mut *self.inner)
        .await?
        .map(|_| ())
        .ok_or(DbError::Fenced)
    }

    /// Whether the registration still has this new login: another user may have proved the number since.
    pub async fn has_login(
        &mut self,
        lease: &RegistrationLease,
        credentials: &[u8],
    ) -> Result<bool, DbError> {
        let row = sqlx::query_scalar!(
            "SELECT account_id FROM registration WHERE account_id = $1 AND credentials = $2 FOR NO KEY UPDATE",
            lease.account.0,
            credentials
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(row.is_some())
    }

    /// Ends the registration after [`Tx::register_account`]: its adapter state becomes that of the account, and no code is
    /// waited for any more.
    pub async fn finish_registration(&mut self, account: AccountId) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO adapter_state (account_id, key, value)
             SELECT account_id, key, value FROM registration_state WHERE account_id = $1",
            account.0
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!("DELETE FROM registration WHERE account_id = $1", account.0)
            .execute(&mut *self.inner)
            .await?;
        sqlx::query!("DELETE FROM verification_code WHERE account_id = $1", account.0)
            .execute(&mut *self.inner)
            .await?;
        sqlx::query!("UPDATE account SET proved_at = clock_timestamp() WHERE id = $1", account.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Takes the new logins of others for this number, which its new owner has proved later.
    pub(super) async fn forget_other_logins(
        &mut self,
        account: AccountId,
        number: &PhoneNumber,
    ) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE registration SET credentials = NULL, code_length = NULL
             WHERE number = $1 AND account_id <> $2 AND credentials IS NOT NULL",
            number.as_str(),
            account.0
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
