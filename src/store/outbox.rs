//! What waits for the network: messages and read receipts, taken and settled by the session that holds the lease.

use std::time::Duration;

use super::{Store, StoreError, Topic};
use crate::domain::{AccountId, ChatId, Content, Event, FailureReason, Lease, MessageId};

/// A message that is due.
#[derive(Clone, Debug)]
pub struct DueMessage {
    /// The row.
    pub message: MessageId,
    /// Its chat: order within it is kept.
    pub chat: ChatId,
    /// The id to send it under, always the same.
    pub network_id: String,
    /// Where to.
    pub address: String,
    /// What it says.
    pub content: Content,
    /// How often it was tried.
    pub attempts: u32,
}

/// A read receipt that is due.
#[derive(Clone, Debug)]
pub struct DueReceipt {
    /// The message that was read.
    pub message: MessageId,
    /// Its id on the network.
    pub network_id: String,
    /// Who sent it.
    pub address: String,
}

/// What became of a message that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The network took it.
    Sent,
    /// It will never be sent.
    Failed(FailureReason),
    /// Try again after so long.
    Later(Duration),
}

impl Store {
    /// The account's messages that are due, oldest first, none of a chat whose older message has to wait. None at
    /// all when the lease has passed on.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn due_messages(&self, lease: &Lease, limit: i64) -> Result<Vec<DueMessage>, StoreError> {
        let rows = sqlx::query!(
            "SELECT o.message_id, o.chat_id, o.attempts, m.network_id, m.type, m.text, p.address
             FROM outbox o JOIN message m ON m.id = o.message_id
             JOIN chat h ON h.id = o.chat_id JOIN peer p ON p.id = h.peer_id
             JOIN account_counter c ON c.id = $3 AND c.owner = $4 AND c.fence = $5
             WHERE o.account_id = $1 AND o.retry_at <= clock_timestamp() AND o.expires_at > clock_timestamp()
               AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.account_id = $1 AND e.chat_id = o.chat_id
                               AND e.message_id < o.message_id AND e.retry_at > clock_timestamp())
             ORDER BY o.message_id LIMIT $2",
            lease.account.0,
            limit,
            lease.counter.0,
            lease.process.0,
            lease.fence
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(DueMessage {
                    message: MessageId(row.message_id),
                    chat: ChatId(row.chat_id),
                    network_id: row.network_id,
                    address: row.address,
                    content: content(&row.r#type, row.text)?,
                    attempts: u32::try_from(row.attempts).unwrap_or(0),
                })
            })
            .collect()
    }

    /// Stores what became of messages that were due.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease has passed on.
    pub async fn settle(&self, lease: &Lease, settled: &[(MessageId, Settlement)]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let mut journal = tx.open_journal_leased(lease).await?;
        let mut gone = Vec::new();
        let mut failures = Vec::new();
        let mut later = (Vec::new(), Vec::new());
        for (message, settlement) in settled {
            match settlement {
                Settlement::Sent => {
                    gone.push(message.0);
                    failures.push(None);
                }
                Settlement::Failed(reason) => {
                    gone.push(message.0);
                    failures.push(Some(reason.name().to_owned()));
                }
                Settlement::Later(pause) => {
                    later.0.push(message.0);
                    later.1.push(pause.as_secs_f64());
                }
            }
        }
        let rows = sqlx::query!(
            r#"WITH settled AS (SELECT * FROM unnest($2::bigint[], $3::text[]) AS s (message_id, failure)),
             gone AS (DELETE FROM outbox o USING settled s
                      WHERE o.message_id = s.message_id AND o.account_id = $1 RETURNING s.message_id, s.failure),
             changed AS (
                UPDATE message m SET state = CASE WHEN g.failure IS NULL THEN 'sent' ELSE 'failed' END,
                       failure = g.failure, sent_at = CASE WHEN g.failure IS NULL THEN clock_timestamp() END
                FROM gone g WHERE m.id = g.message_id RETURNING m.id, m.chat_id, m.network_id)
             SELECT c.id, c.network_id, p.public_id FROM changed c
             JOIN chat h ON h.id = c.chat_id JOIN peer p ON p.id = h.peer_id ORDER BY c.id"#,
            lease.account.0,
            &gone,
            &failures as &[Option<String>]
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        for row in rows {
            let settlement = settled.iter().find(|(message, _)| message.0 == row.id).map(|(_, how)| *how);
            journal.record(match settlement {
                Some(Settlement::Failed(reason)) => {
                    Event::MessageFailed { chat: row.public_id, id: row.network_id, reason }
                }
                _ => Event::MessageSent { chat: row.public_id, id: row.network_id },
            });
        }
        if !later.0.is_empty() {
            sqlx::query!(
                "UPDATE outbox o SET attempts = attempts + 1,
                        retry_at = clock_timestamp() + make_interval(secs => l.seconds)
                 FROM unnest($2::bigint[], $3::float8[]) AS l (message_id, seconds)
                 WHERE o.message_id = l.message_id AND o.account_id = $1",
                lease.account.0,
                &later.0,
                &later.1
            )
            .execute(&mut *tx.inner)
            .await?;
        }
        tx.close_journal(journal).await?;
        tx.commit().await?;
        self.wakes.wake(Topic::journal(lease.counter));
        Ok(())
    }

    /// Fails the messages that the network did not take in time. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease has passed on.
    pub async fn expire_outbox(&self, lease: &Lease) -> Result<usize, StoreError> {
        let expired = sqlx::query_scalar!(
            "SELECT message_id FROM outbox WHERE account_id = $1 AND expires_at <= clock_timestamp()
             ORDER BY message_id LIMIT 500",
            lease.account.0
        )
        .fetch_all(&self.pool)
        .await?;
        if expired.is_empty() {
            return Ok(0);
        }
        let settled: Vec<_> = expired
            .into_iter()
            .map(|message| (MessageId(message), Settlement::Failed(FailureReason::Expired)))
            .collect();
        self.settle(lease, &settled).await?;
        Ok(settled.len())
    }

    /// The read receipts that are due.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn due_receipts(&self, account: AccountId, limit: i64) -> Result<Vec<DueReceipt>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT r.message_id, m.network_id, p.address FROM receipt_outbox r
               JOIN message m ON m.id = r.message_id JOIN peer p ON p.id = m.sender_peer_id
               WHERE r.account_id = $1 ORDER BY r.message_id LIMIT $2"#,
            account.0,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DueReceipt {
                message: MessageId(row.message_id),
                network_id: row.network_id,
                address: row.address,
            })
            .collect())
    }

    /// Forgets read receipts that the network took.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease has passed on.
    pub async fn receipts_sent(&self, lease: &Lease, messages: &[MessageId]) -> Result<(), StoreError> {
        let ids: Vec<i64> = messages.iter().map(|message| message.0).collect();
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "DELETE FROM receipt_outbox WHERE account_id = $1 AND message_id = ANY($2)",
            lease.account.0,
            &ids
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }
}

/// Builds the content from its columns.
fn content(kind: &str, text: Option<String>) -> Result<Content, StoreError> {
    match (kind, text) {
        ("t", Some(text)) => Ok(Content::Text(text)),
        (kind, _) => Err(StoreError::Corrupt(format!("a message of kind {kind} without its content"))),
    }
}
