//! The account's messages before one that somebody received or read. Some networks name only the newest message in a receipt
//! that is about all earlier ones too.

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{AccountId, ChatId, PeerId, ReceiptKind};
use crate::store::Store;

/// Messages of a chat that one statement reads.
const PAGE: i64 = 200;

/// A receipt for a message of the account, and for all that it wrote into the chat before.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptUpTo<'a> {
    pub account: AccountId,
    /// The other side of the chat.
    pub peer: PeerId,
    /// The peer, or a member of the group.
    pub from: PeerId,
    /// The id of the newest message on the network.
    pub network_id: &'a str,
    pub kind: ReceiptKind,
}

/// What is known of the message that a receipt names.
#[derive(Clone, Copy, Debug)]
pub enum NamedMessage {
    /// The account has not sent it, or it is not stored yet.
    Unknown,
    /// The sender of the receipt has it already, and with it all before it.
    Done,
    /// The messages before it that the sender of the receipt may not have.
    After(Stretch),
}

/// Messages of a chat that are not looked at yet.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    chat: ChatId,
    /// Exclusive.
    after: DateTime<Utc>,
    /// Exclusive.
    before: DateTime<Utc>,
}

impl Store {
    /// The messages of the chat before the named one, back to the newest that the sender of the receipt has already; in a
    /// group, back to the moment when they became a member.
    ///
    /// It takes a statement for each [`PAGE`] messages of the stretch. `is_new`: the receipt for the named message itself is
    /// stored, but not yet those for the messages before it.
    pub async fn named_message(
        &self,
        receipt: ReceiptUpTo<'_>,
        is_new: bool,
    ) -> Result<NamedMessage, DbError> {
        let Some(named) = sqlx::query!(
            r#"SELECT m.chat_id, m.stored_at, member.since AS "since?",
                      m.delivered_at IS NOT NULL AND NOT $5 OR m.read_at IS NOT NULL
                          OR EXISTS (SELECT 1 FROM message_receipt r WHERE r.message_id = m.id AND r.peer_id = $4
                                     AND (r.read_at IS NOT NULL OR NOT $5) OFFSET 0) AS "done!"
               FROM (SELECT id FROM chat WHERE account_id = $1 AND peer_id = $2 LIMIT 1) h
               CROSS JOIN LATERAL (
                   SELECT id, chat_id, sender_peer_id, stored_at, delivered_at, read_at FROM message
                   WHERE account_id = $1 AND network_id = $3 OFFSET 0) m
               LEFT JOIN LATERAL (
                   SELECT since FROM group_member WHERE group_peer_id = $2 AND member_peer_id = $4 LIMIT 1) member ON true
               WHERE m.chat_id = h.id AND m.sender_peer_id IS NULL
               ORDER BY m.stored_at DESC LIMIT 1"#,
            receipt.account.0,
            receipt.peer.0,
            receipt.network_id,
            receipt.from.0,
            receipt.kind == ReceiptKind::Read
        )
        .fetch_optional(self.db.pool())
        .await?
        else {
            return Ok(NamedMessage::Unknown);
        };
        if named.done && !is_new {
            return Ok(NamedMessage::Done);
        }
        let since = named.since.unwrap_or(DateTime::UNIX_EPOCH);
        let mut oldest = named.stored_at;
        loop {
            let page = sqlx::query!(
                r#"SELECT count(*) AS "count!", min(m.stored_at) AS oldest, max(m.stored_at) FILTER (WHERE
                          m.sender_peer_id IS NULL AND (m.delivered_at IS NOT NULL AND NOT $5 OR m.read_at IS NOT NULL
                              OR EXISTS (SELECT 1 FROM message_receipt r WHERE r.message_id = m.id AND r.peer_id = $4
                                         AND (r.read_at IS NOT NULL OR NOT $5) OFFSET 0))) AS done
                   FROM (SELECT id, sender_peer_id, stored_at, delivered_at, read_at FROM message
                         WHERE chat_id = $1 AND stored_at < $2 ORDER BY stored_at DESC LIMIT $3) m"#,
                named.chat_id,
                oldest,
                PAGE,
                receipt.from.0,
                receipt.kind == ReceiptKind::Read
            )
            .fetch_one(self.db.pool())
            .await?;
            let after = match (page.done, page.oldest) {
                (Some(done), _) => Some(done.max(since)),
                (None, Some(next)) if page.count == PAGE && next > since => {
                    oldest = next;
                    None
                }
                (None, _) => Some(since),
            };
            if let Some(after) = after {
                let stretch = Stretch { chat: ChatId(named.chat_id), after, before: named.stored_at };
                return Ok(NamedMessage::After(stretch));
            }
        }
    }

    /// The ids of the account's messages in the first part of a stretch, oldest first, and the rest of it; `None` at its
    /// end.
    pub async fn next_of_stretch(
        &self,
        stretch: &Stretch,
    ) -> Result<Option<(Vec<String>, Stretch)>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT network_id, stored_at, sender_peer_id IS NULL AND state <> 'failed' AS "counts!" FROM message
               WHERE chat_id = $1 AND stored_at > $2 AND stored_at < $3 ORDER BY stored_at LIMIT $4"#,
            stretch.chat.0,
            stretch.after,
            stretch.before,
            PAGE
        )
        .fetch_all(self.db.pool())
        .await?;
        let Some(last) = rows.last() else { return Ok(None) };
        let rest = Stretch { after: last.stored_at, ..*stretch };
        let ids = rows.into_iter().filter(|row| row.counts).map(|row| row.network_id);
        Ok(Some((ids.collect(), rest)))
    }
}
