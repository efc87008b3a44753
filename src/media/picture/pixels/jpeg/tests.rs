//! The decoder against that of `image`, on pictures of another encoder.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::media::picture::shrink::Shrink;

const SAMPLINGS: [SamplingFactor; 6] = [
    SamplingFactor::F_1_1,
    SamplingFactor::F_2_1,
    SamplingFactor::F_1_2,
    SamplingFactor::F_2_2,
    SamplingFactor::F_4_1,
    SamplingFactor::F_4_2,
];

fn deadline() -> Deadline {
    Deadline::new(1 << 40, CancellationToken::new())
}

/// Waves of several lengths, so that every coefficient is used.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]
fn waves(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let mut pixels = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for channel in 0..channels {
            let (x, y, step) = (x as f32, y as f32, (channel + 1) as f32);
            let value = 127.0
                + 60.0 * (x / (7.0 * step)).sin()
                + 50.0 * (y / (11.0 + step)).cos()
                + 15.0 * (x * y / 90.0).sin();
            pixels.push(value as u8);
        }
    }
    pixels
}

/// Colours that change slowly, so that every way to scale them gives the same.
fn slopes(width: usize, height: usize) -> Vec<u8> {
    let slope = |at: usize, end: usize| u8::try_from(at * 255 / end).expect("a byte");
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    places.flat_map(|(y, x)| [slope(x, width), slope(y, height), slope(width - x, width)]).collect()
}

fn decoded(jpeg: &[u8], side: usize) -> RgbImage {
    let (width, height) = image::ImageReader::with_format(Cursor::new(jpeg), ImageFormat::Jpeg)
        .into_dimensions()
        .expect("a size");
    let longest = width.max(height) as usize;
    let least = longest * side / 8;
    decode(jpeg, least, (usize::MAX, usize::MAX), &deadline()).expect("a picture").picture
}

/// The mean difference of two pictures of one size, per channel.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn difference(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 =
        one.as_raw().iter().zip(other.as_raw()).map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
    sum as f64 / one.as_raw().len() as f64
}

fn reference(jpeg: &[u8]) -> RgbImage {
    image::load_from_memory_with_format(jpeg, ImageFormat::Jpeg).expect("a picture").into_rgb8()
}

fn scaled(picture: &RgbImage, side: usize) -> RgbImage {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut shrink = Shrink::new((width, height), ((width * side).div_ceil(8), (height * side).div_ceil(8)));
    picture.as_raw().chunks_exact(width * 3).for_each(|row| shrink.row(row));
    shrink.finish()
}

#[test]
fn pictures_of_every_form_are_decoded_as_by_others() {
    for (width, height) in [(160, 96), (67, 45), (8, 8), (1, 1), (3, 200)] {
        for (sampling, progressive, restart) in SAMPLINGS.into_iter().flat_map(|sampling| {
            [(sampling, false, 0), (sampling, false, 3), (sampling, true, 0), (sampling, true, 2)]
        }) {
            for (colours, channels) in
                [(ColorType::Rgb, 3), (ColorType::Luma, 1), (ColorType::Cmyk, 4), (ColorType::CmykAsYcck, 4)]
            {
                // The decoder of `image` does not spread inks that are sampled more coarsely.
                if channels == 4 && !matches!(sampling, SamplingFactor::F_1_1) {
                    continue;
                }
                let mut jpeg = Vec::new();
                let mut encoder = Encoder::new(&mut jpeg, 92);
                encoder.set_sampling_factor(sampling);
                encoder.set_progressive(progressive);
                encoder.set_restart_interval(restart);
                let pixels = waves(width, height, channels);
                let (w, h) = (u16::try_from(width).expect("small"), u16::try_from(height).expect("small"));
                encoder.encode(&pixels, w, h, colours).expect("encoded");
                // The decoder of `image` knows no colours at an eighth of the size: the source is compared.
                let expected = match (sampling, channels) {
                    (SamplingFactor::F_4_2, 3) => {
                        RgbImage::from_raw(w.into(), h.into(), pixels).expect("whole")
                    }
                    _ => reference(&jpeg),
                };
                let difference = difference(&decoded(&jpeg, 8), &expected);
                // Others smooth the colours that are sampled more coarsely.
                let most =
                    if matches!(sampling, SamplingFactor::F_1_1) || channels == 1 { 1.5 } else { 12.0 };
                assert!(
                    difference < most,
                    "{width}x{height} {sampling:?} {progressive} {restart} {colours:?}: {difference}"
                );
            }
        }
    }
}

