//! An account and the state of its session.

use chrono::{DateTime, Utc};

use super::{AccountId, CounterId, PhoneNumber, UserId};

/// One phone number of a user on one upstream network.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: AccountId,
    pub user: UserId,
    /// The row that numbers its events.
    pub counter: CounterId,
    pub number: PhoneNumber,
    /// The upstream network's name, such as `local`.
    pub network: String,
    /// The name of the directory in which its peers are: the network's, or one of its own.
    pub directory: String,
    /// The name that others see.
    pub nickname: String,
    /// When the number was proved; `None` while it waits for its code and after it moved to another user.
    pub registered_at: Option<DateTime<Utc>>,
    /// Whether the number was ever proved: what was stored then can still be read after it moved.
    pub was_proved: bool,
    /// As its session published it last.
    pub session: SessionStatus,
}

impl Account {
    /// Whether the number is proved and still this user's.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registered_at.is_some()
    }
}

/// The state of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    pub state: SessionState,
    /// The name of a state that only a newer version of this program knows. Then `state` is [`SessionState::Connecting`].
    pub other: Option<String>,
    pub since: DateTime<Utc>,
    /// The cause, as a word for programs, such as `network_unreachable`.
    pub reason: Option<String>,
}

impl SessionStatus {
    /// The state's name, also that of an unknown one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.other.as_deref().unwrap_or(self.state.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Claimed, not yet connecting.
    Starting,
    /// Opening the connection.
    Connecting,
    /// Connected, and receiving the events since the last connection.
    CatchingUp,
    /// Connected and caught up.
    Online,
    /// Will connect again.
    Waiting {
        /// Failed attempts in a row.
        attempt: u32,
        /// The time of the next attempt.
        until: DateTime<Utc>,
    },
    /// Not connecting until the user acts.
    NeedsUser(NeedsUser),
    /// No session runs.
    Stopped,
}

/// Why only the user can make the session connect again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedsUser {
    /// The network does not accept the credentials any more: the number must be registered again.
    LoggedOut,
    /// Another session of the same number took over.
    Replaced,
    /// The network banned the number, until this time where it is known.
    Banned(Option<DateTime<Utc>>),
}

impl SessionState {
    /// The name in responses, in the database and in events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Connecting => "connecting",
            Self::CatchingUp => "catching_up",
            Self::Online => "online",
            Self::Waiting { .. } => "waiting",
            Self::NeedsUser(NeedsUser::LoggedOut) => "logged_out",
            Self::NeedsUser(NeedsUser::Replaced) => "replaced",
            Self::NeedsUser(NeedsUser::Banned(_)) => "banned",
            Self::Stopped => "stopped",
        }
    }

    /// A state from its columns; `None` for an unknown name, or a missing value.
    #[must_use]
    pub fn from_parts(name: &str, attempt: Option<u32>, until: Option<DateTime<Utc>>) -> Option<Self> {
        Some(match name {
            "starting" => Self::Starting,
            "connecting" => Self::Connecting,
            "catching_up" => Self::CatchingUp,
            "online" => Self::Online,
            "waiting" => Self::Waiting { attempt: attempt?, until: until? },
            "logged_out" => Self::NeedsUser(NeedsUser::LoggedOut),
            "replaced" => Self::NeedsUser(NeedsUser::Replaced),
            "banned" => Self::NeedsUser(NeedsUser::Banned(until)),
            "stopped" => Self::Stopped,
            _ => return None,
        })
    }

    /// The number of failed attempts, where it is part of the state.
    #[must_use]
    pub fn attempt(&self) -> Option<u32> {
        match self {
            Self::Waiting { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }

    /// The end of the state, where it is known.
    #[must_use]
    pub fn until(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Waiting { until, .. } => Some(*until),
            Self::NeedsUser(NeedsUser::Banned(until)) => *until,
            _ => None,
        }
    }

    /// Whether a change to this state is an event for clients. Steps on the way to online are not.
    #[must_use]
    pub fn is_event(&self) -> bool {
        matches!(self, Self::Online | Self::Waiting { .. } | Self::NeedsUser(_) | Self::Stopped)
    }
}
