//! Which file may be sent by which row of the API.

use super::file_type::{Family, FileType};

/// The row that is asked to send a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendRow {
    /// send-image.
    Image,
    /// send-voice.
    Voice,
    /// send-audio; takes the same types as send-voice.
    Audio,
    /// send-video.
    Video,
}

/// Why a row does not take a file. The text is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongFileType {
    /// A picture was given to a row for sound or video.
    #[error("this is a picture; send it with send-image")]
    Picture,
    /// Sound was given to a row for pictures or video.
    #[error("this is sound without a picture; send it with send-audio or send-voice")]
    Audio,
    /// A video was given to a row for sound or pictures.
    #[error("this is a video; send it with send-video")]
    Video,
    /// The name ends like no type that the row takes.
    #[error("a file for this row ends in {}", .0.endings())]
    Extension(SendRow),
    /// The name promises another type than the content is.
    #[error("the name of the file does not fit its content, which is {}", .0.mimetype())]
    Name(FileType),
}

impl SendRow {
    /// The endings that the row takes, for people.
    #[must_use]
    pub fn endings(self) -> &'static str {
        match self {
            Self::Image => "jpg, jpeg, gif, png or webp",
            Self::Voice | Self::Audio => "3gp, caf, wav, mp3, wma, ogg, aif, aac or m4a",
            Self::Video => "3gp, mp4, mov or avi",
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Image => Family::Picture,
            Self::Voice | Self::Audio => Family::Audio,
            Self::Video => Family::Video,
        }
    }
}

/// Whether the row takes a file of this type under this name. The type decides; an ending, in any case, must fit it.
/// A name without one (most addresses of the web) promises nothing.
///
/// # Errors
/// What is wrong, the type first.
pub fn fits(row: SendRow, file_name: Option<&str>, file_type: FileType) -> Result<(), WrongFileType> {
    let family = file_type.family();
    if family != row.family() {
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
    Err(if known { WrongFileType::Name(file_type) } else { WrongFileType::Extension(row) })
}

/// What follows the last dot, in lower case. A name that begins with its only dot has none.
fn extension(file_name: &str) -> Option<String> {
    let name = file_name.rsplit(['/', '\\']).next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [SendRow; 4] = [SendRow::Image, SendRow::Voice, SendRow::Audio, SendRow::Video];

    /// The contract's lists.
    fn listed(row: SendRow) -> &'static [&'static str] {
        match row {
            SendRow::Image => &["jpg", "jpeg", "gif", "png", "webp"],
            SendRow::Voice | SendRow::Audio => {
                &["3gp", "caf", "wav", "mp3", "wma", "ogg", "aif", "aac", "m4a"]
            }
            SendRow::Video => &["3gp", "mp4", "mov", "avi"],
        }
    }

    #[test]
    fn each_listed_ending_has_its_type_and_no_other_is_taken() {
        for row in ROWS {
            for ending in listed(row) {
                let name = format!("a.{ending}");
                let taken =
                    FileType::ALL.into_iter().any(|file_type| fits(row, Some(&name), file_type).is_ok());
                assert!(taken, "{row:?} {ending}");
            }
            for file_type in FileType::ALL.into_iter().filter(|each| each.family() == row.family()) {
                assert!(file_type.extensions().iter().all(|ending| listed(row).contains(ending)));
                assert_eq!(fits(row, None, file_type), Ok(()), "{row:?} {file_type:?}");
                assert_eq!(fits(row, Some("no ending"), file_type), Ok(()));
                let upper = format!("A.{}", file_type.extension().to_uppercase());
                assert_eq!(fits(row, Some(&upper), file_type), Ok(()));
                assert_eq!(fits(row, Some("a.exe"), file_type), Err(WrongFileType::Extension(row)));
                assert_eq!(fits(row, Some("a.mp3.exe"), file_type), Err(WrongFileType::Extension(row)));
            }
        }
    }

    #[test]
    fn each_wrong_pairing_is_refused_with_the_row_to_use() {
        for row in ROWS {
            for file_type in FileType::ALL.into_iter().filter(|each| each.family() != row.family()) {
                let misfit = match file_type.family() {
                    Family::Picture => WrongFileType::Picture,
                    Family::Audio => WrongFileType::Audio,
                    Family::Video => WrongFileType::Video,
                };
                for ending in listed(row) {
                    assert_eq!(fits(row, Some(&format!("a.{ending}")), file_type), Err(misfit));
                }
                assert_eq!(fits(row, None, file_type), Err(misfit));
            }
        }
        assert!(WrongFileType::Video.to_string().contains("send-video"));
    }

    #[test]
    fn a_name_that_promises_another_type_is_refused() {
        for row in ROWS {
            for file_type in FileType::ALL.into_iter().filter(|each| each.family() == row.family()) {
                for ending in listed(row).iter().filter(|ending| !file_type.extensions().contains(ending)) {
                    let name = format!("a.{ending}");
                    assert_eq!(fits(row, Some(&name), file_type), Err(WrongFileType::Name(file_type)));
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
