//! Messages, receipts and typing.

use super::{BlobHash, MediaKind, StoredMedia};

/// The content of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Text(String),
    /// A picture, a video or sound.
    Media(Box<MediaContent>),
    Location(Location),
    VCard(Card),
    /// What cannot be shown, or acts on another message.
    Other(OtherContent),
}

/// A file with its caption.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaContent {
    /// `None` for a file of another kind, or of one that is not known before it is fetched.
    pub kind: Option<MediaKind>,
    pub caption: Option<String>,
    pub file: MediaFile,
}

/// Where a message's file is.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaFile {
    /// In our storage.
    Stored(StoredMedia),
    /// At the network, to be fetched.
    Remote(RemoteMedia),
}

/// A file that is stored by the network.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteMedia {
    /// The network's own name of it.
    pub reference: String,
    /// The sender's claim, such as `image/jpeg`.
    pub mimetype: Option<String>,
    /// The sender's claim, in bytes.
    pub size: Option<u64>,
    /// The sender's claim: a file with another hash is not accepted.
    pub hash: Option<BlobHash>,
}

/// A place on the Earth (WGS 84).
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Degrees, from -90 to 90.
    pub latitude: f64,
    /// Degrees, from -180 to 180.
    pub longitude: f64,
    pub caption: Option<String>,
}

/// A vCard (RFC 6350).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The card's text, unchanged.
    pub vcard: String,
    /// The person's name.
    pub name: Option<String>,
}

/// Something that a network carries and this program only lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherContent {
    pub what: What,
    /// What the network gave for people: an edit's new text, the emojis of a reaction, a text about encryption; or nothing.
    pub text: String,
    /// The id of the message of the chat that it acts on.
    pub refers_to: Option<String>,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Encrypted,
    Call,
    Edit,
    Deletion,
    /// All reactions of its sender to the message; none when it has no text.
    Reaction,
    Unknown,
}

impl What {
    const ALL: [Self; 6] =
        [Self::Encrypted, Self::Call, Self::Edit, Self::Deletion, Self::Reaction, Self::Unknown];

    /// The name in the database and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::Call => "call",
            Self::Edit => "edit",
            Self::Deletion => "delete",
            Self::Reaction => "reaction",
            Self::Unknown => "unknown",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == name)
    }
}

impl Content {
    /// The letters of all kinds that can be sent, see [`Self::letter`]. Newer versions of this program know more.
    pub const LETTERS: [&str; 7] = ["t", "i", "v", "a", "s", "l", "c"];

    /// The letter of a received file of another kind, and of [`Content::Other`].
    pub const OTHER: &str = "u";

    /// The letter in the list of messages: t text, i image, v video, a audio, s voice, l location, c vcard, u another file
    /// or other content.
    #[must_use]
    pub fn letter(&self) -> &'static str {
        match self {
            Self::Text(_) => "t",
            Self::Media(media) => media.kind.map_or(Self::OTHER, MediaKind::letter),
            Self::Location(_) => "l",
            Self::VCard(_) => "c",
            Self::Other(_) => Self::OTHER,
        }
    }

    /// The readable part of the message: its text or caption, or the name on a card.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Media(media) => media.caption.as_deref(),
            Self::Location(location) => location.caption.as_deref(),
            Self::VCard(card) => card.name.as_deref(),
            Self::Other(other) => Some(&other.text),
        }
    }

    #[must_use]
    pub fn file(&self) -> Option<&MediaFile> {
        match self {
            Self::Media(media) => Some(&media.file),
            Self::Text(_) | Self::Location(_) | Self::VCard(_) | Self::Other(_) => None,
        }
    }
}

/// How far a message has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// Outbound, and waits for the network.
    Queued,
    /// Outbound, and accepted by the network.
    Sent,
    /// Outbound, and will never be sent.
    Failed,
    /// Inbound.
    Received,
    /// A state of this name, which a newer version of this program gave it.
    Other(String),
}

impl MessageState {
    /// The name in the database and in the API.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Received => "received",
            Self::Other(name) => name,
        }
    }

    #[must_use]
    pub fn from_name(name: String) -> Self {
        match name.as_str() {
            "queued" => Self::Queued,
            "sent" => Self::Sent,
            "failed" => Self::Failed,
            "received" => Self::Received,
            _ => Self::Other(name),
        }
    }
}

/// Why a message will never be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// The network did not accept it within its time to live.
    Expired,
    /// The network refused it for good.
    Refused,
    /// The receiver left the network.
    RecipientGone,
    /// The account was unregistered while the message waited.
    Unregistered,
    /// The network does not carry a message of this size.
    TooLarge,
    /// The network lets the account write only for a while after the receiver wrote.
    WindowClosed,
    /// The network wants to be paid first.
    NotPaid,
}

impl FailureReason {
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::Refused,
        Self::RecipientGone,
        Self::Unregistered,
        Self::TooLarge,
        Self::WindowClosed,
        Self::NotPaid,
    ];

    /// The name in the database and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::RecipientGone => "recipient_gone",
            Self::Unregistered => "unregistered",
            Self::TooLarge => "too_large",
            Self::WindowClosed => "window_closed",
            Self::NotPaid => "not_paid",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// The receiver's device has stored the message.
    Delivered,
    /// The receiver has seen the message.
    Read,
}

/// Whether a person is typing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    Composing,
    Paused,
}
