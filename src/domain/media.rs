//! Stored files: their hashes, their properties, and the rows that refer to them.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{AccountId, ChatId};

/// SHA-256 of a stored file: its name in the storage. Written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobHash(pub [u8; 32]);

/// The text is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 as 64 hex digits is expected")]
pub struct BadHash;

/// The kinds of media messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A still or animated picture without sound.
    Image,
    Video,
    /// Music and other sound files.
    Audio,
    /// A voice recording.
    Voice,
}

/// A file in the storage, with its properties.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMedia {
    /// Of the stored bytes.
    pub hash: BlobHash,
    /// Such as `image/jpeg`.
    pub mimetype: String,
    /// In bytes.
    pub size: u64,
    /// In pixels, as shown; of pictures and videos where it is known.
    pub width: Option<u32>,
    /// In pixels, as shown.
    pub height: Option<u32>,
    /// In seconds; of sound and videos where it is known.
    pub duration: Option<f64>,
}

/// The row by which a caller may see a stored file: its URL opens as long as this row refers to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A message of this account.
    Message(AccountId),
    OwnPhoto(AccountId),
    /// The row of a change of a person's photo; also for its preview.
    PeerPhoto(i64),
    /// The chat of a group, for the group's photo and its preview.
    GroupPhoto(ChatId),
}

impl BlobHash {
    /// The form in the API: 44 characters.
    #[must_use]
    pub fn base64(&self) -> String {
        BASE64.encode(&self.0)
    }

    /// The file's name in the storage and in URLs: 64 characters.
    #[must_use]
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.hex())
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BlobHash({self})")
    }
}

impl FromStr for BlobHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| BadHash)?;
        bytes.try_into().map(Self).map_err(|_| BadHash)
    }
}

impl TryFrom<&[u8]> for BlobHash {
    type Error = BadHash;

    fn try_from(bytes: &[u8]) -> Result<Self, BadHash> {
        bytes.try_into().map(Self).map_err(|_| BadHash)
    }
}

impl Serialize for BlobHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for BlobHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl MediaKind {
    pub const ALL: [Self; 4] = [Self::Image, Self::Video, Self::Audio, Self::Voice];

    /// The letter in the list of messages: i image, v video, a audio, s voice.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Image => "i",
            Self::Video => "v",
            Self::Audio => "a",
            Self::Voice => "s",
        }
    }

    #[must_use]
    pub fn from_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.letter() == letter)
    }

    /// The kind of a file of this type, which says nothing of how sound was made.
    #[must_use]
    pub fn of_mimetype(mimetype: &str) -> Option<Self> {
        let family = mimetype.split('/').next().unwrap_or_default().trim();
        let families = [("image", Self::Image), ("video", Self::Video), ("audio", Self::Audio)];
        families.into_iter().find(|(name, _)| family.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
    }

    /// The kind of a file of which the sender said `claimed`, once its type is known.
    #[must_use]
    pub fn of_fetched(claimed: Option<Self>, mimetype: &str) -> Option<Self> {
        match (claimed, Self::of_mimetype(mimetype)) {
            (Some(Self::Voice), Some(Self::Audio)) => Some(Self::Voice),
            (claimed, known) => known.or(claimed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_hex_in_urls_and_base64_in_answers() {
        let hash = BlobHash([0xab; 32]);
        assert_eq!(hash.hex(), "ab".repeat(32));
        assert_eq!(hash.hex().parse(), Ok(hash));
        assert_eq!(hash.base64(), "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=");
        assert_eq!(serde_json::to_string(&hash).ok(), Some(format!("\"{hash}\"")));
        assert_eq!(serde_json::from_str(&format!("\"{hash}\"")).ok(), Some(hash));
        for wrong in ["", "ab", &"ab".repeat(33), &"AB".repeat(32), &"xy".repeat(32)] {
            assert_eq!(wrong.parse::<BlobHash>(), Err(BadHash), "{wrong}");
        }
    }

    #[test]
    fn every_kind_has_its_letter() {
        for kind in MediaKind::ALL {
            assert_eq!(MediaKind::from_letter(kind.letter()), Some(kind));
        }
        assert_eq!(MediaKind::from_letter("t"), None);
    }

    #[test]
    fn the_type_of_a_fetched_file_decides_its_kind() {
        use MediaKind::{Audio, Image, Video, Voice};
        for (claimed, mimetype, kind) in [
            (None, "image/png", Some(Image)),
            (Some(Image), "video/mp4", Some(Video)),
            (Some(Voice), "Audio/ogg", Some(Voice)),
            (Some(Video), "audio/mpeg", Some(Audio)),
            (Some(Voice), "video/mp4", Some(Video)),
            (Some(Image), "application/octet-stream", Some(Image)),
            (None, "application/pdf", None),
            (None, "imagery", None),
        ] {
            assert_eq!(MediaKind::of_fetched(claimed, mimetype), kind, "{claimed:?} {mimetype}");
        }
    }
}
