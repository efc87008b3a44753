//! What somebody shows of themselves, and to whom.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{BadHash, BlobHash};

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

impl Privacy {
    /// The settings of these words, see [`Audience::name`].
    #[must_use]
    pub fn from_names(status_message: &str, photo: &str, last_seen: &str) -> Option<Self> {
        Some(Self {
            status_message: Audience::from_name(status_message)?,
            photo: Audience::from_name(photo)?,
            last_seen: Audience::from_name(last_seen)?,
        })
    }
}

/// What one person is shown of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visible<T> {
    /// Nothing: it is not for them.
    Hidden,
    /// This.
    Value(T),
}

impl<T: Default> Default for Visible<T> {
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

/// A profile photo and its preview, both stored JPEG files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Photo {
    /// The photo.
    pub photo: BlobHash,
    /// The same, its longest side 96 pixels.
    pub preview: BlobHash,
}

impl Photo {
    /// The photo of two SHA-256; `None` without both.
    pub fn from_hashes(photo: Option<Vec<u8>>, preview: Option<Vec<u8>>) -> Result<Option<Self>, BadHash> {
        let (Some(photo), Some(preview)) = (photo, preview) else { return Ok(None) };
        Ok(Some(Self { photo: photo.as_slice().try_into()?, preview: preview.as_slice().try_into()? }))
    }

    /// The two SHA-256 of a photo, see [`Photo::from_hashes`].
    #[must_use]
    pub fn hashes(photo: Option<Self>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let bytes = |hash: BlobHash| hash.0.to_vec();
        (photo.map(|photo| bytes(photo.photo)), photo.map(|photo| bytes(photo.preview)))
    }
}

/// A photo that a network has, to be fetched from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhotoReference {
    /// What the network calls it; another photo of the same person has another name.
    pub photo: String,
    /// The name of its preview, where the network has both as JPEG files as we keep them; else we make them.
    pub preview: Option<String>,
}

/// A change of somebody's profile, as a network reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileNews {
    Nickname(String),
    /// The status message; empty: none.
    StatusMessage(Visible<String>),
    /// Online, offline, or not to be seen.
    Presence(PeerPresence),
    /// The photo, if there is one.
    Photo(Visible<Option<PhotoReference>>),
    /// The number has left the network: nothing of its profile counts any more, nor what it was before.
    Gone,
}
