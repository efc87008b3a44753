//! The test files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;
use windu::media::picture::{self, EncodedPhoto, Header, MOST_PHOTO, MOST_SENT, PhotoPlan, PictureError};
use windu::media::{Deadline, FileType, Probe};

/// Every file of tests/files and its type.
pub const FILES: [(&str, Option<FileType>); 40] = [
    ("camera.jpg", Some(FileType::Jpeg)),
    ("progressive.jpg", Some(FileType::Jpeg)),
    ("camera.png", Some(FileType::Png)),
    ("camera.gif", Some(FileType::Gif)),
    ("camera.webp", Some(FileType::Webp)),
    ("tagged.mp3", Some(FileType::Mp3)),
    ("plain.mp3", Some(FileType::Mp3)),
    ("plain.aac", Some(FileType::Aac)),
    ("tagged.aac", Some(FileType::Aac)),
    ("plain.wav", Some(FileType::Wav)),
    ("plain.aif", Some(FileType::Aif)),
    ("alaw.aif", Some(FileType::Aif)),
    ("plain.caf", Some(FileType::Caf)),
    ("alac.caf", Some(FileType::Caf)),
    ("plain.wma", Some(FileType::Wma)),
    ("vorbis.ogg", Some(FileType::Ogg)),
    ("opus.ogg", Some(FileType::Ogg)),
    ("speex.ogg", Some(FileType::Ogg)),
    ("flac.ogg", Some(FileType::Ogg)),
    ("branded.m4a", Some(FileType::M4a)),
    ("isom.m4a", Some(FileType::M4a)),
    ("mp42.m4a", Some(FileType::M4a)),
    ("sound.3gp", Some(FileType::ThreeGpAudio)),
    ("film.3gp", Some(FileType::ThreeGpVideo)),
    ("plain.mp4", Some(FileType::Mp4)),
    ("fast.mp4", Some(FileType::Mp4)),
    ("fragments.mp4", Some(FileType::Mp4)),
    ("turned.mp4", Some(FileType::Mp4)),
    ("mpeg4.mp4", Some(FileType::Mp4)),
    ("plain.mov", Some(FileType::Mov)),
    ("timecode.mov", Some(FileType::Mov)),
    ("studio.mov", Some(FileType::Mov)),
    ("plain.avi", Some(FileType::Avi)),
    ("voice.webm", Some(FileType::WebmAudio)),
    ("film.webm", Some(FileType::WebmVideo)),
    // Video in these containers cannot be sent.
    ("film.wmv", None),
    ("film.ogg", None),
    // Files that only look similar have no type.
    ("make", None),
    ("sound.mov", None),
    ("sound.mkv", None),
];

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    fs::read(path(name)).expect(name)
}

/// More time than any test takes.
pub fn deadline() -> Deadline {
    Deadline::new(1 << 40, CancellationToken::new())
}

pub fn sniff(path: &Path) -> std::io::Result<Option<FileType>> {
    windu::media::sniff(path, &deadline())
}

pub fn probe(path: &Path, file_type: FileType) -> Probe {
    windu::media::probe(path, file_type, &deadline())
}

/// The header of a picture to send, and the picture without camera data.
pub fn stripped(path: &Path, file_type: FileType) -> Result<(Header, Vec<u8>), PictureError> {
    let clean = NamedTempFile::new().expect("a file");
    let header = picture::strip(path, clean.path(), file_type, MOST_SENT, &deadline())?;
    Ok((header, fs::read(clean.path()).expect("a result")))
}

/// The photo that a picture becomes.
pub fn photo(path: &Path, file_type: FileType) -> Result<EncodedPhoto, PictureError> {
    let clean = NamedTempFile::new().expect("a file");
    let header = picture::strip(path, clean.path(), file_type, MOST_PHOTO, &deadline())?;
    PhotoPlan::new(clean.path(), file_type, header, &deadline())?.encode(clean.path(), &deadline())
}

/// A temporary file with these bytes; deleted on drop.
pub fn written(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("a written file");
    file
}
