//! Early events: what names a message by an id of the network that no message has yet.
//!
//! On a network that chooses the ids of messages a receipt may come before the outcome of its message is stored. It is
//! stored here before it is acknowledged, and applied when a message gets that id.

mod kind;
mod known;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::db::DbError;
use crate::domain::{AccountId, Lease, PeerId};
use crate::secrets;
use crate::store::Store;

pub use self::kind::EarlyKind;
pub use self::known::{KnownMessage, QueuedSince};

/// Events of one sender in one chat; beyond that the oldest are deleted.
const OF_SENDER: usize = 200;
/// Events of one account; beyond that the oldest are deleted.
const OF_ACCOUNT: i32 = 10_000;
/// Events that one call of [`Store::early_events`] returns.
const PAGE: i64 = 500;
/// A message of the account that may be one whose id on the network is not known yet is held back for so long, in seconds.
const HELD: f64 = 60.0;
/// An event is applied within this time, in seconds: the message that it names is accepted or has expired by then.
const LIFETIME: f64 = 24.0 * 3_600.0;

/// An event whose message is not known yet.
#[derive(Clone, Debug)]
pub struct EarlyEvent {
    /// The other side of the chat.
    pub chat: PeerId,
    /// The same person, or a member of the group.
    pub from: PeerId,
    /// The id of the message on the network.
    pub remote_id: String,
    pub what: EarlyKind,
}

/// A stored early event, with what is known now.
#[derive(Clone, Debug)]
pub struct StoredEarlyEvent {
    pub id: i64,
    /// The address of the other side of the chat.
    pub chat: String,
    /// In a group: the address of the member.
    pub participant: Option<String>,
    pub remote_id: String,
    /// `None`: of a kind that only a newer version of this program knows.
    pub what: Option<EarlyKind>,
    /// Our id of the message that is named, if it is known by now.
    pub message: Option<String>,
    /// It is a message of the account that may be one of those in its outbox.
    pub held: bool,
}

/// Which early events of an account are looked at.
#[derive(Clone, Copy, Debug)]
pub enum EarlyEvents<'a> {
    All,
    /// Those that name these ids of the network.
    Naming(&'a [String]),
    /// Messages that are held back.
    Held,
}

/// A row of early_event.
struct Row {
    id: i64,
    remote_id: String,
    kind: String,
    details: Value,
    sent_at: Option<DateTime<Utc>>,
    address: String,
    participant: Option<String>,
    message: Option<String>,
    peer_id: i64,
    recent: bool,
}

