//! An account and the state of its session.

use chrono::{DateTime, Utc};

use super::{AccountId, CounterId, PhoneNumber, UserId};

/// One phone number of a user on one upstream network.
#[derive(Clone, Debug)]
pub struct Account {
    /// The row.
    pub id: AccountId,
    /// The owner.
    pub user: UserId,
    /// What numbers its events.
    pub counter: CounterId,
    /// The number itself.
    pub number: PhoneNumber,
    /// The upstream network's name, such as `local`.
    pub network: String,
    /// The name that others see.
    pub nickname: String,
    /// When the number was proved; `None` while it waits for its code and after it moved to another user.
    pub registered_at: Option<DateTime<Utc>>,
    /// Whether the number was ever proved: what was stored then can still be read after it moved.
    pub was_proved: bool,
    /// What its session was last seen doing.
    pub session: SessionStatus,
}

impl Account {
    /// Whether the number is proved and still this user's.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registered_at.is_some()
    }
}

/// What a session does, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// What it does.
    pub state: SessionState,
    /// Since when.
    pub since: DateTime<Utc>,
    /// A word for programs on what led here, such as `network_unreachable`.
    pub reason: Option<String>,
}

/// A session is in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Claimed, not yet connecting.
    Starting,
    /// Opening the connection.
    Connecting,
    /// Connected, reading what came while it was away.
    CatchingUp,
    /// Connected and caught up.
    Online,
    /// Will connect again.
    Waiting {
        /// How many attempts failed in a row.
        attempt: u32,
        /// When the next one begins.
        until: DateTime<Utc>,
    },
    /// Nothing more happens until the user acts.
    NeedsUser(NeedsUser),
    /// No session runs.
    Stopped,
}

/// What only the user can mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedsUser {
    /// The network no longer knows the login: register the number again.
    LoggedOut,
    /// Another session of the same number took over.
    Replaced,
    /// The network banned the number, until then if it said so.
    Banned(Option<DateTime<Utc>>),
}

impl SessionState {
    /// The state's name in answers, in the database and in events.
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

    /// Builds a state from what the database keeps of it; `None` for a name that is not one.
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

    /// The number of failed attempts, where that is part of the state.
    #[must_use]
    pub fn attempt(&self) -> Option<u32> {
        match self {
            Self::Waiting { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }

    /// Until when the state lasts, where that is known.
    #[must_use]
    pub fn until(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Waiting { until, .. } => Some(*until),
            Self::NeedsUser(NeedsUser::Banned(until)) => *until,
            _ => None,
        }
    }

    /// Whether clients are told of a change to this state. Steps on the way to online are not worth an event.
    #[must_use]
    pub fn is_news(&self) -> bool {
        matches!(self, Self::Online | Self::Waiting { .. } | Self::NeedsUser(_) | Self::Stopped)
    }
}
