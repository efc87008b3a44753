//! The rows of sessions' writes, as columns of one statement want them.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::SessionWrite;
use crate::domain::{Content, Event, Lease, MessageId, PeerId, ReceiptKind};
use crate::store::message::content::fingerprint;
use crate::store::{Inbound, InboundKind, Settled, Settlement};

/// Which of the rows to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::writer) enum Part {
    /// The messages.
    Messages,
    /// What is about messages that are there already.
    Marks,
    /// Both, of which none is about one that comes with it.
    All,
}

/// The rows of some writes.
#[derive(Default)]
pub(in crate::store::writer) struct Rows<'a> {
    pub(super) sessions: Vec<SessionRow>,
    pub(super) chats: Vec<(i64, PeerId)>,
    pub(super) messages: Vec<MessageRow<'a>>,
    pub(super) receipts: Vec<ReceiptRow<'a>>,
    pub(super) settled: Vec<(i64, i64, &'a Settled)>,
}

/// A session. The others say by its place whose they are.
pub(super) struct SessionRow {
    pub(super) lease: Lease,
    /// How many chats it needs.
    pub(super) chats: i64,
    /// How far its time has to move on, in microseconds: no two things of an account happen at one time.
    pub(super) ticks: i64,
}

pub(super) struct MessageRow<'a> {
    pub(super) session: i64,
    pub(super) chat: i64,
    pub(super) tick: i64,
    /// In a group: who wrote it. Else the chat itself.
    pub(super) writer: &'a str,
    pub(super) sender: Option<PeerId>,
    pub(super) network_id: &'a str,
    pub(super) content: &'a Content,
    pub(super) fingerprint: [u8; 32],
    pub(super) sent_at: DateTime<Utc>,
    pub(super) event: Option<Event>,
}

pub(super) struct ReceiptRow<'a> {
    pub(super) session: i64,
    pub(super) tick: i64,
    pub(super) peer: PeerId,
    pub(super) chat: &'a str,
    pub(super) network_id: &'a str,
    pub(super) read: bool,
}

impl<'a> Rows<'a> {
    /// Takes from the writes what belongs here.
    pub fn of(writes: &[(&'a Lease, &'a SessionWrite)], part: Part) -> Self {
        let mut rows = Self::default();
        let mut gathering = Gathering::default();
        for (lease, what) in writes {
            let session = rows.session(lease, &mut gathering);
            for peer in what.chats() {
                rows.chat(session, peer, &mut gathering);
            }
            match what {
                SessionWrite::Settle(settled) if part != Part::Messages => {
                    for one in settled.iter().filter(|one| one.how.is_final()) {
                        rows.settle(session, one, &mut gathering);
                    }
                }
                SessionWrite::Ingest { batch, .. } => {
                    for item in batch {
                        rows.add(session, item, part, &mut gathering);
                    }
                }
                SessionWrite::Settle(_) | SessionWrite::PublishState { .. } => {}
            }
        }
        rows
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.receipts.is_empty() && self.settled.is_empty()
    }

    fn session(&mut self, lease: &Lease, gathering: &mut Gathering<'a>) -> usize {
        *gathering.sessions.entry(*lease).or_insert_with(|| {
            self.sessions.push(SessionRow { lease: *lease, chats: 0, ticks: 0 });
            self.sessions.len() - 1
        })
    }

    fn chat(&mut self, session: usize, peer: PeerId, gathering: &mut Gathering<'a>) -> usize {
        *gathering.chats.entry((session, peer)).or_insert_with(|| {
            self.sessions[session].chats += 1;
            self.chats.push((place(session), peer));
            self.chats.len() - 1
        })
    }

    /// The first of so many moments of a session's.
    fn ticks(&mut self, session: usize, count: i64) -> i64 {
        let ticks = &mut self.sessions[session].ticks;
        *ticks += count;
        *ticks - count + 1
    }

