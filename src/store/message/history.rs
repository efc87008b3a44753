//! The lists of messages that the API shows.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;

use super::content::StoredContent;
use crate::db::DbError;
use crate::domain::{Account, MessageState, PeerId};
use crate::store::Store;

/// The entries of a list that a page can skip.
pub const LARGEST_OFFSET: i64 = 10_000;

/// Bytes of the texts and cards of one page.
const LARGEST_PAGE: usize = 16 * 1024 * 1024;

/// A page of a list: at most `limit` entries later than `after`, from the newest on, without the `offset` newest ones.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub limit: i64,
    pub offset: i64,
    /// Exclusive or inclusive, depending on the list.
    pub after: DateTime<Utc>,
}

/// Why a list was not read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The list has more than [`LARGEST_OFFSET`] entries after `after`, and the page is beyond these.
    #[error("the page is beyond the {LARGEST_OFFSET} newest entries of the list")]
    TooFar,
    /// The messages of the page are too large for one answer; so many of the newest ones are not.
    #[error("only {fit} messages of the page fit into an answer")]
    TooLarge { fit: usize },
    #[error(transparent)]
    Store(#[from] DbError),
}

impl Store {
    /// When the network got the last message that a person sent to the account; `None`: there is none.
    pub async fn last_heard(
        &self,
        account: &Account,
        person: PeerId,
    ) -> Result<Option<DateTime<Utc>>, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT last.sent_at AS "sent_at!" FROM chat CROSS JOIN LATERAL (
                SELECT coalesce(sent_at, stored_at) AS sent_at FROM message
                WHERE -chat_id = -chat.id AND sender_peer_id IS NOT NULL ORDER BY stored_at DESC LIMIT 1) last
               WHERE chat.account_id = $1 AND chat.peer_id = $2"#,
            account.id.0,
            person.0
        )
        .fetch_optional(self.db.pool())
        .await?)
    }
}

impl Page {
    /// The limit and the offset to read with: a page that is too far is read where it would begin at the latest.
    pub(in crate::store) fn bounds(&self) -> (i64, i64) {
        if self.is_far() { (1, LARGEST_OFFSET) } else { (self.limit, self.offset) }
    }

    fn is_far(&self) -> bool {
        self.offset > LARGEST_OFFSET
    }

    /// The page from what was read with these [`Self::bounds`].
    pub(in crate::store) fn checked<T>(&self, read: Vec<T>) -> Result<Vec<T>, ListError> {
        if self.is_far() && !read.is_empty() { Err(ListError::TooFar) } else { Ok(read) }
    }
}

/// A message of a chat's history.
#[derive(Clone, Debug)]
pub struct Message {
    /// The id on the network.
    pub id: String,
    /// Inbound, not outbound.
    pub received: bool,
    /// The author of an inbound message in a group, by number or public id.
    pub participant: Option<String>,
    pub content: StoredContent,
    /// The id of the message that it answers.
    pub reply_to: Option<String>,
    /// Its file could not be fetched.
    pub lost: bool,
    /// The time at which this server stored it.
    pub time: DateTime<Utc>,
    /// By the network's clock.
    pub sent: Option<DateTime<Utc>>,
    /// The time at which the receipt was stored.
    pub delivered: Option<DateTime<Utc>>,
    /// The time at which the receipt was stored, or at which the account read the message.
    pub read: Option<DateTime<Utc>>,
    pub state: MessageState,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The [`Message`] of a row of messages.sql or event_messages.sql; each file has a type of its own for its rows. Other columns of
/// the row stay usable.
macro_rules! message_of {
    ($row:ident) => {
        $crate::store::Message {
            id: $row.id,
            received: $row.received,
            participant: $row.participant,
            reply_to: $crate::store::message::content::reply_to($row.details.as_ref()),
            content: $crate::store::message::content::content($row.kind, $row.text, $row.details),
            lost: $row.lost,
            time: $row.time,
            sent: $row.sent,
            delivered: $row.delivered,
            read: $row.read,
            state: $crate::domain::MessageState::from_name($row.state),
            failure: $row.failure,
        }
    };
}
pub(in crate::store) use message_of;

/// A message of the account with a receipt.
#[derive(Clone, Debug)]
pub struct Receipted {
    /// The id on the network.
    pub id: String,
    /// The time at which the receipt was stored.
    pub at: DateTime<Utc>,
}

impl Store {
    /// The messages of a chat stored later than `page.after`, oldest first; none when there is no such chat.
    pub async fn messages(
        &self,
        account: &Account,
        public_id: &str,
        received_only: bool,
        page: Page,
    ) -> Result<Vec<Message>, ListError> {
        let (limit, offset) = page.bounds();
        let mut rows = sqlx::query_file!(
            "src/store/message/messages.sql",
            account.id.0,
            account.directory,
            public_id,
            page.after,
            received_only,
            limit,
            offset
        )
        .fetch(self.db.pool());
        let (mut read, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(DbError::from)? {
            bytes += row.text.as_ref().map_or(0, String::len);
            if bytes > LARGEST_PAGE {
                return Err(ListError::TooLarge { fit: read.len() });
            }
            read.push(row);
        }
        Ok(page.checked(read)?.into_iter().rev().map(|row| message_of!(row)).collect())
    }

    /// The messages of the account in a chat that were delivered at `page.after` or later, oldest first.
    pub async fn delivered(
        &self,
        account: &Account,
        public_id: &str,
        page: Page,
    ) -> Result<Vec<Receipted>, ListError> {
        let (limit, offset) = page.bounds();
        let receipts = sqlx::query_as!(
            Receipted,
            r#"SELECT m.network_id AS id, m.delivered_at AS "at!"
               FROM message m
               WHERE m.chat_id = (
                       SELECT h.id
                       FROM (SELECT id FROM peer WHERE network = $2 AND public_id = $3 OFFSET 0) p
                       CROSS JOIN LATERAL (SELECT id FROM chat WHERE account_id = $1 AND peer_id = p.id LIMIT 1) h)
                 AND m.sender_peer_id IS NULL AND m.delivered_at >= $4
               ORDER BY m.delivered_at DESC LIMIT $5 OFFSET $6"#,
            account.id.0,
            account.directory,
            public_id,
            page.after,
            limit,
            offset
        )
        .fetch_all(self.db.pool())
        .await
        .map_err(DbError::from)?;
        let mut receipts = page.checked(receipts)?;
        receipts.reverse();
        Ok(receipts)
    }

    /// The messages of the account in a chat that were read at `page.after` or later, oldest first.
    pub async fn read(
        &self,
        account: &Account,
        public_id: &str,
        page: Page,
    ) -> Result<Vec<Receipted>, ListError> {
        let (limit, offset) = page.bounds();
        let receipts = sqlx::query_as!(
            Receipted,
            r#"SELECT m.network_id AS id, m.read_at AS "at!"
               FROM message m
               WHERE m.chat_id = (
                       SELECT h.id
                       FROM (SELECT id FROM peer WHERE network = $2 AND public_id = $3 OFFSET 0) p
                       CROSS JOIN LATERAL (SELECT id FROM chat WHERE account_id = $1 AND peer_id = p.id LIMIT 1) h)
                 AND m.sender_peer_id IS NULL AND m.read_at >= $4
               ORDER BY m.read_at DESC LIMIT $5 OFFSET $6"#,
            account.id.0,
            account.directory,
            public_id,
            page.after,
            limit,
            offset
        )
        .fetch_all(self.db.pool())
        .await
        .map_err(DbError::from)?;
        let mut receipts = page.checked(receipts)?;
        receipts.reverse();
        Ok(receipts)
    }
}
