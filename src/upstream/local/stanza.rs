//! Stanzas: the content of the local network's mailboxes.
//!
//! Their JSON lies in `localnet_stanza.stanza`, where programs of other versions read and write it too. A stanza that cannot
//! be read stays there for a program that can.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{
    BlobHash, Card, Content, Location, MediaContent, MediaFile, MediaKind, PeerPresence, Photo, ReceiptKind,
    RemoteMedia, StoredMedia, Typing, Visible,
};
use crate::upstream::GroupChange;

/// One entry of a mailbox, without its sender and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stanza", rename_all = "snake_case")]
pub enum Stanza {
    Text {
        id: String,
        text: String,
    },
    File(FileStanza),
    Place {
        id: String,
        latitude: f64,
        longitude: f64,
        caption: Option<String>,
    },
    Card {
        id: String,
        vcard: String,
        name: Option<String>,
    },
    /// A message of the recipient was stored by the other side.
    Delivered {
        id: String,
    },
    /// A message of the recipient was read by the other side.
    Read {
        id: String,
    },
    /// The nickname of a watched profile changed.
    Profile {
        nickname: String,
    },
    /// The status message of a watched profile changed, as far as the recipient may see it; likewise the next two.
    StatusMessage {
        shown: Visible<String>,
    },
    Photo {
        shown: Visible<Option<Photo>>,
    },
    Presence {
        presence: PeerPresence,
    },
    /// A watched number has left the network.
    Gone,
    /// A message or receipt in a group. The group is not a field of the others: a program that knows no groups must
    /// not mistake the message for a direct one.
    InGroup {
        group: String,
        said: Box<Stanza>,
    },
    /// A group that the recipient is or was a member of was created or changed.
    Group(GroupNews),
}

/// A message with a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileStanza {
    pub id: String,
    /// See [`MediaKind::letter`].
    pub kind: String,
    pub caption: Option<String>,
    /// The key of the file in the network's storage.
    pub reference: String,
    pub mimetype: String,
    /// In bytes.
    pub size: u64,
    pub hash: BlobHash,
}

/// A change of a group, without the group itself: the reader looks it up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupNews {
    /// The group's address.
    pub group: String,
    /// The revision that this change made.
    pub revision: i64,
    /// The subject after this change.
    pub subject: String,
    pub changes: Vec<GroupChange>,
}

