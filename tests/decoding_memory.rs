//! The memory that becoming a photo takes. Alone in its program, because it counts all that is allocated.

use std::io::{Cursor, Write as _};

use image::{DynamicImage, ImageFormat, RgbImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use peak_alloc::PeakAlloc;
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;
use windu::media::picture::{self, MOST_MEMORY, MOST_PHOTO, PhotoPlan, PictureError};
use windu::media::{Deadline, FileType};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const MEBIBYTE: u64 = 1 << 20;

fn deadline() -> Deadline {
    Deadline::new(1 << 40, CancellationToken::new())
}

fn written(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    file
}

fn jpeg(width: u16, height: u16, progressive: bool, sampling: SamplingFactor) -> Vec<u8> {
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, 60);
    encoder.set_progressive(progressive);
    encoder.set_sampling_factor(sampling);
    let line: Vec<u8> = (0..=255).cycle().take(usize::from(width) * 3).collect();
    encoder.encode(&line.repeat(height.into()), width, height, ColorType::Rgb).expect("encoded");
    jpeg
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).expect("encoded");
    bytes.into_inner()
}

/// The memory that was planned for and taken, in bytes.
fn taken(bytes: &[u8], file_type: FileType) -> (u64, u64) {
    let (file, clean) = (written(bytes), NamedTempFile::new().expect("a file"));
    let header =
        picture::strip(file.path(), clean.path(), file_type, MOST_PHOTO, &deadline()).expect("clean");
    let plan = PhotoPlan::new(clean.path(), file_type, header, &deadline()).expect("a plan");
    let before = PeakAlloc.current_usage();
    PeakAlloc.reset_peak_usage();
    plan.encode(clean.path(), &deadline()).expect("a photo");
    let taken = PeakAlloc.peak_usage().saturating_sub(before);
    (plan.memory(), taken as u64)
}

#[test]
fn a_photo_takes_no_more_memory_than_was_planned() {
    for (name, bytes, file_type, most) in [
        ("sequential", jpeg(3_400, 2_600, false, SamplingFactor::F_2_2), FileType::Jpeg, 24),
        ("progressive", jpeg(3_400, 2_600, true, SamplingFactor::F_2_2), FileType::Jpeg, 32),
        ("all colours", jpeg(3_400, 2_600, true, SamplingFactor::F_1_1), FileType::Jpeg, 40),
        ("png", encoded(RgbImage::new(4_000, 3_000), ImageFormat::Png), FileType::Png, 36),
        ("lossless webp", encoded(RgbImage::new(1_500, 1_000), ImageFormat::WebP), FileType::Webp, 36),
        ("gif", encoded(RgbImage::new(1_500, 1_000), ImageFormat::Gif), FileType::Gif, 24),
    ] {
        let (planned, taken) = taken(&bytes, file_type);
        assert!(taken <= planned && planned <= MOST_MEMORY, "{name}: {taken} of {planned}");
        assert!(taken <= most * MEBIBYTE, "{name}: {taken}");
    }
}

#[test]
fn a_picture_that_takes_too_much_is_refused_by_its_header() {
    // 60 megapixels without losses; this kind is decoded as a whole.
    let webp = encoded(RgbImage::new(16, 16), ImageFormat::WebP);
    let at = webp.windows(4).position(|part| part == b"VP8L").expect("a picture") + 9;
    let mut large = webp;
    let bits = (10_000_u32 - 1) | (6_000 - 1) << 14;
    large[at..at + 4].copy_from_slice(&bits.to_le_bytes());
    let (file, clean) = (written(&large), NamedTempFile::new().expect("a file"));
    let header =
        picture::strip(file.path(), clean.path(), FileType::Webp, MOST_PHOTO, &deadline()).expect("clean");
    let planned = PhotoPlan::new(clean.path(), FileType::Webp, header, &deadline());
    assert!(matches!(planned, Err(PictureError::TooMuchMemory)), "{planned:?}");
}
