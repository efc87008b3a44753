//! Changes of groups, and the receipts of their members.
//!
//! A message in a group is delivered (read) once every other member that was in the group when it was stored, and still
//! is, has received (read) it. A message in a group without other members is never delivered.

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

/// A message that may be complete now, and the data of its events.
struct ReceiptedMessage {
    message: i64,
    at: DateTime<Utc>,
    was_queued: bool,
    counter: CounterId,
    chat: String,
    id: String,
}

impl Tx {
    /// Stores the receipts of members, and completes the messages that all other members have.
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
            r#"WITH receipted AS (
                SELECT m.id, m.state, r.participant, r.read, r.at, r.position
                FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::boolean[], $6::timestamptz[])
                     WITH ORDINALITY AS r (account_id, group_id, participant, network_id, read, at, position)
                CROSS JOIN LATERAL (
                    SELECT id FROM chat WHERE account_id = r.account_id AND peer_id = r.group_id LIMIT 1) chat
                CROSS JOIN LATERAL (
                    SELECT 1 FROM group_member
                    WHERE group_peer_id = r.group_id AND member_peer_id = r.participant LIMIT 1) member
                CROSS JOIN LATERAL (
                    SELECT id, chat_id, sender_peer_id, state, read_at FROM message
                    WHERE account_id = r.account_id AND network_id = r.network_id OFFSET 0) m
                WHERE m.chat_id = chat.id AND m.sender_peer_id IS NULL AND m.state <> 'failed'
                  AND m.read_at IS NULL
             ), new_receipt AS (
                INSERT INTO message_receipt AS old (message_id, peer_id, delivered_at, read_at)
                SELECT id, participant, min(at), min(at) FILTER (WHERE read) FROM receipted
                GROUP BY id, participant ORDER BY id, participant
                ON CONFLICT (message_id, peer_id)
                DO UPDATE SET read_at = coalesce(old.read_at, excluded.read_at)
             ), dequeued AS (
                DELETE FROM outbox WHERE message_id = ANY(ARRAY(SELECT id FROM receipted WHERE state = 'queued'))
             ), updated_message AS (
                UPDATE message SET state = 'sent', sent_at = coalesce(sent_at, clock_timestamp())
                WHERE id = ANY(ARRAY(SELECT id FROM receipted WHERE state = 'queued')))
             SELECT id AS "id!", max(position) AS "position!", bool_or(state = 'queued') AS "was_queued!"
             FROM receipted GROUP BY id ORDER BY max(position)"#,
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
            let index = usize::try_from(row.position - 1).ok()?;
            let receipt = receipts.get(index)?;
            Some(ReceiptedMessage {
                message: row.id,
                at: *at.get(index)?,
                was_queued: row.was_queued,
                counter: receipt.lease.counter,
                chat: receipt.public_id.to_owned(),
                id: receipt.network_id.to_owned(),
            })
        });
        let receipted = receipted.collect();
        self.complete(receipted, journals).await
    }

    /// Stores a change of a group that the network reported to an account, unless it is stored already. Messages no longer
    /// wait for the receipts of members that left.
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
        if changes.iter().any(|change| change.kind.removes_members()) {
            let waiting = self.waiting_in(lease.account, group, lease.counter, journals).await?;
            self.complete(waiting, journals).await?;
        }
        let Some(journal) = journals.of(lease.counter) else { return Ok(()) };
        for change in changes {
            journal.record(Event::GroupChanged {
                group: group.public_id.clone(),
                change: change.kind,
                participants: change.participants.iter().map(|who| who.public_id.clone()).collect(),
                by: change.by.as_ref().map(|by| by.public_id.clone()),
            });
        }
        Ok(())
    }

    /// The messages of the account in a group that have receipts, but not from all members.
    async fn waiting_in(
        &mut self,
        account: AccountId,
        group: &Peer,
        counter: CounterId,
        journals: &mut LockedJournals,
    ) -> Result<Vec<ReceiptedMessage>, DbError> {
        let rows = sqlx::query!(
            "SELECT m.id, m.network_id
             FROM (SELECT id FROM chat WHERE account_id = $1 AND peer_id = $2 LIMIT 1) h
             CROSS JOIN LATERAL (
                 SELECT id, network_id, stored_at FROM message
                 WHERE chat_id = h.id AND sender_peer_id IS NULL AND read_at IS NULL OFFSET 0) m
             WHERE EXISTS (SELECT 1 FROM message_receipt r WHERE r.message_id = m.id OFFSET 0)
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

    /// Marks messages as delivered, and as read, that all other members have; deletes the receipts of messages that all
    /// have read.
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
            r#"WITH candidate AS (
                SELECT m.id, m.stored_at, r.at, chat.peer_id AS group_id, own.peer_id AS own_peer_id
                FROM unnest($1::bigint[], $2::timestamptz[]) AS r (id, at)
                CROSS JOIN LATERAL (SELECT id, chat_id, account_id, stored_at FROM message WHERE id = r.id LIMIT 1) m
                CROSS JOIN LATERAL (SELECT peer_id FROM chat WHERE id = m.chat_id LIMIT 1) chat
                CROSS JOIN LATERAL (
                    SELECT peer_id FROM account_peer WHERE account_id = m.account_id LIMIT 1) own
             ), receipt_count AS (
                SELECT c.id, c.at, count(*) AS others, count(receipt.peer_id) AS delivered,
                       count(receipt.read_at) AS read
                FROM candidate c
                CROSS JOIN LATERAL (
                    SELECT member_peer_id FROM group_member WHERE group_peer_id = c.group_id
                      AND member_peer_id <> c.own_peer_id AND since <= c.stored_at OFFSET 0) member
                LEFT JOIN LATERAL (
                    SELECT peer_id, read_at FROM message_receipt
                    WHERE message_id = c.id AND peer_id = member.member_peer_id LIMIT 1) receipt ON true
                GROUP BY c.id, c.at
             ), updated_message AS (
                UPDATE message m SET delivered_at = coalesce(m.delivered_at, c.at),
                       read_at = CASE WHEN c.read = c.others THEN c.at END
                FROM (SELECT counted.*, old.ctid AS place FROM receipt_count counted
                      CROSS JOIN LATERAL (SELECT ctid FROM message WHERE id = counted.id LIMIT 1) old
                      WHERE counted.delivered = counted.others) c
                WHERE m.ctid = c.place
                  AND (m.delivered_at IS NULL OR (c.read = c.others AND m.read_at IS NULL))
                RETURNING m.id, m.delivered_at = c.at AS newly_delivered, c.read = c.others AS read
             ), deleted_receipt AS (
                DELETE FROM message_receipt
                WHERE message_id = ANY(ARRAY(SELECT id FROM updated_message WHERE read)))
             SELECT id, newly_delivered AS "newly_delivered!", read AS "read!" FROM updated_message"#,
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
