//! Profile and group photos: any picture as a JPEG that stands upright, and its preview.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageEncoder as _, Rgb, RgbImage};

use super::{PictureError, decode, guarded};
use crate::media::file_type::FileType;

/// The longest side of a photo; a larger picture is made smaller, a smaller one stays as it is.
pub const PHOTO_SIDE: u32 = 1_600;
/// The longest side of a preview, always.
pub const PREVIEW_SIDE: u32 = 96;

const QUALITY: u8 = 85;

/// A colour profile is kept when it describes RGB and is not larger than real ones are.
const MOST_PROFILE: usize = 64_000;

/// A photo and its preview, both JPEG files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photo {
    /// The photo, its longest side at most 1,600 pixels.
    pub jpeg: Vec<u8>,
    /// The preview, its longest side 96 pixels.
    pub preview: Vec<u8>,
}

/// Makes a photo of a picture: the first frame of an animated one, turned upright, what is transparent in white, and
/// nothing of the camera's data.
///
/// # Errors
/// As for [`inspect`](super::inspect).
pub fn photo(path: &Path, file_type: FileType) -> Result<Photo, PictureError> {
    guarded(|| {
        let (picture, orientation, profile) = decode(path, file_type)?;
        let mut picture = on_white(picture);
        if picture.width().max(picture.height()) > PHOTO_SIDE {
            picture = picture.resize(PHOTO_SIDE, PHOTO_SIDE, FilterType::Triangle);
        }
        picture.apply_orientation(orientation);
        let preview = picture.resize(PREVIEW_SIDE, PREVIEW_SIDE, FilterType::Triangle);
        let profile = profile.filter(|profile| {
            profile.len() <= MOST_PROFILE && profile.get(16..20).is_some_and(|space| space == b"RGB ")
        });
        Ok(Photo { jpeg: encode(&picture, profile.clone())?, preview: encode(&preview, profile)? })
    })
}

/// The picture in 8 bits a channel without transparency.
fn on_white(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8().into();
    }
    let picture = picture.into_rgba8();
    let mut opaque = RgbImage::new(picture.width(), picture.height());
    for (from, to) in picture.pixels().zip(opaque.pixels_mut()) {
        let [colours @ .., alpha] = from.0;
        *to = Rgb(colours.map(|colour| over_white(colour, alpha)));
    }
    opaque.into()
}

fn over_white(colour: u8, alpha: u8) -> u8 {
    let mixed = u16::from(colour) * u16::from(alpha) + 255 * (255 - u16::from(alpha));
    u8::try_from((mixed + 127) / 255).unwrap_or(u8::MAX)
}

fn encode(picture: &DynamicImage, profile: Option<Vec<u8>>) -> Result<Vec<u8>, PictureError> {
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    if let Some(profile) = profile {
        // A profile that cannot be kept only shifts the colours a little.
        let _ = encoder.set_icc_profile(profile);
    }
    encoder.encode_image(picture).map_err(super::sort)?;
    Ok(jpeg)
}
