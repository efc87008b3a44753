//! Accounts and the published state of their sessions.

use chrono::{DateTime, Utc};

use super::{Journal, LEASE_SECONDS, Store, StoreError, Topic, Tx};
use crate::domain::{
    Account, AccountId, CounterId, Event, Lease, NeedsUser, PhoneNumber, SessionState, SessionStatus, UserId,
};

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

/// What a session needs to connect.
#[derive(Clone, Debug)]
pub struct SessionAccount {
    /// The owner.
    pub user: UserId,
    /// The number.
    pub number: PhoneNumber,
    /// The network.
    pub network: String,
    /// Sealed by the layer above.
    pub credentials: Option<Vec<u8>>,
    /// Where the connection left off.
    pub resume_point: Option<Vec<u8>>,
}

struct AccountRow {
    id: i64,
    user_id: i64,
    counter_id: i64,
    number: String,
    network: String,
    nickname: String,
    registered_at: Option<DateTime<Utc>>,
    was_proved: bool,
    session_state: String,
    session_since: DateTime<Utc>,
    session_reason: Option<String>,
    session_attempt: Option<i32>,
    session_until: Option<DateTime<Utc>>,
    /// A living process holds the lease; without one nothing runs, whatever was published last.
    held: bool,
}

impl TryFrom<AccountRow> for Account {
    type Error = StoreError;

    fn try_from(row: AccountRow) -> Result<Self, StoreError> {
        let attempt = row.session_attempt.and_then(|attempt| u32::try_from(attempt).ok());
        let state = SessionState::from_parts(&row.session_state, attempt, row.session_until)
            .ok_or_else(|| StoreError::Corrupt(format!("session state of account {}", row.id)))?;
        let runs = row.held || row.registered_at.is_none() || state == SessionState::Starting;
        let state = if runs { state } else { SessionState::Stopped };
        Ok(Self {
            id: AccountId(row.id),
            user: UserId(row.user_id),
            counter: CounterId(row.counter_id),
            number: number_of(&row.number)?,
            network: row.network,
            nickname: row.nickname,
            registered_at: row.registered_at,
            was_proved: row.was_proved,
            session: SessionStatus { state, since: row.session_since, reason: row.session_reason },
        })
    }
}

/// A stored number as a [`PhoneNumber`].
pub(super) fn number_of(text: &str) -> Result<PhoneNumber, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt("a stored phone number is none".to_owned()))
}

impl Store {
    /// All accounts of a user, oldest first.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn accounts(&self, user: UserId) -> Result<Vec<Account>, StoreError> {
        sqlx::query_as!(
            AccountRow,
            r#"SELECT a.id, a.user_id, a.counter_id, a.number, a.network, a.nickname, a.registered_at,
                      a.session_state, a.session_since, a.session_reason, a.session_attempt, a.session_until,
                      a.proved_at IS NOT NULL AS "was_proved!", p.id IS NOT NULL AS "held!"
               FROM account a JOIN account_counter c ON c.id = a.counter_id
               LEFT JOIN process p ON p.id = c.owner
                    AND p.heartbeat_at > clock_timestamp() - make_interval(secs => $2)
               WHERE a.user_id = $1 ORDER BY a.created_at, a.id"#,
            user.0,
            LEASE_SECONDS
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(Account::try_from)
        .collect()
    }

