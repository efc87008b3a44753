//! Metadata of pictures that is removed or stays, and the size limits.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{AnimationDecoder as _, DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use tempfile::NamedTempFile;
use windu::media::picture::{self, MOST_PHOTO, MOST_SENT, PictureError};
use windu::media::{FileType, Probe};

use crate::files::{self, bytes, deadline, path, photo, probe, sniff, written};

const PICTURES: [(&str, FileType); 5] = [
    ("camera.jpg", FileType::Jpeg),
    ("progressive.jpg", FileType::Jpeg),
    ("camera.png", FileType::Png),
    ("camera.gif", FileType::Gif),
    ("camera.webp", FileType::Webp),
];

fn stripped(bytes: &[u8], file_type: FileType) -> Result<Vec<u8>, PictureError> {
    files::stripped(written(bytes).path(), file_type).map(|(_, clean)| clean)
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
        let (header, _) = files::stripped(written(&after).path(), file_type).expect(name);
        assert_eq!((header.shown(), header.size), ((32, 48), (48, 32)), "{name}");
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
        // The data of a JPEG may end anywhere.
        let scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap_or(whole.len());
        let end = if file_type == FileType::Jpeg { scan } else { whole.len() };
        for length in 0..whole.len() {
            let result = stripped(&whole[..length], file_type);
            // A GIF may end behind any whole block, and a WebP without its last padding.
            if file_type != FileType::Gif && length + 1 < end {
                assert!(matches!(result, Err(PictureError::Broken)), "{name} of {length} bytes");
            }
        }
    }
}

