//! Registration of an account's number, its move to another user, and the deletion of an account.

use crate::db::DbError;
use crate::domain::{Account, AccountId, CounterId, Event, PhoneNumber, UserId};
use crate::store::{Journal, More, SLICE, Store, Tx, topic};

/// An account that had the number before its new owner proved it.
#[derive(Clone, Debug)]
pub struct FormerAccount {
    pub id: AccountId,
    pub counter: CounterId,
    pub network: String,
}

/// An account's login on its network.
#[derive(Clone)]
pub struct StoredLogin {
    /// Encrypted by the layer above.
    pub credentials: Vec<u8>,
    pub resume_point: Option<Vec<u8>>,
    /// The adapter's, by key, encrypted by the layer above.
    pub state: Vec<(String, Vec<u8>)>,
}

impl Store {
    /// Begins a registration after the account's code was entered. False: another one is under way, or the code was used
    /// up meanwhile. A registration that was interrupted ends after a minute.
    pub async fn begin_registration(&self, account: AccountId) -> Result<bool, DbError> {
        let begun = sqlx::query!(
            "UPDATE account SET registering_until = clock_timestamp() + interval '1 minute'
             WHERE id = $1 AND (registering_until IS NULL OR registering_until < clock_timestamp())
               AND EXISTS (SELECT 1 FROM verification_code v WHERE v.account_id = $1)",
            account.0
        )
        .execute(self.db.pool())
        .await?;
        Ok(begun.rows_affected() == 1)
    }

    /// Ends a registration that succeeded or failed.
    pub async fn end_registration(&self, account: AccountId) -> Result<(), DbError> {
        sqlx::query!("UPDATE account SET registering_until = NULL WHERE id = $1", account.0)
            .execute(self.db.pool())
            .await?;
        Ok(())
    }

    /// The account of another user with this number, if it is registered.
    pub async fn former_account(
        &self,
        number: &PhoneNumber,
        new_owner: UserId,
    ) -> Result<Option<FormerAccount>, DbError> {
        let row = sqlx::query!(
            "SELECT id, counter_id, network FROM account
             WHERE number = $1 AND registered_at IS NOT NULL AND user_id <> $2",
            number.as_str(),
            new_owner.0
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(row.map(|row| FormerAccount {
            id: AccountId(row.id),
            counter: CounterId(row.counter_id),
            network: row.network,
        }))
    }

    /// The login of a registered account, without its lease, and what its adapter keeps. `None`: it has none.
    pub async fn stored_login(&self, account: AccountId) -> Result<Option<StoredLogin>, DbError> {
        let row = sqlx::query!(
            "SELECT credentials, resume_point FROM account WHERE id = $1 AND registered_at IS NOT NULL",
            account.0
        )
        .fetch_optional(self.db.pool())
        .await?;
        let Some((Some(credentials), resume_point)) = row.map(|row| (row.credentials, row.resume_point))
        else {
            return Ok(None);
        };
        let state = self.list_adapter_state(account, "").await?;
        Ok(Some(StoredLogin { credentials, resume_point, state }))
    }

    /// Deletes, in slices, what an earlier registration of the account left: see [`Self::finish_unregistration`], its groups,
    /// and the profiles of others, which the network reports again.
    pub async fn forget_registration(&self, account: AccountId) -> Result<(), DbError> {
        self.finish_unregistration(account).await?;
        loop {
            let mut tx = self.begin().await?;
            let more = tx.forget_groups(account).await?;
            tx.commit().await?;
            if !more {
                break;
            }
        }
        while self.forget_profiles(account).await? {}
        Ok(())
    }

    async fn forget_profiles(&self, account: AccountId) -> Result<More, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM peer_profile WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM peer_profile WHERE account_id = $1 LIMIT $2))",
            account.0,
            SLICE
        )
        .execute(self.db.pool())
        .await?;
        Ok(deleted.rows_affected() > 0)
    }
}