#[test]
fn smaller_sizes_show_the_same_picture() {
    for progressive in [false, true] {
        let mut jpeg = Vec::new();
        let mut encoder = Encoder::new(&mut jpeg, 95);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.set_progressive(progressive);
        encoder.encode(&slopes(403, 301), 403, 301, ColorType::Rgb).expect("encoded");
        let whole = reference(&jpeg);
        for side in [4, 2, 1] {
            let small = decoded(&jpeg, side);
            let difference = difference(&small, &scaled(&whole, side));
            // The colours are sampled at half the size, here without smoothing.
            assert!(difference < 4.0, "{progressive} {side}: {difference}");
        }
    }
}

/// Written by libjpeg: its scans refine each other bit by bit.
#[test]
fn refined_scans_are_decoded_as_by_others() {
    let jpeg =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/progressive.jpg")).expect("a file");
    let difference = difference(&decoded(&jpeg, 8), &reference(&jpeg));
    // Others smooth the colours, which are sampled at half the size.
    assert!(difference < 4.0, "{difference}");
}

#[test]
fn what_is_missing_is_grey_and_the_rest_is_there() {
    for progressive in [false, true] {
        let mut jpeg = Vec::new();
        let mut encoder = Encoder::new(&mut jpeg, 90);
        encoder.set_progressive(progressive);
        encoder.set_restart_interval(4);
        encoder.encode(&vec![200; 128 * 128 * 3], 128, 128, ColorType::Rgb).expect("encoded");
        let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).expect("a scan");
        let cut =
            decode(&jpeg[..scan + (jpeg.len() - scan) / 3], 128, (128, 128), &deadline()).expect("a picture");
        assert!(cut.picture.get_pixel(0, 0).0[0] > 190);
        assert!(decode(&jpeg[..scan], 128, (128, 128), &deadline()).is_err());
    }
}

#[test]
fn a_large_progressive_picture_takes_no_more_than_its_part_of_the_memory() {
    let fixture =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/progressive.jpg")).expect("a file");
    let frame = fixture.windows(2).position(|pair| pair == [0xff, 0xc2]).expect("a frame");
    for (width, height, sampling, most_mebibytes) in [
        // 30 and 48 megapixels of phones, and the largest that is accepted, with all its colours.
        (6_700_u16, 4_500_u16, 0x22, 30),
        (8_000, 6_000, 0x22, 30),
        (8_000, 8_000, 0x11, 56),
        (6_399, 6_399, 0x11, 56),
        (3_199, 3_199, 0x11, 56),
        (1_000, 64_000, 0x11, 56),
    ] {
        let mut jpeg = fixture.clone();
        jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
        jpeg[frame + 11] = sampling;
        let memory = memory(&jpeg[..], 1_600).expect("a header");
        assert!(memory > 0 && memory <= most_mebibytes << 20, "{width}x{height}: {memory}");
    }
}

#[test]
fn the_colour_profile_is_put_together() {
    let mut jpeg = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut jpeg);
    let profile: Vec<u8> = (0..=255).cycle().take(150_000).collect();
    image::ImageEncoder::set_icc_profile(&mut encoder, profile.clone()).expect("a profile");
    encoder.encode_image(&DynamicImage::new_rgb8(16, 16)).expect("encoded");
    let decoded = decode(&jpeg[..], 16, (16, 16), &deadline()).expect("a picture");
    assert_eq!(decoded.profile, Some(profile));
}
