//! Metadata of pictures that is removed or stays, and the size limits.

use std::fs;
use std::io::Cursor;
use std::time::{Duration, Instant};

use image::metadata::Orientation;
use image::{AnimationDecoder as _, DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use tempfile::NamedTempFile;
use windu::media::{FileType, picture, sniff};

use crate::files::{bytes, path, written};

const PICTURES: [(&str, FileType); 5] = [
    ("camera.jpg", FileType::Jpeg),
    ("progressive.jpg", FileType::Jpeg),
    ("camera.png", FileType::Png),
    ("camera.gif", FileType::Gif),
    ("camera.webp", FileType::Webp),
];

pub fn stripped(bytes: &[u8], file_type: FileType) -> Result<Vec<u8>, picture::PictureError> {
    let (from, to) = (written(bytes), NamedTempFile::new().expect("a file"));
    picture::strip(from.path(), to.path(), file_type).map(|()| fs::read(to.path()).expect("a result"))
}

fn decoder(bytes: &[u8]) -> impl ImageDecoder {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().expect("no failure");
    reader.into_decoder().expect("a picture")
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|part| part == word.as_bytes())
}

#[test]
fn metadata_is_removed_and_the_pixels_stay() {
    for (name, file_type) in PICTURES {
        let before = bytes(name);
        let after = stripped(&before, file_type).expect(name);
        for word in ["Atlantis", "2016:05", "GPS", "xmp", "XMP", "Photoshop", "JFXX", "ExifTool"] {
            assert!(!contains(&after, word), "{name} still says {word}");
        }
        assert!(after.len() <= before.len(), "{name}");
        let pixels = |bytes: &[u8]| DynamicImage::from_decoder(decoder(bytes)).expect(name);
        assert_eq!(pixels(&after), pixels(&before), "{name}");
        assert_eq!(sniff(written(&after).path()).expect(name), Some(file_type), "{name}");
    }
}

#[test]
fn the_test_files_contain_a_location() {
    for (name, _) in PICTURES.iter().filter(|(name, _)| name.starts_with("camera")) {
        assert!(contains(&bytes(name), "Atlantis"), "{name}");
    }
    for name in ["camera.jpg", "camera.png", "camera.webp"] {
        let exif = decoder(&bytes(name)).exif_metadata().expect(name).expect(name);
        assert!(exif.len() > 200 && contains(&exif, "Atlantis"), "{name}");
    }
}

#[test]
fn only_the_orientation_remains_of_exif() {
    for name in ["camera.jpg", "camera.png", "camera.webp"] {
        let file_type = sniff(&path(name)).expect(name).expect(name);
        let after = stripped(&bytes(name), file_type).expect(name);
        let mut decoder = decoder(&after);
        assert_eq!(decoder.orientation().expect(name), Orientation::Rotate90, "{name}");
        let exif = decoder.exif_metadata().expect(name).expect(name);
        assert_eq!(exif, *b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", "{name}");
        assert_eq!(decoder.xmp_metadata().expect(name), None, "{name}");
        assert_eq!(picture::inspect(written(&after).path(), file_type).expect(name), (32, 48), "{name}");
    }
    let after = stripped(&bytes("progressive.jpg"), FileType::Jpeg).expect("a picture");
    assert_eq!(decoder(&after).exif_metadata().expect("no failure"), None);
}

/// Programs ignore such a record, so it must not rotate the picture after its checksum is corrected.
#[test]
fn exif_with_a_wrong_checksum_is_removed_completely() {
    let mut png = bytes("camera.png");
    let at = png.windows(4).position(|part| part == b"eXIf").expect("a record");
    let length = u32::from_be_bytes(png[at - 4..at].try_into().expect("four bytes"));
    png[at + 4 + usize::try_from(length).expect("a length")] ^= 1;
    let after = stripped(&png, FileType::Png).expect("a picture");
    assert!(!contains(&after, "eXIf"));
}

#[test]
fn cleaning_a_clean_picture_changes_nothing() {
    for (name, file_type) in PICTURES {
        let once = stripped(&bytes(name), file_type).expect(name);
        assert_eq!(stripped(&once, file_type).expect(name), once, "{name}");
    }
}

#[test]
fn colour_profiles_stay() {
    let profile: Vec<u8> = (0_u8..=255).cycle().take(70_000).collect();
    let picture = DynamicImage::new_rgb8(8, 8);
    let mut jpeg = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut jpeg);
    image::ImageEncoder::set_icc_profile(&mut encoder, profile.clone()).expect("a profile");
    encoder.encode_image(&picture).expect("a picture");
    let mut png = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
    image::ImageEncoder::set_icc_profile(&mut encoder, profile.clone()).expect("a profile");
    picture.write_with_encoder(encoder).expect("a picture");
    let mut webp = Vec::new();
    let mut encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut webp);
    image::ImageEncoder::set_icc_profile(&mut encoder, profile.clone()).expect("a profile");
    picture.write_with_encoder(encoder).expect("a picture");
    for (bytes, file_type) in [(jpeg, FileType::Jpeg), (png, FileType::Png), (webp, FileType::Webp)] {
        let after = stripped(&bytes, file_type).expect("a picture");
        let found = decoder(&after).icc_profile().expect("no failure");
        assert_eq!(found.as_ref(), Some(&profile), "{file_type:?}");
    }
}