impl Tx {
    /// Marks the account registered, with the name of its directory and its encrypted credentials on the network, after
    /// [`Store::forget_registration`]. False: the account was removed meanwhile.
    ///
    /// # Errors
    /// The constraint `account_registered_number_key` is violated when another user has registered the number.
    pub async fn register_account(
        &mut self,
        account: &Account,
        directory: &str,
        credentials: &[u8],
        journal: &mut Journal,
    ) -> Result<bool, DbError> {
        self.forget_other_logins(account.id, &account.number).await?;
        self.forget_departures_of(&account.network, &account.number).await?;
        let registered = sqlx::query!(
            "UPDATE account SET registered_at = clock_timestamp(), credentials = $3, directory = nullif($4, network), resume_point = NULL, unregistering = false,
                    session_state = 'starting', session_since = clock_timestamp(), session_reason = NULL,
                    session_attempt = NULL, session_until = NULL
             WHERE user_id = $1 AND id = $2",
            account.user.0,
            account.id.0,
            credentials,
            directory
        )
        .execute(&mut *self.inner)
        .await?;
        if registered.rows_affected() == 0 {
            return Ok(false);
        }
        // A session of an earlier registration must not go on with the old credentials.
        self.revoke_lease(account.counter).await?;
        // What the adapter keeps is of the earlier account on the network.
        sqlx::query!("DELETE FROM adapter_state WHERE account_id = $1", account.id.0)
            .execute(&mut *self.inner)
            .await?;
        // The new account on the network has none of the desired state.
        sqlx::query!("UPDATE desired_state SET applied = 0 WHERE account_id = $1", account.id.0)
            .execute(&mut *self.inner)
            .await?;
        self.record_act("account.register", account.id).await?;
        journal.record(Event::AccountRegistered);
        Ok(true)
    }

    /// Removes the account with all its data; the journal gets a last event that says so. Nobody finds the data any more;
    /// [`Store::delete_removed`] deletes it in slices. The journal is kept as long as all events are.
    pub async fn remove_account(&mut self, account: AccountId, counter: CounterId) -> Result<(), DbError> {
        let mut journal = self.open_journal(counter).await?;
        self.revoke_lease(counter).await?;
        sqlx::query!(
            "UPDATE account SET user_id = NULL, registered_at = NULL, credentials = NULL, resume_point = NULL,
                    session_state = 'stopped', session_since = clock_timestamp(), session_reason = NULL,
                    session_attempt = NULL, session_until = NULL
             WHERE id = $1",
            account.0
        )
        .execute(&mut *self.inner)
        .await?;
        // With the last event.
        sqlx::query!("UPDATE account_counter SET former_seq = seq + 1 WHERE id = $1", counter.0)
            .execute(&mut *self.inner)
            .await?;
        journal.record(Event::AccountRemoved);
        self.close_journal(journal).await?;
        self.notify_on_commit(topic::slices());
        self.notify_on_commit(topic::journal(counter));
        Ok(())
    }

    /// Removes an account that is not registered, with its data. False: it has been registered meanwhile, and nothing
    /// changed.
    pub async fn remove_unregistered(&mut self, account: &Account) -> Result<bool, DbError> {
        // Registering and unregistering an account lock its counter, too.
        let _locked = self.open_journal(account.counter).await?;
        let registered = sqlx::query_scalar!(
            r#"SELECT registered_at IS NOT NULL AS "registered!" FROM account
               WHERE id = $1 AND user_id IS NOT NULL"#,
            account.id.0
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        if registered == Some(true) {
            return Ok(false);
        }
        self.record_act("account.remove", account.id).await?;
        self.remove_account(account.id, account.counter).await?;
        Ok(true)
    }

    pub(super) async fn revoke_lease(&mut self, counter: CounterId) -> Result<(), DbError> {
        sqlx::query!("UPDATE account_counter SET owner = NULL, fence = fence + 1 WHERE id = $1", counter.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
