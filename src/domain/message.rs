//! Messages, receipts and typing.

use super::{BlobHash, MediaKind, StoredMedia};

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// A picture, a film or sound.
    Media(Box<MediaContent>),
    /// A place.
    Location(Location),
    /// Somebody's card.
    VCard(Card),
}

/// A file and what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaContent {
    /// What it is shown as.
    pub kind: MediaKind,
    /// A text below it.
    pub caption: Option<String>,
    /// The file.
    pub file: MediaFile,
}

/// Where a message's file is.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaFile {
    /// With us.
    Stored(StoredMedia),
    /// With the network, to be fetched.
    Remote(RemoteMedia),
}

/// A file that the network keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteMedia {
    /// Where, in the network's own words.
    pub reference: String,
    /// What the sender says it is, such as `image/jpeg`.
    pub mimetype: String,
    /// What the sender says of its size, in bytes.
    pub size: u64,
    /// What the sender says of its content: a file that differs is not taken for it.
    pub hash: Option<BlobHash>,
}

/// A place on the Earth (WGS 84).
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Degrees, from -90 to 90.
    pub latitude: f64,
    /// Degrees, from -180 to 180.
    pub longitude: f64,
    /// A text below it.
    pub caption: Option<String>,
}

/// A vCard (RFC 6350).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The card as it was given.
    pub vcard: String,
    /// Whose it is.
    pub name: Option<String>,
}

impl Content {
    /// The letter that the message list shows: t text, i image, v video, a audio, s voice, l location, c vcard.
    #[must_use]
    pub fn letter(&self) -> &'static str {
        match self {
            Self::Text(_) => "t",
            Self::Media(media) => media.kind.letter(),
            Self::Location(_) => "l",
            Self::VCard(_) => "c",
        }
    }

    /// What can be read of the message: its text or caption, or whose card it is.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Media(media) => media.caption.as_deref(),
            Self::Location(location) => location.caption.as_deref(),
            Self::VCard(card) => card.name.as_deref(),
        }
    }

    /// The message's file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&MediaFile> {
        match self {
            Self::Media(media) => Some(&media.file),
            Self::Text(_) | Self::Location(_) | Self::VCard(_) => None,
        }
    }
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// Outbound, and waits for the network.
    Queued,
    /// Outbound, and accepted by the network.
    Sent,
    /// Outbound, and will never be sent.
    Failed,
    /// Inbound.
    Received,
}

impl MessageState {
    /// The name in the database and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Received => "received",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "queued" => Some(Self::Queued),
            "sent" => Some(Self::Sent),
            "failed" => Some(Self::Failed),
            "received" => Some(Self::Received),
            _ => None,
        }
    }
}

/// Why a message will never be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// The network did not take it before its time to live ended.
    Expired,
    /// The network refused it for good.
    Refused,
    /// The receiver left the network.
    RecipientGone,
    /// The account was unregistered while the message waited.
    Unregistered,
}

impl FailureReason {
    /// The reason's name in the database and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::RecipientGone => "recipient_gone",
            Self::Unregistered => "unregistered",
        }
    }
}

/// What a receipt says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// The receiver's side has stored it.
    Delivered,
    /// The receiver has seen it.
    Read,
}

/// Whether somebody is writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// Writing now.
    Composing,
    /// Stopped writing.
    Paused,
}
