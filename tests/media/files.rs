//! The test files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use windu::media::FileType;

/// Every file of tests/files and its type.
pub const FILES: [(&str, Option<FileType>); 37] = [
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
    // Video in these containers cannot be sent.
    ("film.wmv", None),
    ("film.ogg", None),
    // Files that only look similar have no type.
    ("make", None),
    ("sound.mov", None),
];

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    fs::read(path(name)).expect(name)
}

/// A temporary file with these bytes; deleted on drop.
pub fn written(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("a written file");
    file
}