/// A typing notification. It is sent to the open connections and not stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TypingHint {
    pub from: String,
    pub composing: bool,
    /// The group's address, in a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Stanza {
    /// The stanza of a message whose file, if it has one, the network stores under `reference`. `None` for a file that
    /// is not stored here, and for content that is only received: it cannot be sent.
    pub fn message(id: &str, content: &Content, reference: &str) -> Option<Self> {
        let id = id.to_owned();
        Some(match content.clone() {
            Content::Text(text) => Self::Text { id, text },
            Content::Media(media) => {
                let MediaContent { kind, caption, file } = *media;
                let MediaFile::Stored(StoredMedia { hash, mimetype, size, .. }) = file else { return None };
                let (kind, reference) = (kind?.letter().to_owned(), reference.to_owned());
                Self::File(FileStanza { id, kind, caption, reference, mimetype, size, hash })
            }
            Content::Location(Location { latitude, longitude, caption }) => {
                Self::Place { id, latitude, longitude, caption }
            }
            Content::VCard(Card { vcard, name }) => Self::Card { id, vcard, name },
            Content::Other(_) => return None,
        })
    }

    /// The message's id and content; `None` for other stanzas and unknown kinds of media.
    pub fn into_message(self) -> Option<(String, Content)> {
        match self {
            Self::Text { id, text } => Some((id, Content::Text(text))),
            Self::File(FileStanza { id, kind, caption, reference, mimetype, size, hash }) => {
                let file = MediaFile::Remote(RemoteMedia {
                    reference,
                    mimetype: Some(mimetype),
                    size: Some(size),
                    hash: Some(hash),
                });
                let kind = Some(MediaKind::from_letter(&kind)?);
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

    /// Wraps the stanza if it is for a group.
    pub fn within(self, group: Option<&str>) -> Self {
        match group {
            Some(group) => Self::InGroup { group: group.to_owned(), said: Box::new(self) },
            None => self,
        }
    }

    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    pub fn receipt(kind: ReceiptKind, id: &str) -> Self {
        match kind {
            ReceiptKind::Delivered => Self::Delivered { id: id.to_owned() },
            ReceiptKind::Read => Self::Read { id: id.to_owned() },
        }
    }
}

impl TypingHint {
    pub fn typing(&self) -> Typing {
        if self.composing { Typing::Composing } else { Typing::Paused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::GroupChangeKind;
    use crate::upstream::Address;
    use serde_json::json;

    /// Programs of different versions read each other's mailboxes, so this JSON does not change.
    #[test]
    fn the_json_of_every_stanza_kind_is_fixed() {
        let (hash, preview) = ("01".repeat(32), "02".repeat(32));
        let photo = Photo { photo: BlobHash([1; 32]), preview: BlobHash([2; 32]) };
        let last_seen = "2026-11-25T12:00:00Z".parse().expect("a time");
        let file = FileStanza {
            id: "m2".to_owned(),
            kind: "i".to_owned(),
            caption: None,
            reference: "15550100001/m2".to_owned(),
            mimetype: "image/jpeg".to_owned(),
            size: 7,
            hash: BlobHash([1; 32]),
        };
        let news = GroupNews {
            group: "group:a".to_owned(),
            revision: 3,
            subject: "Ducks".to_owned(),
            changes: vec![
                GroupChange { kind: GroupChangeKind::Subject, who: Vec::new(), by: None },
                GroupChange {
                    kind: GroupChangeKind::Added,
                    who: vec![Address("15550100002".to_owned())],
                    by: Some(Address("15550100001".to_owned())),
                },
            ],
        };
        let id = || "m1".to_owned();
        for (stanza, json) in [
            (
                Stanza::Text { id: id(), text: "Hello".to_owned() },
                json!({"stanza": "text", "id": "m1", "text": "Hello"}),
            ),
            (
                Stanza::File(file),
                json!({"stanza": "file", "id": "m2", "kind": "i", "caption": null, "reference": "15550100001/m2",
                       "mimetype": "image/jpeg", "size": 7, "hash": hash}),
            ),
            (
                Stanza::Place { id: id(), latitude: 1.5, longitude: -2.25, caption: Some("here".to_owned()) },
                json!({"stanza": "place", "id": "m1", "latitude": 1.5, "longitude": -2.25, "caption": "here"}),
            ),
            (
                Stanza::Card { id: id(), vcard: "BEGIN:VCARD".to_owned(), name: None },
                json!({"stanza": "card", "id": "m1", "vcard": "BEGIN:VCARD", "name": null}),
            ),
            (Stanza::Delivered { id: id() }, json!({"stanza": "delivered", "id": "m1"})),
            (Stanza::Read { id: id() }, json!({"stanza": "read", "id": "m1"})),
            (
                Stanza::Profile { nickname: "Anna".to_owned() },
                json!({"stanza": "profile", "nickname": "Anna"}),
            ),
            (
                Stanza::StatusMessage { shown: Visible::Value("Hello".to_owned()) },
                json!({"stanza": "status_message", "shown": {"value": "Hello"}}),
            ),
            (
                Stanza::StatusMessage { shown: Visible::Hidden },
                json!({"stanza": "status_message", "shown": "hidden"}),
            ),
            (
                Stanza::Photo { shown: Visible::Value(Some(photo)) },
                json!({"stanza": "photo", "shown": {"value": {"photo": hash, "preview": preview}}}),
            ),
            (
                Stanza::Photo { shown: Visible::Value(None) },
                json!({"stanza": "photo", "shown": {"value": null}}),
            ),
            (
                Stanza::Presence { presence: PeerPresence::Online },
                json!({"stanza": "presence", "presence": "online"}),
            ),
            (
                Stanza::Presence { presence: PeerPresence::Offline { last_seen: Some(last_seen) } },
                json!({"stanza": "presence", "presence": {"offline": {"last_seen": "2026-11-25T12:00:00Z"}}}),
            ),
            (Stanza::Gone, json!({"stanza": "gone"})),
            (
                Stanza::Read { id: id() }.within(Some("group:a")),
                json!({"stanza": "in_group", "group": "group:a", "said": {"stanza": "read", "id": "m1"}}),
            ),
            (
                Stanza::Group(news),
                json!({"stanza": "group", "group": "group:a", "revision": 3, "subject": "Ducks",
                       "changes": [{"kind": "subject", "who": []}, {"kind": "added", "who": ["15550100002"],
                                                                      "by": "15550100001"}]}),
            ),
        ] {
            assert_eq!(stanza.to_json(), json);
            assert_eq!(serde_json::from_value::<Stanza>(json).expect("a stanza"), stanza);
        }
    }

    /// Typing hints go between processes too.
    #[test]
    fn the_json_of_a_typing_hint_is_fixed() {
        for json in [
            json!({"from": "15550100001", "composing": true}),
            json!({"from": "15550100001", "composing": false, "group": "group:a"}),
        ] {
            let hint: TypingHint = serde_json::from_value(json.clone()).expect("a hint");
            assert_eq!(serde_json::to_value(&hint).expect("JSON"), json);
        }
    }
}
