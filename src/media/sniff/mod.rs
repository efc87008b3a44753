//! The detection of a file's type from its content.

pub(super) mod asf;
mod mpeg_audio;
mod ogg;

use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use image::ImageFormat;

use super::catch_panic::catch_panic;
use super::deadline::{Deadline, DeadlineFile};
use super::file_type::FileType;
use super::{mp4, webm};

/// Bytes at the beginning that identify the container.
const HEAD: u64 = 64;

/// The file's type; `None` when it is none that can be sent. For containers of sound or video the streams in them
/// decide: a Windows Media or Ogg file with pictures cannot be sent. Nothing behind the headers is read.
pub fn sniff(path: &Path, deadline: &Deadline) -> io::Result<Option<FileType>> {
    let mut file = deadline.open(path)?;
    match catch_panic(|| of(&mut file)) {
        Some(Err(error)) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
            Ok(None)
        }
        Some(found) => found,
        None => Ok(None),
    }
}

fn of(file: &mut DeadlineFile) -> io::Result<Option<FileType>> {
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    if let Ok(format) = image::guess_format(&head) {
        return Ok(match format {
            ImageFormat::Jpeg => Some(FileType::Jpeg),
            ImageFormat::Png => Some(FileType::Png),
            ImageFormat::Gif => Some(FileType::Gif),
            ImageFormat::WebP => Some(FileType::Webp),
            _ => None,
        });
    }
    match (head.get(..4), head.get(8..12)) {
        (Some(b"RIFF"), Some(b"WAVE")) => Ok(Some(FileType::Wav)),
        (Some(b"RIFF"), Some(b"AVI ")) => Ok(Some(FileType::Avi)),
        (Some(b"FORM"), Some(b"AIFF" | b"AIFC")) => Ok(Some(FileType::Aif)),
        (Some(b"caff"), _) => Ok(Some(FileType::Caf)),
        (Some(b"OggS"), _) => ogg::sniff(file),
        _ if head.starts_with(&asf::HEADER) => asf::sniff(file),
        _ if head.starts_with(&webm::HEADER) => {
            Ok(webm::read(file)?.and_then(|recording| recording.file_type()))
        }
        _ if mp4::begins(&head) => Ok(mp4::read(file)?.and_then(|movie| movie.file_type())),
        _ => mpeg_audio::sniff(file),
    }
}
