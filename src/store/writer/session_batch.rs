//! What sessions write, sorted by the part of the writer that stores it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::rare::Rare;
use super::{Leased, SessionWrite};
use crate::domain::{Content, Event, Lease, MessageId, PeerId, ReceiptKind};
use crate::store::message::content::fingerprint;
use crate::store::message::inbound::has_photo;
use crate::store::{ChatNews, Inbound, InboundKind, InboundMessage, Settled, Settlement};

/// The writes of one transaction. The rows of the first five lists are parameters of ingest_1 and name each other by their
/// indexes.
#[derive(Default)]
pub(super) struct SessionBatch<'a> {
    pub sessions: Vec<SessionRow>,
    pub chats: Vec<ChatRow>,
    pub messages: Vec<MessageRow<'a>>,
    pub receipts: Vec<ReceiptRow<'a>>,
    pub settled: Vec<SettledRow<'a>>,
    /// What comes too seldom for that statement.
    pub rare: Rare<'a>,
    /// Messages that stand in the batch already: the index of that message, and the origin of this one.
    pub duplicates: Vec<(usize, Origin)>,
    /// Another statement has to follow in the same transaction.
    needs_transaction: bool,
    indexes: Indexes<'a>,
}

/// A session that writes, once for all its writes.
pub(super) struct SessionRow {
    pub lease: Lease,
    /// Chats that it needs.
    pub chats: i64,
    /// Items numbered so far, from 1 on: each takes moments of its own, see ingest_1.
    pub items: i64,
    /// Files have to be fetched for it.
    pub has_files: bool,
    /// Its published state changes.
    pub is_published: bool,
}

/// A chat that a session needs.
pub(super) struct ChatRow {
    pub session: usize,
    pub peer: PeerId,
}

/// A message that came in.
pub(super) struct MessageRow<'a> {
    pub session: usize,
    pub chat: usize,
    pub item: i64,
    pub origin: Origin,
    /// Null when the account wrote it on another device.
    pub sender: Option<PeerId>,
    pub network_id: &'a str,
    pub content: &'a Content,
    pub reply_to: Option<&'a str>,
    pub fingerprint: [u8; 32],
    pub sent_at: DateTime<Utc>,
    pub event: Option<Event>,
    /// The event that its sender is on the network after all, in case that was not known.
    pub introduction: Option<Value>,
}

/// Where a message stands: the index of the write, and of the message in the batch of that write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub write: usize,
    pub index: usize,
}

/// A person's receipt for a message of the account.
pub(super) struct ReceiptRow<'a> {
    pub session: usize,
    pub item: i64,
    pub peer: PeerId,
    pub chat: &'a str,
    pub network_id: &'a str,
    pub read: bool,
}

/// A message that the network took or refused.
pub(super) struct SettledRow<'a> {
    pub session: usize,
    pub item: i64,
    pub settled: &'a Settled,
}

/// Tells messages apart: chat, sender, id and fingerprint.
type MessageKey<'a> = (usize, Option<PeerId>, &'a str, [u8; 32]);

/// Where things stand in the lists: a statement changes a row once.
#[derive(Default)]
struct Indexes<'a> {
    sessions: HashMap<Lease, usize>,
    chats: HashMap<(usize, PeerId), usize>,
    messages: HashMap<MessageKey<'a>, usize>,
    receipts: HashMap<(usize, PeerId, &'a str), usize>,
    settled: HashSet<MessageId>,
    introduced: HashSet<(usize, PeerId)>,
}

