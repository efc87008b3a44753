//! Messages of the account under the ids that their network chose: events are translated into our ids, and those whose
//! message is not known yet are stored until it is, see [`crate::store::EarlyEvent`].
//!
//! Nothing waits for the outcome of a message: the connection may report events as long as it sends. What is stored here
//! is looked at again after each outcome, and when a session begins; a crash between the two loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::sleep;

use super::fault::Fault;
use super::ingest::{EarlierReceipts, Ingest};
use super::session::Session;
use crate::db::DbError;
use crate::domain::{Content, PeerId};
use crate::store::{
    ChatNews, EarlyEvent, EarlyEvents, EarlyKind, Inbound, InboundKind, InboundMessage, KnownMessage,
    StoredEarlyEvent,
};
use crate::upstream::{Address, Incoming, LONGEST_REMOTE_ID, UpstreamEvent};

/// Bytes of an address in a chat whose messages have remote ids.
const LONGEST_ADDRESS: usize = 1_000;
/// The interval in which messages are looked at that are held back.
const HELD_AGAIN: Duration = Duration::from_secs(2);

/// A batch of events whose ids are ours.
#[derive(Debug, Default)]
pub(super) struct Translated {
    /// Events that are stored in no other way: they were stored before, or wait to be stored.
    pub skipped: BTreeSet<usize>,
    /// The ids of the network that may have become known with this batch, or just before it.
    pub ids: Vec<String>,
    /// Messages of the account are held back.
    pub held: bool,
    /// Corrections of stored messages, to be stored after the events.
    pub corrections: Vec<Inbound<Address>>,
}

/// What is to be done about an early event.
enum Step {
    /// Nothing yet.
    Wait,
    /// It was stored in another way.
    Delete,
    Store(Inbound<Address>),
}

/// Where an event names a message of a chat by an id of the network.
struct Name<'a> {
    chat: &'a Address,
    /// Who did it: the other side of the chat, or a member of the group.
    from: &'a Address,
    id: &'a mut String,
    role: Role,
}

/// What the named message is to the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The event is about it.
    Subject,
    /// The event is the message, which the account sent.
    OwnMessage(DateTime<Utc>),
    /// The event is a message that answers it.
    Answered,
    /// The event is a message whose content refers to it. Its fingerprint is that of the content as the network has it: a
    /// repetition must not look like another message because the id is known by then.
    ReferredTo,
}

/// Whether an id of a network can be stored.
pub(super) fn is_storable(remote_id: &str) -> bool {
    !remote_id.is_empty() && remote_id.len() <= LONGEST_REMOTE_ID && !remote_id.contains('\0')
}

