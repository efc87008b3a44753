//! The rows of one transaction: collected from its writes, then written a table at a time.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use super::OfSession;
use super::group_receipts::NewGroupReceipt;
use super::locks::Locked;
use super::profiles::Profiles;
use super::published::Published;
use super::receipts::NewReceipt;
use super::settlements::Settled;
use crate::domain::{AccountId, ChatId, Content, CounterId, Event, Lease, MessageId, PeerId};
use crate::store::content::{details, fingerprint};
use crate::store::{Inbound, InboundKind, Peer, StoreError, Tx};

/// What is to be written.
#[derive(Default)]
pub(super) struct Change<'a> {
    messages: Vec<NewMessage<'a>>,
    pub(super) receipts: Vec<NewReceipt<'a>>,
    pub(super) group_receipts: Vec<NewGroupReceipt<'a>>,
    pub(super) settled: Vec<Settled>,
    others: Vec<(&'a Lease, &'a Inbound)>,
    profiles: Profiles<'a>,
    resume_points: Vec<(AccountId, &'a [u8])>,
    published: Vec<Published<'a>>,
}

/// A message of somebody whom the account has blocked: not stored.
pub(super) struct Dropped {
    pub account: AccountId,
    pub peer: PeerId,
    pub network_id: String,
}

struct NewMessage<'a> {
    account: AccountId,
    counter: CounterId,
    chat: ChatId,
    public_id: &'a str,
    /// In a group: who wrote it.
    participant: Option<&'a str>,
    network_id: &'a str,
    content: &'a Content,
    stored_at: DateTime<Utc>,
    origin: Origin,
}

#[derive(Clone, Copy)]
enum Origin {
    /// From the other side; `live` raises an event.
    Received { peer: PeerId, sent_at: DateTime<Utc>, live: bool },
    /// From another device of the account.
    Elsewhere { sent_at: DateTime<Utc>, live: bool },
}

impl Origin {
    fn state(self) -> &'static str {
        match self {
            Self::Received { .. } => "received",
            Self::Elsewhere { .. } => "sent",
        }
    }

    fn sender(self) -> Option<i64> {
        match self {
            Self::Received { peer, .. } => Some(peer.0),
            Self::Elsewhere { .. } => None,
        }
    }

    fn sent_at(self) -> DateTime<Utc> {
        match self {
            Self::Received { sent_at, .. } | Self::Elsewhere { sent_at, .. } => sent_at,
        }
    }
}

impl NewMessage<'_> {
    /// What the journal says of it, if anything.
    fn event(&self) -> Option<Event> {
        let (chat, id) = (self.public_id.to_owned(), self.network_id.to_owned());
        match self.origin {
            Origin::Received { live: true, .. } => {
                let participant = self.participant.map(str::to_owned);
                Some(Event::MessageReceived { chat, id, kind: self.content.letter(), participant })
            }
            Origin::Elsewhere { live: true, .. } => Some(Event::MessageSentElsewhere { chat, id }),
            Origin::Received { live: false, .. } | Origin::Elsewhere { live: false, .. } => None,
        }
    }
}

impl<'a> Change<'a> {
    /// Adds a write whose locks are there.
    pub fn add(&mut self, lease: &'a Lease, what: &'a OfSession, locked: &mut Locked) {
        match what {
            OfSession::Settled(settled) => {
                self.settled.extend(settled.iter().map(|(message, how)| Settled::new(lease, *message, *how)));
            }
            OfSession::Told { batch, resume_point } => {
                for item in batch {
                    self.add_inbound(lease, item, locked);
                }
                if let Some(point) = resume_point {
                    self.resume_points.push((lease.account, point));
                }
            }
            OfSession::State { state, reason } => {
                self.published.push(Published { lease, state: *state, reason: reason.as_deref() });
            }
        }
    }

