//! Pictures: decoding within limits, removal of camera data, and encoding of profile photos.

mod photo;
mod strip;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

pub use self::photo::{EncodedPhoto, photo};
pub use self::strip::strip;
use super::catch_panic::catch_panic;
use super::file_type::FileType;

/// The longest side of a picture, in pixels.
pub const LONGEST_SIDE: u32 = 10_000;
/// The most pixels of a picture.
pub const MOST_PIXELS: u64 = 32_000_000;
/// The most memory that a decoder may ask for, and the most that the decoded picture may take, in bytes.
const MOST_MEMORY: u64 = 256 << 20;

/// Why a picture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("this is no picture")]
    NotAPicture,
    /// Broken, cut short, or of another type than its first bytes promise.
    #[error("the picture is broken or incomplete")]
    Broken,
    /// Beyond the limits of size, or of memory to decode it.
    #[error("the picture is too large: at most 10,000 pixels on a side, and 32 million in all")]
    TooLarge,
    /// The file cannot be read or written: our failure.
    #[error("a picture's file cannot be read or written")]
    File(#[from] io::Error),
}

/// Decodes the whole picture (the first frame of an animated one) and returns its width and height in pixels as shown,
/// that is, after rotation.
///
/// # Errors
/// [`PictureError::TooLarge`] is decided by the header alone.
pub fn inspect(path: &Path, file_type: FileType) -> Result<(u32, u32), PictureError> {
    guarded(|| {
        let (picture, orientation, _) = decode(path, file_type)?;
        Ok(upright((picture.width(), picture.height()), orientation))
    })
}

/// The size as [`inspect`] returns it, from the header alone.
pub fn size(path: &Path, file_type: FileType) -> Result<(u32, u32), PictureError> {
    guarded(|| {
        let mut decoder = decoder(path, file_type)?;
        let orientation = decoder.orientation().map_err(classify)?;
        Ok(upright(decoder.dimensions(), orientation))
    })
}

/// The picture as it is encoded, its orientation, and its colour profile.
fn decode(
    path: &Path,
    file_type: FileType,
) -> Result<(DynamicImage, Orientation, Option<Vec<u8>>), PictureError> {
    let mut decoder = decoder(path, file_type)?;
    let orientation = decoder.orientation().map_err(classify)?;
    let profile = decoder.icc_profile().map_err(classify)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(classify)?;
    Ok((picture, orientation, profile))
}

/// A decoder that has read the header and found it within the limits.
fn decoder(path: &Path, file_type: FileType) -> Result<impl ImageDecoder, PictureError> {
    let format = match file_type {
        FileType::Jpeg => ImageFormat::Jpeg,
        FileType::Png => ImageFormat::Png,
        FileType::Gif => ImageFormat::Gif,
        FileType::Webp => ImageFormat::WebP,
        _ => return Err(PictureError::NotAPicture),
    };
    let mut reader = ImageReader::with_format(BufReader::new(File::open(path)?), format);
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(classify)?;
    let (width, height) = decoder.dimensions();
    if width > LONGEST_SIDE
        || height > LONGEST_SIDE
        || u64::from(width) * u64::from(height) > MOST_PIXELS
        || decoder.total_bytes() > MOST_MEMORY
    {
        return Err(PictureError::TooLarge);
    }
    Ok(decoder)
}

fn upright((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    match orientation {
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

/// A panic of a decoder is a broken picture.
fn guarded<T>(work: impl FnOnce() -> Result<T, PictureError>) -> Result<T, PictureError> {
    catch_panic(work).unwrap_or(Err(PictureError::Broken))
}

/// Separates our failures from the picture's.
fn classify(error: ImageError) -> PictureError {
    match error {
        ImageError::Limits(_) => PictureError::TooLarge,
        ImageError::IoError(error) => classify_io(error),
        _ => PictureError::Broken,
    }
}

/// A file that ends too early or is invalid is a broken picture; other failures are ours.
fn classify_io(error: io::Error) -> PictureError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            PictureError::Broken
        }
        _ => PictureError::File(error),
    }
}
