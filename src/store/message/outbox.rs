//! What waits for the network: messages and read receipts, taken and settled by the session that holds the lease.

use std::time::Duration;

use super::content::content;
use crate::db::batcher::at_position;
use crate::db::{Db, DbError};
use crate::domain::{AccountId, ChatId, Content, FailureReason, Lease, MessageId};
use crate::store::Store;
use crate::store::writer::SessionWrite;

/// Messages in one [`Due`].
pub const DUE_MESSAGES: usize = 100;

/// What an account's session has to bring to its network.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// Desired state that changed.
    pub desired: bool,
    /// Messages whose time to live has ended.
    pub expired: bool,
    /// Read receipts.
    pub receipts: bool,
    /// The oldest messages, oldest first, none of a chat whose older message has to wait.
    pub messages: Vec<DueMessage>,
}

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
    /// The number or public id of the other side, or the group's id.
    pub public_id: String,
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
    /// The address of the group that it was sent into, if it was.
    pub group: Option<String>,
}

/// A message that was due, and what became of it.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The row.
    pub message: MessageId,
    /// The number or public id of the other side, or the group's id.
    pub chat: String,
    /// The id that it was sent under.
    pub network_id: String,
    /// What became of it.
    pub how: Settlement,
}

impl DueMessage {
    /// With what became of it.
    #[must_use]
    pub fn settled(&self, how: Settlement) -> Settled {
        let Self { message, public_id, network_id, .. } = self;
        Settled { message: *message, chat: public_id.clone(), network_id: network_id.clone(), how }
    }
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

impl Settlement {
    /// Whether nothing more is tried.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Later(_))
    }
}

impl Store {
    /// What the account's session has to bring to its network. `None` when the lease has passed on.
    pub async fn due(&self, lease: &Lease) -> Result<Option<Due>, DbError> {
        self.batchers.due.submit(*lease).await
    }

    /// Stores what became of messages that were due.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn settle(&self, lease: &Lease, settled: Vec<Settled>) -> Result<(), DbError> {
        self.writer.write(lease, SessionWrite::Settle(settled)).await?;
        Ok(())
    }

    /// Fails the messages that the network did not take in time. Returns how many.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn expire_outbox(&self, lease: &Lease) -> Result<usize, DbError> {
        let expired = sqlx::query!(
            "SELECT o.message_id, m.network_id, p.public_id FROM outbox o JOIN message m ON m.id = o.message_id
             JOIN chat h ON h.id = o.chat_id JOIN peer p ON p.id = h.peer_id
             WHERE o.account_id = $1 AND o.expires_at <= clock_timestamp() ORDER BY o.message_id LIMIT 500",
            lease.account.0
        )
        .fetch_all(self.db.pool())
        .await?;
        let count = expired.len();
        if count > 0 {
            let settled = expired.into_iter().map(|row| Settled {
                message: MessageId(row.message_id),
                chat: row.public_id,
                network_id: row.network_id,
                how: Settlement::Failed(FailureReason::Expired),
            });
            self.settle(lease, settled.collect()).await?;
        }
        Ok(count)
    }

    /// The read receipts that are due.
    pub async fn due_receipts(&self, account: AccountId, limit: i64) -> Result<Vec<DueReceipt>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT r.message_id, m.network_id, p.address,
                      CASE WHEN o.kind = 'group' THEN o.address END AS "group" FROM receipt_outbox r
               JOIN message m ON m.id = r.message_id JOIN peer p ON p.id = m.sender_peer_id
               JOIN chat h ON h.id = m.chat_id JOIN peer o ON o.id = h.peer_id
               WHERE r.account_id = $1 ORDER BY r.message_id LIMIT $2"#,
            account.0,
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DueReceipt {
                message: MessageId(row.message_id),
                network_id: row.network_id,
                address: row.address,
                group: row.group,
            })
            .collect())
    }

    /// Forgets read receipts that the network took.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn receipts_sent(&self, lease: &Lease, messages: &[MessageId]) -> Result<(), DbError> {
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

/// Many calls of [`Store::due`] as one query.
pub(in crate::store) async fn due_of(db: &Db, leases: &[&Lease]) -> Result<Vec<Option<Due>>, DbError> {
    let column = |of: fn(&Lease) -> i64| leases.iter().map(|lease| of(lease)).collect::<Vec<_>>();
    let (mut connection, checkout) = db.checkout().await?;
    let rows = sqlx::query!(
        r#"SELECT l.place AS "place!", f.desired AS "desired!", f.expired AS "expired!", f.receipts AS "receipts!",
                  m.message_id AS "message?", m.chat_id AS "chat?", m.attempts AS "attempts?",
                  m.network_id AS "network_id?", m.type AS "kind?", m.text AS "text?",
                  m.details AS "details?", m.address AS "address?", m.public_id AS "public_id?"
           FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
                WITH ORDINALITY AS l (account_id, counter_id, owner, fence, place)
           JOIN account_counter c ON c.id = l.counter_id
                AND c.owner IS NOT DISTINCT FROM l.owner AND c.fence = l.fence
           CROSS JOIN LATERAL (
               SELECT EXISTS (SELECT 1 FROM desired_state d
                              WHERE d.account_id = l.account_id AND d.applied < d.version) AS desired,
                      EXISTS (SELECT 1 FROM outbox o
                              WHERE o.account_id = l.account_id AND o.expires_at <= clock_timestamp()) AS expired,
                      EXISTS (SELECT 1 FROM receipt_outbox r WHERE r.account_id = l.account_id) AS receipts
               OFFSET 0) f
           LEFT JOIN LATERAL (
               SELECT o.message_id, o.chat_id, o.attempts, m.network_id, m.type, m.text, m.details, p.address,
                      p.public_id
               FROM outbox o JOIN message m ON m.id = o.message_id
               JOIN chat h ON h.id = o.chat_id JOIN peer p ON p.id = h.peer_id
               WHERE o.account_id = l.account_id
                 AND o.retry_at <= clock_timestamp() AND o.expires_at > clock_timestamp()
                 AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.account_id = l.account_id AND e.chat_id = o.chat_id
                                 AND e.message_id < o.message_id AND e.retry_at > clock_timestamp())
               ORDER BY o.message_id LIMIT $5) m ON true
           ORDER BY l.place, m.message_id"#,
        &column(|lease| lease.account.0),
        &column(|lease| lease.counter.0),
        &column(|lease| lease.process.0),
        &column(|lease| lease.fence),
        i64::try_from(DUE_MESSAGES).unwrap_or(i64::MAX)
    )
    .fetch_all(&mut *connection)
    .await?;
    checkout.put_back(connection);
    let mut answers: Vec<Option<Due>> = leases.iter().map(|_| None).collect();
    for row in rows {
        let Some(answer) = at_position(&mut answers, row.place) else { continue };
        let due = answer.get_or_insert_default();
        (due.desired, due.expired, due.receipts) = (row.desired, row.expired, row.receipts);
        let (Some(message), Some(chat), Some(attempts)) = (row.message, row.chat, row.attempts) else {
            continue;
        };
        let (Some(network_id), Some(kind), Some(address), Some(public_id)) =
            (row.network_id, row.kind, row.address, row.public_id)
        else {
            continue;
        };
        due.messages.push(DueMessage {
            message: MessageId(message),
            chat: ChatId(chat),
            network_id,
            address,
            public_id,
            content: content(&kind, row.text, row.details)?,
            attempts: u32::try_from(attempts).unwrap_or(0),
        });
    }
    Ok(answers)
}
