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
    /// The name ends like no type that the endpoint accepts.
    #[error("a file for this endpoint ends in {}", accepted_endings(*.0))]
    Extension(MediaKind),
    /// The name promises another type than the content is.
    #[error("the name of the file does not fit its content, which is {}", .0.mimetype())]
    Name(FileType),
}

/// The endings of file names that are accepted, as a text for people.
pub(super) fn accepted_endings(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "jpg, jpeg, gif, png or webp",
        MediaKind::Voice | MediaKind::Audio => "3gp, caf, wav, mp3, wma, ogg, aif, aac or m4a",
        MediaKind::Video => "3gp, mp4, mov or avi",
    }
}

fn accepted_family(kind: MediaKind) -> Family {
    match kind {
        MediaKind::Image => Family::Picture,
        MediaKind::Voice | MediaKind::Audio => Family::Audio,
        MediaKind::Video => Family::Video,
    }
}

/// Checks that a file of this type and name can be sent as this kind of media. The type decides; an ending, in any
/// case, must fit it. A name without one (as in most URLs) promises nothing.
///
/// # Errors
/// The first mismatch, of the type before the name.
pub fn fits(kind: MediaKind, file_name: Option<&str>, file_type: FileType) -> Result<(), WrongFileType> {
    let family = file_type.family();
    if family != accepted_family(kind) {
        return Err(match family {
            Family::Picture => WrongFileType::Picture,
            Family::Audio => WrongFileType::Audio,
            Family::Video => WrongFileType::Video,
        });
    }
    let Some(extension) = file_name.and_then(extension) else { return Ok(()) };
    if file_type.extensions().contains(&extension.as_str()) {
        return Ok(());
    }
    let known = FileType::ALL
        .iter()
        .any(|other| other.family() == family && other.extensions().contains(&extension.as_str()));
    Err(if known { WrongFileType::Name(file_type) } else { WrongFileType::Extension(kind) })
}

/// The part behind the last dot, in lower case. A name that begins with its only dot has none.
fn extension(file_name: &str) -> Option<String> {
    let name = file_name.rsplit(['/', '\\']).next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [MediaKind; 4] = [MediaKind::Image, MediaKind::Voice, MediaKind::Audio, MediaKind::Video];

    /// The lists of the API's description.
    fn listed(kind: MediaKind) -> &'static [&'static str] {
        match kind {
            MediaKind::Image => &["jpg", "jpeg", "gif", "png", "webp"],
            MediaKind::Voice | MediaKind::Audio => {
                &["3gp", "caf", "wav", "mp3", "wma", "ogg", "aif", "aac", "m4a"]
            }
            MediaKind::Video => &["3gp", "mp4", "mov", "avi"],
        }
    }

    #[test]
    fn each_listed_ending_has_its_type_and_no_other_is_accepted() {
        for kind in KINDS {
            for ending in listed(kind) {
                let name = format!("a.{ending}");
                let accepted =
                    FileType::ALL.into_iter().any(|file_type| fits(kind, Some(&name), file_type).is_ok());
                assert!(accepted, "{kind:?} {ending}");
            }
            for file_type in FileType::ALL.into_iter().filter(|each| each.family() == accepted_family(kind)) {
                assert!(file_type.extensions().iter().all(|ending| listed(kind).contains(ending)));
                assert_eq!(fits(kind, None, file_type), Ok(()), "{kind:?} {file_type:?}");
                assert_eq!(fits(kind, Some("no ending"), file_type), Ok(()));
                let upper = format!("A.{}", file_type.extension().to_uppercase());
                assert_eq!(fits(kind, Some(&upper), file_type), Ok(()));
                assert_eq!(fits(kind, Some("a.exe"), file_type), Err(WrongFileType::Extension(kind)));
                assert_eq!(fits(kind, Some("a.mp3.exe"), file_type), Err(WrongFileType::Extension(kind)));
            }
        }
    }

    #[test]
    fn each_wrong_pairing_is_refused_with_the_row_to_use() {
        for kind in KINDS {
            for file_type in FileType::ALL.into_iter().filter(|each| each.family() != accepted_family(kind)) {
                let wrong = match file_type.family() {
                    Family::Picture => WrongFileType::Picture,
                    Family::Audio => WrongFileType::Audio,
                    Family::Video => WrongFileType::Video,
                };
                for ending in listed(kind) {
                    assert_eq!(fits(kind, Some(&format!("a.{ending}")), file_type), Err(wrong));
                }
                assert_eq!(fits(kind, None, file_type), Err(wrong));
            }
        }
        assert!(WrongFileType::Video.to_string().contains("send-video"));
    }

    #[test]
    fn a_name_that_promises_another_type_is_refused() {
        for kind in KINDS {
            for file_type in FileType::ALL.into_iter().filter(|each| each.family() == accepted_family(kind)) {
                for ending in listed(kind).iter().filter(|ending| !file_type.extensions().contains(ending)) {
                    let name = format!("a.{ending}");
                    assert_eq!(fits(kind, Some(&name), file_type), Err(WrongFileType::Name(file_type)));
                }
            }
        }
    }

    #[test]
    fn the_ending_is_what_follows_the_last_dot_of_the_name() {
        for (name, ending) in [
            ("a.JPG", Some("jpg")),
            ("a.b.jpg", Some("jpg")),
            ("C:\\x.y\\a", None),
            ("/x.y/a", None),
            (".jpg", None),
            ("a.", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(extension(name).as_deref(), ending, "{name}");
        }
    }
}