    fn add_inbound(&mut self, lease: &'a Lease, item: &'a Inbound, locked: &mut Locked) {
        let Peer { id: peer, public_id, .. } = &item.peer;
        let participant = item.participant.as_ref();
        match &item.what {
            InboundKind::Message { network_id, content, sent_at, from_us, live } => {
                let (sent_at, live) = (*sent_at, *live);
                let origin = if *from_us {
                    Origin::Elsewhere { sent_at, live }
                } else {
                    Origin::Received { peer: participant.map_or(*peer, |who| who.id), sent_at, live }
                };
                let whose = (lease.account, lease.counter, *peer);
                let who = (public_id.as_str(), participant.map(|who| who.public_id.as_str()));
                self.add_message(whose, who, network_id, content, origin, locked);
            }
            InboundKind::Receipt { network_id, kind } => {
                let receipt = NewReceipt { lease, peer: *peer, public_id, network_id, kind: *kind };
                match participant {
                    Some(who) => self.group_receipts.push(NewGroupReceipt { receipt, participant: who.id }),
                    None => self.receipts.push(receipt),
                }
            }
            InboundKind::Nickname(_) | InboundKind::Profile(_) => self.profiles.add(lease, item),
            InboundKind::ReadElsewhere { .. }
            | InboundKind::Undecryptable { .. }
            | InboundKind::Group { .. } => {
                self.others.push((lease, item));
            }
        }
    }

    fn add_message(
        &mut self,
        (account, counter, peer): (AccountId, CounterId, PeerId),
        (public_id, participant): (&'a str, Option<&'a str>),
        network_id: &'a str,
        content: &'a Content,
        origin: Origin,
        locked: &mut Locked,
    ) {
        let Some(chat) = locked.chat(account, peer) else { return };
        let Some(journal) = locked.journal(counter) else { return };
        let stored_at = journal.next_time();
        self.messages.push(NewMessage {
            account,
            counter,
            chat,
            public_id,
            participant,
            network_id,
            content,
            stored_at,
            origin,
        });
    }
}

impl Tx {
    /// Writes it all: messages before what refers to them. Gives the messages that were dropped.
    pub(super) async fn apply(
        &mut self,
        change: Change<'_>,
        locked: &mut Locked,
    ) -> Result<Vec<Dropped>, StoreError> {
        let dropped = self.insert_messages(&change.messages, locked).await?;
        self.store_receipts(&change.receipts, locked).await?;
        self.store_group_receipts(&change.group_receipts, locked).await?;
        self.store_settled(&change.settled, locked).await?;
        for (lease, item) in change.others {
            self.ingest_other(lease, item, locked).await?;
        }
        self.store_profiles(change.profiles, locked).await?;
        self.store_resume_points(&change.resume_points).await?;
        self.store_published(&change.published, locked).await?;
        Ok(dropped)
    }