    /// The user's account of this number, or without a number the user's oldest registered account.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn account(
        &self,
        user: UserId,
        number: Option<&PhoneNumber>,
    ) -> Result<Option<Account>, StoreError> {
        sqlx::query_as!(
            AccountRow,
            r#"SELECT a.id, a.user_id, a.counter_id, a.number, a.network, a.nickname, a.registered_at,
                      a.session_state, a.session_since, a.session_reason, a.session_attempt, a.session_until,
                      a.proved_at IS NOT NULL AS "was_proved!", p.id IS NOT NULL AS "held!"
               FROM account a JOIN account_counter c ON c.id = a.counter_id
               LEFT JOIN process p ON p.id = c.owner
                    AND p.heartbeat_at > clock_timestamp() - make_interval(secs => $3)
               WHERE a.user_id = $1
                 AND (a.number = $2 OR ($2::text IS NULL AND a.registered_at IS NOT NULL))
               ORDER BY a.created_at, a.id LIMIT 1"#,
            user.0,
            number.map(PhoneNumber::as_str),
            LEASE_SECONDS
        )
        .fetch_optional(&self.pool)
        .await?
        .map(Account::try_from)
        .transpose()
    }

    /// Takes away an account that was never proved. True: it was there.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn delete_unproved(&self, user: UserId, account: AccountId) -> Result<bool, StoreError> {
        let deleted = sqlx::query!(
            "DELETE FROM account WHERE user_id = $1 AND id = $2 AND registered_at IS NULL",
            user.0,
            account.0
        )
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected() == 1)
    }

    /// Changes the account's nickname and asks its session to tell the network.
    ///
    /// # Errors
    /// When a query fails.
    pub async fn set_nickname(&self, account: &Account, nickname: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.set_desired(account.id, "nickname", &nickname.into()).await?;
        let mut journal = tx.open_journal(account.counter).await?;
        let changed = sqlx::query!(
            "UPDATE account SET nickname = $3 WHERE user_id = $1 AND id = $2 AND nickname <> $3",
            account.user.0,
            account.id.0,
            nickname
        )
        .execute(&mut *tx.inner)
        .await?;
        if changed.rows_affected() == 1 {
            journal.record(Event::NicknameChanged);
        }
        tx.close_journal(journal).await?;
        tx.commit().await?;
        self.wakes.wake(Topic::work(account.id));
        self.wakes.wake(Topic::journal(account.counter));
        Ok(())
    }

    /// What a session needs to connect; `None` when the lease is lost or the account no longer registered.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn session_account(&self, lease: &Lease) -> Result<Option<SessionAccount>, StoreError> {
        sqlx::query!(
            "SELECT a.user_id, a.number, a.network, a.credentials, a.resume_point
             FROM account a JOIN account_counter c ON c.id = a.counter_id
             WHERE a.id = $1 AND a.registered_at IS NOT NULL AND c.owner = $2 AND c.fence = $3",
            lease.account.0,
            lease.process.0,
            lease.fence
        )
        .fetch_optional(&self.pool)
        .await?
        .map(|row| {
            Ok(SessionAccount {
                user: UserId(row.user_id),
                number: number_of(&row.number)?,
                network: row.network,
                credentials: row.credentials,
                resume_point: row.resume_point,
            })
        })
        .transpose()
    }

    /// Publishes what the session does.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease has passed on.
    pub async fn publish_session(
        &self,
        lease: &Lease,
        state: SessionState,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let mut journal = tx.open_journal_leased(lease).await?;
        let attempt = state.attempt().and_then(|attempt| i32::try_from(attempt).ok());
        sqlx::query!(
            "UPDATE account SET session_state = $2, session_since = clock_timestamp(), session_reason = $3,
                    session_attempt = $4, session_until = $5 WHERE id = $1",
            lease.account.0,
            state.name(),
            reason,
            attempt,
            state.until()
        )
        .execute(&mut *tx.inner)
        .await?;
        if state.is_news() {
            journal.record(Event::SessionChanged { state, reason: reason.map(str::to_owned) });
        }
        tx.close_journal(journal).await?;
        tx.commit().await?;
        self.wakes.wake(Topic::session(lease.account));
        self.wakes.wake(Topic::journal(lease.counter));
        Ok(())
    }

    /// Begins a registration that the account's code has allowed. False: another one is under way, or the code was
    /// used up meanwhile. A registration that was cut off is over after a minute.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn begin_registration(&self, account: AccountId) -> Result<bool, StoreError> {
        let begun = sqlx::query!(
            "UPDATE account SET registering_until = clock_timestamp() + interval '1 minute'
             WHERE id = $1 AND (registering_until IS NULL OR registering_until < clock_timestamp())
               AND EXISTS (SELECT 1 FROM verification_code v WHERE v.account_id = $1)",
            account.0
        )
        .execute(&self.pool)
        .await?;
        Ok(begun.rows_affected() == 1)
    }

    /// Ends a registration, whether or not it succeeded.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn end_registration(&self, account: AccountId) -> Result<(), StoreError> {
        sqlx::query!("UPDATE account SET registering_until = NULL WHERE id = $1", account.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The account of another user that this number is registered for.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn former_account(
        &self,
        number: &PhoneNumber,
        new_owner: UserId,
    ) -> Result<Option<FormerAccount>, StoreError> {
        let row = sqlx::query!(
            "SELECT id, counter_id, network FROM account
             WHERE number = $1 AND registered_at IS NOT NULL AND user_id <> $2",
            number.as_str(),
            new_owner.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| FormerAccount {
            id: AccountId(row.id),
            counter: CounterId(row.counter_id),
            network: row.network,
        }))
    }

    /// Ends another user's hold on a number: unregistered, its queue failed, its lease taken away. The stored
    /// history stays with that user.
    ///
    /// # Errors
    /// When a query fails.
    pub async fn unregister_former(&self, former: &FormerAccount) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
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
        self.wakes.wake(Topic::Accounts);
        self.wakes.wake(Topic::work(former.id));
        self.wakes.wake(Topic::journal(former.counter));
        Ok(())
    }
}

