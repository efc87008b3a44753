//! The ids that networks choose for messages of the account. They are stored under the lock of the account's counter, so
//! that no two writes give an id away.

use std::collections::BTreeSet;

use super::locks::LockedJournals;
use crate::db::DbError;
use crate::domain::{AccountId, Event, Lease, MessageId};
use crate::store::{Peer, Tx};

impl Tx {
    /// Stores remote ids of messages. A message keeps the first that it got, and an id stays with the first message of the
    /// chat that got it.
    pub(super) async fn store_remote_ids(
        &mut self,
        named: &[(AccountId, MessageId, &str)],
    ) -> Result<(), DbError> {
        if named.is_empty() {
            return Ok(());
        }
        let accounts: Vec<i64> = named.iter().map(|(account, ..)| account.0).collect();
        let messages: Vec<i64> = named.iter().map(|(_, message, _)| message.0).collect();
        let ids: Vec<&str> = named.iter().map(|(.., id)| *id).collect();
        sqlx::query!(
            "INSERT INTO message_remote (message_id, account_id, chat_id, remote_id)
             SELECT n.message_id, n.account_id, m.chat_id, n.remote_id
             FROM unnest($1::bigint[], $2::bigint[], $3::text[])
                  WITH ORDINALITY AS n (account_id, message_id, remote_id, position)
             CROSS JOIN LATERAL (SELECT account_id, chat_id FROM message WHERE id = n.message_id LIMIT 1) m
             WHERE m.account_id = n.account_id ORDER BY n.position
             ON CONFLICT DO NOTHING",
            &accounts,
            &messages,
            &ids as &[&str]
        )
        .execute(&mut *self.inner)
        .await?;
        // A network repeats itself; but one that calls two messages of a chat the same, or changes its mind, is faulty.
        let refused = sqlx::query!(
            "SELECT n.account_id, n.message_id
             FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS n (account_id, message_id, remote_id)
             CROSS JOIN LATERAL (SELECT account_id FROM message WHERE id = n.message_id LIMIT 1) m
             LEFT JOIN LATERAL (
                 SELECT remote_id FROM message_remote WHERE message_id = n.message_id LIMIT 1) r ON true
             WHERE m.account_id = n.account_id AND r.remote_id IS DISTINCT FROM n.remote_id",
            &accounts,
            &messages,
            &ids as &[&str]
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let accounts: BTreeSet<Option<i64>> = refused.iter().map(|row| row.account_id).collect();
        for account in accounts.into_iter().flatten() {
            tracing::warn!(account = %AccountId(account),
                "the network calls a message by an id that another one has, or by a second id: the first counts");
        }
        Ok(())
    }

    /// Stores that the network accepted a message of the account, unless that is known, and its id there.
    pub(super) async fn accept_by_network(
        &mut self,
        lease: &Lease,
        peer: &Peer,
        network_id: &str,
        remote_id: &str,
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        let Some(journal) = journals.of(lease.counter) else { return Ok(()) };
        let accepted = sqlx::query!(
            r#"SELECT m.id, m.state = 'queued' AS "queued!"
               FROM (SELECT id FROM chat WHERE account_id = $1 AND peer_id = $2 LIMIT 1) h
               CROSS JOIN LATERAL (
                   SELECT id, chat_id, sender_peer_id, state FROM message
                   WHERE account_id = $1 AND network_id = $3 OFFSET 0) m
               WHERE m.chat_id = h.id AND m.sender_peer_id IS NULL ORDER BY m.id LIMIT 1"#,
            lease.account.0,
            peer.id.0,
            network_id
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(accepted) = accepted else { return Ok(()) };
        if accepted.queued {
            sqlx::query!(
                "WITH dequeued AS (DELETE FROM outbox WHERE message_id = $1)
                 UPDATE message SET state = 'sent', sent_at = coalesce(sent_at, clock_timestamp()) WHERE id = $1",
                accepted.id
            )
            .execute(&mut *self.inner)
            .await?;
            journal.record(Event::MessageSent { chat: peer.public_id.clone(), id: network_id.to_owned() });
        }
        self.store_remote_ids(&[(lease.account, MessageId(accepted.id), remote_id)]).await
    }

    /// Lets a message that answers a message of the account, or refers to it, name it by our id instead of the network's.
    pub(super) async fn correct_references(
        &mut self,
        account: AccountId,
        peer: &Peer,
        (network_id, remote_id): (&str, &str),
        message: &str,
    ) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE message m SET details = m.details
                 || CASE WHEN old.reply_to = $4 THEN jsonb_build_object('reply_to', $5::text) ELSE '{}' END
                 || CASE WHEN old.refers_to = $4 THEN jsonb_build_object('refers_to', $5::text) ELSE '{}' END
             FROM (SELECT id FROM chat WHERE account_id = $1 AND peer_id = $2 LIMIT 1) h
             CROSS JOIN LATERAL (
                 SELECT ctid AS place, chat_id, details ->> 'reply_to' AS reply_to, details ->> 'refers_to' AS refers_to
                 FROM message
                 WHERE account_id = $1 AND network_id = $3 OFFSET 0) old
             WHERE m.ctid = old.place AND old.chat_id = h.id AND $4 IN (old.reply_to, old.refers_to)",
            account.0,
            peer.id.0,
            network_id,
            remote_id,
            message
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
