//! Ingestion: upstream events become inbound items of the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::peers::{directory, learn, new_peer};
use super::remote_ids::{Translated, is_storable};
use crate::db::DbError;
use crate::domain::{Lease, ReceiptKind};
use crate::store::{
    ChatNews, Directory, EarlyEvents, Inbound, InboundGroupChange, InboundKind, InboundMessage, NamedMessage,
    NewPeer, Peer, ReceiptUpTo, Store,
};
use crate::upstream::{Acknowledgement, Address, Connector, Incoming, UpstreamEvent};

/// Characters that are stored of the id of a message that cannot be stored itself.
const LONGEST_ID: usize = 255;

/// The acknowledgements of events that were stored.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub kept: Vec<Acknowledgement>,
    /// Of messages that were dropped, because the account has blocked their sender.
    pub dropped: Vec<Acknowledgement>,
    /// Messages that were stored, now or before.
    pub messages: usize,
    pub dropped_messages: usize,
    /// Messages of the account are held back, see [`super::remote_ids`].
    pub held: bool,
}

/// Stores a batch of events in order, in one transaction if PostgreSQL takes them all.
///
/// An event that PostgreSQL can never store would come again with each connection, and hold up the events after it. It is
/// dropped; of a message the journal says that it could not be read.
///
/// # Errors
/// Not all of it is stored: nothing may be acknowledged, so that the network sends it all again.
pub(super) async fn store_events(
    store: &Store,
    connector: &Arc<dyn Connector>,
    lease: &Lease,
    mut events: Vec<Incoming>,
) -> Result<Stored, DbError> {
    let resume_point = events.iter().rev().find_map(|incoming| incoming.resume_point.clone());
    // Each with the index of its item, if there is one.
    let mut acknowledgements = Vec::with_capacity(events.len());
    let mut items = Vec::with_capacity(events.len());
    let ingest = Ingest::new(store, connector, lease);
    let mut groups = BTreeMap::new();
    let mut resolved = Vec::new();
    for incoming in &events {
        if let UpstreamEvent::GroupChanged { group, .. } = &incoming.event {
            groups.insert(group.address.clone(), group.clone());
        }
        if let UpstreamEvent::Resolved { number, address } = &incoming.event {
            resolved.push((number.clone(), address.0.clone()));
        }
    }
    // Before the groups that they are in, and those before the messages in them.
    store.resolve(lease, &ingest.directory, &resolved).await?;
    if !resolved.is_empty() && connector.capabilities().remote_ids {
        // Receipts may have come from the address for messages that went to the number.
        ingest.apply_early(EarlyEvents::All).await?;
    }
    for group in groups.values() {
        learn(store, connector, &ingest.directory.name, group).await?;
    }
    let Translated { skipped, ids, held, corrections } = ingest.translate_ids(&mut events).await?;
    // The newest of each sender in each chat.
    let mut up_to = BTreeMap::new();
    for (index, incoming) in events.into_iter().enumerate() {
        if let UpstreamEvent::Receipt { from, id, kind, group, up_to: true } = &incoming.event {
            up_to.insert((from.clone(), group.clone(), *kind == ReceiptKind::Read), id.clone());
        }
        let item = if skipped.contains(&index) { None } else { translate(incoming.event) };
        let index = item.is_some().then_some(items.len());
        acknowledgements.extend(incoming.acknowledgement.map(|acknowledgement| (acknowledgement, index)));
        items.extend(item);
    }
    items.extend(corrections);
    let resume_point = resume_point.as_ref().map(|point| point.0.as_slice());
    // First those for earlier messages, so that an interrupted one is not taken for done when it comes again.
    let mut unknown = Vec::new();
    for ((from, group, read), id) in up_to {
        let kind = if read { ReceiptKind::Read } else { ReceiptKind::Delivered };
        let receipt = EarlierReceipts { of: within(from, group), up_to: id, kind };
        if !ingest.store_earlier(&receipt, false).await? {
            unknown.push(receipt);
        }
    }
    let dropped = if unknown.is_empty() {
        ingest.store(&items, resume_point).await?
    } else {
        // Another device has sent the message, as an earlier event of this batch may say.
        let dropped = ingest.store(&items, None).await?;
        for receipt in unknown {
            ingest.store_earlier(&receipt, true).await?;
        }
        ingest.store_all(&[], resume_point).await?;
        dropped
    };
    if !ids.is_empty() {
        ingest.apply_early(EarlyEvents::Naming(&ids)).await?;
    }
    let mut stored = Stored { messages: skipped.len(), held, ..Stored::default() };
    for (index, item) in items.iter().enumerate() {
        if matches!(item.what, InboundKind::Message(_)) {
            let was_dropped = dropped.contains(&index);
            *(if was_dropped { &mut stored.dropped_messages } else { &mut stored.messages }) += 1;
        }
    }
    for (acknowledgement, index) in acknowledgements {
        let was_dropped = index.is_some_and(|index| dropped.contains(&index));
        if was_dropped { &mut stored.dropped } else { &mut stored.kept }.push(acknowledgement);
    }
    Ok(stored)
}

