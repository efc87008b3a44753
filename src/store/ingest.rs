//! What a network told a session, stored in one transaction with the journal and the resume point.

use chrono::{DateTime, Utc};

use super::message::fingerprint;
use super::{Journal, Peer, Store, StoreError, Topic, Tx};
use crate::domain::{Content, Event, Lease, MessageId, ReceiptKind};

/// One thing that happened, about one peer.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The other side of the chat.
    pub peer: Peer,
    /// What happened.
    pub what: InboundKind,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum InboundKind {
    /// A message from the peer, or with `from_us` one that another device of the account sent to the peer. `live`
    /// is false for what is read from a history: it raises no event.
    Message {
        /// The id on the network.
        network_id: String,
        /// What it says.
        content: Content,
        /// What the network says of when.
        sent_at: DateTime<Utc>,
        /// Sent by the account itself, from elsewhere.
        from_us: bool,
        /// Raises an event.
        live: bool,
    },
    /// The peer's receipt for a message of ours.
    Receipt {
        /// The message's id.
        network_id: String,
        /// Delivered or read.
        kind: ReceiptKind,
    },
    /// Another device of the account read the chat up to this message.
    ReadElsewhere {
        /// The newest message read.
        network_id: String,
    },
    /// The peer's nickname.
    Nickname(String),
    /// Something that could not be read.
    Undecryptable {
        /// Its id.
        network_id: String,
    },
}

impl Store {
    /// Stores a batch in order. What is there already is left as it is: a network may repeat itself.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease has passed on; then nothing is stored.
    pub async fn ingest(
        &self,
        lease: &Lease,
        batch: &[Inbound],
        resume_point: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        // Chats first, in one order, then the counter.
        let mut peers: Vec<&Peer> =
            batch.iter().filter(|item| item.what.needs_chat()).map(|item| &item.peer).collect();
        peers.sort_by_key(|peer| peer.id);
        peers.dedup_by_key(|peer| peer.id);
        let mut new_chats = false;
        for peer in peers {
            new_chats |= tx.lock_chat(lease.account, peer.id).await?.1;
        }
        let mut journal = tx.open_journal_leased(lease).await?;
        if new_chats {
            tx.roster_changed(lease.account).await?;
        }
        for item in batch {
            tx.ingest_one(lease, item, &mut journal).await?;
        }
        if let Some(resume_point) = resume_point {
            sqlx::query!("UPDATE account SET resume_point = $2 WHERE id = $1", lease.account.0, resume_point)
                .execute(&mut *tx.inner)
                .await?;
        }
        tx.close_journal(journal).await?;
        tx.commit().await?;
        self.wakes.wake(Topic::journal(lease.counter));
        Ok(())
    }
}

impl InboundKind {
    fn needs_chat(&self) -> bool {
        match self {
            Self::Message { .. } | Self::ReadElsewhere { .. } => true,
            Self::Receipt { .. } | Self::Nickname(_) | Self::Undecryptable { .. } => false,
        }
    }
}

impl Tx {
    async fn ingest_one(
        &mut self,
        lease: &Lease,
        item: &Inbound,
        journal: &mut Journal,
    ) -> Result<(), StoreError> {
        let chat = item.peer.public_id.clone();
        match &item.what {
            InboundKind::Message { network_id, content, sent_at, from_us, live } => {
                let row = (network_id.as_str(), content, *sent_at, *from_us);
                let stored = self.ingest_message(lease, &item.peer, row, journal).await?;
                if stored && *live {
                    let id = network_id.clone();
                    journal.record(if *from_us {
                        Event::MessageSentElsewhere { chat, id }
                    } else {
                        Event::MessageReceived { chat, id, kind: content.letter() }
                    });
                }
                Ok(())
            }
            InboundKind::Receipt { network_id, kind } => {
                self.ingest_receipt(lease, &item.peer, network_id, *kind, journal).await
            }
            InboundKind::ReadElsewhere { network_id } => {
                let row = sqlx::query!(
                    "SELECT h.id, m.stored_at FROM message m JOIN chat h ON h.id = m.chat_id
                     WHERE m.account_id = $1 AND h.account_id = $1 AND h.peer_id = $2 AND m.network_id = $3
                     ORDER BY m.stored_at DESC LIMIT 1",
                    lease.account.0,
                    item.peer.id.0,
                    network_id
                )
                .fetch_optional(&mut *self.inner)
                .await?;
                let Some(row) = row else { return Ok(()) };
                // The bound is exclusive; stored times are whole microseconds.
                let before = row.stored_at + chrono::Duration::microseconds(1);
                let chat_id = crate::domain::ChatId(row.id);
                let messages = self.read_up_to(lease.account, chat_id, Some(before), false, journal).await?;
                if messages > 0 {
                    journal.record(Event::ChatRead { chat, messages });
                }
                Ok(())
            }
            InboundKind::Nickname(nickname) => {
                sqlx::query!(
                    "INSERT INTO peer_profile (account_id, peer_id, nickname) VALUES ($1, $2, $3)
                     ON CONFLICT (account_id, peer_id) DO UPDATE SET nickname = excluded.nickname",
                    lease.account.0,
                    item.peer.id.0,
                    nickname
                )
                .execute(&mut *self.inner)
                .await?;
                Ok(())
            }
            InboundKind::Undecryptable { network_id } => {
                journal.record(Event::MessageUndecryptable { chat, id: network_id.clone() });
                Ok(())
            }
        }
    }

