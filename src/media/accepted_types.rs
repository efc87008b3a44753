//! The file types that each kind of media accepts. Each kind has an endpoint of its own.

use super::file_type::{Family, FileType};
use crate::domain::MediaKind;

/// Why an endpoint does not accept a file. The text is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongFileType {
    /// A picture was sent to an endpoint for sound or video.
    #[error("this is a picture; send it with send-image")]
    Picture,
    /// Sound was sent to an endpoint for pictures or video.
    #[error("this is sound without a picture; send it with send-audio or send-voice")]
    Audio,
    /// A video was sent to an endpoint for sound or pictures.
    #[error("this is a video; send it with send-video")]
    Video,
}

/// The file types that are accepted, by their usual endings, as a text for people.
pub(super) fn accepted_endings(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "jpg, jpeg, gif, png or webp",
        MediaKind::Voice | MediaKind::Audio => {
            "3gp, caf, wav, mp3, wma, ogg, oga, opus, aif, aac, m4a, or sound in mp4 or webm"
        }
        MediaKind::Video => "3gp, mp4, m4v, mov, avi or webm",
    }
}

/// Checks that a file of this type can be sent as this kind of media.
pub fn accepts(kind: MediaKind, file_type: FileType) -> Result<(), WrongFileType> {
    let accepted = match kind {
        MediaKind::Image => Family::Picture,
        MediaKind::Voice | MediaKind::Audio => Family::Audio,
        MediaKind::Video => Family::Video,
    };
    match file_type.family() {
        family if family == accepted => Ok(()),
        Family::Picture => Err(WrongFileType::Picture),
        Family::Audio => Err(WrongFileType::Audio),
        Family::Video => Err(WrongFileType::Video),
    }
}

/// The ending of a file name as a hint for people, with its dot: up to eight letters and digits.
pub(super) fn ending(file_name: Option<&str>) -> Option<String> {
    let name = file_name?.rsplit(['/', '\\']).next()?;
    let (stem, ending) = name.rsplit_once('.')?;
    let usable = !stem.is_empty()
        && (1..=8).contains(&ending.len())
        && ending.bytes().all(|byte| byte.is_ascii_alphanumeric());
    usable.then(|| format!(".{}", ending.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_is_refused_with_the_endpoint_to_use() {
        for (kind, file_type, wrong) in [
            (MediaKind::Image, FileType::Mp3, WrongFileType::Audio),
            (MediaKind::Voice, FileType::Mp4, WrongFileType::Video),
            (MediaKind::Audio, FileType::WebmVideo, WrongFileType::Video),
            (MediaKind::Video, FileType::Png, WrongFileType::Picture),
        ] {
            assert_eq!(accepts(kind, file_type), Err(wrong));
        }
        assert!(WrongFileType::Video.to_string().contains("send-video"));
    }

    #[test]
    fn the_ending_is_what_follows_the_last_dot_of_the_name() {
        for (name, expected) in [
            ("a.JPG", Some(".jpg")),
            ("a.b.jpg", Some(".jpg")),
            ("C:\\x.y\\a", None),
            ("/x.y/a", None),
            (".jpg", None),
            ("a.", None),
            ("a", None),
            ("", None),
            ("photo.jpg:large", None),
            ("a.very long one", None),
        ] {
            assert_eq!(ending(Some(name)).as_deref(), expected, "{name}");
        }
        assert_eq!(ending(None), None);
    }
}
