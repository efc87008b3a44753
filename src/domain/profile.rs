//! Profiles: photos, presence, and who may see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{BadHash, BlobHash};

/// The people who may see a part of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Nobody.
    None,
    /// The people in the owner's contact list.
    Contacts,
    /// Everybody.
    #[default]
    All,
}

impl Audience {
    /// The name in parameters, responses and the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Contacts => "contacts",
            Self::All => "all",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Contacts, Self::All].into_iter().find(|audience| audience.name() == name)
    }
}

/// The privacy settings of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privacy {
    pub status_message: Audience,
    pub photo: Audience,
    /// The presence, too.
    pub last_seen: Audience,
}

impl Privacy {
    /// The settings of these names. An audience that only a newer version of this program knows is nobody here, since it may
    /// leave out anybody.
    #[must_use]
    pub fn from_names(status_message: &str, photo: &str, last_seen: &str) -> Self {
        let audience = |name| Audience::from_name(name).unwrap_or(Audience::None);
        Self {
            status_message: audience(status_message),
            photo: audience(photo),
            last_seen: audience(last_seen),
        }
    }
}

/// The names of an account's privacy settings as they are stored; some may be known to a newer version of this program only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrivacyNames {
    pub status_message: String,
    pub photo: String,
    pub last_seen: String,
}

/// A part of another person's profile, if it may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visible<T> {
    Hidden,
    Value(T),
}

impl<T: Default> Default for Visible<T> {
    fn default() -> Self {
        Self::Value(T::default())
    }
}

/// A report of another person's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerPresence {
    /// Hidden from now on.
    Hidden,
    /// No longer hidden. Its value is reported only to those who are online themselves.
    Shown,
    Online,
    Offline {
        /// `None`: never online, or not reported.
        last_seen: Option<DateTime<Utc>>,
    },
}

/// A profile photo and its preview, both stored JPEG files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Photo {
    pub photo: BlobHash,
    /// Its longest side has 96 pixels.
    pub preview: BlobHash,
}

impl Photo {
    /// A photo from its two columns; `None` when one is missing.
    pub fn from_hashes(photo: Option<Vec<u8>>, preview: Option<Vec<u8>>) -> Result<Option<Self>, BadHash> {
        let (Some(photo), Some(preview)) = (photo, preview) else { return Ok(None) };
        Ok(Some(Self { photo: photo.as_slice().try_into()?, preview: preview.as_slice().try_into()? }))
    }

    /// The two columns of a photo, see [`Photo::from_hashes`].
    #[must_use]
    pub fn hashes(photo: Option<Self>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let bytes = |hash: BlobHash| hash.0.to_vec();
        (photo.map(|photo| bytes(photo.photo)), photo.map(|photo| bytes(photo.preview)))
    }
}

/// A photo that a network has, to be fetched from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhotoReference {
    /// The network's name of it; another photo of the same person has another name.
    pub photo: String,
    /// The name of its preview, where the network has both as JPEG files; else we encode them.
    pub preview: Option<String>,
}

/// A change of somebody's profile, as a network reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileNews {
    Nickname(String),
    /// The status message; empty: none.
    StatusMessage(Visible<String>),
    Presence(PeerPresence),
    Photo(Visible<Option<PhotoReference>>),
    /// The number has left the network: its profile and the history of it are void.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_audience_is_nobody() {
        let known = Privacy::from_names("all", "contacts", "none");
        let expected =
            Privacy { status_message: Audience::All, photo: Audience::Contacts, last_seen: Audience::None };
        assert_eq!(known, expected);
        let unknown = Privacy::from_names("friends_of_friends", "contacts", "");
        assert_eq!(unknown, Privacy { status_message: Audience::None, ..expected });
    }
}
