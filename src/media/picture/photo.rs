//! Profile and group photos: any picture as an upright JPEG, and its preview.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageEncoder as _, Rgb, RgbImage};

use super::{PictureError, decode, guarded};
use crate::media::file_type::FileType;

/// The longest side of a photo in pixels; a larger picture is scaled down, a smaller one stays as it is.
pub const PHOTO_SIDE: u32 = 1_600;
/// The longest side of each preview, in pixels.
pub const PREVIEW_SIDE: u32 = 96;

const QUALITY: u8 = 85;

/// The largest colour profile that is kept, in bytes; it must describe RGB, too.
const MOST_PROFILE: usize = 64_000;

/// A photo and its preview, both JPEG files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPhoto {
    /// The photo, its longest side at most 1,600 pixels.
    pub jpeg: Vec<u8>,
    /// The preview, its longest side 96 pixels.
    pub preview: Vec<u8>,
}

/// Encodes a picture as a photo: the first frame of an animated one, upright, on white where it is transparent, without
/// camera data.
pub fn photo(path: &Path, file_type: FileType) -> Result<EncodedPhoto, PictureError> {
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
        Ok(EncodedPhoto { jpeg: encode(&picture, profile.clone())?, preview: encode(&preview, profile)? })
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
        // Without its profile a picture's colours shift only a little.
        let _ = encoder.set_icc_profile(profile);
    }
    encoder.encode_image(picture).map_err(super::classify)?;
    Ok(jpeg)
}
