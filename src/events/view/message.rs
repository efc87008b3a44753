//! A message, in the lists of messages and in events.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    AccountId, BlobHash, Card, Content, Location, MediaFile, OtherContent, Reference, RemoteMedia,
    StoredMedia, Timestamp, UncutTimestamp,
};
use crate::media::Media;
use crate::store::{Message, StoredContent, UnknownContent};

/// A message. Its type decides whether it has text, a file, a location or a card.
#[derive(Serialize, ToSchema)]
pub struct MessageInfo {
    id: String,
    /// t text, i image, v video, a audio, s voice, l location, c vcard, u another file or what cannot be shown. u, and any
    /// other letter, which is a type that a newer version of this server knows, has `text`, and what else is known.
    r#type: String,
    /// Whether the account received it; otherwise the account sent it.
    received: bool,
    /// The sender of a message received in a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    participant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text: Option<String>,
    /// Signed; opens the file without a token for 24 h. Missing while the file is pending or lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url: Option<String>,
    /// Base64 of the SHA-256 of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    caption: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    mimetype: Option<String>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    size: Option<u64>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    width: Option<u32>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    height: Option<u32>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    duration: Option<f64>,
    /// State of the file: stored, pending (it is being fetched) or lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    media: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    latitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    longitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    vcard: Option<String>,
    /// The name on the card.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// Of u without a file: encrypted, call, edit (`text` is the new text), delete, reaction (`text` has all emojis of its
    /// sender; none: they were taken back) or unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    what: Option<&'static str>,
    /// The message of this chat that an edit, delete or reaction is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refers_to: Option<OtherMessage>,
    /// The message of this chat that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reply_to: Option<OtherMessage>,
    /// When this server stored it.
    #[schema(value_type = String)]
    time: Timestamp,
    /// The same time, uncut and with its zone.
    #[schema(value_type = String)]
    timestamp: UncutTimestamp,
    /// When the network accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    sent: Option<Timestamp>,
    /// The same time, uncut and with its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    sent_timestamp: Option<UncutTimestamp>,
    /// When the recipient's device stored it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    delivered: Option<Timestamp>,
    /// The same time, uncut and with its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    delivered_timestamp: Option<UncutTimestamp>,
    /// When the recipient read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    read: Option<Timestamp>,
    /// The same time, uncut and with its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    read_timestamp: Option<UncutTimestamp>,
    /// queued, sent, failed or received.
    state: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failure: Option<String>,
}

/// Another message. It may be one that this server does not have.
#[derive(Serialize, ToSchema)]
pub struct OtherMessage {
    id: String,
}

impl MessageInfo {
    /// A file gets a new URL.
    pub fn new(media: &Media, account: AccountId, message: Message) -> Self {
        let info = Self {
            id: message.id,
            r#type: message.content.letter().to_owned(),
            received: message.received,
            participant: message.participant,
            text: None,
            url: None,
            hash: None,
            caption: None,
            mimetype: None,
            size: None,
            width: None,
            height: None,
            duration: None,
            media: None,
            latitude: None,
            longitude: None,
            vcard: None,
            name: None,
            what: None,
            refers_to: None,
            reply_to: message.reply_to.map(|id| OtherMessage { id }),
            time: Timestamp(message.time),
            timestamp: UncutTimestamp(message.time),
            sent: message.sent.map(Timestamp),
            sent_timestamp: message.sent.map(UncutTimestamp),
            delivered: message.delivered.map(Timestamp),
            delivered_timestamp: message.delivered.map(UncutTimestamp),
            read: message.read.map(Timestamp),
            read_timestamp: message.read.map(UncutTimestamp),
            state: message.state.name().to_owned(),
            failure: message.failure,
        };
        let content = match message.content {
            StoredContent::Known(content) => content,
            StoredContent::Unknown(unknown) => return info.unknown(media, account, unknown, message.lost),
        };
        match content {
            Content::Text(text) => Self { text: Some(text), ..info },
            Content::Media(content) => {
                let info = match content.kind {
                    Some(_) => Self { caption: content.caption, ..info },
                    None => Self { text: Some(content.caption.unwrap_or_default()), ..info },
                };
                match content.file {
                    MediaFile::Stored(stored) => info.stored(media, account, stored, message.lost),
                    MediaFile::Remote(remote) => info.remote(remote, message.lost),
                }
            }
            Content::Location(Location { latitude, longitude, caption }) => {
                Self { latitude: Some(latitude), longitude: Some(longitude), caption, ..info }
            }
            Content::VCard(Card { vcard, name }) => Self { vcard: Some(vcard), name, ..info },
            Content::Other(OtherContent { what, text, refers_to }) => Self {
                text: Some(text),
                what: Some(what.name()),
                refers_to: refers_to.map(|id| OtherMessage { id }),
                ..info
            },
        }
    }

    /// `lost`: it was deleted after its retention.
    fn stored(self, media: &Media, account: AccountId, stored: StoredMedia, lost: bool) -> Self {
        let StoredMedia { hash, mimetype, size, width, height, duration } = stored;
        Self {
            url: (!lost).then(|| media.url(Reference::Message(account), &hash)),
            hash: Some(hash.base64()),
            mimetype: Some(mimetype),
            size: Some(size),
            width,
            height,
            duration,
            media: Some(if lost { "lost" } else { "stored" }),
            ..self
        }
    }

    fn remote(self, remote: RemoteMedia, lost: bool) -> Self {
        Self {
            hash: remote.hash.map(|hash| hash.base64()),
            mimetype: remote.mimetype,
            size: remote.size,
            media: Some(if lost { "lost" } else { "pending" }),
            ..self
        }
    }

    fn unknown(self, media: &Media, account: AccountId, unknown: UnknownContent, lost: bool) -> Self {
        let hash: Option<BlobHash> = unknown.detail("hash");
        let is_remote = unknown.detail::<String>("reference").is_some();
        let stored = hash.filter(|_| !is_remote && !lost);
        Self {
            url: stored.map(|hash| media.url(Reference::Message(account), &hash)),
            media: match stored {
                Some(_) => Some("stored"),
                None if lost => Some("lost"),
                None if is_remote => Some("pending"),
                None => None,
            },
            hash: hash.map(|hash| hash.base64()),
            mimetype: unknown.detail("mimetype"),
            size: unknown.detail("size"),
            width: unknown.detail("width"),
            height: unknown.detail("height"),
            duration: unknown.detail("duration"),
            latitude: unknown.detail("latitude"),
            longitude: unknown.detail("longitude"),
            vcard: unknown.detail("vcard"),
            text: Some(unknown.text.unwrap_or_default()),
            ..self
        }
    }
}
