//! Messages by the ids that their network chose, and those that may have such an id already.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::HELD;
use crate::db::DbError;
use crate::domain::{AccountId, PeerId};
use crate::store::Store;

/// The clock of a network may differ from ours by so much.
const SKEW: TimeDelta = TimeDelta::minutes(10);
/// Messages of a chat among which those in the outbox are looked for.
const NEWEST: i64 = 50;

/// A message that is known by an id of its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownMessage {
    /// It is one of ours, under this id.
    Ours(String),
    /// It is one of ours, which has that id here, too.
    OursUnderSameId,
    /// It is one of somebody else, which has that id here, too.
    SameId,
}

/// When messages were accepted whose ids on the network are not known yet, by the peers of their chats.
#[derive(Clone, Debug, Default)]
pub struct QueuedSince(HashMap<PeerId, DateTime<Utc>>);

impl QueuedSince {
    /// Whether one of them may be the message that the account sent into this chat, by the network's clock, at this time.
    #[must_use]
    pub fn may_include(&self, chat: PeerId, sent_at: DateTime<Utc>) -> bool {
        self.0.get(&chat).is_some_and(|since| *since - SKEW < sent_at)
    }
}

impl Store {
    /// The messages that the network calls by these ids, each in the chat with a peer; `None` where there is none.
    pub async fn messages_by_remote_id(
        &self,
        account: AccountId,
        names: &[(PeerId, &str)],
    ) -> Result<Vec<Option<KnownMessage>>, DbError> {
        let peers: Vec<i64> = names.iter().map(|(peer, _)| peer.0).collect();
        let ids: Vec<&str> = names.iter().map(|(_, id)| *id).collect();
        let rows = sqlx::query!(
            r#"SELECT n.position AS "position!", ours.network_id AS "ours?", same.own AS "own?"
               FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS n (peer_id, remote_id, position)
               CROSS JOIN LATERAL (SELECT id FROM chat WHERE account_id = $1 AND peer_id = n.peer_id LIMIT 1) h
               LEFT JOIN LATERAL (
                   SELECT message_id FROM message_remote
                   WHERE account_id = $1 AND remote_id = n.remote_id AND chat_id = h.id LIMIT 1) r ON true
               LEFT JOIN LATERAL (SELECT network_id FROM message WHERE id = r.message_id LIMIT 1) ours ON true
               LEFT JOIN LATERAL (
                   SELECT sender_peer_id IS NULL AS own FROM (
                       SELECT chat_id, sender_peer_id FROM message
                       WHERE account_id = $1 AND network_id = n.remote_id OFFSET 0) same
                   WHERE chat_id = h.id AND r.message_id IS NULL
                   ORDER BY sender_peer_id IS NOT NULL LIMIT 1) same ON true
               WHERE ours.network_id IS NOT NULL OR same.own IS NOT NULL"#,
            account.0,
            &peers,
            &ids as &[&str]
        )
        .fetch_all(self.db.pool())
        .await?;
        let mut known = vec![None; names.len()];
        for row in rows {
            let index = usize::try_from(row.position - 1).unwrap_or(usize::MAX);
            if let Some(known) = known.get_mut(index) {
                let same =
                    if row.own == Some(true) { KnownMessage::OursUnderSameId } else { KnownMessage::SameId };
                *known = Some(row.ours.map_or(same, KnownMessage::Ours));
            }
        }
        Ok(known)
    }

    /// When the account's messages in the outbox were accepted, at the earliest, by the peers of their chats, and those that
    /// the network took lately without an id. Only the newest messages of each chat are looked at.
    pub async fn queued_since(
        &self,
        account: AccountId,
        chats: &BTreeSet<PeerId>,
    ) -> Result<QueuedSince, DbError> {
        if chats.is_empty() {
            return Ok(QueuedSince::default());
        }
        let peers: Vec<i64> = chats.iter().map(|chat| chat.0).collect();
        let rows = sqlx::query!(
            r#"SELECT n.peer_id AS "peer_id!", queued.since
               FROM unnest($2::bigint[]) AS n (peer_id)
               CROSS JOIN LATERAL (SELECT id FROM chat WHERE account_id = $1 AND peer_id = n.peer_id LIMIT 1) h
               CROSS JOIN LATERAL (
                   SELECT min(stored_at) AS since
                   FROM (SELECT id, network_id, sender_peer_id, state, stored_at, sent_at FROM message
                         WHERE chat_id = h.id ORDER BY stored_at DESC LIMIT $3) newest
                   LEFT JOIN LATERAL (
                       SELECT true AS found FROM message_remote WHERE message_id = newest.id LIMIT 1) named ON true
                   WHERE sender_peer_id IS NULL
                     AND (state = 'queued'
                          -- With an id of ours: no other device has sent it.
                          OR (state = 'sent' AND network_id ~ '^[0-9a-f]{32}$' AND named.found IS NULL
                              AND sent_at > clock_timestamp() - make_interval(secs => $4)))) queued"#,
            account.0,
            &peers,
            NEWEST,
            HELD
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(QueuedSince(rows.into_iter().filter_map(|row| Some((PeerId(row.peer_id), row.since?))).collect()))
    }
}
