//! Groups of a network, and the requests to change them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Address, Failure};
use crate::domain::{GroupChangeKind, Photo};

/// A group at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub address: Address,
    pub subject: String,
    /// `None` if the network does not report it.
    pub creator: Option<Address>,
    pub created_at: DateTime<Utc>,
    /// From 1 on; grows with each change.
    pub revision: i64,
    /// By the hashes of files that are stored here.
    pub photo: Option<Photo>,
    /// In the order in which they joined. Empty: the group has ended.
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub address: Address,
    /// May add, remove, promote and demote.
    pub admin: bool,
    /// The time of joining, by the network's clock.
    pub since: DateTime<Utc>,
}

/// One part of a group's change. Its JSON lies in the mailboxes of the network `local`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupChange {
    pub kind: GroupChangeKind,
    /// The members that it concerns; empty when it concerns the group itself.
    pub who: Vec<Address>,
    /// The member who made it, if the network says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Address>,
}

/// A change of a group that an account requests. Its JSON travels in commands between processes, which may run different
/// versions; the names in it are old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
pub enum GroupEdit {
    /// Every member may.
    Subject {
        subject: String,
    },
    /// The hashes are those of files that are stored here; `None`: no photo. Every member may.
    Photo {
        photo: Option<Photo>,
    },
    /// Persons who are members already are not changed.
    Add {
        who: Vec<Address>,
    },
    Remove {
        who: Address,
    },
    Promote {
        who: Address,
    },
    /// A group always has an admin: when the last one is demoted, the other member who joined first is promoted.
    Demote {
        who: Address,
    },
    /// When the last admin leaves, the member who joined first is promoted.
    Leave,
}

/// The part of a [`super::Connection`] that is about groups.
///
/// `operation` identifies a request: repeated under the same name, it is answered but not executed again. The account
/// receives its own changes as [`super::UpstreamEvent::GroupChanged`], like all members.
#[async_trait]
pub trait Groups: Send + Sync {
    /// Creates a group of these members and the account, which is its admin. Creates none if one of them cannot be added.
    async fn create_group(
        &self,
        operation: &str,
        subject: &str,
        members: &[Address],
    ) -> Result<Group, GroupFailure>;

    /// Changes a group, and returns it as it is afterwards.
    async fn change_group(
        &self,
        operation: &str,
        group: &Address,
        edit: &GroupEdit,
    ) -> Result<Group, GroupFailure>;

    /// The persons that the account cannot add to a group, of these: those without an account on the network, and those who
    /// have blocked it.
    async fn not_addable(&self, who: &[Address]) -> Result<Vec<Address>, Failure>;
}

/// Why a group was not created or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupFailure {
    /// The group does not exist, or the account is not a member.
    #[error("the account is not a member of this group")]
    NotInGroup,
    /// The request needs an admin.
    #[error("the account is not an admin of the group")]
    NotAnAdmin,
    /// The request concerns a person who is not a member.
    #[error("the group has no such member")]
    NotAMember,
    /// The group would exceed [`super::Capabilities::group_size`].
    #[error("the group would be too large")]
    TooLarge,
    /// These persons have no account on the network or have blocked this one, so nothing was changed.
    #[error("{} of the new members cannot be added", .0.len())]
    CannotAdd(Vec<Address>),
    /// A failure as of any request.
    #[error(transparent)]
    Failed(#[from] Failure),
}
