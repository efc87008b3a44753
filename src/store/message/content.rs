//! The content of a message as columns: kind, text and details.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{
    BlobHash, Card, Content, Location, MediaContent, MediaFile, MediaKind, OtherContent, RemoteMedia,
    StoredMedia, What,
};
use crate::secrets;

/// The content of a stored message.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredContent {
    Known(Content),
    /// Of a kind that only a newer version of this program knows, or with other details than this version knows.
    Unknown(UnknownContent),
}

/// A content that this version can show in parts only.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownContent {
    /// The letter of its kind.
    pub letter: String,
    pub text: Option<String>,
    details: Value,
}

impl StoredContent {
    /// The letter of its kind, see [`Content::letter`].
    #[must_use]
    pub fn letter(&self) -> &str {
        match self {
            Self::Known(content) => content.letter(),
            Self::Unknown(unknown) => &unknown.letter,
        }
    }

    /// The readable part of the message, see [`Content::text`].
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Known(content) => content.text(),
            Self::Unknown(unknown) => unknown.text.as_deref(),
        }
    }
}

impl UnknownContent {
    /// One of the details, by the names of [`Details`]; `None` when it is missing or of another type.
    #[must_use]
    pub fn detail<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.details.get(name).and_then(|detail| T::deserialize(detail).ok())
    }
}

/// The column `details`: all content that is not in the columns `type` and `text`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Details {
    /// The place on the network of a file that is not stored yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<BlobHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mimetype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    longitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vcard: Option<String>,
    /// The name of a [`What`].
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refers_to: Option<String>,
    /// The id of the message that it answers, whatever its content is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
}

/// The column `details` of a message that answers no other.
pub(in crate::store) fn details(content: &Content) -> Option<Value> {
    inbound_details(content, None)
}

/// The column `details`.
pub(in crate::store) fn inbound_details(content: &Content, reply_to: Option<&str>) -> Option<Value> {
    let details = match content {
        Content::Text(_) if reply_to.is_none() => return None,
        Content::Text(_) => Details::default(),
        Content::Media(media) => match &media.file {
            MediaFile::Stored(stored) => details_of_stored(stored),
            MediaFile::Remote(remote) => Details {
                reference: Some(remote.reference.clone()),
                hash: remote.hash,
                mimetype: remote.mimetype.clone(),
                size: remote.size,
                ..Details::default()
            },
        },
        Content::Location(Location { latitude, longitude, .. }) => {
            Details { latitude: Some(*latitude), longitude: Some(*longitude), ..Details::default() }
        }
        Content::VCard(card) => Details { vcard: Some(card.vcard.clone()), ..Details::default() },
        Content::Other(other) => Details {
            what: Some(other.what.name().to_owned()),
            refers_to: other.refers_to.clone(),
            ..Details::default()
        },
    };
    let details = Details { reply_to: reply_to.map(str::to_owned), ..details };
    serde_json::to_value(details).ok()
}

/// The message that a message answers.
pub(in crate::store) fn reply_to(details: Option<&Value>) -> Option<String> {
    details?.get("reply_to")?.as_str().map(str::to_owned)
}

/// The column `details` of a card that was fetched as a file.
pub(in crate::store) fn card_details(card: &Card) -> Value {
    let details = Details { vcard: Some(card.vcard.clone()), ..Details::default() };
    serde_json::to_value(details).unwrap_or_default()
}

/// The column `details` of a message whose file has been stored.
pub(in crate::store) fn stored_details(stored: &StoredMedia) -> Value {
    serde_json::to_value(details_of_stored(stored)).unwrap_or_default()
}

fn details_of_stored(stored: &StoredMedia) -> Details {
    let StoredMedia { hash, mimetype, size, width, height, duration } = stored;
    Details {
        hash: Some(*hash),
        mimetype: Some(mimetype.clone()),
        size: Some(*size),
        width: *width,
        height: *height,
        duration: *duration,
        ..Details::default()
    }
}

/// Builds the content from its columns.
pub(in crate::store) fn content(
    letter: String,
    text: Option<String>,
    details: Option<Value>,
) -> StoredContent {
    if let Some(content) = parse(&letter, text.as_ref(), details.as_ref()) {
        return StoredContent::Known(content);
    }
    let unknown = UnknownContent { letter, text, details: details.unwrap_or_default() };
    StoredContent::Unknown(unknown)
}

fn parse(kind: &str, text: Option<&String>, details: Option<&Value>) -> Option<Content> {
    let text = text.cloned();
    if kind == "t" {
        return text.map(Content::Text);
    }
    let details = Details::deserialize(details?).ok()?;
    if kind == "l" {
        let (latitude, longitude) = (details.latitude?, details.longitude?);
        return Some(Content::Location(Location { latitude, longitude, caption: text }));
    }
    if kind == "c" {
        return Some(Content::VCard(Card { vcard: details.vcard?, name: text }));
    }
    if let Some(what) = &details.what {
        let (what, refers_to) = (What::from_name(what)?, details.refers_to);
        let is_other = kind == Content::OTHER;
        return is_other
            .then(|| Content::Other(OtherContent { what, text: text.unwrap_or_default(), refers_to }));
    }
    let file = match details.reference {
        Some(reference) => MediaFile::Remote(RemoteMedia {
            reference,
            mimetype: details.mimetype,
            size: details.size,
            hash: details.hash,
        }),
        None => MediaFile::Stored(StoredMedia {
            hash: details.hash?,
            mimetype: details.mimetype?,
            size: details.size?,
            width: details.width,
            height: details.height,
            duration: details.duration,
        }),
    };
    let kind = match MediaKind::from_letter(kind) {
        None if kind != Content::OTHER => return None,
        kind => kind,
    };
    Some(Content::Media(Box::new(MediaContent { kind, caption: text, file })))
}