/// A receipt that counts for all earlier messages of the chat, too.
pub(super) struct EarlierReceipts {
    /// The other side of the chat, and in a group the member.
    pub of: (Address, Option<Address>),
    /// The id of the newest message.
    pub up_to: String,
    pub kind: ReceiptKind,
}

pub(super) struct Ingest<'a> {
    pub store: &'a Store,
    pub connector: &'a Arc<dyn Connector>,
    pub lease: &'a Lease,
    directory: Directory,
}

impl<'a> Ingest<'a> {
    pub fn new(store: &'a Store, connector: &'a Arc<dyn Connector>, lease: &'a Lease) -> Self {
        Self { store, connector, lease, directory: directory(connector, lease.account) }
    }

    /// Stores all items that can be stored, and returns the indexes of those that were dropped. The resume point goes with
    /// the last part.
    pub async fn store(
        &self,
        items: &[Inbound<Address>],
        resume_point: Option<&[u8]>,
    ) -> Result<BTreeSet<usize>, DbError> {
        match (self.store_all(items, resume_point).await, items) {
            (Err(error), [item]) if error.is_unstorable() => {
                self.store_substitute(item, resume_point).await?;
                Ok(BTreeSet::new())
            }
            (Err(error), [_, _, ..]) if error.is_unstorable() => {
                let (first, rest) = items.split_at(items.len() / 2);
                let mut dropped = Box::pin(self.store(first, None)).await?;
                let dropped_of_rest = Box::pin(self.store(rest, resume_point)).await?;
                dropped.extend(dropped_of_rest.into_iter().map(|index| first.len() + index));
                Ok(dropped)
            }
            (stored, _) => stored,
        }
    }

    /// Stores all or nothing.
    async fn store_all(
        &self,
        items: &[Inbound<Address>],
        resume_point: Option<&[u8]>,
    ) -> Result<BTreeSet<usize>, DbError> {
        if items.is_empty() && resume_point.is_none() {
            return Ok(BTreeSet::new());
        }
        let peers = self.peers(items).await?;
        let peer_of = |address: &Address| {
            let missing = || DbError::Corrupt("a peer that was just looked up is missing".to_owned());
            peers.get(address).cloned().ok_or_else(missing)
        };
        let batch = items.iter().map(|item| item.resolve(peer_of)).collect::<Result<_, _>>()?;
        Ok(self.store.ingest(self.lease, batch, resume_point).await?.into_iter().collect())
    }

    /// Stores a receipt for each message of the account before the named one that has none yet, oldest first. False: the
    /// named one is not known. `is_new`: its own receipt is stored already.
    pub async fn store_earlier(&self, receipts: &EarlierReceipts, is_new: bool) -> Result<bool, DbError> {
        let EarlierReceipts { of: (peer, participant), up_to, kind } = receipts;
        let receipt = |network_id| Inbound {
            peer: peer.clone(),
            participant: participant.clone(),
            what: InboundKind::Receipt { network_id, kind: *kind },
        };
        let peers = self.peers(&[receipt(up_to.clone())]).await?;
        let from = participant.as_ref().unwrap_or(peer);
        let (Some(chat), Some(from)) = (peers.get(peer), peers.get(from)) else { return Ok(true) };
        let named = ReceiptUpTo {
            account: self.lease.account,
            peer: chat.id,
            from: from.id,
            network_id: up_to,
            kind: *kind,
        };
        let mut stretch = match self.store.named_message(named, is_new).await? {
            NamedMessage::Unknown => return Ok(false),
            NamedMessage::Done => return Ok(true),
            NamedMessage::After(stretch) => stretch,
        };
        while let Some((ids, rest)) = self.store.next_of_stretch(&stretch).await? {
            let receipts: Vec<_> = ids.into_iter().map(receipt).collect();
            self.store(&receipts, None).await?;
            stretch = rest;
        }
        Ok(true)
    }

    /// The peers of all people and groups that are named.
    async fn peers(&self, items: &[Inbound<Address>]) -> Result<HashMap<Address, Peer>, DbError> {
        self.peers_at(items.iter().flat_map(Inbound::names)).await
    }

    /// The people and groups at these addresses.
    pub async fn peers_at(
        &self,
        addresses: impl Iterator<Item = &Address>,
    ) -> Result<HashMap<Address, Peer>, DbError> {
        let named: BTreeSet<&Address> = addresses.collect();
        let (groups, people): (Vec<&Address>, Vec<&Address>) =
            named.into_iter().partition(|address| self.connector.is_group(address));
        let wanted: Vec<NewPeer> = people.iter().map(|address| new_peer(self.connector, address)).collect();
        let found = self.store.peers(&self.directory.name, &wanted).await?;
        let mut peers: HashMap<Address, Peer> = people.into_iter().cloned().zip(found).collect();
        if !groups.is_empty() {
            let wanted: Vec<String> = groups.iter().map(|address| address.0.clone()).collect();
            let found = self.store.group_peers(&self.directory.name, &wanted).await?;
            peers.extend(groups.into_iter().cloned().zip(found));
        }
        Ok(peers)
    }

