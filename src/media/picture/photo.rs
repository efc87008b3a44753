//! Profile and group photos: any picture as an upright JPEG, and its preview.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageEncoder as _, RgbImage};

use super::pixels::{Decoded, Plan};
use super::shrink::Shrink;
use super::strip::Header;
use super::{PictureError, guarded};
use crate::media::deadline::Deadline;
use crate::media::file_type::FileType;

/// The longest side of a photo in pixels; a larger picture is scaled down, a smaller one stays as it is.
pub const PHOTO_SIDE: u32 = 1_600;
/// The longest side of each preview, in pixels.
pub const PREVIEW_SIDE: u32 = 96;

const QUALITY: u8 = 85;

/// The most bytes of a photo: in base64 it fits the 256 KiB that an XMPP server takes at once.
const MOST_BYTES: usize = 180_000;
/// The longest sides that are tried until a photo has no more bytes.
const SMALLER_SIDES: [usize; 5] = [1_200, 900, 640, 480, 320];

/// The largest colour profile that is kept, in bytes; it must describe RGB, too.
const MOST_PROFILE: usize = 64_000;

/// A photo and its preview, both JPEG files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPhoto {
    /// The photo, its longest side at most 1,600 pixels, and less where it would have too many bytes.
    pub jpeg: Vec<u8>,
    /// The preview, its longest side 96 pixels.
    pub preview: Vec<u8>,
}

/// How a picture that was cleaned becomes a photo.
#[derive(Clone, Copy, Debug)]
pub struct PhotoPlan {
    plan: Plan,
    orientation: Orientation,
    memory: u64,
}

impl PhotoPlan {
    /// # Errors
    /// [`PictureError::TooMuchMemory`] when the picture cannot be decoded within [`super::MOST_MEMORY`].
    pub fn new(
        clean: &Path,
        file_type: FileType,
        header: Header,
        deadline: &Deadline,
    ) -> Result<Self, PictureError> {
        let file_size = clean.metadata()?.len();
        let plan = Plan { file_type, size: header.size, file_size, longest: PHOTO_SIDE };
        let memory = guarded(|| plan.memory(clean, deadline))?;
        Ok(Self { plan, orientation: header.orientation, memory })
    }

    /// The most bytes of memory that [`PhotoPlan::encode`] takes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Encodes the picture as a photo: the first frame of an animated one, upright, on white where it is transparent.
    pub fn encode(&self, clean: &Path, deadline: &Deadline) -> Result<EncodedPhoto, PictureError> {
        guarded(|| {
            let Decoded { picture, profile } = self.plan.decode(clean, deadline)?;
            let mut picture = DynamicImage::from(picture);
            picture.apply_orientation(self.orientation);
            let picture = picture.into_rgb8();
            deadline.check()?;
            let profile = profile.filter(|profile| {
                profile.len() <= MOST_PROFILE && profile.get(16..20).is_some_and(|space| space == b"RGB ")
            });
            let mut jpeg = encode(&picture, profile.clone())?;
            let longest = picture.width().max(picture.height()) as usize;
            for side in SMALLER_SIDES.into_iter().filter(|side| *side < longest) {
                if jpeg.len() <= MOST_BYTES {
                    break;
                }
                deadline.check()?;
                jpeg = encode(&smaller(&picture, side), profile.clone())?;
            }
            let picture = DynamicImage::from(picture);
            let preview = picture.resize(PREVIEW_SIDE, PREVIEW_SIDE, FilterType::Triangle).into_rgb8();
            Ok(EncodedPhoto { jpeg, preview: encode(&preview, profile)? })
        })
    }
}

/// The picture with this longest side, which is a shorter one than it has.
fn smaller(picture: &RgbImage, side: usize) -> RgbImage {
    let from = (picture.width() as usize, picture.height() as usize);
    let longest = from.0.max(from.1);
    let scaled = |length: usize| (length * side / longest).max(1);
    let mut shrink = Shrink::new(from, (scaled(from.0), scaled(from.1)));
    for row in picture.as_raw().chunks_exact(from.0 * 3) {
        shrink.row(row);
    }
    shrink.finish()
}

fn encode(picture: &RgbImage, profile: Option<Vec<u8>>) -> Result<Vec<u8>, PictureError> {
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    if let Some(profile) = profile {
        // Without its profile a picture's colours shift only a little.
        let _ = encoder.set_icc_profile(profile);
    }
    encoder.encode_image(picture).map_err(|_| PictureError::Broken)?;
    Ok(jpeg)
}