#[test]
fn sound_is_not_a_picture() {
    let sound = path("plain.mp3");
    for file_type in [FileType::Mp3, FileType::Mp4] {
        assert!(matches!(files::stripped(&sound, file_type), Err(PictureError::NotAPicture)));
        assert!(matches!(photo(&sound, file_type), Err(PictureError::NotAPicture)));
    }
    assert!(matches!(files::stripped(&sound, FileType::Jpeg), Err(PictureError::Broken)));
    assert!(matches!(files::stripped(&path("nothing"), FileType::Jpeg), Err(PictureError::File(_))));
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

/// The JPEG with another size in its header.
fn resized_jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut jpeg = bytes("progressive.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc2]).expect("a frame");
    jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    jpeg
}

#[test]
fn a_picture_above_the_limits_is_refused_by_its_header() {
    let mut png = Cursor::new(Vec::new());
    DynamicImage::new_luma8(100, 100).write_to(&mut png, ImageFormat::Png).expect("a picture");
    let png = png.into_inner();
    let mut gif = b"GIF89a".to_vec();
    gif.extend([65_535_u16, 65_535].into_iter().flat_map(u16::to_le_bytes).chain([0, 0, 0]));
    gif.extend(b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\0\x3b");
    for (bytes, file_type, sent, photos) in [
        (resized(&png, 16_000, 12_500), FileType::Png, true, false),
        (resized(&png, 16_000, 12_501), FileType::Png, false, false),
        (resized(&png, 65_535, 900), FileType::Png, true, true),
        (resized(&png, 65_536, 1), FileType::Png, false, false),
        (resized(&png, 1, 65_536), FileType::Png, false, false),
        (resized(&png, u32::MAX >> 1, u32::MAX >> 1), FileType::Png, false, false),
        (resized_jpeg(8_000, 8_000), FileType::Jpeg, true, true),
        (resized_jpeg(8_001, 8_000), FileType::Jpeg, true, false),
        (resized_jpeg(65_535, 65_535), FileType::Jpeg, false, false),
        (gif, FileType::Gif, false, false),
    ] {
        let (file, clean) = (written(&bytes), NamedTempFile::new().expect("a file"));
        for (most, fits) in [(MOST_SENT, sent), (MOST_PHOTO, photos)] {
            match picture::strip(file.path(), clean.path(), file_type, most, &deadline()) {
                Ok(_) => assert!(fits, "{file_type:?} of {} bytes, {most}", bytes.len()),
                Err(PictureError::TooLarge(megapixels)) => assert!(!fits && megapixels == most),
                Err(error) => panic!("{error}"),
            }
        }
        assert_ne!(probe(file.path(), file_type), Probe::default());
    }
}

/// What real programs write although their formats forbid it, and browsers show.
#[test]
fn odd_pictures_are_taken_as_messages_and_as_photos_or_as_neither() {
    let jpeg = bytes("progressive.jpg");
    let jpeg = &jpeg[..jpeg.windows(2).rposition(|pair| pair == [0xff, 0xd9]).expect("an end")];
    let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).expect("a scan");
    let webp = stripped(&bytes("camera.webp"), FileType::Webp).expect("a picture");
    let exif = webp.windows(4).position(|part| part == b"EXIF").expect("a record");
    let mut flagged = webp[..exif].to_vec();
    let length = u32::try_from(flagged.len() - 8).expect("a length");
    flagged[4..8].copy_from_slice(&length.to_le_bytes());
    for flags in [0x08, 0x0c, 0x2c, 0x3c] {
        flagged[20] = flags;
        assert!(photo(written(&flagged).path(), FileType::Webp).is_ok(), "{flags:#x}");
    }
    let png = bytes("camera.png");
    for (bytes, file_type, accepted) in [
        // A JPEG without its end marker, and cut short.
        (jpeg.to_vec(), FileType::Jpeg, true),
        (jpeg[..jpeg.len() - 20].to_vec(), FileType::Jpeg, true),
        (jpeg[..scan].to_vec(), FileType::Jpeg, false),
        // EXIF is announced, and not there.
        (flagged, FileType::Webp, true),
        // The smallest GIF of the web: no colours, no data. An empty screen. No frame.
        (b"GIF89a\x01\0\x01\0\0\xff\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\0\x3b".to_vec(), FileType::Gif, true),
        (
            b"GIF89a\0\0\0\0\0\0\0\x2c\0\0\0\0\x03\0\x02\0\0\x02\x02\x44\x01\0\x3b".to_vec(),
            FileType::Gif,
            true,
        ),
        (b"GIF89a\x01\0\x01\0\0\0\0\x3b".to_vec(), FileType::Gif, false),
        (b"GIF89a\0\0\0\0\0\0\0\x2c\0\0\0\0\0\0\0\0\0\x02\0\x3b".to_vec(), FileType::Gif, false),
        // A PNG without its end, and without pixels.
        (png[..png.len() - 12].to_vec(), FileType::Png, false),
        ([&png[..33], &png[png.len() - 12..]].concat(), FileType::Png, false),
    ] {
        let file = written(&bytes);
        let (sent, made) = (files::stripped(file.path(), file_type), photo(file.path(), file_type));
        assert_eq!((sent.is_ok(), made.is_ok()), (accepted, accepted), "{sent:?} {made:?}");
        let Ok((header, clean)) = sent else { continue };
        assert_eq!(stripped(&clean, file_type).expect("clean"), clean);
        if file_type != FileType::Gif || header.size.0 > 1 {
            // Strict programs can read it now.
            decoder(&clean);
        }
        let made = image::load_from_memory_with_format(&made.expect("a photo").jpeg, ImageFormat::Jpeg);
        let made = made.expect("a JPEG");
        assert_eq!((made.width(), made.height()), header.shown());
    }
}

#[test]
fn a_picture_of_too_many_parts_is_refused() {
    let blocks = |count: usize| {
        [&b"GIF89a\x01\0\x01\0\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02"[..], &b"\x01\0".repeat(count), b"\0\x3b"]
            .concat()
    };
    let frame = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\0";
    let frames = |count: usize| [&b"GIF89a\x01\0\x01\0\0\0\0"[..], &frame.repeat(count), b"\x3b"].concat();
    let chunk = [&b"\0\0\0\0prIv"[..], &crc32fast::hash(b"prIv").to_be_bytes()].concat();
    let png = bytes("camera.png");
    let chunks = |count: usize| [&png[..33], &chunk.repeat(count), &png[33..]].concat();
    let segments = |count: usize| {
        [&b"\xff\xd8"[..], &b"\xff\xe1\0\x02".repeat(count), &bytes("progressive.jpg")[2..]].concat()
    };
    let webp = |count: usize| {
        let picture = &stripped(&bytes("camera.webp"), FileType::Webp).expect("a picture")[12..];
        let inside = [&b"WEBP"[..], picture, &b"priv\0\0\0\0".repeat(count)].concat();
        [&b"RIFF"[..], &u32::try_from(inside.len()).expect("a length").to_le_bytes(), &inside].concat()
    };
    for (few, many, file_type) in [
        (blocks(10_000), blocks(100_000), FileType::Gif),
        (frames(10_000), frames(10_001), FileType::Gif),
        (chunks(10_000), chunks(200_000), FileType::Png),
        (segments(10_000), segments(100_000), FileType::Jpeg),
        (webp(10_000), webp(100_000), FileType::Webp),
    ] {
        assert!(files::stripped(written(&few).path(), file_type).is_ok(), "{file_type:?}");
        let refused = files::stripped(written(&many).path(), file_type);
        assert!(matches!(refused, Err(PictureError::TooManyParts)), "{file_type:?} {refused:?}");
    }
}