impl Store {
    /// Stores events that name messages which are not known yet. Beyond the bounds the oldest are deleted, but no message
    /// of the account.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn note_early_events(&self, lease: &Lease, events: &[EarlyEvent]) -> Result<(), DbError> {
        let events = newest_of_each_sender(events);
        if events.is_empty() {
            return Ok(());
        }
        let encoded: Vec<(&str, Value)> = events.iter().map(|event| event.what.encode()).collect();
        let chats: Vec<i64> = events.iter().map(|event| event.chat.0).collect();
        let senders: Vec<i64> = events.iter().map(|event| event.from.0).collect();
        let ids: Vec<&str> = events.iter().map(|event| event.remote_id.as_str()).collect();
        let kinds: Vec<&str> = encoded.iter().map(|(kind, _)| *kind).collect();
        let details: Vec<Value> = encoded.iter().map(|(_, details)| details.clone()).collect();
        let fingerprints: Vec<Vec<u8>> =
            events.iter().zip(&encoded).map(|(event, encoded)| fingerprint(event, encoded)).collect();
        let times: Vec<Option<DateTime<Utc>>> = events.iter().map(|event| event.what.sent_at()).collect();
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "INSERT INTO early_event (account_id, peer_id, from_peer_id, remote_id, kind, details, fingerprint, sent_at)
             SELECT $1, peer_id, from_peer_id, remote_id, kind, details, fingerprint, sent_at
             FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::jsonb[], $7::bytea[], $8::timestamptz[])
                  WITH ORDINALITY AS new (peer_id, from_peer_id, remote_id, kind, details, fingerprint, sent_at, position)
             ORDER BY position ON CONFLICT ON CONSTRAINT early_event_fingerprint_key DO NOTHING",
            lease.account.0,
            &chats,
            &senders,
            &ids as &[&str],
            &kinds as &[&str],
            &details,
            &fingerprints,
            &times as &[Option<DateTime<Utc>>]
        )
        .execute(&mut *tx.inner)
        .await?;
        sqlx::query!(
            "DELETE FROM early_event WHERE ctid = ANY(ARRAY(
                 SELECT old.ctid
                 FROM (SELECT DISTINCT peer_id, from_peer_id
                       FROM unnest($2::bigint[], $3::bigint[]) AS new (peer_id, from_peer_id)) new
                 CROSS JOIN LATERAL (
                     SELECT ctid, kind FROM early_event
                     WHERE -account_id = -$1::bigint AND peer_id = new.peer_id AND from_peer_id = new.from_peer_id
                     ORDER BY id DESC OFFSET $4 LIMIT $4) old
                 WHERE old.kind <> 'message'))",
            lease.account.0,
            &chats,
            &senders,
            i64::try_from(OF_SENDER).unwrap_or(i64::MAX)
        )
        .execute(&mut *tx.inner)
        .await?;
        let excess = sqlx::query_scalar!(
            r#"SELECT greatest(0, early_events - $2) AS "excess!" FROM account WHERE id = $1"#,
            lease.account.0,
            OF_ACCOUNT
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        if let Some(excess @ 1..) = excess {
            sqlx::query!(
                "DELETE FROM early_event WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM early_event WHERE account_id = $1 AND kind <> 'message' ORDER BY id LIMIT $2))",
                lease.account.0,
                i64::from(excess)
            )
            .execute(&mut *tx.inner)
            .await?;
            tracing::warn!(account = %lease.account, excess, "too many events name unknown messages: the oldest are deleted");
        }
        tx.commit().await
    }

    /// Early events in order, those after an id, with what is known now; a page of them.
    pub async fn early_events(
        &self,
        account: AccountId,
        which: EarlyEvents<'_>,
        after: i64,
    ) -> Result<Vec<StoredEarlyEvent>, DbError> {
        let ids = self.ids_of_early_events(account, which, after).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT e.id, e.remote_id, e.kind, e.details, e.sent_at, chat.address,
                      CASE WHEN e.from_peer_id <> e.peer_id THEN author.address END AS participant,
                      CASE WHEN ours.network_id IS NOT NULL THEN ours.network_id
                           WHEN same.found THEN e.remote_id END AS "message?",
                      e.peer_id, e.noted_at > clock_timestamp() - make_interval(secs => $3) AS "recent!"
               FROM unnest($2::bigint[]) AS n (id)
               CROSS JOIN LATERAL (SELECT * FROM early_event WHERE account_id = $1 AND id = n.id LIMIT 1) e
               CROSS JOIN LATERAL (SELECT address FROM peer WHERE id = e.peer_id LIMIT 1) chat
               CROSS JOIN LATERAL (SELECT address FROM peer WHERE id = e.from_peer_id LIMIT 1) author
               LEFT JOIN LATERAL (
                   SELECT id FROM chat WHERE account_id = $1 AND peer_id = e.peer_id LIMIT 1) h ON true
               LEFT JOIN LATERAL (
                   SELECT message_id FROM message_remote
                   WHERE account_id = $1 AND remote_id = e.remote_id AND chat_id = h.id LIMIT 1) r ON true
               LEFT JOIN LATERAL (SELECT network_id FROM message WHERE id = r.message_id LIMIT 1) ours ON true
               LEFT JOIN LATERAL (
                   SELECT true AS found FROM (
                       SELECT chat_id FROM message WHERE account_id = $1 AND network_id = e.remote_id OFFSET 0) same
                   WHERE chat_id = h.id AND r.message_id IS NULL LIMIT 1) same ON true
               ORDER BY e.id"#,
            account.0,
            &ids,
            HELD
        )
        .fetch_all(self.db.pool())
        .await?;
        let held = rows.iter().filter(|row| row.sent_at.is_some() && row.message.is_none() && row.recent);
        let queued = self.queued_since(account, &held.map(|row| PeerId(row.peer_id)).collect()).await?;
        let event = |row| {
            let Row { id, remote_id, kind, details, sent_at, address, participant, message, peer_id, recent } =
                row;
            let may_be_queued = |sent_at| queued.may_include(PeerId(peer_id), sent_at);
            StoredEarlyEvent {
                id,
                chat: address,
                participant,
                what: EarlyKind::decode(&kind, &remote_id, details, sent_at),
                held: recent && message.is_none() && sent_at.is_some_and(may_be_queued),
                remote_id,
                message,
            }
        };
        Ok(rows.into_iter().map(event).collect())
    }

    async fn ids_of_early_events(
        &self,
        account: AccountId,
        which: EarlyEvents<'_>,
        after: i64,
    ) -> Result<Vec<i64>, DbError> {
        let ids = match which {
            EarlyEvents::All => {
                sqlx::query_scalar!(
                    "SELECT id FROM early_event WHERE account_id = $1 AND id > $2 ORDER BY id LIMIT $3",
                    account.0,
                    after,
                    PAGE
                )
                .fetch_all(self.db.pool())
                .await?
            }
            EarlyEvents::Naming(remote_ids) => {
                sqlx::query_scalar!(
                    r#"SELECT e.id AS "id!" FROM unnest($2::text[]) AS n (remote_id)
                       CROSS JOIN LATERAL (
                           SELECT id FROM early_event
                           WHERE ~account_id = ~$1::bigint AND remote_id = n.remote_id AND id > $3
                           ORDER BY id LIMIT $4) e
                       ORDER BY e.id LIMIT $4"#,
                    account.0,
                    remote_ids,
                    after,
                    PAGE
                )
                .fetch_all(self.db.pool())
                .await?
            }
            EarlyEvents::Held => {
                sqlx::query_scalar!(
                    "SELECT id FROM early_event
                     WHERE account_id + 0 = $1 AND kind = 'message' AND id > $2 ORDER BY id LIMIT $3",
                    account.0,
                    after,
                    PAGE
                )
                .fetch_all(self.db.pool())
                .await?
            }
        };
        Ok(ids)
    }

    /// Deletes early events that were applied.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn delete_early_events(&self, lease: &Lease, ids: &[i64]) -> Result<(), DbError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "DELETE FROM early_event WHERE ctid = ANY(ARRAY(
                 SELECT e.ctid FROM unnest($2::bigint[]) AS n (id)
                 CROSS JOIN LATERAL (SELECT ctid FROM early_event WHERE account_id = $1 AND id = n.id LIMIT 1) e))",
            lease.account.0,
            ids
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// Deletes early events whose messages never came, at most `limit`; returns how many. Messages of the account stay:
    /// its session stores them.
    pub async fn prune_early_events(&self, limit: i64) -> Result<u64, DbError> {
        let done = sqlx::query!(
            "DELETE FROM early_event WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM early_event
                 WHERE kind <> 'message' AND noted_at < statement_timestamp() - make_interval(secs => $1)
                 ORDER BY noted_at LIMIT $2))",
            LIFETIME,
            limit
        )
        .execute(self.db.pool())
        .await?;
        Ok(done.rows_affected())
    }
}

/// Without those that would be deleted at once.
fn newest_of_each_sender(events: &[EarlyEvent]) -> Vec<&EarlyEvent> {
    let mut counts: HashMap<(PeerId, PeerId), usize> = HashMap::new();
    let mut newest: Vec<&EarlyEvent> = events
        .iter()
        .rev()
        .filter(|event| {
            let count = counts.entry((event.chat, event.from)).or_default();
            *count += 1;
            *count <= OF_SENDER || matches!(event.what, EarlyKind::Message(_))
        })
        .collect();
    newest.reverse();
    newest
}

fn fingerprint(event: &EarlyEvent, (kind, details): &(&str, Value)) -> Vec<u8> {
    let EarlyEvent { chat, from, remote_id, .. } = event;
    secrets::sha256(json!([chat.0, from.0, remote_id, kind, details]).to_string().as_bytes()).to_vec()
}
