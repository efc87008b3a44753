//! Commands: requests of the API that the account's session answers, in whichever process it runs.
//!
//! A command is a row with its request and its answer as JSON. [`ask`] writes requests and waits for answers; [`answer`]
//! is the session's side, [`group`] the part of it that changes groups.

mod answer;
mod ask;
mod group;

use serde::{Deserialize, Serialize};

use crate::domain::PhoneNumber;
use crate::upstream::{Address, Failure, GroupEdit};

pub use ask::AskError;

/// A request to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum CommandRequest {
    /// Which of these numbers does the network know?
    Existing { numbers: Vec<PhoneNumber> },
    /// Leave the network, or log out of it; then the account and its data are deleted.
    Unregister,
    /// Create or change a group.
    Group(GroupRequest),
}

/// A request about groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum GroupRequest {
    /// Create a group of the account and these members.
    Create { subject: String, members: Vec<Address> },
    /// Change a group.
    Change {
        group: Address,
        // Processes of the previous version read and write it under this name.
        #[serde(rename = "wish")]
        edit: GroupEdit,
    },
    /// Which of these cannot be added to a group? Always answered by [`GroupRefusal::CannotAdd`].
    Check { members: Vec<Address> },
}

/// A session's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum CommandAnswer {
    /// Those of the numbers that the network knows.
    Existing { numbers: Vec<PhoneNumber> },
    /// The number has left the network and the account is deleted.
    Unregistered,
    /// The group was created or changed.
    Group {
        /// The group's public id.
        id: String,
    },
    /// The group was not created or changed.
    GroupRefused(GroupRefusal),
    /// The network refused, for good.
    Refused { reason: String },
    /// Not possible now.
    Later {
        /// Seconds to wait.
        retry_after: u64,
    },
    /// The network did not answer in time.
    OutcomeUnknown,
    /// The network cannot do that.
    Unsupported { what: String },
}

/// Why a group was not created or changed, as it travels between processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum GroupRefusal {
    /// The account is in no such group.
    NotInGroup,
    /// Only admins may do that.
    NotAnAdmin,
    /// The member to remove, promote or demote is not in the group.
    NotAMember,
    /// The group would have too many members.
    TooLarge,
    /// These cannot be added: they are not on the network, or have blocked the account.
    CannotAdd {
        /// Numbers or public ids.
        who: Vec<String>,
    },
}

impl CommandAnswer {
    /// The answer that reports a failure of the network.
    fn failed(failure: Failure) -> Self {
        match failure {
            Failure::Retry(_) => Self::Later { retry_after: 5 },
            Failure::RateLimited(pause) => Self::Later { retry_after: pause.as_secs().max(1) },
            Failure::Refused(reason) => Self::Refused { reason },
            Failure::OutcomeUnknown => Self::OutcomeUnknown,
            Failure::Unsupported(what) => Self::Unsupported { what: what.to_owned() },
        }
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
