//! The removal of metadata from a picture without decoding it: place, time, device, names, comments, thumbnails. On the way
//! the picture's size and orientation are read, and its structure is checked.
//!
//! An allow-list decides, so that unknown metadata is removed. The pixels' bytes stay as they are; so do the colour
//! profile, the animation, and the orientation, in an EXIF record that holds nothing else.
//!
//! The files are copied while they are read. The library for this, img-parts, was tried: it reads files whole, and
//! keeps everything behind a JPEG's first scan, where phones put a second picture with a location of its own.

mod exif;
mod gif;
mod jpeg;
mod png;
mod source;
mod webp;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Seek, Write};
use std::path::Path;

use image::metadata::Orientation;

use self::source::Source;
pub(super) use self::source::TooManyParts;
use super::{PictureError, classify_io, guarded};
use crate::media::deadline::Deadline;
use crate::media::file_type::FileType;

/// What the structure of a picture says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Width and height in pixels, as encoded.
    pub size: (u32, u32),
    pub orientation: Orientation,
}

/// A header that is being read.
#[derive(Default)]
struct Seen {
    size: Option<(u32, u32)>,
    orientation: Option<Orientation>,
}

impl Seen {
    fn header(self) -> Option<Header> {
        let orientation = self.orientation.unwrap_or(Orientation::NoTransforms);
        self.size.filter(|(width, height)| *width > 0 && *height > 0).map(|size| Header { size, orientation })
    }
}

/// Writes the picture at `from` to `to`, which must be another file, without camera data. After an error `to` holds no
/// picture.
///
/// # Errors
/// [`PictureError::Broken`] when the file's parts do not follow each other as they must, or its end is missing. Only the
/// data of a JPEG may end anywhere, and a GIF behind any whole block: they get the end marker that is missing.
pub fn strip(
    from: &Path,
    to: &Path,
    file_type: FileType,
    deadline: &Deadline,
) -> Result<Header, PictureError> {
    let mut writer = BufWriter::new(File::create(to)?);
    let (seen, cleaned) = clean(from, &mut writer, file_type, deadline)?;
    cleaned?;
    writer.flush()?;
    seen.header().ok_or(PictureError::Broken)
}

/// The header of a picture; whatever follows it may be broken.
pub fn header(path: &Path, file_type: FileType, deadline: &Deadline) -> Result<Header, PictureError> {
    let (seen, cleaned) = clean(path, &mut Nowhere::default(), file_type, deadline)?;
    seen.header().map_or_else(|| cleaned.and(Err(PictureError::Broken)), Ok)
}

/// Copies a picture without camera data. What was seen of it counts even if the rest is broken.
fn clean(
    from: &Path,
    writer: &mut (impl Write + Seek),
    file_type: FileType,
    deadline: &Deadline,
) -> Result<(Seen, Result<(), PictureError>), PictureError> {
    let file = deadline.open(from)?;
    let mut source = Source::new(BufReader::new(file), from.metadata()?.len());
    let mut seen = Seen::default();
    let cleaned = guarded(|| {
        match file_type {
            FileType::Jpeg => jpeg::clean(&mut source, writer, &mut seen),
            FileType::Png => png::clean(&mut source, writer, &mut seen),
            FileType::Gif => gif::clean(&mut source, writer, &mut seen),
            FileType::Webp => webp::clean(&mut source, writer, &mut seen),
            _ => return Err(PictureError::NotAPicture),
        }
        .map_err(classify_io)
    });
    Ok((seen, cleaned))
}

/// The error for a file that violates its format.
fn broken() -> io::Error {
    ErrorKind::InvalidData.into()
}

/// A file that keeps nothing.
#[derive(Default)]
struct Nowhere {
    position: u64,
}

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Nowhere {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.position = match to {
            io::SeekFrom::Start(position) => position,
            io::SeekFrom::Current(by) | io::SeekFrom::End(by) => self.position.saturating_add_signed(by),
        };
        Ok(self.position)
    }
}