/// Distinguishes two messages with one id: SHA-256 over kind and content. For a file it uses the hash of its content, if
/// the network reports that, because the network may have moved the file when it reports the message again.
pub(in crate::store) fn fingerprint(content: &Content) -> [u8; 32] {
    let mut bytes = content.letter().as_bytes().to_vec();
    bytes.extend_from_slice(content.text().unwrap_or_default().as_bytes());
    match content {
        Content::Text(_) => {}
        Content::Media(media) => match &media.file {
            MediaFile::Stored(StoredMedia { hash, .. })
            | MediaFile::Remote(RemoteMedia { hash: Some(hash), .. }) => {
                bytes.extend_from_slice(&hash.0);
            }
            MediaFile::Remote(remote) => {
                bytes.extend_from_slice(&secrets::sha256(remote.reference.as_bytes()));
            }
        },
        Content::Location(location) => {
            bytes.extend_from_slice(&location.latitude.to_be_bytes());
            bytes.extend_from_slice(&location.longitude.to_be_bytes());
        }
        Content::VCard(card) => bytes.extend_from_slice(&secrets::sha256(card.vcard.as_bytes())),
        Content::Other(OtherContent { what, refers_to, .. }) => {
            for part in [what.name(), refers_to.as_deref().unwrap_or_default()] {
                bytes.extend_from_slice(&secrets::sha256(part.as_bytes()));
            }
        }
    }
    secrets::sha256(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn media(file: MediaFile) -> Content {
        let caption = Some("a caption".to_owned());
        Content::Media(Box::new(MediaContent { kind: Some(MediaKind::Video), caption, file }))
    }

    fn samples() -> Vec<Content> {
        let stored = StoredMedia {
            hash: BlobHash([7; 32]),
            mimetype: "video/mp4".to_owned(),
            size: 12,
            width: Some(3),
            height: Some(4),
            duration: Some(1.5),
        };
        let remote = |reference: &str, hash: Option<BlobHash>| {
            media(MediaFile::Remote(RemoteMedia {
                reference: reference.to_owned(),
                mimetype: hash.map(|_| "video/mp4".to_owned()),
                size: hash.map(|_| 12),
                hash,
            }))
        };
        let other = MediaContent {
            kind: None,
            caption: Some("a caption".to_owned()),
            file: MediaFile::Stored(stored.clone()),
        };
        let place = |latitude| Content::Location(Location { latitude, longitude: -0.1, caption: None });
        let card = |vcard: &str| {
            Content::VCard(Card { vcard: vcard.to_owned(), name: Some("a caption".to_owned()) })
        };
        let other_content = |what, refers_to: Option<&str>| {
            let (text, refers_to) = ("a caption".to_owned(), refers_to.map(str::to_owned));
            Content::Other(OtherContent { what, text, refers_to })
        };
        vec![
            Content::Text("a caption".to_owned()),
            media(MediaFile::Stored(stored)),
            Content::Media(Box::new(other)),
            remote("one", None),
            remote("two", None),
            remote("two", Some(BlobHash([8; 32]))),
            place(51.5),
            place(-51.5),
            card("BEGIN:VCARD"),
            card("BEGIN:VCARD\r\n"),
            other_content(What::Encrypted, None),
            other_content(What::Edit, Some("m0")),
            other_content(What::Edit, Some("m1")),
            other_content(What::Reaction, Some("m1")),
        ]
    }

    #[test]
    fn content_survives_its_columns() {
        for sample in samples() {
            let text = sample.text().map(str::to_owned);
            let parsed = content(sample.letter().to_owned(), text, details(&sample));
            assert_eq!(parsed, StoredContent::Known(sample));
        }
    }

    #[test]
    fn of_unknown_content_the_known_parts_are_kept() {
        for (letter, details) in [
            ("t", Value::Null),
            ("i", Value::Null),
            ("i", json!({})),
            ("l", json!({"latitude": "north"})),
            ("z", json!({"latitude": 1.5})),
            ("z", json!([])),
            ("u", json!({"latitude": 2.5})),
            ("u", json!({"what": "a newer one"})),
        ] {
            let parsed = content(letter.to_owned(), None, Some(details.clone()));
            let StoredContent::Unknown(unknown) = &parsed else { panic!("{letter} {details}") };
            assert_eq!((parsed.letter(), parsed.text()), (letter, None));
            assert_eq!(unknown.detail::<f64>("latitude"), details["latitude"].as_f64());
            assert_eq!(unknown.detail::<String>("mimetype"), None);
        }
    }

    #[test]
    fn every_letter_is_listed() {
        let letters: std::collections::BTreeSet<&str> = samples().iter().map(Content::letter).collect();
        let media = MediaKind::ALL.iter().map(|kind| kind.letter());
        let all: std::collections::BTreeSet<&str> = letters.into_iter().chain(media).collect();
        assert_eq!(all, Content::LETTERS.into_iter().chain([Content::OTHER]).collect());
    }

    #[test]
    fn other_content_has_another_fingerprint() {
        let mut prints: Vec<_> = samples().iter().map(fingerprint).collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), samples().len());
    }

    #[test]
    fn the_fingerprint_of_a_file_does_not_depend_on_its_place_on_the_network() {
        let at = |reference: &str| {
            media(MediaFile::Remote(RemoteMedia {
                reference: reference.to_owned(),
                mimetype: Some("video/mp4".to_owned()),
                size: Some(12),
                hash: Some(BlobHash([7; 32])),
            }))
        };
        assert_eq!(fingerprint(&at("one")), fingerprint(&at("two")));
    }
}
