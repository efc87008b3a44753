//! What somebody shows of themselves, and to whom.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Who may see something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Nobody.
    None,
    /// Those in the owner's contact list.
    Contacts,
    /// Everybody.
    #[default]
    All,
}

impl Audience {
    /// The word for it in parameters, answers and the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Contacts => "contacts",
            Self::All => "all",
        }
    }

    /// The audience of this word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Contacts, Self::All].into_iter().find(|audience| audience.name() == name)
    }
}

/// Who may see what of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privacy {
    /// The status message.
    pub status_message: Audience,
    /// The photo.
    pub photo: Audience,
    /// When it was last online, and whether it is now.
    pub last_seen: Audience,
}

/// What one person is shown of another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown<T> {
    /// Nothing: it is not for them.
    Hidden,
    /// This.
    Value(T),
}

impl<T: Default> Default for Shown<T> {
    fn default() -> Self {
        Self::Value(T::default())
    }
}

/// What one person is told of another's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerPresence {
    /// It is hidden from now on.
    Hidden,
    /// It is no longer hidden; what it is, is told only to those who are online themselves.
    Shown,
    /// Online.
    Online,
    /// Offline.
    Offline {
        /// Since when; `None`: never seen, or not told.
        last_seen: Option<DateTime<Utc>>,
    },
}

/// What a network tells of somebody's profile, beside nickname and photo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileNews {
    /// The status message; empty: none.
    StatusMessage(Shown<String>),
    /// Online, offline, or not to be seen.
    Presence(PeerPresence),
    /// The number has left the network: nothing of its profile counts any more, nor what it was before.
    Gone,
}
