//! Groups, as a network tells of them and as it is asked to change them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Address, Failure};
use crate::domain::{GroupChangeKind, Photo};

/// A group as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where the network reaches it.
    pub address: Address,
    /// Its subject.
    pub subject: String,
    /// Who made it, where the network tells.
    pub creator: Option<Address>,
    /// When.
    pub created_at: DateTime<Utc>,
    /// From 1 on; grows with each change, so that of two the newer one is known.
    pub revision: i64,
    /// Its photo, as files that are stored here.
    pub photo: Option<Photo>,
    /// Who is in it, those who came first first. Nobody: the group has ended.
    pub members: Vec<Member>,
}

/// Somebody in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub address: Address,
    /// May add, remove, promote and demote.
    pub admin: bool,
    /// Since when, by the network's clock.
    pub since: DateTime<Utc>,
}

/// One thing that happened to a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupChange {
    /// What.
    pub kind: GroupChangeKind,
    /// To whom of it; nobody when it is about the group itself.
    pub who: Vec<Address>,
}

/// What an account wants of a group that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
pub enum GroupEdit {
    /// Another subject. Every member may.
    Subject {
        /// The new one.
        subject: String,
    },
    /// Another photo, of files that are stored here, or none. Every member may.
    Photo {
        /// The new one.
        photo: Option<Photo>,
    },
    /// That these are in it. Who is, stays as they are.
    Add {
        /// Whom.
        who: Vec<Address>,
    },
    /// That somebody is not in it any more.
    Remove {
        /// Whom.
        who: Address,
    },
    /// That somebody is an admin.
    Promote {
        /// Whom.
        who: Address,
    },
    /// That somebody is no admin. A group always has one: instead of the last one the member who came first becomes it,
    /// if there is another.
    Demote {
        /// Whom.
        who: Address,
    },
    /// To leave it. The last admin who leaves hands over to the member who came first.
    Leave,
}

/// The part of a [`super::Connection`] that is about groups.
///
/// `operation` names what is asked: asked again under the same name, it is answered but not done again. What the account
/// does is told to it as to the others, by [`super::UpstreamEvent::GroupChanged`].
#[async_trait]
pub trait Groups: Send + Sync {
    /// Makes a group of these and the account, which is its admin; or of nobody, when one of them cannot be added.
    async fn create_group(
        &self,
        operation: &str,
        subject: &str,
        members: &[Address],
    ) -> Result<Group, GroupFailure>;

    /// Does what the account wants of a group, and gives the group as it is then.
    async fn change_group(
        &self,
        operation: &str,
        group: &Address,
        edit: &GroupEdit,
    ) -> Result<Group, GroupFailure>;
}

/// Why a group was not made or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupFailure {
    /// There is no such group, or the account is not in it.
    #[error("the account is in no such group")]
    NotInGroup,
    /// Only admins may.
    #[error("the account is no admin of the group")]
    NotAnAdmin,
    /// Whom it was about is not in the group.
    #[error("the group has no such member")]
    NotAMember,
    /// It would have more members than the network takes.
    #[error("the group would be too large")]
    TooLarge,
    /// These cannot be added, so nothing was done.
    #[error("{} of those that were to be added cannot be", .0.len())]
    CannotAdd(Vec<Address>),
    /// As with all else.
    #[error(transparent)]
    Failed(#[from] Failure),
}
