//! Receipts of one transaction.

use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

use super::locks::Locked;
use crate::domain::{Event, Lease, PeerId, ReceiptKind};
use crate::store::{StoreError, Tx};

/// The other side's receipt for a message of the account's.
pub(super) struct NewReceipt<'a> {
    pub lease: &'a Lease,
    pub peer: PeerId,
    pub public_id: &'a str,
    pub network_id: &'a str,
    pub kind: ReceiptKind,
}

impl Tx {
    /// A receipt counts only from the other side of the chat that the message is in; a read one is a delivered one
    /// too. A message that has a receipt was taken by the network, even if its session has not stored that yet.
    pub(super) async fn store_receipts(
        &mut self,
        receipts: &[NewReceipt<'_>],
        locked: &mut Locked,
    ) -> Result<(), StoreError> {
        // A statement changes a row once: several receipts for one message count as one.
        let mut wanted: BTreeMap<(i64, i64, &str), (usize, &NewReceipt, bool)> = BTreeMap::new();
        for (place, receipt) in receipts.iter().enumerate() {
            let key = (receipt.lease.account.0, receipt.peer.0, receipt.network_id);
            wanted.entry(key).or_insert((place, receipt, false)).2 |= receipt.kind == ReceiptKind::Read;
        }
        if wanted.is_empty() {
            return Ok(());
        }
        // In the order in which they were told.
        let mut wanted: Vec<(usize, &NewReceipt, bool)> = wanted.into_values().collect();
        wanted.sort_unstable_by_key(|(place, ..)| *place);
        let wanted: Vec<(&NewReceipt, bool)> =
            wanted.into_iter().map(|(_, receipt, read)| (receipt, read)).collect();
        let accounts: Vec<i64> = wanted.iter().map(|(receipt, _)| receipt.lease.account.0).collect();
        let peers: Vec<i64> = wanted.iter().map(|(receipt, _)| receipt.peer.0).collect();
        let ids: Vec<String> = wanted.iter().map(|(receipt, _)| receipt.network_id.to_owned()).collect();
        let read: Vec<bool> = wanted.iter().map(|(_, read)| *read).collect();
        let at: Vec<DateTime<Utc>> = wanted
            .iter()
            .filter_map(|(receipt, _)| Some(locked.journal(receipt.lease.counter)?.next_time()))
            .collect();
        let rows = sqlx::query!(
            r#"WITH wanted AS (
                SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::boolean[], $5::timestamptz[])
                     WITH ORDINALITY AS w (account_id, peer_id, network_id, read, at, place)
             ), before AS (
                SELECT m.id, m.delivered_at, m.state, w.read, w.at, w.place FROM wanted w
                JOIN chat h ON h.account_id = w.account_id AND h.peer_id = w.peer_id
                CROSS JOIN LATERAL (
                    SELECT * FROM message m
                    WHERE m.account_id = w.account_id AND m.network_id = w.network_id OFFSET 0) m
                WHERE m.chat_id = h.id AND m.sender_peer_id IS NULL AND m.state <> 'failed'
                  AND (m.delivered_at IS NULL OR (w.read AND m.read_at IS NULL))
             ), taken AS (
                DELETE FROM outbox WHERE message_id = ANY(ARRAY(SELECT id FROM before WHERE state = 'queued'))
             ), changed AS (
                UPDATE message m SET delivered_at = coalesce(m.delivered_at, b.at),
                       read_at = CASE WHEN b.read THEN coalesce(m.read_at, b.at) ELSE m.read_at END,
                       state = 'sent', sent_at = coalesce(m.sent_at, clock_timestamp())
                FROM before b WHERE m.id = b.id
                RETURNING b.place, b.delivered_at IS NULL AS newly_delivered, b.state = 'queued' AS was_queued)
             SELECT place AS "place!", newly_delivered AS "newly_delivered!", was_queued AS "was_queued!"
             FROM changed ORDER BY place"#,
            &accounts,
            &peers,
            &ids,
            &read,
            &at
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for row in rows {
            let place = usize::try_from(row.place - 1).unwrap_or(usize::MAX);
            let Some((receipt, read)) = wanted.get(place) else { continue };
            let Some(journal) = locked.journal(receipt.lease.counter) else { continue };
            let (chat, id) = (receipt.public_id.to_owned(), receipt.network_id.to_owned());
            if row.was_queued {
                journal.record(Event::MessageSent { chat: chat.clone(), id: id.clone() });
            }
            if row.newly_delivered {
                journal.record(Event::MessageDelivered { chat: chat.clone(), id: id.clone() });
            }
            if *read {
                journal.record(Event::MessageRead { chat, id });
            }
        }
        Ok(())
    }
}
