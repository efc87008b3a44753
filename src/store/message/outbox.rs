//! The outbox: messages and read receipts that wait for the network, and their settlement by the session that holds the
//! lease.

use std::time::Duration;

use super::content::{StoredContent, content};
use crate::db::batcher::at_position;
use crate::db::{Db, DbError};
use crate::domain::{AccountId, Aspect, ChatId, Content, FailureReason, Lease, MessageId};
use crate::store::Store;
use crate::store::writer::SessionWrite;

/// Messages in one [`Due`].
pub const DUE_MESSAGES: usize = 100;

/// The work of an account's session for its network.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// Whether there is desired state to apply that this version of the program knows.
    pub desired: bool,
    /// Whether there are messages whose time to live has ended.
    pub expired: bool,
    /// Whether there are read receipts to send.
    pub receipts: bool,
    /// The oldest messages, oldest first, none from a chat where an older message has to wait. Without messages that only a
    /// newer version of this program knows: those stay queued for it until they expire, and hold up no others.
    pub messages: Vec<DueMessage>,
}

/// A message that is due.
#[derive(Clone, Debug)]
pub struct DueMessage {
    pub message: MessageId,
    /// The messages of a chat are sent in order.
    pub chat: ChatId,
    /// The id on the network, the same in all attempts.
    pub network_id: String,
    /// The recipient's address on the network.
    pub address: String,
    /// The number or public id of the other side, or the group's id.
    pub public_id: String,
    pub content: Content,
    /// Failed attempts so far.
    pub attempts: u32,
}

/// A read receipt that is due.
#[derive(Clone, Debug)]
pub struct DueReceipt {
    /// The message that was read.
    pub message: MessageId,
    /// The message's id on the network.
    pub network_id: String,
    /// The address of the message's author.
    pub address: String,
    /// The address of the group, for a message in a group.
    pub group: Option<String>,
}

/// A message that was due, and the outcome.
#[derive(Clone, Debug)]
pub struct Settled {
    pub message: MessageId,
    /// The number or public id of the other side, or the group's id.
    pub chat: String,
    /// The id on the network.
    pub network_id: String,
    pub how: Settlement,
    /// The id that the network chose for it.
    pub remote_id: Option<String>,
}

impl DueMessage {
    /// The message with its outcome, without an id that the network chose for it.
    #[must_use]
    pub fn settled(&self, how: Settlement) -> Settled {
        let Self { message, public_id, network_id, .. } = self;
        let (chat, network_id) = (public_id.clone(), network_id.clone());
        Settled { message: *message, chat, network_id, how, remote_id: None }
    }
}

/// The outcome of a message that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The network accepted it.
    Sent,
    /// It will never be sent.
    Failed(FailureReason),
    /// It is tried again after a pause.
    Later(Duration),
}

impl Settlement {
    /// Whether there is no further attempt.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Later(_))
    }

    /// Its name among the figures.
    #[must_use]
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed(_) => "failed",
            Self::Later(_) => "retried",
        }
    }
}

impl Store {
    /// The work of the account's session for its network. `None` when the lease has passed on.
    pub async fn due(&self, lease: &Lease) -> Result<Option<Due>, DbError> {
        self.batchers.due.submit(*lease).await
    }

