//! A group, in the lists of groups and in events.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Timestamp, UncutTimestamp};
use crate::store::GroupInfo;

#[derive(Serialize, ToSchema)]
pub struct GroupDetails {
    groupid: String,
    /// The same as `groupid`.
    id: String,
    /// Number of the creator, if it is known.
    #[schema(required = true)]
    creator: Option<String>,
    #[schema(value_type = String)]
    creation: Timestamp,
    /// The same time, uncut and with its zone.
    #[schema(value_type = String)]
    creation_timestamp: UncutTimestamp,
    subject: String,
    /// Numbers of all participants, admins included, in the order in which they joined.
    participants: Vec<String>,
    /// Numbers of the participants who may add, remove, promote and demote.
    admins: Vec<String>,
}

impl From<GroupInfo> for GroupDetails {
    fn from(info: GroupInfo) -> Self {
        let GroupInfo { id, subject, creator, created_at, participants, admins } = info;
        Self {
            groupid: id.clone(),
            id,
            creator,
            creation: Timestamp(created_at),
            creation_timestamp: UncutTimestamp(created_at),
            subject,
            participants,
            admins,
        }
    }
}
