//! Deletion of old messages, and of old files of messages, when the settings limit how long they are stored. What still
//! waits for the network stays.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{ChatId, CounterId, MessageId};
use crate::store::{SLICE, Store};

impl Store {
    /// Deletes the messages older than `retention` of the `limit` chats after `after`. Returns the last one of these chats;
    /// `None`: there are no more.
    pub async fn prune_messages(
        &self,
        retention: Duration,
        after: Option<ChatId>,
        limit: i64,
    ) -> Result<Option<ChatId>, DbError> {
        let chats = sqlx::query!(
            r#"SELECT h.id, m.id IS NOT NULL AS "old!"
               FROM (SELECT id FROM chat WHERE id > $1 ORDER BY id LIMIT $2) h
               LEFT JOIN LATERAL (
                   SELECT id FROM message
                   WHERE chat_id = h.id AND stored_at < statement_timestamp() - make_interval(secs => $3)
                   ORDER BY stored_at LIMIT 1) m ON true
               ORDER BY h.id"#,
            after.map_or(i64::MIN, |chat| chat.0),
            limit,
            retention.as_secs_f64()
        )
        .fetch_all(self.db.pool())
        .await?;
        for chat in chats.iter().filter(|chat| chat.old) {
            let mut next = Some(DateTime::UNIX_EPOCH);
            while let Some(after) = next {
                next = self.prune_slice(ChatId(chat.id), retention, after).await?;
            }
        }
        let full = i64::try_from(chats.len()) == Ok(limit);
        Ok(chats.last().filter(|_| full).map(|chat| ChatId(chat.id)))
    }

    /// Deletes the old messages among the next ones of a chat that were stored after this time. Returns when the last of these
    /// was stored, for the next slice; `None`: there are no more old ones.
    async fn prune_slice(
        &self,
        chat: ChatId,
        retention: Duration,
        after: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, DbError> {
        let mut tx = self.begin().await?;
        let owner = sqlx::query!(
            "SELECT a.id, a.counter_id FROM chat h JOIN account a ON a.id = h.account_id
             WHERE h.id = $1 FOR NO KEY UPDATE OF h",
            chat.0
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(owner) = owner else { return Ok(None) };
        // Its lock keeps the account's sessions from changing these messages meanwhile.
        let journal = tx.open_journal(CounterId(owner.counter_id)).await?;
        let slice = sqlx::query!(
            r#"WITH old AS MATERIALIZED (
                SELECT id, stored_at FROM message
                WHERE chat_id = $1 AND stored_at > $5
                  AND stored_at < statement_timestamp() - make_interval(secs => $2)
                ORDER BY stored_at LIMIT $3),
             deleted AS (
                DELETE FROM message WHERE id = ANY(ARRAY(
                    SELECT id FROM old WHERE NOT EXISTS (
                        SELECT 1 FROM outbox WHERE message_id = old.id OFFSET 0)))
                RETURNING id, sender_peer_id IS NOT NULL AND read_at IS NULL AS unread),
             changed AS (
                -- A chat without messages is listed only when it is one of a group. With the last message all others are
                -- old: what is left waits for the network.
                UPDATE chat SET unread = greatest(0, unread - (SELECT count(*) FROM deleted WHERE unread)),
                       last_message_id = CASE WHEN NOT e.emptied THEN last_message_id ELSE e.left_id END,
                       last_at = CASE WHEN NOT e.emptied THEN last_at ELSE e.left_at END,
                       recent_at = CASE WHEN e.left_id IS NOT NULL THEN e.left_at
                                        WHEN NOT e.emptied OR group_revision IS NOT NULL THEN recent_at END,
                       lags = lags AND NOT e.emptied
                FROM (SELECT last.emptied, waiting.id AS left_id, waiting.stored_at AS left_at
                      FROM (SELECT EXISTS (SELECT 1 FROM deleted
                                           WHERE id = (SELECT last_message_id FROM chat WHERE id = $1)) AS emptied) last
                      LEFT JOIN LATERAL (
                          SELECT m.id, m.stored_at FROM outbox o JOIN message m ON m.id = o.message_id
                          WHERE o.account_id = $4 AND o.chat_id = $1 AND last.emptied
                          ORDER BY m.stored_at DESC LIMIT 1) waiting ON true) e
                WHERE chat.id = $1)
             SELECT count(*) AS "old!", max(stored_at) AS last FROM old"#,
            chat.0,
            retention.as_secs_f64(),
            SLICE,
            owner.id,
            after
        )
        .fetch_one(&mut *tx.inner)
        .await?;
        tx.close_journal(journal).await?;
        tx.commit().await?;
        Ok(slice.last.filter(|_| slice.old == SLICE))
    }

    /// Deletes the files of those of the `limit` messages after `after` that are older than `retention`. The messages stay.
    /// Returns the last one of these messages; `None`: there are no more old ones.
    pub async fn prune_media(
        &self,
        retention: Duration,
        after: Option<MessageId>,
        limit: i64,
    ) -> Result<Option<MessageId>, DbError> {
        let page = sqlx::query!(
            r#"WITH page AS MATERIALIZED (
                SELECT f.place, f.message_id, m.stored_at < statement_timestamp() - make_interval(secs => $1) AS old
                FROM (SELECT ctid AS place, message_id FROM message_media
                      WHERE hash IS NOT NULL AND message_id + 0 > $3 ORDER BY message_id + 0 LIMIT $2) f
                CROSS JOIN LATERAL (SELECT stored_at FROM message WHERE id = f.message_id LIMIT 1) m),
             changed AS (
                UPDATE message_media SET hash = NULL WHERE ctid = ANY(ARRAY(
                    SELECT place FROM page
                    WHERE old AND NOT EXISTS (SELECT 1 FROM outbox WHERE message_id = page.message_id OFFSET 0))))
             SELECT message_id, old AS "old!", count(*) OVER () AS "length!"
             FROM page ORDER BY message_id DESC LIMIT 1"#,
            retention.as_secs_f64(),
            limit,
            after.map_or(i64::MIN, |message| message.0)
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(page.filter(|page| page.old && page.length == limit).map(|page| MessageId(page.message_id)))
    }
}