#[test]
fn an_animation_keeps_its_frames_and_its_loop() {
    let (before, after) =
        (bytes("camera.gif"), stripped(&bytes("camera.gif"), FileType::Gif).expect("a picture"));
    let frames = |bytes: &[u8]| {
        let decoder = image::codecs::gif::GifDecoder::new(Cursor::new(bytes.to_vec())).expect("a picture");
        let frames = decoder.into_frames().collect_frames().expect("frames");
        frames.into_iter().map(|frame| (frame.delay(), frame.into_buffer())).collect::<Vec<_>>()
    };
    assert_eq!(frames(&after).len(), 2);
    assert_eq!(frames(&after), frames(&before));
    assert!(contains(&after, "NETSCAPE2.0"));
}

#[test]
fn a_truncated_picture_is_broken() {
    for (name, file_type) in PICTURES {
        let whole = stripped(&bytes(name), file_type).expect(name);
        for length in 0..whole.len() {
            let result = stripped(&whole[..length], file_type);
            // A GIF may end behind any whole block, and a WebP without its last padding.
            if file_type != FileType::Gif && length + 1 < whole.len() {
                assert!(matches!(result, Err(picture::PictureError::Broken)), "{name} of {length} bytes");
            }
        }
    }
}

#[test]
fn sound_is_not_a_picture() {
    let sound = path("plain.mp3");
    let to = NamedTempFile::new().expect("a file");
    for file_type in [FileType::Mp3, FileType::Mp4] {
        assert!(matches!(picture::inspect(&sound, file_type), Err(picture::PictureError::NotAPicture)));
        assert!(matches!(
            picture::strip(&sound, to.path(), file_type),
            Err(picture::PictureError::NotAPicture)
        ));
        assert!(matches!(picture::photo(&sound, file_type), Err(picture::PictureError::NotAPicture)));
    }
    assert!(matches!(picture::inspect(&sound, FileType::Jpeg), Err(picture::PictureError::Broken)));
    assert!(matches!(
        picture::inspect(&path("nothing"), FileType::Jpeg),
        Err(picture::PictureError::File(_))
    ));
}

/// The PNG with another size in its header.
fn resized(png: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut png = png.to_vec();
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32fast::hash(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    png
}

#[test]
fn a_picture_above_the_limits_is_refused_by_its_header() {
    let mut largest = Cursor::new(Vec::new());
    DynamicImage::new_luma8(10_000, 3_200).write_to(&mut largest, ImageFormat::Png).expect("a picture");
    let largest = largest.into_inner();
    let mut gif = b"GIF89a".to_vec();
    gif.extend(10_001_u16.to_le_bytes().into_iter().chain(1_u16.to_le_bytes()).chain([0, 0, 0, 0x3b]));
    let mut jpeg = bytes("progressive.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc2]).expect("a frame");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
    for (bytes, file_type) in [
        (resized(&largest, 50_000, 50_000), FileType::Png),
        (resized(&largest, 10_000, 10_000), FileType::Png),
        (resized(&largest, 10_000, 3_201), FileType::Png),
        (resized(&largest, 10_001, 1), FileType::Png),
        (resized(&largest, 1, 10_001), FileType::Png),
        (resized(&largest, u32::MAX >> 1, u32::MAX >> 1), FileType::Png),
        (jpeg, FileType::Jpeg),
        (gif, FileType::Gif),
    ] {
        let file = written(&bytes);
        let begin = Instant::now();
        for result in [
            picture::inspect(file.path(), file_type).map(drop),
            picture::photo(file.path(), file_type).map(drop),
            picture::size(file.path(), file_type).map(drop),
        ] {
            assert!(
                matches!(result, Err(picture::PictureError::TooLarge | picture::PictureError::Broken)),
                "{file_type:?} {result:?}"
            );
        }
        assert!(begin.elapsed() < Duration::from_secs(1), "{file_type:?} took {:?}", begin.elapsed());
    }
    let file = written(&largest);
    assert_eq!(picture::inspect(file.path(), FileType::Png).expect("within"), (10_000, 3_200));
}
