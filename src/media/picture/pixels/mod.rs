//! The decoders of pictures that become photos. Each hands its pixels on row by row, so that no picture is in memory as a
//! whole where its format allows it.

mod gif;
mod jpeg;
mod png;
mod webp;

use std::path::Path;

use image::RgbImage;

use super::shrink::Shrink;
use super::{PictureError, classify_io};
use crate::media::deadline::Deadline;
use crate::media::file_type::FileType;

/// The most bytes that the decoders of this process hold together, and so the most for one picture.
pub const MOST_MEMORY: u64 = 80 << 20;

/// Buffers and tables of a decoder.
const FIXED: usize = 2 << 20;

/// A picture scaled down, without transparency, not rotated yet.
pub struct Decoded {
    pub picture: RgbImage,
    /// Its colour profile.
    pub profile: Option<Vec<u8>>,
}

/// What is known of a picture before it is decoded, and what it is to become.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub file_type: FileType,
    /// Width and height in pixels, as encoded.
    pub size: (u32, u32),
    /// In bytes.
    pub file_size: u64,
    /// The longest side of the result; smaller pictures stay as they are.
    pub longest: u32,
}

impl Plan {
    /// Bytes that decoding takes at most.
    ///
    /// # Errors
    /// [`PictureError::TooMuchMemory`] when that is more than [`MOST_MEMORY`].
    pub fn memory(&self, path: &Path, deadline: &Deadline) -> Result<u64, PictureError> {
        let file = deadline.open(path)?;
        let decoder = match self.file_type {
            FileType::Jpeg => jpeg::memory(file, self.least()).map_err(classify_io)?,
            FileType::Png => png::memory(file, self)?,
            FileType::Gif => gif::memory(file, self)?,
            FileType::Webp => webp::memory(file, self)?,
            _ => return Err(PictureError::NotAPicture),
        };
        // Some rows, and the result before and after it is rotated.
        let (width, height) = self.target();
        let memory = decoder + (FIXED + 24 * self.pixels().0 + 6 * width * height) as u64;
        if memory > MOST_MEMORY { Err(PictureError::TooMuchMemory) } else { Ok(memory) }
    }

    /// Decodes the picture: of an animated one the first frame, on white where it is transparent. What is missing at its
    /// end is grey or white.
    pub fn decode(&self, path: &Path, deadline: &Deadline) -> Result<Decoded, PictureError> {
        let file = deadline.open(path)?;
        match self.file_type {
            FileType::Jpeg => jpeg::decode(file, self.least(), self.target(), deadline).map_err(classify_io),
            FileType::Png => png::decode(file, self, deadline),
            FileType::Gif => gif::decode(file, self, deadline),
            FileType::Webp => webp::decode(file, self, deadline),
            _ => Err(PictureError::NotAPicture),
        }
    }

    /// Width and height of the result.
    fn target(&self) -> (usize, usize) {
        let (width, height) = self.pixels();
        let (longest, most) = (width.max(height), self.longest as usize);
        if longest <= most {
            return (width, height);
        }
        let scaled = |side: usize| ((side * most + longest / 2) / longest).max(1);
        (scaled(width), scaled(height))
    }

    /// Pixels on the longest side of the result.
    fn least(&self) -> usize {
        let (width, height) = self.target();
        width.max(height)
    }

    fn pixels(&self) -> (usize, usize) {
        (self.size.0 as usize, self.size.1 as usize)
    }
}

/// For a decoder that gives a picture of this size.
fn shrink(from: (usize, usize), plan: &Plan) -> Shrink {
    let target = plan.target();
    Shrink::new(from, (target.0.min(from.0), target.1.min(from.1)))
}

/// A colour in front of white.
fn over_white([colours @ .., alpha]: [u8; 4]) -> [u8; 3] {
    let white = 255 * (255 - u16::from(alpha));
    colours.map(|colour| {
        let mixed = u16::from(colour) * u16::from(alpha) + white;
        u8::try_from((mixed + 127) / 255).unwrap_or(u8::MAX)
    })
}
