//! Messages: accepting one from the API, marking received ones read, and the chats they are in.

pub mod blobs;
pub mod content;
pub mod history;
pub mod inbound;
pub mod outbox;
pub mod pending_media;

use chrono::{DateTime, Utc};
use std::time::Duration;

use super::{ClaimedResponse, Journal, Store, Tx};
use crate::db::DbError;
use crate::domain::{Account, AccountId, ChatId, ChatName, Content, Event, FailureReason, PeerId};
use crate::lifecycle::Deadline;
use crate::store::writer::SendRequest;

/// Messages of one account that may wait for the network; a send beyond it is refused until some are taken.
pub const OUTBOX_LIMIT: i64 = 10_000;

/// A message of the API.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// The id on the network, of [`secrets::growing_id`].
    pub id: &'a str,
    /// Whether the caller named the account; otherwise it must be the user's oldest one.
    pub named: bool,
    /// The recipient.
    pub peer: PeerId,
    /// The number, public id or group id of the recipient.
    pub chat: &'a ChatName,
    pub content: &'a Content,
    /// How long it may wait for the network.
    pub time_to_live: Duration,
}

/// The outcome of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Stored and queued under this id.
    Queued(String),
    /// The account's outbox is full.
    OutboxFull,
    /// The account may not, or no longer, write there; [`Store::account_with_recipient`] finds out why.
    NotAllowed,
}

impl Store {
    /// Accepts a message: when this returns `Queued`, it is committed and will be sent under its id. The response of a
    /// request with a key is committed with it. The account's permission to write there is checked again, so a cached
    /// result of [`Store::recent_account_with_recipient`] is enough.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the request's claim is over; then nothing is queued.
    pub async fn accept_send(
        &self,
        account: &Account,
        message: &NewMessage<'_>,
        keyed: Option<&ClaimedResponse>,
    ) -> Result<Accepted, DbError> {
        let send = SendRequest {
            account: account.id,
            counter: account.counter,
            named: message.named,
            id: message.id.to_owned(),
            peer: message.peer,
            public_id: message.chat.as_str().to_owned(),
            content: message.content.clone(),
            time_to_live: message.time_to_live,
            keyed: keyed.cloned(),
            deadline: Deadline::current(),
        };
        self.writer.send(send).await
    }
}

impl Tx {
    /// Marks received messages of a chat as read, those that were stored before `before` (`None`: all), and queues their
    /// read receipts. Returns how many.
    pub async fn mark_read(
        &mut self,
        account: &Account,
        public_id: &str,
        before: Option<DateTime<Utc>>,
    ) -> Result<u64, DbError> {
        let chat = sqlx::query_scalar!(
            "SELECT h.id FROM chat h JOIN peer p ON p.id = h.peer_id
             WHERE h.account_id = $1 AND p.network = $2 AND p.public_id = $3 FOR NO KEY UPDATE OF h",
            account.id.0,
            account.network,
            public_id
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(chat) = chat else { return Ok(0) };
        let mut journal = self.open_journal(account.counter).await?;
        let count = self.read_up_to(account.id, ChatId(chat), before, true, &mut journal).await?;
        if count == 0 {
            return Ok(0);
        }
        journal.record(Event::ChatRead { chat: public_id.to_owned(), messages: count });
        self.close_journal_for_session(account, journal).await?;
        Ok(count)
    }

    /// Marks received messages as read, up to a time; `announce` queues receipts to their senders.
    pub(super) async fn read_up_to(
        &mut self,
        account: AccountId,
        chat: ChatId,
        before: Option<DateTime<Utc>>,
        announce: bool,
        journal: &mut Journal,
    ) -> Result<u64, DbError> {
        let at = journal.next_time();
        let read = sqlx::query_scalar!(
            "UPDATE message SET read_at = $4
             WHERE account_id = $1 AND chat_id = $2 AND sender_peer_id IS NOT NULL AND read_at IS NULL
               AND ($3::timestamptz IS NULL OR stored_at < $3) RETURNING id",
            account.0,
            chat.0,
            before,
            at
        )
        .fetch_all(&mut *self.inner)
        .await?;
        if announce {
            sqlx::query!(
                "INSERT INTO receipt_outbox (message_id, account_id) SELECT *, $2 FROM unnest($1::bigint[])
                 ON CONFLICT DO NOTHING",
                &read,
                account.0
            )
            .execute(&mut *self.inner)
            .await?;
        }
        sqlx::query!(
            "UPDATE chat SET unread = greatest(0, unread - $2) WHERE id = $1",
            chat.0,
            i32::try_from(read.len()).unwrap_or(i32::MAX)
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(read.len() as u64)
    }

    /// Marks the queued messages of an account as failed, and deletes its queued receipts.
    pub(super) async fn fail_queue(
        &mut self,
        account: AccountId,
        journal: &mut Journal,
    ) -> Result<(), DbError> {
        let failed = sqlx::query!(
            "WITH dequeued AS (DELETE FROM outbox WHERE account_id = $1 RETURNING message_id)
             UPDATE message m SET state = 'failed', failure = $2 FROM dequeued, chat h, peer p
             WHERE m.id = dequeued.message_id AND h.id = m.chat_id AND p.id = h.peer_id
             RETURNING m.network_id, p.public_id",
            account.0,
            FailureReason::Unregistered.name()
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for row in failed {
            journal.record(Event::MessageFailed {
                chat: row.public_id,
                id: row.network_id,
                reason: FailureReason::Unregistered,
            });
        }
        sqlx::query!("DELETE FROM receipt_outbox WHERE account_id = $1", account.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
