//! What lies in the mailboxes of the local network.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{
    BlobHash, Card, Content, Location, MediaContent, MediaFile, MediaKind, PeerPresence, Photo, ReceiptKind,
    RemoteMedia, StoredMedia, Typing, Visible,
};
use crate::upstream::local::network::{GroupNews, News};

/// One thing that a subscriber's connection is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "stanza", rename_all = "snake_case")]
pub(super) enum Stanza {
    /// A text message.
    Text { id: String, text: String },
    /// A message with a file, which the network keeps under the reference.
    File(FileStanza),
    /// A message that is a place.
    Place { id: String, latitude: f64, longitude: f64, caption: Option<String> },
    /// A message that is somebody's card.
    Card { id: String, vcard: String, name: Option<String> },
    /// The recipient's message was stored at the other side.
    Delivered { id: String },
    /// The recipient's message was seen.
    Read { id: String },
    /// The nickname of a watched profile changed.
    Profile { nickname: String },
    /// What the recipient sees of a watched status message changed.
    StatusMessage { shown: Visible<String> },
    /// What the recipient sees of a watched photo changed.
    Photo { shown: Visible<Option<Photo>> },
    /// What the recipient sees of a watched presence changed.
    Presence { presence: PeerPresence },
    /// A watched number has left.
    Gone,
    /// One of the others, said in a group. Not a field of theirs: a program that knows no groups must not take it for
    /// what somebody said to the recipient alone.
    InGroup { group: String, said: Box<Stanza> },
    /// A group that the recipient is or was in was made or changed.
    Group(GroupNews),
}

/// A message with a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FileStanza {
    pub id: String,
    /// The letter of its kind.
    pub kind: String,
    pub caption: Option<String>,
    pub reference: String,
    pub mimetype: String,
    pub size: u64,
    pub hash: BlobHash,
}

/// What is shown but not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TypingHint {
    pub from: String,
    pub composing: bool,
    /// In which group, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Stanza {
    /// The stanza that carries a message. `reference` is where the network keeps its file. None for a file that is not
    /// with us: nobody sends on what was not fetched.
    pub fn message(id: &str, content: &Content, reference: &str) -> Option<Self> {
        let id = id.to_owned();
        Some(match content.clone() {
            Content::Text(text) => Self::Text { id, text },
            Content::Media(media) => {
                let MediaContent { kind, caption, file } = *media;
                let MediaFile::Stored(StoredMedia { hash, mimetype, size, .. }) = file else { return None };
                let (kind, reference) = (kind.letter().to_owned(), reference.to_owned());
                Self::File(FileStanza { id, kind, caption, reference, mimetype, size, hash })
            }
            Content::Location(Location { latitude, longitude, caption }) => {
                Self::Place { id, latitude, longitude, caption }
            }
            Content::VCard(Card { vcard, name }) => Self::Card { id, vcard, name },
        })
    }

    /// The message in it, if it is one that can be read: its id and what it says.
    pub fn into_message(self) -> Option<(String, Content)> {
        match self {
            Self::Text { id, text } => Some((id, Content::Text(text))),
            Self::File(FileStanza { id, kind, caption, reference, mimetype, size, hash }) => {
                let file = MediaFile::Remote(RemoteMedia { reference, mimetype, size, hash: Some(hash) });
                let kind = MediaKind::from_letter(&kind)?;
                Some((id, Content::Media(Box::new(MediaContent { kind, caption, file }))))
            }
            Self::Place { id, latitude, longitude, caption } => {
                Some((id, Content::Location(Location { latitude, longitude, caption })))
            }
            Self::Card { id, vcard, name } => Some((id, Content::VCard(Card { vcard, name }))),
            Self::Delivered { .. }
            | Self::Read { .. }
            | Self::Profile { .. }
            | Self::StatusMessage { .. }
            | Self::Photo { .. }
            | Self::Presence { .. }
            | Self::Gone
            | Self::InGroup { .. }
            | Self::Group(_) => None,
        }
    }

    /// The stanza that tells a watcher news, as the store keeps it.
    pub fn news(news: &News) -> Value {
        let stanza = match news {
            News::Nickname(nickname) => Self::Profile { nickname: nickname.clone() },
            News::StatusMessage(shown) => Self::StatusMessage { shown: shown.clone() },
            News::Photo(shown) => Self::Photo { shown: *shown },
            News::Presence(presence) => Self::Presence { presence: *presence },
        };
        stanza.to_json()
    }

    /// The same, said in a group if there is one.
    pub fn within(self, group: Option<&str>) -> Self {
        match group {
            Some(group) => Self::InGroup { group: group.to_owned(), said: Box::new(self) },
            None => self,
        }
    }

    /// As the store keeps it.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// A receipt for a message.
    pub fn receipt(kind: ReceiptKind, id: &str) -> Self {
        match kind {
            ReceiptKind::Delivered => Self::Delivered { id: id.to_owned() },
            ReceiptKind::Read => Self::Read { id: id.to_owned() },
        }
    }
}

impl TypingHint {
    /// Which of the two.
    pub fn typing(&self) -> Typing {
        if self.composing { Typing::Composing } else { Typing::Paused }
    }
}
