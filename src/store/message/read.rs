//! Received messages that are marked as read. A chat may have any number of them, so they are marked in slices: the first
//! one at once, the others by [`Store::continue_read_marks`], whichever process calls it.

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{Account, AccountId, ChatId, CounterId, Event};
use crate::store::{Journal, SLICE, Store, Tx, topic};

/// Marks that are continued in one round; each gets a slice in turn.
const MARKS: i64 = 100;

/// The messages of a chat that are to be marked as read.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct ReadMark {
    pub chat: ChatId,
    /// Exclusive: messages stored earlier.
    pub before: DateTime<Utc>,
    /// Whether receipts go to the senders.
    pub announce: bool,
}

/// A slice of messages that was marked as read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkedRead {
    pub messages: usize,
    /// There may be more; they are marked in the background.
    pub pending: bool,
}

impl Store {
    /// Marks the next slice of each recorded mark, at most [`MARKS`] of them. False: no mark is left.
    pub async fn continue_read_marks(&self) -> Result<bool, DbError> {
        let marks = sqlx::query!(
            "SELECT chat_id, announce FROM read_mark ORDER BY chat_id, announce LIMIT $1",
            MARKS
        )
        .fetch_all(self.db.pool())
        .await?;
        for mark in &marks {
            self.continue_read_mark(ChatId(mark.chat_id), mark.announce).await?;
        }
        Ok(!marks.is_empty())
    }

    async fn continue_read_mark(&self, chat: ChatId, announce: bool) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let Some(owner) = sqlx::query!(
            r#"SELECT a.id, a.counter_id, a.registered_at IS NOT NULL AS "registered!", p.public_id
               FROM chat h JOIN account a ON a.id = h.account_id JOIN peer p ON p.id = h.peer_id
               WHERE h.id = $1 FOR NO KEY UPDATE OF h"#,
            chat.0
        )
        .fetch_optional(&mut *tx.inner)
        .await?
        else {
            return Ok(());
        };
        let (account, counter) = (AccountId(owner.id), CounterId(owner.counter_id));
        let mut journal = tx.open_journal(counter).await?;
        // Read under the chat's lock: marks change under it alone.
        let before = sqlx::query_scalar!(
            "SELECT before FROM read_mark WHERE chat_id = $1 AND announce = $2",
            chat.0,
            announce
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(before) = before else { return Ok(()) };
        let mark = ReadMark { chat, before, announce };
        // An account that left its network sends no receipts.
        let receipts = announce && owner.registered;
        tx.mark_slice(account, &owner.public_id, &mark, receipts, &mut journal).await?;
        tx.close_journal(journal).await?;
        tx.notify_on_commit(topic::work(account));
        tx.notify_on_commit(topic::journal(counter));
        tx.commit().await
    }
}

impl Tx {
    /// Marks received messages of a chat as read, those that were stored before `before` (`None`: all), and queues their
    /// read receipts.
    pub async fn mark_read(
        &mut self,
        account: &Account,
        public_id: &str,
        before: Option<DateTime<Utc>>,
    ) -> Result<MarkedRead, DbError> {
        let chat = sqlx::query_scalar!(
            "SELECT id FROM chat
             WHERE account_id = $1 AND peer_id = (SELECT id FROM peer WHERE network = $2 AND public_id = $3)
             FOR NO KEY UPDATE",
            account.id.0,
            account.directory,
            public_id
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(chat) = chat else { return Ok(MarkedRead::default()) };
        let mut journal = self.open_journal(account.counter).await?;
        let before = before.unwrap_or_else(|| journal.next_time());
        let mark = ReadMark { chat: ChatId(chat), before, announce: true };
        let marked = self.mark_slice(account.id, public_id, &mark, true, &mut journal).await?;
        if marked.messages > 0 {
            self.close_journal_for_session(account, journal).await?;
        }
        Ok(marked)
    }

    /// Marks the oldest messages of a mark as read, with an event. The mark is recorded while more of them may be left,
    /// and deleted after that. `receipts`: whether to queue them; an account that has left its network has none to send,
    /// although its mark announces. The chat must be locked.
    pub(in crate::store) async fn mark_slice(
        &mut self,
        account: AccountId,
        public_id: &str,
        mark: &ReadMark,
        receipts: bool,
        journal: &mut Journal,
    ) -> Result<MarkedRead, DbError> {
        let at = journal.next_time();
        let read = sqlx::query_scalar!(
            "UPDATE message SET read_at = $3 WHERE id = ANY(ARRAY(
                 SELECT id FROM message
                 WHERE (chat_id + 0) = $1 AND sender_peer_id IS NOT NULL AND read_at IS NULL AND stored_at < $2
                 ORDER BY stored_at LIMIT $4)) RETURNING id",
            mark.chat.0,
            mark.before,
            at,
            SLICE
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let marked = MarkedRead { messages: read.len(), pending: i64::try_from(read.len()) == Ok(SLICE) };
        if receipts {
            sqlx::query!(
                "INSERT INTO receipt_outbox (message_id, account_id) SELECT *, $2 FROM unnest($1::bigint[])
                 ON CONFLICT DO NOTHING",
                &read,
                account.0
            )
            .execute(&mut *self.inner)
            .await?;
        }
        let unread = sqlx::query_scalar!(
            "UPDATE chat SET unread = greatest(0, unread - $2) WHERE id = $1 RETURNING unread",
            mark.chat.0,
            i32::try_from(read.len()).unwrap_or(i32::MAX)
        )
        .fetch_one(&mut *self.inner)
        .await?;
        if marked.messages > 0 {
            let (chat, messages) = (public_id.to_owned(), marked.messages);
            journal.record(Event::ChatRead { chat, messages, unread });
        }
        self.record_mark(mark, marked.pending).await?;
        Ok(marked)
    }

    async fn record_mark(&mut self, mark: &ReadMark, pending: bool) -> Result<(), DbError> {
        if pending {
            sqlx::query!(
                "INSERT INTO read_mark AS old (chat_id, announce, before) VALUES ($1, $2, $3)
                 ON CONFLICT (chat_id, announce) DO UPDATE SET before = greatest(old.before, excluded.before)",
                mark.chat.0,
                mark.announce,
                mark.before
            )
            .execute(&mut *self.inner)
            .await?;
            self.notify_on_commit(topic::slices());
        } else {
            // A mark that reaches further stays.
            sqlx::query!(
                "DELETE FROM read_mark WHERE chat_id = $1 AND announce = $2 AND before <= $3",
                mark.chat.0,
                mark.announce,
                mark.before
            )
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }
}