impl<'a> SessionBatch<'a> {
    /// Sorts the writes, whose indexes are those that [`Origin`] names.
    pub fn of(writes: impl Iterator<Item = (usize, &'a Leased)>) -> Self {
        let mut batch = Self::default();
        for (index, Leased { lease, write }) in writes {
            let session = batch.session(lease);
            match write {
                SessionWrite::Ingest { batch: items, resume_point } => {
                    for (position, item) in items.iter().enumerate() {
                        batch.add(session, lease, item, Origin { write: index, index: position });
                    }
                    batch
                        .rare
                        .resume_points
                        .extend(resume_point.as_deref().map(|point| (lease.account, point)));
                }
                SessionWrite::Settle(settled) => {
                    for one in settled {
                        batch.settle(session, lease, one);
                    }
                }
                SessionWrite::PublishState { state, reason } => {
                    batch.sessions[session].is_published = true;
                    batch.rare.published.push((lease, *state, reason.as_deref()));
                }
            }
        }
        batch
    }

    /// Whether ingest_1 alone will do.
    pub fn is_one_statement(&self) -> bool {
        !self.needs_transaction && self.rare.is_empty()
    }

    /// Whether there is nothing about messages that are stored already.
    pub fn has_no_updates(&self) -> bool {
        self.receipts.is_empty() && self.settled.is_empty()
    }

    fn add(&mut self, session: usize, lease: &'a Lease, item: &'a Inbound, origin: Origin) {
        let Inbound { peer, participant, what } = item;
        match what {
            InboundKind::Message(message) => self.add_message(session, item, message, origin),
            InboundKind::Receipt { network_id, kind } => match participant {
                Some(participant) => {
                    self.rare.add_group_receipt(lease, peer, participant.id, network_id, *kind);
                }
                None => self.add_receipt(session, item, network_id, *kind),
            },
            InboundKind::Profile(news) => {
                self.sessions[session].has_files |= has_photo(news);
                self.rare.profiles.add(lease, peer, news);
            }
            InboundKind::Chat(news) => {
                match news {
                    ChatNews::ReadElsewhere { .. } | ChatNews::Group { .. } => {
                        self.chat(session, peer.id);
                    }
                    ChatNews::Undecryptable { .. }
                    | ChatNews::Refused { .. }
                    | ChatNews::Accepted { .. }
                    | ChatNews::Answered { .. } => {}
                }
                self.rare.chats.push((lease, peer, news));
            }
        }
    }

    fn session(&mut self, lease: &Lease) -> usize {
        *self.indexes.sessions.entry(*lease).or_insert_with(|| {
            let (chats, items, has_files, is_published) = (0, 0, false, false);
            self.sessions.push(SessionRow { lease: *lease, chats, items, has_files, is_published });
            self.sessions.len() - 1
        })
    }

    fn chat(&mut self, session: usize, peer: PeerId) -> usize {
        *self.indexes.chats.entry((session, peer)).or_insert_with(|| {
            self.sessions[session].chats += 1;
            self.chats.push(ChatRow { session, peer });
            self.chats.len() - 1
        })
    }

    fn next_item(&mut self, session: usize) -> i64 {
        self.sessions[session].items += 1;
        self.sessions[session].items
    }

    fn add_message(
        &mut self,
        session: usize,
        item: &'a Inbound,
        message: &'a InboundMessage,
        origin: Origin,
    ) {
        let Inbound { peer, participant, .. } = item;
        let InboundMessage { network_id, content, reply_to, sent_at, from_us, live } = message;
        let author = participant.as_ref().unwrap_or(peer);
        let sender = (!from_us).then_some(author.id);
        let chat = self.chat(session, peer.id);
        let fingerprint = fingerprint(content);
        if let Some(known) = self.indexes.messages.get(&(chat, sender, network_id.as_str(), fingerprint)) {
            self.duplicates.push((*known, origin));
            return;
        }
        self.indexes.messages.insert((chat, sender, network_id, fingerprint), self.messages.len());
        // A receipt in the same batch may be about a message that another device sent.
        self.needs_transaction |= *from_us || message.has_remote_file();
        self.sessions[session].has_files |= message.has_remote_file();
        let (name, id) = (peer.public_id.clone(), network_id.clone());
        let event = match (live, from_us) {
            (false, _) => None,
            (true, true) => Some(Event::MessageSentElsewhere { chat: name, id }),
            (true, false) => {
                let participant = participant.as_ref().map(|who| who.public_id.clone());
                Some(Event::MessageReceived { chat: name, id, kind: content.letter(), participant })
            }
        };
        let is_first = sender.is_some_and(|sender| self.indexes.introduced.insert((session, sender)));
        let introduction =
            is_first.then(|| Event::ContactUpdated { contact: author.public_id.clone() }.payload());
        let item = self.next_item(session);
        self.messages.push(MessageRow {
            session,
            chat,
            item,
            origin,
            sender,
            network_id,
            content,
            reply_to: reply_to.as_deref(),
            fingerprint,
            sent_at: *sent_at,
            event,
            introduction,
        });
    }

    /// Several receipts for one message count as one.
    fn add_receipt(&mut self, session: usize, item: &'a Inbound, network_id: &'a str, kind: ReceiptKind) {
        let (peer, read) = (item.peer.id, kind == ReceiptKind::Read);
        if let Some(known) = self.indexes.receipts.get(&(session, peer, network_id)) {
            self.receipts[*known].read |= read;
            return;
        }
        self.indexes.receipts.insert((session, peer, network_id), self.receipts.len());
        let (chat, item) = (item.peer.public_id.as_str(), self.next_item(session));
        self.receipts.push(ReceiptRow { session, item, peer, chat, network_id, read });
    }

    fn settle(&mut self, session: usize, lease: &Lease, settled: &'a Settled) {
        match settled.how {
            Settlement::Later(pause) => self.rare.postponed.push((lease.account, settled.message, pause)),
            Settlement::Sent | Settlement::Failed(_) => {
                if self.indexes.settled.insert(settled.message) {
                    let named = settled.remote_id.as_deref();
                    self.rare.remote_ids.extend(named.map(|id| (lease.account, settled.message, id)));
                    let item = self.next_item(session);
                    self.settled.push(SettledRow { session, item, settled });
                }
            }
        }
    }
}

impl ReceiptRow<'_> {
    /// The payload of each of its events.
    pub fn payload(&self) -> Value {
        Event::MessageDelivered { chat: self.chat.to_owned(), id: self.network_id.to_owned() }.payload()
    }
}

impl Settled {
    pub(super) fn payload(&self) -> Value {
        let (chat, id) = (self.chat.clone(), self.network_id.clone());
        match self.how {
            Settlement::Failed(reason) => Event::MessageFailed { chat, id, reason }.payload(),
            Settlement::Sent | Settlement::Later(_) => Event::MessageSent { chat, id }.payload(),
        }
    }

    pub(super) fn failure(&self) -> Option<&'static str> {
        match self.how {
            Settlement::Failed(reason) => Some(reason.name()),
            Settlement::Sent | Settlement::Later(_) => None,
        }
    }
}
