//! Changes of groups, and the receipts of their members.
//!
//! A message into a group is delivered (read) once every other member that was in the group when it was stored, and still
//! is, has received (read) it. A message into a group without other members is never delivered.

use chrono::{DateTime, Utc};
use std::collections::HashMap;

use super::locks::LockedJournals;
use crate::db::DbError;
use crate::domain::{AccountId, CounterId, Event, Lease, PeerId, ReceiptKind};
use crate::store::{InboundGroupChange, Peer, Tx};

/// A member's receipt for a message that the account sent into a group.
pub(super) struct NewGroupReceipt<'a> {
    pub lease: &'a Lease,
    pub group: PeerId,
    pub public_id: &'a str,
    pub participant: PeerId,
    pub network_id: &'a str,
    pub kind: ReceiptKind,
}

/// A message that has a new receipt, and what its events say.
struct ReceiptedMessage {
    message: i64,
    at: DateTime<Utc>,
    was_queued: bool,
    counter: CounterId,
    chat: String,
    id: String,
}

impl Tx {
    /// Stores the receipts of members, and completes the messages that all others have.
    pub(super) async fn store_group_receipts(
        &mut self,
        receipts: &[NewGroupReceipt<'_>],
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        if receipts.is_empty() {
            return Ok(());
        }
        let of = |one: fn(&NewGroupReceipt<'_>) -> i64| receipts.iter().map(one).collect::<Vec<_>>();
        let ids: Vec<&str> = receipts.iter().map(|one| one.network_id).collect();
        let read: Vec<bool> = receipts.iter().map(|one| one.kind == ReceiptKind::Read).collect();
        let at: Vec<DateTime<Utc>> =
            receipts.iter().filter_map(|one| Some(journals.of(one.lease.counter)?.next_time())).collect();
        let rows = sqlx::query!(
            r#"WITH wanted AS (
                SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::boolean[],
                                     $6::timestamptz[])
                     WITH ORDINALITY AS w (account_id, group_id, participant, network_id, read, at, place)
             ), meant AS (
                SELECT m.id, m.state, w.participant, w.read, w.at, w.place FROM wanted w
                JOIN chat h ON h.account_id = w.account_id AND h.peer_id = w.group_id
                JOIN group_member g ON g.group_peer_id = w.group_id AND g.member_peer_id = w.participant
                CROSS JOIN LATERAL (
                    SELECT n.id, n.chat_id, n.sender_peer_id, n.state, n.read_at FROM message n
                    WHERE n.account_id = w.account_id AND n.network_id = w.network_id OFFSET 0) m
                WHERE m.chat_id = h.id AND m.sender_peer_id IS NULL AND m.state <> 'failed' AND m.read_at IS NULL
             ), noted AS (
                INSERT INTO message_receipt AS old (message_id, peer_id, delivered_at, read_at)
                SELECT id, participant, min(at), min(at) FILTER (WHERE read) FROM meant
                GROUP BY id, participant ORDER BY id, participant
                ON CONFLICT (message_id, peer_id)
                DO UPDATE SET read_at = coalesce(old.read_at, excluded.read_at)
             ), taken AS (
                DELETE FROM outbox WHERE message_id = ANY(ARRAY(SELECT id FROM meant WHERE state = 'queued'))
             ), sent AS (
                UPDATE message SET state = 'sent', sent_at = coalesce(sent_at, clock_timestamp())
                WHERE id = ANY(ARRAY(SELECT id FROM meant WHERE state = 'queued')))
             SELECT id AS "id!", max(place) AS "place!", bool_or(state = 'queued') AS "was_queued!"
             FROM meant GROUP BY id ORDER BY max(place)"#,
            &of(|one| one.lease.account.0),
            &of(|one| one.group.0),
            &of(|one| one.participant.0),
            &ids as &[&str],
            &read,
            &at
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let receipted = rows.into_iter().filter_map(|row| {
            let place = usize::try_from(row.place - 1).ok()?;
            let receipt = receipts.get(place)?;
            Some(ReceiptedMessage {
                message: row.id,
                at: *at.get(place)?,
                was_queued: row.was_queued,
                counter: receipt.lease.counter,
                chat: receipt.public_id.to_owned(),
                id: receipt.network_id.to_owned(),
            })
        });
        let receipted = receipted.collect();
        self.complete(receipted, journals).await
    }

    /// Stores what a network reported of a group to an account, once. Receipts of members that left are no longer waited
    /// for.
    pub(super) async fn ingest_group(
        &mut self,
        lease: &Lease,
        group: &Peer,
        (revision, subject): (i64, &str),
        changes: &[InboundGroupChange],
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        let news = sqlx::query_scalar!(
            "UPDATE chat SET group_revision = $3, group_subject = $4
             WHERE account_id = $1 AND peer_id = $2 AND (group_revision IS NULL OR group_revision < $3)
             RETURNING id",
            lease.account.0,
            group.id.0,
            revision,
            subject
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        if news.is_none() {
            return Ok(());
        }
        if changes.iter().any(|change| change.kind.takes_away()) {
            let waiting = self.waiting_in(lease.account, group, lease.counter, journals).await?;
            self.complete(waiting, journals).await?;
        }
        let Some(journal) = journals.of(lease.counter) else { return Ok(()) };
        for change in changes {
            journal.record(Event::GroupChanged {
                group: group.public_id.clone(),
                change: change.kind,
                participants: change.participants.iter().map(|who| who.public_id.clone()).collect(),
            });
        }
        Ok(())
    }

    /// The messages of the account into a group that have receipts, but not of all.
    async fn waiting_in(
        &mut self,
        account: AccountId,
        group: &Peer,
        counter: CounterId,
        journals: &mut LockedJournals,
    ) -> Result<Vec<ReceiptedMessage>, DbError> {
        let rows = sqlx::query!(
            "SELECT m.id, m.network_id FROM chat h JOIN message m ON m.chat_id = h.id
             WHERE h.account_id = $1 AND h.peer_id = $2 AND m.sender_peer_id IS NULL AND m.read_at IS NULL
               AND EXISTS (SELECT 1 FROM message_receipt r WHERE r.message_id = m.id)
             ORDER BY m.stored_at",
            account.0,
            group.id.0
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let Some(journal) = journals.of(counter) else { return Ok(Vec::new()) };
        let receipted = rows.into_iter().map(|row| ReceiptedMessage {
            message: row.id,
            at: journal.next_time(),
            was_queued: false,
            counter,
            chat: group.public_id.clone(),
            id: row.network_id,
        });
        Ok(receipted.collect())
    }

    /// Marks messages delivered, and read, that all other members have; the receipts of one that all have read are
    /// deleted.
    async fn complete(
        &mut self,
        receipted: Vec<ReceiptedMessage>,
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        if receipted.is_empty() {
            return Ok(());
        }
        let messages: Vec<i64> = receipted.iter().map(|one| one.message).collect();
        let at: Vec<DateTime<Utc>> = receipted.iter().map(|one| one.at).collect();
        let rows = sqlx::query!(
            r#"WITH waiting AS (
                SELECT m.id, m.stored_at, w.at, h.peer_id AS group_id, own.peer_id AS own
                FROM unnest($1::bigint[], $2::timestamptz[]) AS w (id, at)
                JOIN message m ON m.id = w.id JOIN chat h ON h.id = m.chat_id
                JOIN account_peer own ON own.account_id = m.account_id
             ), counted AS (
                SELECT w.id, w.at, count(*) AS others, count(r.peer_id) AS delivered, count(r.read_at) AS read
                FROM waiting w
                JOIN group_member g ON g.group_peer_id = w.group_id AND g.member_peer_id <> w.own
                     AND g.since <= w.stored_at
                LEFT JOIN message_receipt r ON r.message_id = w.id AND r.peer_id = g.member_peer_id
                GROUP BY w.id, w.at
             ), changed AS (
                UPDATE message m SET delivered_at = coalesce(m.delivered_at, c.at),
                       read_at = CASE WHEN c.read = c.others THEN c.at END
                FROM counted c
                WHERE m.id = c.id AND c.delivered = c.others
                  AND (m.delivered_at IS NULL OR (c.read = c.others AND m.read_at IS NULL))
                RETURNING m.id, m.delivered_at = c.at AS newly_delivered, c.read = c.others AS read
             ), done AS (
                DELETE FROM message_receipt WHERE message_id = ANY(ARRAY(SELECT id FROM changed WHERE read)))
             SELECT id, newly_delivered AS "newly_delivered!", read AS "read!" FROM changed"#,
            &messages,
            &at
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let completed: HashMap<i64, (bool, bool)> =
            rows.into_iter().map(|row| (row.id, (row.newly_delivered, row.read))).collect();
        for one in receipted {
            let Some(journal) = journals.of(one.counter) else { continue };
            let (chat, id) = (one.chat, one.id);
            if one.was_queued {
                journal.record(Event::MessageSent { chat: chat.clone(), id: id.clone() });
            }
            let (newly_delivered, read) = completed.get(&one.message).copied().unwrap_or_default();
            if newly_delivered {
                journal.record(Event::MessageDelivered { chat: chat.clone(), id: id.clone() });
            }
            if read {
                journal.record(Event::MessageRead { chat, id });
            }
        }
        Ok(())
    }
}
