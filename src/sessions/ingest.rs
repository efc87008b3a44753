//! From the network into the store.

use std::sync::Arc;

use crate::domain::Lease;
use crate::store::{Inbound, InboundKind, NewPeer, Store, StoreError};
use crate::upstream::{Acknowledgement, Address, Connector, Event, Incoming};

/// Stores a batch of events in one transaction. Returns what to acknowledge now that it is stored.
pub(super) async fn store_events(
    store: &Store,
    connector: &Arc<dyn Connector>,
    lease: &Lease,
    events: Vec<Incoming>,
) -> Result<Vec<Acknowledgement>, StoreError> {
    let resume_point = events.iter().rev().find_map(|incoming| incoming.resume_point.clone());
    let mut acknowledgements = Vec::with_capacity(events.len());
    let mut kept = Vec::with_capacity(events.len());
    for incoming in events {
        acknowledgements.extend(incoming.acknowledgement);
        kept.extend(translate(incoming.event));
    }
    let wanted: Vec<NewPeer> = kept
        .iter()
        .map(|(address, _)| NewPeer { address: address.0.clone(), number: connector.number_of(address) })
        .collect();
    if !kept.is_empty() || resume_point.is_some() {
        let peers = store.peers(connector.network(), &wanted).await?;
        let batch: Vec<Inbound> =
            peers.into_iter().zip(kept).map(|(peer, (_, what))| Inbound { peer, what }).collect();
        store.ingest(lease, &batch, resume_point.as_ref().map(|point| point.0.as_slice())).await?;
    }
    Ok(acknowledgements)
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
        Event::Undecryptable { from, id } => (from, InboundKind::Undecryptable { network_id: id }),
        // Typing is worth nothing a second later.
        Event::Typing { .. } => return None,
    })
}
