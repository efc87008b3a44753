//! How a number becomes an account's, moves to another user, and goes.

use crate::db::DbError;
use crate::domain::{Account, AccountId, CounterId, Event, NeedsUser, PhoneNumber, SessionState, UserId};
use crate::store::{Journal, Store, Tx, topic};

/// An account that had the number before its new owner proved it.
#[derive(Clone, Debug)]
pub struct FormerAccount {
    /// The row.
    pub id: AccountId,
    /// What numbers its events.
    pub counter: CounterId,
    /// The network it was registered on.
    pub network: String,
}

impl Store {
    /// Begins a registration that the account's code has allowed. False: another one is under way, or the code was
    /// used up meanwhile. A registration that was cut off is over after a minute.
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

    /// Ends a registration, whether or not it succeeded.
    pub async fn end_registration(&self, account: AccountId) -> Result<(), DbError> {
        sqlx::query!("UPDATE account SET registering_until = NULL WHERE id = $1", account.0)
            .execute(self.db.pool())
            .await?;
        Ok(())
    }

    /// The account of another user that this number is registered for.
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

    /// Ends another user's hold on a number: unregistered, its queue failed, its lease taken away. The stored
    /// history stays with that user.
    pub async fn unregister_former(&self, former: &FormerAccount) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.forget_groups(former.id).await?;
        let mut journal = tx.open_journal(former.counter).await?;
        let state = SessionState::NeedsUser(NeedsUser::LoggedOut);
        let changed = sqlx::query!(
            "UPDATE account SET registered_at = NULL, credentials = NULL, resume_point = NULL,
                    session_state = $2, session_since = clock_timestamp(), session_reason = 'moved',
                    session_attempt = NULL, session_until = NULL
             WHERE id = $1 AND registered_at IS NOT NULL",
            former.id.0,
            state.name()
        )
        .execute(&mut *tx.inner)
        .await?;
        if changed.rows_affected() == 1 {
            tx.fail_queue(former.id, &mut journal).await?;
            tx.take_lease_away(former.counter).await?;
            journal.record(Event::AccountUnregistered);
        }
        tx.close_journal(journal).await?;
        tx.commit().await?;
        self.db.notifications().wake(topic::accounts());
        self.db.notifications().wake(topic::commands(former.id));
        self.db.notifications().wake(topic::journal(former.counter));
        Ok(())
    }
}

impl Tx {
    /// Marks the account registered, with what the network gave to log in with (sealed).
    ///
    /// # Errors
    /// When a query fails; the constraint `account_registered_number_key` when another user has it registered.
    pub async fn register_account(
        &mut self,
        account: &Account,
        credentials: &[u8],
        journal: &mut Journal,
    ) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE account SET registered_at = clock_timestamp(), credentials = $3, resume_point = NULL,
                    session_state = 'starting', session_since = clock_timestamp(), session_reason = NULL,
                    session_attempt = NULL, session_until = NULL
             WHERE user_id = $1 AND id = $2",
            account.user.0,
            account.id.0,
            credentials
        )
        .execute(&mut *self.inner)
        .await?;
        // Whatever ran for an earlier registration must not go on with the old login.
        self.take_lease_away(account.counter).await?;
        // A fresh account on the network knows nothing of what the user wants shown.
        sqlx::query!("UPDATE desired_state SET applied = 0 WHERE account_id = $1", account.id.0)
            .execute(&mut *self.inner)
            .await?;
        // And tells anew what it shows of others.
        sqlx::query!("DELETE FROM peer_profile WHERE account_id = $1", account.id.0)
            .execute(&mut *self.inner)
            .await?;
        journal.record(Event::AccountRegistered);
        Ok(())
    }

    /// Deletes the account and all its data; the journal keeps a last entry that says so.
    pub async fn delete_account(&mut self, account: AccountId, counter: CounterId) -> Result<(), DbError> {
        self.lock_chats(account).await?;
        let mut journal = self.open_journal(counter).await?;
        self.take_lease_away(counter).await?;
        sqlx::query!("DELETE FROM account WHERE id = $1", account.0).execute(&mut *self.inner).await?;
        sqlx::query!("DELETE FROM event WHERE counter_id = $1", counter.0).execute(&mut *self.inner).await?;
        journal.record(Event::AccountRemoved);
        self.close_journal(journal).await
    }

    /// Deletes an account that is not registered, with its data. False: it has been registered meanwhile, and nothing
    /// changed.
    pub async fn delete_unregistered(&mut self, account: &Account) -> Result<bool, DbError> {
        self.lock_chats(account.id).await?;
        // Whoever registers or unregisters an account locks its counter.
        let _locked = self.open_journal(account.counter).await?;
        let registered = sqlx::query_scalar!(
            r#"SELECT registered_at IS NOT NULL AS "registered!" FROM account WHERE id = $1"#,
            account.id.0
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        if registered == Some(true) {
            return Ok(false);
        }
        self.delete_account(account.id, account.counter).await?;
        self.notify_on_commit(topic::journal(account.counter));
        Ok(true)
    }

    /// Locks the account's chats, which come before the counter: to be called before the lease is asserted in a
    /// transaction that deletes the account.
    pub async fn lock_chats(&mut self, account: AccountId) -> Result<(), DbError> {
        sqlx::query!("SELECT id FROM chat WHERE account_id = $1 ORDER BY peer_id FOR UPDATE", account.0)
            .fetch_all(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Forgets in which groups an account is: a number that is registered anew is in none. Its chats are locked, so this
    /// comes before its counter.
    pub async fn forget_groups(&mut self, account: AccountId) -> Result<(), DbError> {
        self.lock_chats(account).await?;
        sqlx::query!(
            "UPDATE chat SET group_revision = NULL WHERE account_id = $1 AND group_revision IS NOT NULL",
            account.0
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    async fn take_lease_away(&mut self, counter: CounterId) -> Result<(), DbError> {
        sqlx::query!("UPDATE account_counter SET owner = NULL, fence = fence + 1 WHERE id = $1", counter.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
