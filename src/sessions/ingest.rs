//! From the network into the store.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::peers::{learn, new_peer};
use crate::db::DbError;
use crate::domain::{GroupChangeKind, Lease, PeerId};
use crate::store::{Inbound, InboundKind, NewPeer, Peer, Store, ToldChange};
use crate::upstream::{Acknowledgement, Address, Connector, Incoming, UpstreamEvent};

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
) -> Result<Stored, DbError> {
    let resume_point = events.iter().rev().find_map(|incoming| incoming.resume_point.clone());
    let mut acknowledgements = Vec::with_capacity(events.len());
    let mut kept = Vec::with_capacity(events.len());
    let mut groups = BTreeMap::new();
    for incoming in events {
        let message = match &incoming.event {
            UpstreamEvent::Message { from, id, group: None, .. } => Some((from.clone(), id.clone())),
            UpstreamEvent::GroupChanged { group, .. } => {
                groups.insert(group.address.clone(), group.clone());
                None
            }
            _ => None,
        };
        acknowledgements.extend(incoming.acknowledgement.map(|acknowledgement| (acknowledgement, message)));
        kept.extend(translate(incoming.event));
    }
    // Before what is said in them.
    for group in groups.values() {
        learn(store, connector, group).await?;
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

/// Something of somebody, or of a group and somebody in it.
struct Told {
    who: Address,
    participant: Option<Address>,
    what: ToldKind,
}

/// What it is.
enum ToldKind {
    /// As the store takes it.
    Stored(InboundKind),
    /// Of a group; those whom it concerns have to be looked up.
    Group { revision: i64, subject: String, changes: Vec<(GroupChangeKind, Vec<Address>)> },
}

/// Messages that were not stored: whose, and their ids.
type Dropped = HashSet<(Address, String)>;

struct Ingest<'a> {
    store: &'a Store,
    connector: &'a Arc<dyn Connector>,
    lease: &'a Lease,
}

impl Ingest<'_> {
    /// Stores all that can be. The resume point goes with the last part.
    async fn store(&self, told: &[Told], resume_point: Option<&[u8]>) -> Result<Dropped, DbError> {
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
    async fn together(&self, told: &[Told], resume_point: Option<&[u8]>) -> Result<Dropped, DbError> {
        if told.is_empty() && resume_point.is_none() {
            return Ok(Dropped::new());
        }
        let peers = self.peers(told).await?;
        let of = |address: &Address| {
            let missing = || DbError::Corrupt("a peer that was just looked up is missing".to_owned());
            peers.get(address).cloned().ok_or_else(missing)
        };
        let mut batch = Vec::with_capacity(told.len());
        for one in told {
            let what = match &one.what {
                ToldKind::Stored(what) => what.clone(),
                ToldKind::Group { revision, subject, changes } => {
                    let mut told = Vec::with_capacity(changes.len());
                    for (kind, who) in changes {
                        let participants = who.iter().map(|who| Ok(of(who)?.public_id));
                        let participants = participants.collect::<Result<_, DbError>>()?;
                        told.push(ToldChange { kind: *kind, participants });
                    }
                    InboundKind::Group { revision: *revision, subject: subject.clone(), changes: told }
                }
            };
            let participant = one.participant.as_ref().map(&of).transpose()?;
            batch.push(Inbound { peer: of(&one.who)?, participant, what });
        }
        let dropped = self.store.ingest(self.lease, batch, resume_point).await?;
        let addresses: HashMap<PeerId, &Address> =
            peers.iter().map(|(address, peer)| (peer.id, address)).collect();
        Ok(dropped
            .into_iter()
            .filter_map(|(peer, id)| Some(((*addresses.get(&peer)?).clone(), id)))
            .collect())
    }

    /// All who are named, and the groups.
    async fn peers(&self, told: &[Told]) -> Result<HashMap<Address, Peer>, DbError> {
        let mut named: BTreeSet<&Address> = BTreeSet::new();
        for one in told {
            named.insert(&one.who);
            named.extend(&one.participant);
            if let ToldKind::Group { changes, .. } = &one.what {
                named.extend(changes.iter().flat_map(|(_, who)| who));
            }
        }
        let (groups, people): (Vec<&Address>, Vec<&Address>) =
            named.into_iter().partition(|address| self.connector.is_group(address));
        let wanted: Vec<NewPeer> = people.iter().map(|address| new_peer(self.connector, address)).collect();
        let found = self.store.peers(self.connector.network(), &wanted).await?;
        let mut peers: HashMap<Address, Peer> = people.into_iter().cloned().zip(found).collect();
        if !groups.is_empty() {
            let wanted: Vec<String> = groups.iter().map(|address| address.0.clone()).collect();
            let found = self.store.group_peers(self.connector.network(), &wanted).await?;
            peers.extend(groups.into_iter().cloned().zip(found));
        }
        Ok(peers)
    }

    /// Drops what is refused for good, and notes a message that is lost, unless its sender cannot be stored either.
    async fn instead_of(&self, one: &Told, resume_point: Option<&[u8]>) -> Result<Dropped, DbError> {
        let name = match &one.what {
            ToldKind::Stored(what) => what.name(),
            ToldKind::Group { .. } => "group",
        };
        tracing::error!(account = %self.lease.account, what = name,
            "the database can never take what the network told: it is dropped");
        let noted = match &one.what {
            ToldKind::Stored(
                InboundKind::Message { network_id, .. } | InboundKind::Undecryptable { network_id },
            ) => {
                let what = InboundKind::Undecryptable { network_id: storable(network_id) };
                let noted = Told { who: one.who.clone(), participant: None, what: ToldKind::Stored(what) };
                self.together(&[noted], resume_point).await
            }
            ToldKind::Stored(
                InboundKind::Receipt { .. }
                | InboundKind::ReadElsewhere { .. }
                | InboundKind::Nickname(_)
                | InboundKind::Profile(_)
                | InboundKind::Group { .. },
            )
            | ToldKind::Group { .. } => self.together(&[], resume_point).await,
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

/// Whom an event is about and what to store of it; `None` for what is not kept.
fn translate(event: UpstreamEvent) -> Option<Told> {
    let (who, participant, what) = match event {
        UpstreamEvent::Message { from, id, content, sent_at, group } => {
            let (who, participant) = within(from, group);
            let what = InboundKind::Message { network_id: id, content, sent_at, from_us: false, live: true };
            (who, participant, what)
        }
        UpstreamEvent::SentElsewhere { to, id, content, sent_at } => {
            (to, None, InboundKind::Message { network_id: id, content, sent_at, from_us: true, live: true })
        }
        UpstreamEvent::History { chat, from_us, participant, id, content, sent_at } => {
            let what = InboundKind::Message { network_id: id, content, sent_at, from_us, live: false };
            (chat, participant, what)
        }
        UpstreamEvent::ReadElsewhere { chat, id } => {
            (chat, None, InboundKind::ReadElsewhere { network_id: id })
        }
        UpstreamEvent::Receipt { from, id, kind, group } => {
            let (who, participant) = within(from, group);
            (who, participant, InboundKind::Receipt { network_id: id, kind })
        }
        UpstreamEvent::Nickname { of, nickname } => (of, None, InboundKind::Nickname(nickname)),
        UpstreamEvent::Undecryptable { from, id, group } => {
            let (who, participant) = within(from, group);
            (who, participant, InboundKind::Undecryptable { network_id: id })
        }
        UpstreamEvent::GroupChanged { group, revision, subject, changes } => {
            let changes = changes.into_iter().map(|change| (change.kind, change.who)).collect();
            let what = ToldKind::Group { revision, subject, changes };
            return Some(Told { who: group.address.clone(), participant: None, what });
        }
        UpstreamEvent::Profile { of, news } => (of, None, InboundKind::Profile(news)),
        // Typing is worth nothing a second later.
        UpstreamEvent::Typing { .. } => return None,
    };
    Some(Told { who, participant, what: ToldKind::Stored(what) })
}

/// The other side of the chat, and in a group who of it.
fn within(from: Address, group: Option<Address>) -> (Address, Option<Address>) {
    match group {
        Some(group) => (group, Some(from)),
        None => (from, None),
    }
}
