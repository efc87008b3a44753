//! The removal of metadata from a picture without decoding it: place, time, device, names, comments, thumbnails.
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
mod webp;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

use super::{PictureError, classify_io, guarded};
use crate::media::file_type::FileType;
use crate::media::read_bytes::read_bytes;

/// Writes the picture at `from` to `to`, which must be another file, without camera data. After an error `to` holds no
/// picture.
///
/// # Errors
/// [`PictureError::Broken`] when the file's parts do not follow each other as they must, or its end is missing.
pub fn strip(from: &Path, to: &Path, file_type: FileType) -> Result<(), PictureError> {
    let clean = match file_type {
        FileType::Jpeg => jpeg::clean,
        FileType::Png => png::clean,
        FileType::Gif => gif::clean,
        FileType::Webp => webp::clean,
        _ => return Err(PictureError::NotAPicture),
    };
    let mut reader = BufReader::new(File::open(from)?);
    let mut writer = BufWriter::new(File::create(to)?);
    guarded(|| {
        clean(&mut reader, &mut writer).map_err(classify_io)?;
        writer.flush()?;
        Ok(())
    })
}

/// The error for a file that violates its format.
fn broken() -> io::Error {
    ErrorKind::InvalidData.into()
}

/// Copies `length` bytes; an earlier end is an error.
fn copy(reader: &mut impl Read, writer: &mut impl Write, length: u64) -> io::Result<()> {
    let copied = io::copy(&mut reader.take(length), writer)?;
    if copied == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn skip(reader: &mut impl Read, length: u64) -> io::Result<()> {
    copy(reader, &mut io::sink(), length)
}

/// Reads a record of so many bytes if it is not longer than EXIF can be, else passes over it.
fn record(reader: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    if length > exif::LONGEST {
        skip(reader, length)?;
        return Ok(Vec::new());
    }
    let mut record = Vec::new();
    copy(reader, &mut record, length)?;
    Ok(record)
}
