//! The end of a registration whose number another user has proved. The account is unregistered at once; what it left is
//! settled in slices, by whichever process: its queued messages fail, and it is in no group any more.

use super::departure::NewDeparture;
use super::registration::{FormerAccount, StoredLogin};
use crate::db::DbError;
use crate::domain::{AccountId, CounterId, Event, FailureReason, NeedsUser, PhoneNumber, SessionState};
use crate::store::{More, SLICE, Store, Tx, topic};

impl Store {
    /// Unregisters another user's account and revokes its lease. The stored history stays with that user. What has to leave
    /// the network is noted, and held by the caller: its account there, or this login.
    pub async fn unregister_former(
        &self,
        former: &FormerAccount,
        number: &PhoneNumber,
        login: Option<&StoredLogin>,
    ) -> Result<i64, DbError> {
        let mut tx = self.begin().await?;
        let mut journal = tx.open_journal(former.counter).await?;
        let state = SessionState::NeedsUser(NeedsUser::LoggedOut);
        let changed = sqlx::query!(
            "UPDATE account SET registered_at = NULL, credentials = NULL, resume_point = NULL, unregistering = true,
                    session_state = $2, session_since = clock_timestamp(), session_reason = 'moved',
                    session_attempt = NULL, session_until = NULL
             WHERE id = $1 AND registered_at IS NOT NULL",
            former.id.0,
            state.name()
        )
        .execute(&mut *tx.inner)
        .await?;
        if changed.rows_affected() == 1 {
            tx.revoke_lease(former.counter).await?;
            journal.record(Event::AccountUnregistered);
        }
        let departure = NewDeparture { network: &former.network, number, account: former.id, login };
        let departure = tx.note_departure(departure).await?;
        tx.close_journal(journal).await?;
        tx.commit().await?;
        self.db.notifications().wake(topic::accounts());
        self.db.notifications().wake(topic::commands(former.id));
        self.db.notifications().wake(topic::journal(former.counter));
        self.finish_unregistration(former.id).await?;
        Ok(departure)
    }

    /// Settles a slice of what one account left. False: no account has left anything.
    pub async fn continue_unregistrations(&self) -> Result<More, DbError> {
        let account = sqlx::query_scalar!(
            "SELECT id FROM account WHERE unregistering AND registered_at IS NULL ORDER BY id LIMIT 1"
        )
        .fetch_optional(self.db.pool())
        .await?;
        let Some(account) = account else { return Ok(false) };
        self.settle_slice(AccountId(account)).await?;
        Ok(true)
    }

    /// Settles all that an account left, before it is registered again.
    pub async fn finish_unregistration(&self, account: AccountId) -> Result<(), DbError> {
        while self.settle_slice(account).await? {}
        Ok(())
    }

    async fn settle_slice(&self, account: AccountId) -> Result<More, DbError> {
        let counter = sqlx::query_scalar!(
            "SELECT counter_id FROM account WHERE id = $1 AND unregistering AND registered_at IS NULL",
            account.0
        )
        .fetch_optional(self.db.pool())
        .await?;
        let Some(counter) = counter else { return Ok(false) };
        let mut tx = self.begin().await?;
        let more = tx.settle_slice(account, CounterId(counter)).await?;
        tx.notify_on_commit(topic::journal(CounterId(counter)));
        tx.commit().await?;
        Ok(more)
    }
}

impl Tx {
    async fn settle_slice(&mut self, account: AccountId, counter: CounterId) -> Result<More, DbError> {
        let has_groups = self.forget_groups(account).await?;
        let mut journal = self.open_journal(counter).await?;
        // Registering and removing an account lock its counter, too. A new registration's queue must not fail.
        let is_left = sqlx::query_scalar!(
            r#"SELECT unregistering AND registered_at IS NULL AND user_id IS NOT NULL AS "left!"
               FROM account WHERE id = $1"#,
            account.0
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let mut more = has_groups;
        if is_left == Some(true) {
            let failed = sqlx::query!(
                "WITH dequeued AS (
                    DELETE FROM outbox WHERE ctid = ANY(ARRAY(
                        SELECT ctid FROM outbox WHERE account_id = $1 ORDER BY message_id LIMIT $3))
                    RETURNING message_id)
                 UPDATE message m SET state = 'failed', failure = $2 FROM dequeued
                 CROSS JOIN LATERAL (SELECT ctid AS place, chat_id FROM message WHERE id = dequeued.message_id LIMIT 1) old
                 CROSS JOIN LATERAL (SELECT peer_id FROM chat WHERE id = old.chat_id LIMIT 1) h
                 CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = h.peer_id LIMIT 1) p
                 WHERE m.ctid = old.place RETURNING m.network_id, p.public_id",
                account.0,
                FailureReason::Unregistered.name(),
                SLICE
            )
            .fetch_all(&mut *self.inner)
            .await?;
            let receipts = sqlx::query!(
                "DELETE FROM receipt_outbox WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM receipt_outbox WHERE account_id = $1 LIMIT $2))",
                account.0,
                SLICE
            )
            .execute(&mut *self.inner)
            .await?;
            more |= !failed.is_empty() || receipts.rows_affected() > 0;
            for row in failed {
                journal.record(Event::MessageFailed {
                    chat: row.public_id,
                    id: row.network_id,
                    reason: FailureReason::Unregistered,
                });
            }
        }
        if !more {
            sqlx::query!("UPDATE account SET unregistering = false WHERE id = $1", account.0)
                .execute(&mut *self.inner)
                .await?;
        }
        self.close_journal(journal).await?;
        Ok(more)
    }

    /// Takes the account out of a slice of its groups: a number that is registered again is in no group. It locks chats, so
    /// it comes before the lock of the counter.
    pub(super) async fn forget_groups(&mut self, account: AccountId) -> Result<More, DbError> {
        let left = sqlx::query!(
            "WITH left_group AS (
                SELECT id FROM chat WHERE (account_id + 0) = $1 AND group_revision IS NOT NULL
                ORDER BY peer_id LIMIT $2 FOR NO KEY UPDATE)
             UPDATE chat SET group_revision = NULL FROM left_group WHERE chat.id = left_group.id",
            account.0,
            SLICE
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(left.rows_affected() > 0)
    }
}
