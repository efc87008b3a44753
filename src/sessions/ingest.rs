//! From the network into the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::{Lease, PeerId};
use crate::store::{Inbound, InboundKind, NewPeer, Store, StoreError};
use crate::upstream::{Acknowledgement, Address, Connector, Event, Incoming};

/// Characters that are kept of the id of a message that cannot be stored.
const LONGEST_ID: usize = 255;

/// What to tell the network of events that were stored.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Kept.
    pub kept: Vec<Acknowledgement>,
    /// Messages of people whom the account has blocked.
    pub dropped: Vec<Acknowledgement>,
}

/// Stores a batch of events in order, in one transaction if PostgreSQL takes them all.
///
/// An event that PostgreSQL refuses whenever it is tried would come again with each connection, and hold up what comes
/// after it. It is dropped: of a message the journal says that it could not be read.
///
/// # Errors
/// When not all of it is stored: nothing may be acknowledged, the network has to tell it all again.
pub(super) async fn store_events(
    store: &Store,
    connector: &Arc<dyn Connector>,
    lease: &Lease,
    events: Vec<Incoming>,
) -> Result<Stored, StoreError> {
    let resume_point = events.iter().rev().find_map(|incoming| incoming.resume_point.clone());
    let mut acknowledgements = Vec::with_capacity(events.len());
    let mut kept = Vec::with_capacity(events.len());
    for incoming in events {
        let message = match &incoming.event {
            Event::Message { from, id, .. } => Some((from.clone(), id.clone())),
            _ => None,
        };
        acknowledgements.extend(incoming.acknowledgement.map(|acknowledgement| (acknowledgement, message)));
        kept.extend(translate(incoming.event));
    }
    let resume_point = resume_point.as_ref().map(|point| point.0.as_slice());
    let dropped = Ingest { store, connector, lease }.store(&kept, resume_point).await?;
    let mut stored = Stored::default();
    for (acknowledgement, message) in acknowledgements {
        let was_dropped = message.is_some_and(|message| dropped.contains(&message));
        if was_dropped { &mut stored.dropped } else { &mut stored.kept }.push(acknowledgement);
    }
    Ok(stored)
}

/// Something of somebody.
type Told = (Address, InboundKind);
/// Messages that were not stored: whose, and their ids.
type Dropped = HashSet<(Address, String)>;

struct Ingest<'a> {
    store: &'a Store,
    connector: &'a Arc<dyn Connector>,
    lease: &'a Lease,
}

impl Ingest<'_> {
    /// Stores all that can be. The resume point goes with the last part.
    async fn store(&self, told: &[Told], resume_point: Option<&[u8]>) -> Result<Dropped, StoreError> {
        match (self.together(told, resume_point).await, told) {
            (Err(error), [one]) if error.is_unstorable() => self.instead_of(one, resume_point).await,
            (Err(error), [_, _, ..]) if error.is_unstorable() => {
                let (first, rest) = told.split_at(told.len() / 2);
                let mut dropped = Box::pin(self.store(first, None)).await?;
                dropped.extend(Box::pin(self.store(rest, resume_point)).await?);
                Ok(dropped)
            }
            (stored, _) => stored,
        }
    }

    /// Stores all or nothing.
    async fn together(&self, told: &[Told], resume_point: Option<&[u8]>) -> Result<Dropped, StoreError> {
        if told.is_empty() && resume_point.is_none() {
            return Ok(Dropped::new());
        }
        let wanted: Vec<NewPeer> = told
            .iter()
            .map(|(address, _)| NewPeer {
                address: address.0.clone(),
                number: self.connector.number_of(address),
            })
            .collect();
        let peers = self.store.peers(self.connector.network(), &wanted).await?;
        let addresses: HashMap<PeerId, &Address> =
            peers.iter().zip(told).map(|(peer, (address, _))| (peer.id, address)).collect();
        let batch = peers
            .iter()
            .zip(told)
            .map(|(peer, (_, what))| Inbound { peer: peer.clone(), what: what.clone() })
            .collect();
        let dropped = self.store.ingest(self.lease, batch, resume_point).await?;
        Ok(dropped
            .into_iter()
            .filter_map(|(peer, id)| Some(((*addresses.get(&peer)?).clone(), id)))
            .collect())
    }

    /// Drops what is refused for good, and notes a message that is lost, unless its sender cannot be stored either.
    async fn instead_of(
        &self,
        (who, what): &Told,
        resume_point: Option<&[u8]>,
    ) -> Result<Dropped, StoreError> {
        tracing::error!(account = %self.lease.account, what = what.name(),
            "the database can never take what the network told: it is dropped");
        let noted = match what {
            InboundKind::Message { network_id, .. } | InboundKind::Undecryptable { network_id } => {
                let network_id = storable(network_id);
                self.together(&[(who.clone(), InboundKind::Undecryptable { network_id })], resume_point).await
            }
            InboundKind::Receipt { .. }
            | InboundKind::ReadElsewhere { .. }
            | InboundKind::Nickname(_)
            | InboundKind::Profile(_) => self.together(&[], resume_point).await,
        };
        match noted {
            Err(error) if error.is_unstorable() => self.together(&[], resume_point).await,
            noted => noted,
        }
    }
}

/// So much of an id as any column takes.
fn storable(id: &str) -> String {
    id.chars().filter(|character| *character != '\0').take(LONGEST_ID).collect()
}

/// The peer that an event is about and what to store of it; `None` for what is not kept.
fn translate(event: Event) -> Option<(Address, InboundKind)> {
    Some(match event {
        Event::Message { from, id, content, sent_at } => {
            (from, InboundKind::Message { network_id: id, content, sent_at, from_us: false, live: true })
        }
        Event::SentElsewhere { to, id, content, sent_at } => {
            (to, InboundKind::Message { network_id: id, content, sent_at, from_us: true, live: true })
        }
        Event::History { chat, from_us, id, content, sent_at } => {
            (chat, InboundKind::Message { network_id: id, content, sent_at, from_us, live: false })
        }
        Event::ReadElsewhere { chat, id } => (chat, InboundKind::ReadElsewhere { network_id: id }),
        Event::Receipt { from, id, kind } => (from, InboundKind::Receipt { network_id: id, kind }),
        Event::Nickname { of, nickname } => (of, InboundKind::Nickname(nickname)),
        Event::Profile { of, news } => (of, InboundKind::Profile(news)),
        Event::Undecryptable { from, id } => (from, InboundKind::Undecryptable { network_id: id }),
        // Typing is worth nothing a second later.
        Event::Typing { .. } => return None,
    })
}