    /// Inserts those that are not there yet, in order, and notes each chat's newest message. Whoever wrote one exists,
    /// whatever the last sync said. What somebody wrote to the account alone who is blocked by it is dropped, and given
    /// back.
    async fn insert_messages(
        &mut self,
        messages: &[NewMessage<'_>],
        locked: &mut Locked,
    ) -> Result<Vec<Dropped>, StoreError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let fingerprints: Vec<Vec<u8>> = column(messages, |message| fingerprint(message.content).to_vec());
        let rows = sqlx::query!(
            r#"WITH given AS (
                SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[],
                                     $7::text[], $8::bytea[], $9::timestamptz[], $10::timestamptz[], $11::jsonb[])
                     WITH ORDINALITY AS m (account_id, chat_id, network_id, sender_peer_id, state, type, text,
                                           fingerprint, stored_at, sent_at, details, place)
             ), dropped AS (
                SELECT g.place, g.account_id, g.stored_at FROM given g
                JOIN block b ON b.account_id = g.account_id AND b.peer_id = g.sender_peer_id
                JOIN chat h ON h.id = g.chat_id AND h.peer_id = b.peer_id
             ), new AS (
                INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint,
                                     stored_at, sent_at, details)
                SELECT account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint, stored_at,
                       sent_at, details FROM given
                WHERE NOT place = ANY(ARRAY(SELECT place FROM dropped))
                ORDER BY place ON CONFLICT ON CONSTRAINT message_twin_key DO NOTHING
                RETURNING id, account_id, chat_id, sender_peer_id, stored_at
             ), touched AS (
                UPDATE chat h SET last_message_id = n.last, last_at = n.at, unread = unread + n.received,
                       peer_wrote = peer_wrote OR n.received > 0
                FROM (SELECT chat_id, max(id) AS last, max(stored_at) AS at,
                             count(sender_peer_id)::integer AS received FROM new GROUP BY chat_id) n
                WHERE h.id = n.chat_id
             ), found AS (
                UPDATE contact c SET exists_there = true
                FROM (SELECT DISTINCT account_id, sender_peer_id FROM new) n
                WHERE c.account_id = n.account_id AND c.peer_id = n.sender_peer_id AND NOT c.exists_there
                RETURNING c.account_id, c.peer_id)
             SELECT account_id AS "account!", stored_at, id, NULL::bigint AS found, false AS "dropped!" FROM new
             UNION ALL SELECT account_id, NULL, NULL, peer_id, false FROM found
             UNION ALL SELECT account_id, stored_at, NULL, NULL, true FROM dropped"#,
            &column(messages, |message| message.account.0),
            &column(messages, |message| message.chat.0),
            &column(messages, |message| message.network_id) as &[&str],
            &column(messages, |message| message.origin.sender()) as &[Option<i64>],
            &column(messages, |message| message.origin.state()) as &[&str],
            &column(messages, |message| message.content.letter()) as &[&str],
            &column(messages, |message| message.content.text()) as &[Option<&str>],
            &fingerprints,
            &column(messages, |message| message.stored_at),
            &column(messages, |message| message.origin.sent_at()),
            &column(messages, |message| details(message.content)) as &[Option<Value>]
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let mut new = HashMap::new();
        let mut found = HashSet::new();
        let mut dropped = HashSet::new();
        for row in rows {
            if row.dropped {
                dropped.extend(row.stored_at.map(|stored_at| (row.account, stored_at)));
            }
            new.extend(row.stored_at.zip(row.id).map(|(stored_at, id)| ((row.account, stored_at), id)));
            found.extend(row.found.map(|peer| (row.account, peer)));
        }
        let mut files = Vec::new();
        for message in messages {
            let Some(id) = new.get(&(message.account.0, message.stored_at)) else { continue };
            if let Some(file) = message.content.file() {
                files.push((MessageId(*id), message.account, file));
            }
            let Some(journal) = locked.journal(message.counter) else { continue };
            if message.origin.sender().is_some_and(|sender| found.remove(&(message.account.0, sender))) {
                let contact = message.participant.unwrap_or(message.public_id).to_owned();
                journal.record(Event::ContactUpdated { contact });
            }
            if let Some(event) = message.event() {
                journal.record(event);
            }
        }
        self.refer_to_files(&files).await?;
        let dropped =
            messages.iter().filter(|message| dropped.contains(&(message.account.0, message.stored_at)));
        Ok(dropped
            .filter_map(|message| {
                let peer = PeerId(message.origin.sender()?);
                Some(Dropped { account: message.account, peer, network_id: message.network_id.to_owned() })
            })
            .collect())
    }

    /// What comes too seldom to be worth a table at a time.
    async fn ingest_other(
        &mut self,
        lease: &Lease,
        item: &Inbound,
        locked: &mut Locked,
    ) -> Result<(), StoreError> {
        let chat = item.peer.public_id.clone();
        if let InboundKind::Group { revision, subject, changes } = &item.what {
            return self.ingest_group(lease, &item.peer, (*revision, subject), changes, locked).await;
        }
        let Some(journal) = locked.journal(lease.counter) else { return Ok(()) };
        match &item.what {
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
                let before = row.stored_at + Duration::microseconds(1);
                let messages =
                    self.read_up_to(lease.account, ChatId(row.id), Some(before), false, journal).await?;
                if messages > 0 {
                    journal.record(Event::ChatRead { chat, messages });
                }
            }
            InboundKind::Undecryptable { network_id } => {
                journal.record(Event::MessageUndecryptable { chat, id: network_id.clone() });
            }
            InboundKind::Message { .. }
            | InboundKind::Receipt { .. }
            | InboundKind::Nickname(_)
            | InboundKind::Profile(_)
            | InboundKind::Group { .. } => {}
        }
        Ok(())
    }

    async fn store_resume_points(&mut self, points: &[(AccountId, &[u8])]) -> Result<(), StoreError> {
        // The last one of an account counts.
        let points: BTreeMap<i64, &[u8]> =
            points.iter().map(|(account, point)| (account.0, *point)).collect();
        if points.is_empty() {
            return Ok(());
        }
        let (accounts, points): (Vec<i64>, Vec<Vec<u8>>) =
            points.into_iter().map(|(account, point)| (account, point.to_vec())).unzip();
        sqlx::query!(
            "UPDATE account a SET resume_point = p.point FROM unnest($1::bigint[], $2::bytea[]) AS p (id, point)
             WHERE a.id = p.id",
            &accounts,
            &points
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

fn column<'a, T>(messages: &'a [NewMessage<'a>], of: impl Fn(&'a NewMessage<'a>) -> T) -> Vec<T> {
    messages.iter().map(of).collect()
}
