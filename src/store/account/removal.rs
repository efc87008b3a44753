//! Deletion of what removed accounts and deleted users leave, in slices: small transactions that hold no lock that
//! anybody waits for. A process that ends in the middle leaves the rest to the next one.

use std::time::Duration;

use crate::db::DbError;
use crate::store::{More, SLICE, Store, Tx};

/// Chats that are looked through for messages in one transaction.
const CHATS: i64 = 100;

/// The time between two looks at what other processes delete.
const PAUSE: Duration = Duration::from_millis(50);

impl Store {
    /// Deletes a slice of what one removed account, one journal of a deleted user or one deleted webhook has left. False: nothing is left, or
    /// other processes are at it.
    pub async fn delete_removed(&self) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let found = tx.delete_slice_of_account().await?
            || tx.delete_slice_of_journal().await?
            || tx.delete_slice_of_webhook().await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Deletes all that removed accounts and deleted users have left, and waits for what other processes delete.
    pub async fn delete_all_removed(&self) -> Result<(), DbError> {
        loop {
            while self.delete_removed().await? {}
            let left = sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM account WHERE user_id IS NULL)
                       OR EXISTS (SELECT 1 FROM account_counter WHERE user_id IS NULL)
                       OR EXISTS (SELECT 1 FROM webhook WHERE user_id IS NULL) AS "left!""#
            )
            .fetch_one(self.db.pool())
            .await?;
            if !left {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Tx {
    /// Deletes a slice of the first removed account that no other process works on. False: there is none.
    async fn delete_slice_of_account(&mut self) -> Result<bool, DbError> {
        let account = sqlx::query!(
            "SELECT id, directory FROM account WHERE user_id IS NULL
             ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(account) = account else { return Ok(false) };
        // Not its events: who follows them may be behind.
        if self.delete_chats(account.id).await?
            || self.delete_people(account.id).await?
            || self.erase_directory(account.directory.as_deref()).await?
        {
            return Ok(true);
        }
        // What is left are a few rows for each account.
        sqlx::query!("DELETE FROM account WHERE id = $1", account.id).execute(&mut *self.inner).await?;
        Ok(true)
    }

    /// Deletes a slice of the first journal without a user that no account refers to any more. False: there is none.
    async fn delete_slice_of_journal(&mut self) -> Result<bool, DbError> {
        let counter = sqlx::query!(
            "SELECT id, seq FROM account_counter c WHERE user_id IS NULL
               AND NOT EXISTS (SELECT 1 FROM account WHERE counter_id = c.id)
             ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(counter) = counter else { return Ok(false) };
        if !self.delete_events(counter.id, counter.seq).await? && !self.delete_spans(counter.id).await? {
            sqlx::query!("DELETE FROM account_counter WHERE id = $1", counter.id)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(true)
    }

    async fn delete_events(&mut self, counter: i64, until: i64) -> Result<More, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM event WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM event WHERE counter_id = $1 AND seq <= $2 ORDER BY seq LIMIT $3))",
            counter,
            until,
            SLICE
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(deleted.rows_affected() > 0)
    }

    async fn delete_spans(&mut self, counter: i64) -> Result<More, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM event_span WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM event_span WHERE counter_id = $1 ORDER BY last_seq LIMIT $2))",
            counter,
            SLICE
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(deleted.rows_affected() > 0)
    }

    async fn delete_chats(&mut self, account: i64) -> Result<More, DbError> {
        let chats = sqlx::query_scalar!("SELECT id FROM chat WHERE account_id = $1 LIMIT $2", account, CHATS)
            .fetch_all(&mut *self.inner)
            .await?;
        if chats.is_empty() {
            return Ok(false);
        }
        let messages = sqlx::query!(
            "DELETE FROM message WHERE id = ANY(ARRAY(
                 SELECT m.id FROM unnest($1::bigint[]) AS c (id)
                 CROSS JOIN LATERAL (SELECT id FROM message WHERE chat_id = c.id LIMIT $2) m LIMIT $2))",
            &chats,
            SLICE
        )
        .execute(&mut *self.inner)
        .await?;
        if i64::try_from(messages.rows_affected()).is_ok_and(|deleted| deleted < SLICE) {
            sqlx::query!("DELETE FROM chat WHERE id = ANY($1)", &chats).execute(&mut *self.inner).await?;
        }
        Ok(true)
    }

    /// Erases the people and groups of the account's own directory.
    async fn erase_directory(&mut self, directory: Option<&str>) -> Result<More, DbError> {
        let peers = sqlx::query_scalar!(
            "SELECT id FROM peer WHERE network = $1 ORDER BY network, address LIMIT $2",
            directory,
            SLICE
        )
        .fetch_all(&mut *self.inner)
        .await?;
        sqlx::query!("DELETE FROM chat_group WHERE peer_id = ANY($1)", &peers)
            .execute(&mut *self.inner)
            .await?;
        self.erase_peers(&peers).await?;
        Ok(!peers.is_empty())
    }

    /// Deletes what the account knew of others: the block list, the contact list, profiles and their history; and
    /// the events that waited for messages.
    async fn delete_people(&mut self, account: i64) -> Result<More, DbError> {
        // Profiles go before the photos that they refer to.
        for statement in [
            sqlx::query!(
                "DELETE FROM contact WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM contact WHERE account_id = $1 LIMIT $2))",
                account,
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM block WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM block WHERE account_id = $1 LIMIT $2))",
                account,
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM peer_profile WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM peer_profile WHERE account_id = $1 LIMIT $2))",
                account,
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM early_event WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM early_event WHERE account_id = $1 LIMIT $2))",
                account,
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM pending_photo WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM pending_photo WHERE account_id = $1 LIMIT $2))",
                account,
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM photo_change WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM photo_change WHERE account_id = $1 LIMIT $2))",
                account,
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM status_change WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM status_change WHERE account_id = $1 LIMIT $2))",
                account,
                SLICE
            ),
        ] {
            if statement.execute(&mut *self.inner).await?.rows_affected() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
