//! Groups in one transaction: what changed, and the receipts of their members.
//!
//! A message into a group is delivered, or read, when all others have it who are members and were when it was stored. A
//! message that waits for nobody else was not delivered to anybody.

use chrono::{DateTime, Utc};
use std::collections::HashMap;

use super::locks::Locked;
use crate::db::DbError;
use crate::domain::{AccountId, CounterId, Event, Lease, PeerId, ReceiptKind};
use crate::store::{Peer, ToldChange, Tx};

/// A member's receipt for a message that the account sent into a group.
pub(super) struct NewGroupReceipt<'a> {
    pub lease: &'a Lease,
    pub group: PeerId,
    pub public_id: &'a str,
    pub participant: PeerId,
    pub network_id: &'a str,
    pub kind: ReceiptKind,
}

/// A message that somebody in a group has, and what the journal needs to tell of it.
struct Touched {
    message: i64,
    at: DateTime<Utc>,
    was_queued: bool,
    counter: CounterId,
    chat: String,
    id: String,
}

impl Tx {
    /// Notes receipts, as far as they are of members, and completes the messages that all have now.
    pub(super) async fn store_group_receipts(
        &mut self,
        receipts: &[NewGroupReceipt<'_>],
        locked: &mut Locked,
    ) -> Result<(), DbError> {
        if receipts.is_empty() {
            return Ok(());
        }
        let of = |one: fn(&NewGroupReceipt<'_>) -> i64| receipts.iter().map(one).collect::<Vec<_>>();
        let ids: Vec<&str> = receipts.iter().map(|one| one.network_id).collect();
        let read: Vec<bool> = receipts.iter().map(|one| one.kind == ReceiptKind::Read).collect();
        let at: Vec<DateTime<Utc>> =
            receipts.iter().filter_map(|one| Some(locked.journal(one.lease.counter)?.next_time())).collect();
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
        let touched = rows.into_iter().filter_map(|row| {
            let place = usize::try_from(row.place - 1).ok()?;
            let receipt = receipts.get(place)?;
            Some(Touched {
                message: row.id,
                at: *at.get(place)?,
                was_queued: row.was_queued,
                counter: receipt.lease.counter,
                chat: receipt.public_id.to_owned(),
                id: receipt.network_id.to_owned(),
            })
        });
        let touched = touched.collect();
        self.complete(touched, locked).await
    }

    /// Notes what a network told an account of a group, once. Who left is not waited for any more.
    pub(super) async fn ingest_group(
        &mut self,
        lease: &Lease,
        group: &Peer,
        (revision, subject): (i64, &str),
        changes: &[ToldChange],
        locked: &mut Locked,
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
        if changes.iter().any(|change| change.kind.removes_members()) {
            let waiting = self.waiting_in(lease.account, group, lease.counter, locked).await?;
            self.complete(waiting, locked).await?;
        }
        let Some(journal) = locked.journal(lease.counter) else { return Ok(()) };
        for change in changes {
            journal.record(Event::GroupChanged {
                group: group.public_id.clone(),
                change: change.kind,
                participants: change.participants.clone(),
            });
        }
        Ok(())
    }

    /// The account's messages that some of a group have.
    async fn waiting_in(
        &mut self,
        account: AccountId,
        group: &Peer,
        counter: CounterId,
        locked: &mut Locked,
    ) -> Result<Vec<Touched>, DbError> {
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
        let Some(journal) = locked.journal(counter) else { return Ok(Vec::new()) };
        let touched = rows.into_iter().map(|row| Touched {
            message: row.id,
            at: journal.next_time(),
            was_queued: false,
            counter,
            chat: group.public_id.clone(),
            id: row.network_id,
        });
        Ok(touched.collect())
    }

    /// Marks those delivered, and read, that all have of whom it is expected; of one that all have read nothing more is
    /// kept.
    async fn complete(&mut self, touched: Vec<Touched>, locked: &mut Locked) -> Result<(), DbError> {
        if touched.is_empty() {
            return Ok(());
        }
        let messages: Vec<i64> = touched.iter().map(|one| one.message).collect();
        let at: Vec<DateTime<Utc>> = touched.iter().map(|one| one.at).collect();
        let rows = sqlx::query!(
            r#"WITH waiting AS (
                SELECT m.id, m.stored_at, w.at, h.peer_id AS group_id, own.id AS own
                FROM unnest($1::bigint[], $2::timestamptz[]) AS w (id, at)
                JOIN message m ON m.id = w.id JOIN chat h ON h.id = m.chat_id
                JOIN account a ON a.id = m.account_id
                JOIN peer own ON own.network = a.network AND own.public_id = a.number
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
        for one in touched {
            let Some(journal) = locked.journal(one.counter) else { continue };
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