impl Tx {
    /// Makes an account that waits for its code. `None`: the user has this number already.
    ///
    /// # Errors
    /// When a query fails.
    pub async fn create_account(
        &mut self,
        user: UserId,
        number: &PhoneNumber,
        network: &str,
        nickname: &str,
    ) -> Result<Option<AccountId>, StoreError> {
        let counter = self.counter(user, number).await?;
        let id = sqlx::query_scalar!(
            "INSERT INTO account (user_id, number, counter_id, network, nickname) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT ON CONSTRAINT account_user_number_key DO NOTHING RETURNING id",
            user.0,
            number.as_str(),
            counter.0,
            network,
            nickname
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        if let Some(id) = id
            && !nickname.is_empty()
        {
            self.set_desired(AccountId(id), "nickname", &nickname.into()).await?;
        }
        Ok(id.map(AccountId))
    }

    /// Marks the account registered, with what the network gave to log in with (sealed).
    ///
    /// # Errors
    /// When a query fails; the constraint `account_registered_number_key` when another user has it registered.
    pub async fn register_account(
        &mut self,
        account: &Account,
        credentials: &[u8],
        journal: &mut Journal,
    ) -> Result<(), StoreError> {
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
        journal.record(Event::AccountRegistered);
        Ok(())
    }

    /// Deletes the account and all its data; the journal keeps a last entry that says so.
    ///
    /// # Errors
    /// When a query fails.
    pub async fn delete_account(&mut self, account: AccountId, counter: CounterId) -> Result<(), StoreError> {
        self.lock_for_removal(account).await?;
        let mut journal = self.open_journal(counter).await?;
        self.take_lease_away(counter).await?;
        sqlx::query!("DELETE FROM account WHERE id = $1", account.0).execute(&mut *self.inner).await?;
        sqlx::query!("DELETE FROM event WHERE counter_id = $1", counter.0).execute(&mut *self.inner).await?;
        journal.record(Event::AccountRemoved);
        self.close_journal(journal).await
    }

    /// Locks what is locked before the counter: to be called before the lease is asserted in a transaction that
    /// deletes the account.
    ///
    /// # Errors
    /// When a query fails.
    pub async fn lock_for_removal(&mut self, account: AccountId) -> Result<(), StoreError> {
        sqlx::query!("SELECT id FROM chat WHERE account_id = $1 ORDER BY peer_id FOR UPDATE", account.0)
            .fetch_all(&mut *self.inner)
            .await?;
        sqlx::query!(
            "SELECT aspect FROM desired_state WHERE account_id = $1 ORDER BY aspect FOR UPDATE",
            account.0
        )
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(())
    }

    async fn take_lease_away(&mut self, counter: CounterId) -> Result<(), StoreError> {
        sqlx::query!("UPDATE account_counter SET owner = NULL, fence = fence + 1 WHERE id = $1", counter.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