    /// Stores the outcomes of messages that were due.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn settle(&self, lease: &Lease, settled: Vec<Settled>) -> Result<(), DbError> {
        self.writer.write(lease, SessionWrite::Settle(settled)).await?;
        Ok(())
    }

    /// Marks messages as failed that the network did not accept in time. Returns how many.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn expire_outbox(&self, lease: &Lease) -> Result<usize, DbError> {
        let expired = sqlx::query!(
            "SELECT o.message_id, m.network_id, p.public_id
             FROM (SELECT message_id, chat_id FROM outbox
                   -- By the time alone: most accounts have nothing that expired, and many messages.
                   WHERE account_id + 0 = $1 AND expires_at <= statement_timestamp() ORDER BY expires_at LIMIT 500) o
             CROSS JOIN LATERAL (SELECT network_id FROM message WHERE id = o.message_id LIMIT 1) m
             CROSS JOIN LATERAL (SELECT peer_id FROM chat WHERE id = o.chat_id LIMIT 1) h
             CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = h.peer_id LIMIT 1) p ORDER BY o.message_id",
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
                remote_id: None,
            });
            self.settle(lease, settled.collect()).await?;
        }
        Ok(count)
    }

    /// The read receipts that are due.
    pub async fn due_receipts(&self, account: AccountId, limit: i64) -> Result<Vec<DueReceipt>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT r.message_id, m.network_id, p.address,
                      CASE WHEN o.kind = 'group' THEN o.address END AS "group"
               FROM (SELECT message_id FROM receipt_outbox
                     -- By account and message: an index by the message alone would lead through all accounts.
                     WHERE account_id BETWEEN $1 AND $1 ORDER BY account_id, message_id LIMIT $2) r
               CROSS JOIN LATERAL (
                   SELECT network_id, sender_peer_id, chat_id FROM message WHERE id = r.message_id LIMIT 1) m
               CROSS JOIN LATERAL (SELECT address FROM peer WHERE id = m.sender_peer_id LIMIT 1) p
               CROSS JOIN LATERAL (SELECT peer_id FROM chat WHERE id = m.chat_id LIMIT 1) h
               CROSS JOIN LATERAL (SELECT kind, address FROM peer WHERE id = h.peer_id LIMIT 1) o
               ORDER BY r.message_id"#,
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

    /// Deletes read receipts that the network accepted.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn receipts_sent(&self, lease: &Lease, messages: &[MessageId]) -> Result<(), DbError> {
        let ids: Vec<i64> = messages.iter().map(|message| message.0).collect();
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "DELETE FROM receipt_outbox WHERE ctid = ANY(ARRAY(
                 SELECT receipt.ctid FROM unnest($2::bigint[]) AS sent (message_id) CROSS JOIN LATERAL (
                     SELECT ctid FROM receipt_outbox
                     WHERE account_id = $1 AND message_id = sent.message_id LIMIT 1) receipt))",
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
        r#"SELECT lease.position AS "position!", work.desired AS "desired!", work.expired AS "expired!",
                  work.receipts AS "receipts!", due.message_id AS "message?", due.chat_id AS "chat?",
                  due.attempts AS "attempts?", due.network_id AS "network_id?", due.type AS "kind?",
                  due.text AS "text?", due.details AS "details?", due.address AS "address?",
                  due.public_id AS "public_id?"
           FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
                WITH ORDINALITY AS lease (account_id, counter_id, owner, fence, position)
           JOIN account_counter counter ON counter.id = lease.counter_id
                AND counter.owner IS NOT DISTINCT FROM lease.owner AND counter.fence = lease.fence
           CROSS JOIN LATERAL (
               SELECT EXISTS (SELECT 1 FROM desired_state
                              WHERE account_id = lease.account_id AND applied < version
                                AND aspect = ANY($7)) AS desired,
                      EXISTS (SELECT 1 FROM (
                                  SELECT expires_at FROM outbox
                                  -- A range and an order that only the index by account and message serves.
                                  WHERE account_id BETWEEN lease.account_id AND lease.account_id
                                  ORDER BY account_id, message_id LIMIT $5) oldest
                              WHERE expires_at <= clock_timestamp()) AS expired,
                      EXISTS (SELECT 1 FROM receipt_outbox WHERE account_id = lease.account_id) AS receipts
               OFFSET 0) work
           LEFT JOIN LATERAL (
               SELECT queued.message_id, queued.chat_id, queued.attempts, message.*, peer.*
               FROM outbox queued
               CROSS JOIN LATERAL (
                   SELECT network_id, type, text, details FROM message WHERE id = queued.message_id LIMIT 1) message
               CROSS JOIN LATERAL (SELECT peer_id FROM chat WHERE id = queued.chat_id LIMIT 1) chat
               CROSS JOIN LATERAL (SELECT address, public_id FROM peer WHERE id = chat.peer_id LIMIT 1) peer
               WHERE queued.account_id BETWEEN lease.account_id AND lease.account_id
                 AND queued.retry_at <= clock_timestamp() AND queued.expires_at > clock_timestamp()
                 AND message.type = ANY($6)
                 -- The index of postponed messages serves these expressions, and no other one does.
                 AND (SELECT earlier.message_id FROM outbox earlier
                      WHERE (earlier.chat_id + 0) = queued.chat_id AND earlier.attempts > 0
                        AND (earlier.message_id + 0) < queued.message_id AND earlier.retry_at > clock_timestamp()
                      LIMIT 1) IS NULL
               ORDER BY queued.account_id, queued.message_id LIMIT $5) due ON true
           ORDER BY lease.position, due.message_id"#,
        &column(|lease| lease.account.0),
        &column(|lease| lease.counter.0),
        &column(|lease| lease.process.0),
        &column(|lease| lease.fence),
        i64::try_from(DUE_MESSAGES).unwrap_or(i64::MAX),
        &Content::LETTERS as &[&str],
        &Aspect::ALL.map(Aspect::name) as &[&str]
    )
    .fetch_all(&mut *connection)
    .await?;
    checkout.put_back(connection);
    let mut answers: Vec<Option<Due>> = leases.iter().map(|_| None).collect();
    for row in rows {
        let Some(answer) = at_position(&mut answers, row.position) else { continue };
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
        let StoredContent::Known(content) = content(kind, row.text, row.details) else {
            tracing::warn!(message, "a message with content of another version stays queued");
            continue;
        };
        due.messages.push(DueMessage {
            message: MessageId(message),
            chat: ChatId(chat),
            network_id,
            address,
            public_id,
            content,
            attempts: u32::try_from(attempts).unwrap_or(0),
        });
    }
    Ok(answers)
}
