//! Profile photos.

use std::io::Cursor;

use image::{DynamicImage, GenericImageView as _, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use windu::media::FileType;

use crate::files::{bytes, path, photo, written};

fn opened(jpeg: &[u8]) -> DynamicImage {
    image::load_from_memory_with_format(jpeg, ImageFormat::Jpeg).expect("a JPEG")
}

fn png(picture: &DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}

fn near(pixel: Rgba<u8>, colour: [u8; 3]) -> bool {
    pixel.0.iter().zip(colour).all(|(one, other)| one.abs_diff(other) < 24)
}

#[test]
fn any_picture_becomes_an_upright_jpeg_and_a_preview() {
    for (name, file_type, size, preview) in [
        ("camera.jpg", FileType::Jpeg, (32, 48), (64, 96)),
        ("progressive.jpg", FileType::Jpeg, (48, 32), (96, 64)),
        ("camera.png", FileType::Png, (32, 48), (64, 96)),
        ("camera.gif", FileType::Gif, (24, 16), (96, 64)),
        ("camera.webp", FileType::Webp, (32, 48), (64, 96)),
    ] {
        let photo = photo(&path(name), file_type).expect(name);
        assert_eq!(opened(&photo.jpeg).dimensions(), size, "{name}");
        assert_eq!(opened(&photo.preview).dimensions(), preview, "{name}");
        for jpeg in [&photo.jpeg, &photo.preview] {
            assert!(!jpeg.windows(4).any(|part| part == b"Exif" || part == b"Atla"), "{name}");
        }
    }
    // Red was on top, and EXIF says that the picture is rotated: red is on the right.
    let photo = opened(&photo(&path("camera.jpg"), FileType::Jpeg).expect("a photo").jpeg);
    let (left, right) = (photo.get_pixel(1, 24), photo.get_pixel(30, 24));
    assert!(right.0[0] > 200 && left.0[2] > 200, "{left:?} {right:?}");
    assert!(bytes("camera.jpg").windows(4).any(|part| part == b"Exif"));
}

#[test]
fn large_pictures_are_scaled_down() {
    let wide = DynamicImage::from(RgbImage::from_pixel(3_200, 800, Rgb([10, 120, 200])));
    let wide = photo(written(&png(&wide)).path(), FileType::Png).expect("a photo");
    let (jpeg, preview) = (opened(&wide.jpeg), opened(&wide.preview));
    assert_eq!((jpeg.dimensions(), preview.dimensions()), ((1_600, 400), (96, 24)));
    assert!(
        near(jpeg.get_pixel(800, 200), [10, 120, 200]) && near(preview.get_pixel(48, 12), [10, 120, 200])
    );
    let thin = DynamicImage::from(RgbImage::new(10_000, 1));
    let thin = photo(written(&png(&thin)).path(), FileType::Png).expect("a photo");
    assert_eq!(opened(&thin.jpeg).dimensions(), (1_600, 1));
    assert_eq!(opened(&thin.preview).dimensions(), (96, 1));
}

#[test]
fn photos_of_too_many_bytes_are_smaller() {
    // Noise takes the most bytes.
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let mut jpeg_of = |width, height| {
        let picture = RgbImage::from_fn(width, height, |_, _| Rgb([noise(), noise(), noise()]));
        photo(written(&png(&picture.into())).path(), FileType::Png).expect("a photo").jpeg
    };
    for (width, height, ratio) in [(1_600, 1_200, 0.75), (500, 1_000, 2.0), (400, 400, 1.0)] {
        let jpeg = jpeg_of(width, height);
        let (width, height) = opened(&jpeg).dimensions();
        assert!(
            jpeg.len() <= 180_000 && width.max(height) >= 320,
            "{} bytes, {width} x {height}",
            jpeg.len()
        );
        assert!((f64::from(height) / f64::from(width) - ratio).abs() < 0.01, "{width} x {height}");
    }
}

#[test]
fn transparent_pixels_become_white() {
    let mut half = RgbaImage::from_pixel(64, 64, Rgba([0, 0, 0, 0]));
    for (x, _, pixel) in half.enumerate_pixels_mut() {
        if x >= 32 {
            *pixel = Rgba([200, 0, 0, 255]);
        }
    }
    let photo = photo(written(&png(&half.into())).path(), FileType::Png).expect("a photo");
    let jpeg = opened(&photo.jpeg);
    assert!(near(jpeg.get_pixel(8, 32), [255, 255, 255]));
    assert!(near(jpeg.get_pixel(56, 32), [200, 0, 0]));
}

#[test]
fn grey_and_16_bit_pictures_are_accepted() {
    for picture in [
        DynamicImage::new_luma8(20, 10),
        DynamicImage::new_luma_a8(20, 10),
        DynamicImage::new_luma16(20, 10),
        DynamicImage::new_rgb16(20, 10),
        DynamicImage::new_rgba16(20, 10),
    ] {
        let photo = photo(written(&png(&picture)).path(), FileType::Png).expect("a photo");
        assert_eq!(opened(&photo.jpeg).dimensions(), (20, 10));
    }
}