impl Ingest<'_> {
    /// Replaces the network's ids of messages of the account by ours, and stores the events that name messages which are
    /// not known yet. On a network that takes our ids it does nothing.
    pub async fn translate_ids(&self, events: &mut [Incoming]) -> Result<Translated, DbError> {
        let mut translated = Translated::default();
        if !self.connector.capabilities().remote_ids {
            return Ok(translated);
        }
        let mut wanted = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        let mut accepted = BTreeSet::new();
        for incoming in events.iter_mut() {
            if let UpstreamEvent::Accepted { to, remote_id, .. } = &incoming.event
                && is_storable(remote_id)
            {
                translated.ids.push(remote_id.clone());
                accepted.insert((to.clone(), remote_id.clone()));
            }
            for name in names(&mut incoming.event).filter(Name::is_storable) {
                addresses.extend([name.chat.clone(), name.from.clone()]);
                wanted.insert((name.chat.clone(), name.id.clone()));
            }
        }
        if wanted.is_empty() {
            return Ok(translated);
        }
        let peers = self.peers_at(addresses.iter()).await?;
        let wanted: Vec<(&Address, PeerId, &str)> =
            wanted.iter().filter_map(|(chat, id)| Some((chat, peers.get(chat)?.id, id.as_str()))).collect();
        let named: Vec<(PeerId, &str)> = wanted.iter().map(|(_, peer, id)| (*peer, *id)).collect();
        let found = self.store.messages_by_remote_id(self.lease.account, &named).await?;
        let known: BTreeMap<(&Address, &str), KnownMessage> = wanted
            .iter()
            .zip(found)
            .filter_map(|((chat, _, id), message)| Some(((*chat, *id), message?)))
            .collect();

        let (mut early, mut own) = (Vec::new(), Vec::new());
        for (index, incoming) in events.iter_mut().enumerate() {
            let (what, message_id) = (early_kind(&incoming.event), message_id(&incoming.event));
            for Name { chat, from, id, role } in names(&mut incoming.event).filter(Name::is_storable) {
                let message = known.get(&(chat, id.as_str())).cloned();
                let is_accepted = accepted.contains(&(chat.clone(), id.clone()));
                let (Some(chat), Some(from)) = (peers.get(chat), peers.get(from)) else { continue };
                match (message, role) {
                    (Some(KnownMessage::Ours(_) | KnownMessage::OursUnderSameId), Role::OwnMessage(_)) => {
                        translated.skipped.insert(index);
                    }
                    (Some(KnownMessage::SameId | KnownMessage::OursUnderSameId), _) => {}
                    (Some(KnownMessage::Ours(ours)), Role::Subject | Role::Answered) => *id = ours,
                    (Some(KnownMessage::Ours(ours)), Role::ReferredTo) => {
                        let Some(network_id) = message_id.clone() else { continue };
                        let news = ChatNews::Answered { network_id, remote_id: id.clone(), message: ours };
                        let (peer, what) = (Address(chat.address.clone()), InboundKind::Chat(news));
                        translated.corrections.push(Inbound { peer, participant: None, what });
                    }
                    (None, Role::OwnMessage(sent_at)) => {
                        own.push((index, chat.id, sent_at, is_accepted, id.clone()));
                    }
                    (None, Role::Subject | Role::Answered | Role::ReferredTo) => {
                        let answer = || Some(EarlyKind::Reply { network_id: message_id.clone()? });
                        let what = if role == Role::Subject { what.clone() } else { answer() };
                        let (chat, from, remote_id) = (chat.id, from.id, id.clone());
                        early.extend(what.map(|what| EarlyEvent { chat, from, remote_id, what }));
                    }
                }
            }
        }
        // A message of the account may be one whose id on the network is not stored yet: then it is no second one.
        let chats = own.iter().map(|(_, chat, ..)| *chat).collect();
        let queued = self.store.queued_since(self.lease.account, &chats).await?;
        for (index, chat, sent_at, is_accepted, remote_id) in own {
            let message = own_message(&events[index].event).map(EarlyKind::Message);
            let is_held = is_accepted || queued.may_include(chat, sent_at);
            if let Some(what) = message.filter(|message| is_held && message.is_storable()) {
                translated.skipped.insert(index);
                translated.held = true;
                early.push(EarlyEvent { chat, from: chat, remote_id, what });
            } else {
                translated.ids.push(remote_id);
            }
        }
        early.retain(|event| event.what.is_storable());
        self.store.note_early_events(self.lease, &early).await?;
        translated.ids.extend(early.into_iter().map(|event| event.remote_id));
        Ok(translated)
    }

    /// Applies early events whose messages are known by now. Returns whether messages of the account are still held back.
    pub async fn apply_early(&self, which: EarlyEvents<'_>) -> Result<bool, DbError> {
        let (mut after, mut held, mut released) = (i64::MIN, false, Vec::new());
        loop {
            let page = self.store.early_events(self.lease.account, which, after).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let (mut items, mut done) = (Vec::new(), Vec::new());
            for event in page {
                held |= event.held && event.message.is_none();
                let id = event.id;
                match self.step(event).await? {
                    Step::Wait => continue,
                    Step::Delete => {}
                    Step::Store(item) => items.push(item),
                }
                done.push(id);
            }
            self.store(&items, None).await?;
            self.store.delete_early_events(self.lease, &done).await?;
            released.extend(items.into_iter().filter_map(|item| match item.what {
                InboundKind::Message(message) => Some(message.network_id),
                InboundKind::Receipt { .. } | InboundKind::Profile(_) | InboundKind::Chat(_) => None,
            }));
        }
        if !released.is_empty() {
            Box::pin(self.apply_early(EarlyEvents::Naming(&released))).await?;
        }
        Ok(held)
    }

    /// What is to be done about an early event.
    async fn step(&self, event: StoredEarlyEvent) -> Result<Step, DbError> {
        let StoredEarlyEvent { chat, participant, remote_id, what, message, held, .. } = event;
        let (peer, participant) = (Address(chat), participant.map(Address));
        let what = match (what, message) {
            (Some(EarlyKind::Message(_)), Some(_)) => return Ok(Step::Delete),
            (Some(EarlyKind::Message(mut message)), None) if !held => {
                self.translate_answer(&peer, &mut message).await?;
                InboundKind::Message(message)
            }
            (None, _) | (_, None) => return Ok(Step::Wait),
            (Some(EarlyKind::Receipt { kind, up_to }), Some(network_id)) => {
                if up_to {
                    let of = (peer.clone(), participant.clone());
                    let earlier = EarlierReceipts { of, up_to: network_id.clone(), kind };
                    self.store_earlier(&earlier, false).await?;
                }
                InboundKind::Receipt { network_id, kind }
            }
            (Some(EarlyKind::ReadElsewhere), Some(network_id)) => {
                InboundKind::Chat(ChatNews::ReadElsewhere { network_id })
            }
            (Some(EarlyKind::Refused(reason)), Some(network_id)) => {
                InboundKind::Chat(ChatNews::Refused { network_id, reason })
            }
            (Some(EarlyKind::Reply { network_id }), Some(message)) => {
                InboundKind::Chat(ChatNews::Answered { network_id, remote_id, message })
            }
        };
        Ok(Step::Store(Inbound { peer, participant, what }))
    }

    /// The message that it answers may have become known while it was held back.
    async fn translate_answer(&self, chat: &Address, message: &mut InboundMessage) -> Result<(), DbError> {
        let Some(reply_to) = message.reply_to.as_mut().filter(|reply_to| is_storable(reply_to)) else {
            return Ok(());
        };
        let peers = self.peers_at([chat].into_iter()).await?;
        let Some(peer) = peers.get(chat) else { return Ok(()) };
        let named = [(peer.id, reply_to.as_str())];
        let known = self.store.messages_by_remote_id(self.lease.account, &named).await?.pop().flatten();
        if let Some(KnownMessage::Ours(ours)) = known {
            *reply_to = ours;
        }
        Ok(())
    }
}