    fn add(&mut self, session: usize, item: &'a Inbound, part: Part, gathering: &mut Gathering<'a>) {
        let Inbound { peer, participant, what } = item;
        match what {
            InboundKind::Message { network_id, content, sent_at, from_us, live } if part != Part::Marks => {
                let writer = participant.as_ref().unwrap_or(peer);
                let sender = (!from_us).then_some(writer.id);
                let fingerprint = fingerprint(content);
                let chat = self.chat(session, peer.id, gathering);
                // A network may repeat itself.
                if !gathering.messages.insert((chat, sender, network_id, fingerprint)) {
                    return;
                }
                let chat = place(chat);
                let (name, id) = (peer.public_id.clone(), network_id.clone());
                let event = match (live, from_us) {
                    (false, _) => None,
                    (true, true) => Some(Event::MessageSentElsewhere { chat: name, id }),
                    (true, false) => {
                        let participant = participant.as_ref().map(|who| who.public_id.clone());
                        Some(Event::MessageReceived { chat: name, id, kind: content.letter(), participant })
                    }
                };
                let tick = self.ticks(session, 3);
                self.messages.push(MessageRow {
                    session: place(session),
                    chat,
                    tick,
                    writer: &writer.public_id,
                    sender,
                    network_id,
                    content,
                    fingerprint,
                    sent_at: *sent_at,
                    event,
                });
            }
            InboundKind::Receipt { network_id, kind } if part != Part::Messages && participant.is_none() => {
                let read = *kind == ReceiptKind::Read;
                // A statement changes a row once: several receipts for one message count as one.
                let known = gathering.receipts.get(&(session, peer.id, network_id.as_str()));
                if let Some(known) = known {
                    self.receipts[*known].read |= read;
                    return;
                }
                gathering.receipts.insert((session, peer.id, network_id), self.receipts.len());
                let tick = self.ticks(session, 4);
                let (session, chat) = (place(session), peer.public_id.as_str());
                self.receipts.push(ReceiptRow { session, tick, peer: peer.id, chat, network_id, read });
            }
            _ => {}
        }
    }

    fn settle(&mut self, session: usize, settled: &'a Settled, gathering: &mut Gathering<'a>) {
        if gathering.settled.insert(settled.message) {
            let tick = self.ticks(session, 2);
            self.settled.push((place(session), tick, settled));
        }
    }

    /// Those of the messages that are the first of somebody to an account: for them the journal may say that somebody is
    /// on the network after all.
    pub(super) fn introductions(&self) -> Vec<Option<Value>> {
        let mut known = HashSet::new();
        let contact = |message: &MessageRow<'_>| {
            let is_first = known.insert((message.session, message.sender?));
            is_first.then(|| Event::ContactUpdated { contact: message.writer.to_owned() }.payload())
        };
        self.messages.iter().map(contact).collect()
    }
}

/// What has been seen while rows are taken from writes.
#[derive(Default)]
struct Gathering<'a> {
    sessions: HashMap<Lease, usize>,
    chats: HashMap<(usize, PeerId), usize>,
    messages: HashSet<(usize, Option<PeerId>, &'a str, [u8; 32])>,
    receipts: HashMap<(usize, PeerId, &'a str), usize>,
    settled: HashSet<MessageId>,
}

impl ReceiptRow<'_> {
    /// What each of its events says.
    pub(super) fn payload(&self) -> Value {
        Event::MessageDelivered { chat: self.chat.to_owned(), id: self.network_id.to_owned() }.payload()
    }
}

impl Settled {
    pub(super) fn event(&self) -> Event {
        let (chat, id) = (self.chat.clone(), self.network_id.clone());
        match self.how {
            Settlement::Failed(reason) => Event::MessageFailed { chat, id, reason },
            Settlement::Sent | Settlement::Later(_) => Event::MessageSent { chat, id },
        }
    }
}

impl Settlement {
    pub(super) fn failure(self) -> Option<&'static str> {
        match self {
            Self::Failed(reason) => Some(reason.name()),
            Self::Sent | Self::Later(_) => None,
        }
    }
}

fn place(place: usize) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}
