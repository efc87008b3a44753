//! A person's presence, in the lists of contacts and in events.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock;
use crate::domain::{Timestamp, UncutTimestamp, Visible};
use crate::store::Presence;

#[derive(Serialize, ToSchema)]
pub struct PresenceInfo {
    contact_id: String,
    /// `online`, `offline`, or `deny` when it is hidden.
    connected_status: &'static str,
    /// The current time for a contact that is online; null when it is hidden or unknown.
    #[schema(required = true, value_type = Option<String>)]
    last_seen: Option<Timestamp>,
    /// The same time, uncut and with its zone; missing when it is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    last_seen_timestamp: Option<UncutTimestamp>,
}

impl From<Presence> for PresenceInfo {
    fn from(presence: Presence) -> Self {
        let (connected_status, last_seen) = match presence.seen {
            Visible::Hidden => ("deny", None),
            Visible::Value(seen) if seen.online => ("online", Some(clock::now())),
            Visible::Value(seen) => ("offline", seen.last_seen),
        };
        Self {
            contact_id: presence.public_id,
            connected_status,
            last_seen: last_seen.map(Timestamp),
            last_seen_timestamp: last_seen.map(UncutTimestamp),
        }
    }
}
