//! Pictures: their size, removal of camera data, and encoding of profile photos.
//!
//! A picture that is sent is not decoded. One that becomes a photo is cleaned first, so that both take the same files, and
//! then decoded within a limit of memory.

mod photo;
mod pixels;
mod shrink;
mod strip;

use std::error::Error;
use std::io;
use std::path::Path;

use image::metadata::Orientation;

pub use self::photo::{EncodedPhoto, PhotoPlan};
pub use self::pixels::MOST_MEMORY;
pub use self::strip::Header;
use super::catch_panic::catch_panic;
use super::deadline::Deadline;
use super::file_type::FileType;

/// The longest side of a picture, in pixels.
pub const LONGEST_SIDE: u32 = 65_535;
/// The most megapixels of a picture that is sent.
pub const MOST_SENT: u32 = 200;
/// The most megapixels of a picture that becomes a photo.
pub const MOST_PHOTO: u32 = 64;

/// Why a picture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("this is no picture: a JPEG, PNG, GIF or WebP file is expected")]
    NotAPicture,
    /// Broken, cut short, or of another type than its first bytes promise.
    #[error("the picture is broken or incomplete")]
    Broken,
    #[error("the picture is too large: at most {LONGEST_SIDE} pixels on a side, and {0} million in all")]
    TooLarge(u32),
    #[error(
        "decoding this picture takes too much memory: send it smaller, or as a JPEG or PNG that is not interlaced"
    )]
    TooMuchMemory,
    #[error(
        "the picture is made of too many parts: save it with another program, or send a shorter animation"
    )]
    TooManyParts,
    /// The file cannot be read or written: our failure.
    #[error("a picture's file cannot be read or written")]
    File(#[from] io::Error),
}

/// Writes the picture at `from` to `to`, another file, without camera data, and returns its header.
///
/// # Errors
/// [`PictureError::Broken`], [`PictureError::TooManyParts`] for a file whose structure is not that of its type,
/// [`PictureError::TooLarge`] beyond `megapixels`. Then `to` holds no picture.
pub fn strip(
    from: &Path,
    to: &Path,
    file_type: FileType,
    megapixels: u32,
    deadline: &Deadline,
) -> Result<Header, PictureError> {
    let header = strip::strip(from, to, file_type, deadline)?;
    let (width, height) = header.size;
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > LONGEST_SIDE || pixels > u64::from(megapixels) * 1_000_000 {
        return Err(PictureError::TooLarge(megapixels));
    }
    Ok(header)
}

/// Width and height in pixels as shown, from the header alone.
pub fn size(path: &Path, file_type: FileType, deadline: &Deadline) -> Result<(u32, u32), PictureError> {
    strip::header(path, file_type, deadline).map(Header::shown)
}

impl Header {
    /// Width and height as shown, that is, after rotation.
    #[must_use]
    pub fn shown(self) -> (u32, u32) {
        let (width, height) = self.size;
        match self.orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (height, width),
            Orientation::NoTransforms
            | Orientation::Rotate180
            | Orientation::FlipHorizontal
            | Orientation::FlipVertical => (width, height),
        }
    }
}

/// A panic of a decoder is a broken picture.
fn guarded<T>(work: impl FnOnce() -> Result<T, PictureError>) -> Result<T, PictureError> {
    catch_panic(work).unwrap_or(Err(PictureError::Broken))
}

/// A file that ends too early or is invalid is a broken picture; other failures are ours.
fn classify_io(error: io::Error) -> PictureError {
    match error.kind() {
        _ if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<strip::TooManyParts>) => {
            PictureError::TooManyParts
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            PictureError::Broken
        }
        _ => PictureError::File(error),
    }
}