    /// True: it was new.
    async fn ingest_message(
        &mut self,
        lease: &Lease,
        peer: &Peer,
        (network_id, content, sent_at, from_us): (&str, &Content, DateTime<Utc>, bool),
        journal: &mut Journal,
    ) -> Result<bool, StoreError> {
        let (chat, _) = self.lock_chat(lease.account, peer.id).await?;
        let stored_at = journal.next_time();
        let message = sqlx::query_scalar!(
            "INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint,
                                  stored_at, sent_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT ON CONSTRAINT message_twin_key DO NOTHING RETURNING id",
            lease.account.0,
            chat.0,
            network_id,
            (!from_us).then_some(peer.id.0),
            if from_us { "sent" } else { "received" },
            content.letter(),
            content.text(),
            &fingerprint(content)[..],
            stored_at,
            sent_at
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(message) = message else { return Ok(false) };
        self.touch_chat(chat, MessageId(message), stored_at, i32::from(!from_us)).await?;
        if !from_us {
            // Whoever writes exists, whatever the last sync said.
            let found = sqlx::query!(
                "UPDATE contact SET exists_there = true
                 WHERE account_id = $1 AND peer_id = $2 AND NOT exists_there",
                lease.account.0,
                peer.id.0
            )
            .execute(&mut *self.inner)
            .await?;
            if found.rows_affected() == 1 {
                journal.record(Event::ContactUpdated { contact: peer.public_id.clone() });
            }
        }
        Ok(true)
    }

    /// A message that has a receipt was taken by the network, even if its session has not stored that yet.
    async fn sent_for_sure(&mut self, message: i64) -> Result<(), StoreError> {
        sqlx::query!(
            "WITH taken AS (DELETE FROM outbox WHERE message_id = $1)
             UPDATE message SET state = 'sent', sent_at = clock_timestamp() WHERE id = $1",
            message
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// A receipt counts only from the other side of the chat that the message is in; a read one is a delivered one
    /// too.
    async fn ingest_receipt(
        &mut self,
        lease: &Lease,
        peer: &Peer,
        network_id: &str,
        kind: ReceiptKind,
        journal: &mut Journal,
    ) -> Result<(), StoreError> {
        let at = journal.next_time();
        let read = kind == ReceiptKind::Read;
        let row = sqlx::query!(
            r#"WITH before AS (
                SELECT m.id, m.delivered_at, m.read_at FROM message m JOIN chat h ON h.id = m.chat_id
                WHERE m.account_id = $1 AND h.account_id = $1 AND h.peer_id = $2 AND m.network_id = $3
                  AND m.sender_peer_id IS NULL AND m.state <> 'failed'
                  AND (m.delivered_at IS NULL OR ($5 AND m.read_at IS NULL)))
             UPDATE message m SET delivered_at = coalesce(m.delivered_at, $4),
                    read_at = CASE WHEN $5 THEN coalesce(m.read_at, $4) ELSE m.read_at END
             FROM before b WHERE m.id = b.id
             RETURNING m.id, b.delivered_at IS NULL AS "newly_delivered!", m.state = 'queued' AS "queued!""#,
            lease.account.0,
            peer.id.0,
            network_id,
            at,
            read
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(row) = row else { return Ok(()) };
        let (chat, id) = (peer.public_id.clone(), network_id.to_owned());
        if row.queued {
            self.sent_for_sure(row.id).await?;
            journal.record(Event::MessageSent { chat: chat.clone(), id: id.clone() });
        }
        if row.newly_delivered {
            journal.record(Event::MessageDelivered { chat: chat.clone(), id: id.clone() });
        }
        if read {
            journal.record(Event::MessageRead { chat, id });
        }
        Ok(())
    }
}
