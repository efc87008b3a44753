//! The lists of messages and chats that the API shows.

use chrono::{DateTime, Utc};

use super::content::content;
use crate::db::DbError;
use crate::domain::{Account, Content, MessageState};
use crate::store::Store;

/// A page of a list: at most `limit` entries later than `after`, from the newest on, without the `offset` newest ones.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub limit: i64,
    pub offset: i64,
    /// Exclusive or inclusive, depending on the list.
    pub after: DateTime<Utc>,
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
    pub content: Content,
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

/// A message of the account with a receipt.
#[derive(Clone, Debug)]
pub struct Receipted {
    /// The id on the network.
    pub id: String,
    /// The time at which the receipt was stored.
    pub at: DateTime<Utc>,
}

/// A chat in the list of chats.
#[derive(Clone, Debug)]
pub struct ChatSummary {
    /// The number or public id of the other side, or the group's id.
    pub id: String,
    pub is_group: bool,
    /// The contact's names, else the nickname, else the id; for a group the last subject that the account has seen.
    pub title: String,
    /// The beginning of the last message's text.
    pub snippet: Option<String>,
    /// The letter of the last message's kind.
    pub kind: String,
    /// The time at which the last message was stored.
    pub time: DateTime<Utc>,
    /// Received messages that were not read.
    pub unread: i32,
}

impl Store {
    /// The messages of a chat stored later than `page.after`, oldest first; none when there is no such chat.
    pub async fn messages(
        &self,
        account: &Account,
        public_id: &str,
        received_only: bool,
        page: Page,
    ) -> Result<Vec<Message>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT m.network_id AS "id!", m.type AS "kind!", m.sender_peer_id IS NOT NULL AS "received!", m.text,
                      m.details,
                      media.message_id IS NOT NULL AND media.hash IS NULL AND media.retry_at IS NULL AS "lost!",
                      (SELECT sender.public_id FROM peer sender JOIN chat ON chat.id = m.chat_id
                       JOIN peer chat_peer ON chat_peer.id = chat.peer_id AND chat_peer.kind = 'group'
                       WHERE sender.id = m.sender_peer_id) AS participant,
                      m.stored_at AS "time!", m.sent_at AS sent, m.delivered_at AS delivered, m.read_at AS read,
                      m.state AS "state!", m.failure
               FROM (SELECT id FROM chat WHERE account_id = $1 AND peer_id = (
                         SELECT id FROM peer WHERE network = $2 AND public_id = $3)) chat
               -- What was received has an index of its own.
               CROSS JOIN LATERAL (
                   (SELECT * FROM message WHERE chat_id = chat.id AND stored_at > $4 AND NOT $5
                    ORDER BY stored_at DESC LIMIT $6 OFFSET $7)
                   UNION ALL
                   (SELECT * FROM message
                    WHERE chat_id * 1 = chat.id AND sender_peer_id IS NOT NULL AND stored_at > $4 AND $5
                    ORDER BY stored_at DESC LIMIT $6 OFFSET $7)) m
               LEFT JOIN LATERAL (
                   SELECT message_id, hash, retry_at FROM message_media
                   WHERE message_id = m.id LIMIT 1) media ON true
               ORDER BY m.stored_at DESC"#,
            account.id.0,
            account.network,
            public_id,
            page.after,
            received_only,
            page.limit,
            page.offset
        )
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .rev()
            .map(|row| {
                Ok(Message {
                    id: row.id,
                    received: row.received,
                    participant: row.participant,
                    content: content(&row.kind, row.text, row.details)?,
                    lost: row.lost,
                    time: row.time,
                    sent: row.sent,
                    delivered: row.delivered,
                    read: row.read,
                    state: MessageState::from_name(&row.state)
                        .ok_or_else(|| DbError::Corrupt(format!("a message is {}", row.state)))?,
                    failure: row.failure,
                })
            })
            .collect()
    }

    /// The chats whose last message was stored later than `page.after`, newest first.
    pub async fn chats(&self, account: &Account, page: Page) -> Result<Vec<ChatSummary>, DbError> {
        Ok(sqlx::query_as!(
            ChatSummary,
            r#"SELECT p.public_id AS id, p.kind = 'group' AS "is_group!", m.type AS kind, left(m.text, 100) AS snippet,
                      h.last_at AS "time!", h.unread,
                      coalesce(h.group_subject, nullif(trim(c.first_name || ' ' || c.last_name), ''),
                               nullif(f.nickname, ''), p.public_id) AS "title!"
               FROM chat h JOIN peer p ON p.id = h.peer_id JOIN message m ON m.id = h.last_message_id
               LEFT JOIN contact c ON c.account_id = h.account_id AND c.peer_id = h.peer_id
               LEFT JOIN peer_profile f ON f.account_id = h.account_id AND f.peer_id = h.peer_id
               WHERE h.account_id = $1 AND h.last_at > $2
               ORDER BY h.last_at DESC LIMIT $3 OFFSET $4"#,
            account.id.0,
            page.after,
            page.limit,
            page.offset
        )
        .fetch_all(self.db.pool())
        .await?)
    }

    /// The messages of the account in a chat that were delivered at `page.after` or later, oldest first.
    pub async fn delivered(
        &self,
        account: &Account,
        public_id: &str,
        page: Page,
    ) -> Result<Vec<Receipted>, DbError> {
        let mut receipts = sqlx::query_as!(
            Receipted,
            r#"SELECT m.network_id AS id, m.delivered_at AS "at!"
               FROM message m
               WHERE m.chat_id = (SELECT h.id FROM chat h JOIN peer p ON p.id = h.peer_id
                                  WHERE h.account_id = $1 AND p.network = $2 AND p.public_id = $3)
                 AND m.sender_peer_id IS NULL AND m.delivered_at >= $4
               ORDER BY m.delivered_at DESC LIMIT $5 OFFSET $6"#,
            account.id.0,
            account.network,
            public_id,
            page.after,
            page.limit,
            page.offset
        )
        .fetch_all(self.db.pool())
        .await?;
        receipts.reverse();
        Ok(receipts)
    }

    /// The messages of the account in a chat that were read at `page.after` or later, oldest first.
    pub async fn read(
        &self,
        account: &Account,
        public_id: &str,
        page: Page,
    ) -> Result<Vec<Receipted>, DbError> {
        let mut receipts = sqlx::query_as!(
            Receipted,
            r#"SELECT m.network_id AS id, m.read_at AS "at!"
               FROM message m
               WHERE m.chat_id = (SELECT h.id FROM chat h JOIN peer p ON p.id = h.peer_id
                                  WHERE h.account_id = $1 AND p.network = $2 AND p.public_id = $3)
                 AND m.sender_peer_id IS NULL AND m.read_at >= $4
               ORDER BY m.read_at DESC LIMIT $5 OFFSET $6"#,
            account.id.0,
            account.network,
            public_id,
            page.after,
            page.limit,
            page.offset
        )
        .fetch_all(self.db.pool())
        .await?;
        receipts.reverse();
        Ok(receipts)
    }
}