    /// Drops an item that can never be stored. A message is noted as unreadable, unless its sender cannot be stored either.
    async fn store_substitute(
        &self,
        item: &Inbound<Address>,
        resume_point: Option<&[u8]>,
    ) -> Result<(), DbError> {
        let (what, lost_message) = match &item.what {
            InboundKind::Message(InboundMessage { network_id, .. }) => ("message", Some(network_id)),
            InboundKind::Chat(ChatNews::Undecryptable { network_id }) => ("undecryptable", Some(network_id)),
            InboundKind::Chat(
                ChatNews::ReadElsewhere { .. }
                | ChatNews::Group { .. }
                | ChatNews::Refused { .. }
                | ChatNews::Accepted { .. }
                | ChatNews::Answered { .. },
            ) => ("chat", None),
            InboundKind::Receipt { .. } => ("receipt", None),
            InboundKind::Profile(_) => ("profile", None),
        };
        tracing::error!(account = %self.lease.account, what,
            "the database can never store what the network sent: it is dropped");
        let substitute = lost_message.map(|network_id| Inbound {
            peer: item.peer.clone(),
            participant: None,
            what: InboundKind::Chat(ChatNews::Undecryptable { network_id: storable(network_id) }),
        });
        match self.store_all(substitute.as_slice(), resume_point).await {
            Err(error) if error.is_unstorable() => self.store_all(&[], resume_point).await.map(drop),
            stored => stored.map(drop),
        }
    }
}

/// The part of an id that any column takes.
fn storable(id: &str) -> String {
    id.chars().filter(|character| *character != '\0').take(LONGEST_ID).collect()
}

/// The item to store for an event; `None` for typing, which is worth nothing a second later, and for the address of a number,
/// which is stored before.
fn translate(event: UpstreamEvent) -> Option<Inbound<Address>> {
    let message = |network_id, content, reply_to, sent_at, from_us, live| {
        InboundKind::Message(InboundMessage { network_id, content, reply_to, sent_at, from_us, live })
    };
    let (peer, participant, what) = match event {
        UpstreamEvent::Message { from, id, content, reply_to, sent_at, group } => {
            let (peer, participant) = within(from, group);
            (peer, participant, message(id, content, reply_to, sent_at, false, true))
        }
        UpstreamEvent::SentElsewhere { to, id, content, reply_to, sent_at } => {
            (to, None, message(id, content, reply_to, sent_at, true, true))
        }
        UpstreamEvent::History { chat, from_us, participant, id, content, sent_at } => {
            (chat, participant, message(id, content, None, sent_at, from_us, false))
        }
        UpstreamEvent::ReadElsewhere { chat, id } => {
            (chat, None, InboundKind::Chat(ChatNews::ReadElsewhere { network_id: id }))
        }
        UpstreamEvent::Receipt { from, id, kind, group, up_to: _ } => {
            let (peer, participant) = within(from, group);
            (peer, participant, InboundKind::Receipt { network_id: id, kind })
        }
        UpstreamEvent::Profile { of, news } => (of, None, InboundKind::Profile(news)),
        UpstreamEvent::Undecryptable { from, id, group } => {
            let (peer, participant) = within(from, group);
            (peer, participant, InboundKind::Chat(ChatNews::Undecryptable { network_id: id }))
        }
        UpstreamEvent::Refused { to, id, group, reason } => {
            let (peer, participant) = within(to, group);
            (peer, participant, InboundKind::Chat(ChatNews::Refused { network_id: id, reason }))
        }
        UpstreamEvent::Accepted { remote_id, .. } if !is_storable(&remote_id) => {
            tracing::warn!("the network's id of a message cannot be stored");
            return None;
        }
        UpstreamEvent::Accepted { to, id, remote_id } => {
            (to, None, InboundKind::Chat(ChatNews::Accepted { network_id: id, remote_id }))
        }
        UpstreamEvent::GroupChanged { group, revision, subject, changes } => {
            let change = |change: crate::upstream::GroupChange| InboundGroupChange {
                kind: change.kind,
                participants: change.who,
                by: change.by,
            };
            let changes = changes.into_iter().map(change).collect();
            let what = InboundKind::Chat(ChatNews::Group { revision, subject, changes });
            (group.address.clone(), None, what)
        }
        UpstreamEvent::Typing { .. } | UpstreamEvent::Resolved { .. } => return None,
    };
    Some(Inbound { peer, participant, what })
}

/// The other side of the chat, and in a group the member that did something.
fn within(from: Address, group: Option<Address>) -> (Address, Option<Address>) {
    match group {
        Some(group) => (group, Some(from)),
        None => (from, None),
    }
}