impl Session {
    /// Applies what an earlier session has left, and stores messages that are held back when it is certain that they are of
    /// another device.
    pub(super) async fn apply_early_events(&self) -> Result<Infallible, Fault> {
        if !self.connector.capabilities().remote_ids {
            return std::future::pending().await;
        }
        let ingest = Ingest::new(&self.store, &self.connector, &self.lease);
        let mut held = Box::pin(ingest.apply_early(EarlyEvents::All)).await?;
        loop {
            if held {
                sleep(HELD_AGAIN).await;
            } else {
                self.held.notified().await;
            }
            held = Box::pin(ingest.apply_early(EarlyEvents::Held)).await?;
        }
    }
}

impl Name<'_> {
    fn is_storable(&self) -> bool {
        let is_address = |address: &Address| address.0.len() <= LONGEST_ADDRESS && !address.0.contains('\0');
        is_storable(self.id) && is_address(self.chat) && is_address(self.from)
    }
}

/// Where an event names messages that may be of the account.
fn names(event: &mut UpstreamEvent) -> impl Iterator<Item = Name<'_>> {
    let (subject, answered, content) = match event {
        UpstreamEvent::Receipt { from, id, group, .. }
        | UpstreamEvent::Refused { to: from, id, group, .. } => {
            let from = &*from;
            let chat = group.as_ref().unwrap_or(from);
            (Some(Name { chat, from, id, role: Role::Subject }), None, None)
        }
        UpstreamEvent::ReadElsewhere { chat, id } => {
            (Some(Name { chat, from: chat, id, role: Role::Subject }), None, None)
        }
        UpstreamEvent::SentElsewhere { to, id, reply_to, sent_at, content } => {
            let (chat, role) = (&*to, Role::OwnMessage(*sent_at));
            let answered = reply_to.as_mut().map(|id| Name { chat, from: chat, id, role: Role::Answered });
            (Some(Name { chat, from: chat, id, role }), answered, Some((chat, chat, content)))
        }
        UpstreamEvent::History { chat, from_us, participant, id, sent_at, content } => {
            let (chat, role) = (&*chat, Role::OwnMessage(*sent_at));
            let from = participant.as_ref().unwrap_or(chat);
            let own = from_us.then_some(Name { chat, from: chat, id, role });
            (own, None, Some((chat, from, content)))
        }
        UpstreamEvent::Message { from, reply_to, group, content, .. } => {
            let from = &*from;
            let chat = group.as_ref().unwrap_or(from);
            let answered = reply_to.as_mut().map(|id| Name { chat, from, id, role: Role::Answered });
            (None, answered, Some((chat, from, content)))
        }
        UpstreamEvent::Accepted { .. }
        | UpstreamEvent::Typing { .. }
        | UpstreamEvent::Profile { .. }
        | UpstreamEvent::Resolved { .. }
        | UpstreamEvent::Undecryptable { .. }
        | UpstreamEvent::GroupChanged { .. } => (None, None, None),
    };
    let referred_to = content.and_then(|(chat, from, content)| match content {
        Content::Other(other) => {
            other.refers_to.as_mut().map(|id| Name { chat, from, id, role: Role::ReferredTo })
        }
        Content::Text(_) | Content::Media(_) | Content::Location(_) | Content::VCard(_) => None,
    });
    subject.into_iter().chain(answered).chain(referred_to)
}

/// What is stored of an event while the message that it is about is not known.
fn early_kind(event: &UpstreamEvent) -> Option<EarlyKind> {
    match event {
        UpstreamEvent::Receipt { kind, up_to, .. } => Some(EarlyKind::Receipt { kind: *kind, up_to: *up_to }),
        UpstreamEvent::Refused { reason, .. } => Some(EarlyKind::Refused(*reason)),
        UpstreamEvent::ReadElsewhere { .. } => Some(EarlyKind::ReadElsewhere),
        UpstreamEvent::Message { .. }
        | UpstreamEvent::SentElsewhere { .. }
        | UpstreamEvent::History { .. }
        | UpstreamEvent::Accepted { .. }
        | UpstreamEvent::Typing { .. }
        | UpstreamEvent::Profile { .. }
        | UpstreamEvent::Resolved { .. }
        | UpstreamEvent::Undecryptable { .. }
        | UpstreamEvent::GroupChanged { .. } => None,
    }
}

/// The id of the message that an event is.
fn message_id(event: &UpstreamEvent) -> Option<String> {
    match event {
        UpstreamEvent::Message { id, .. }
        | UpstreamEvent::SentElsewhere { id, .. }
        | UpstreamEvent::History { id, .. } => Some(id.clone()),
        _ => None,
    }
}

/// A message that the account sent, as far as the network reports.
fn own_message(event: &UpstreamEvent) -> Option<InboundMessage> {
    let (id, content, reply_to, sent_at, live) = match event {
        UpstreamEvent::SentElsewhere { id, content, reply_to, sent_at, .. } => {
            (id, content, reply_to.clone(), sent_at, true)
        }
        UpstreamEvent::History { from_us: true, id, content, sent_at, .. } => {
            (id, content, None, sent_at, false)
        }
        _ => return None,
    };
    let (network_id, content) = (id.clone(), content.clone());
    Some(InboundMessage { network_id, content, reply_to, sent_at: *sent_at, from_us: true, live })
}
