//! Width, height and duration of files.

use windu::media::Family;

use crate::files::{FILES, path, probe, sniff};

#[test]
fn width_height_and_duration_are_measured() {
    for (name, size, seconds) in [
        ("camera.jpg", Some((32, 48)), None),
        ("progressive.jpg", Some((48, 32)), None),
        ("camera.png", Some((32, 48)), None),
        ("camera.gif", Some((24, 16)), None),
        ("camera.webp", Some((32, 48)), None),
        ("tagged.mp3", None, Some(1.0)),
        ("plain.mp3", None, Some(1.0)),
        ("plain.aac", None, Some(1.0)),
        ("tagged.aac", None, Some(1.0)),
        ("plain.wav", None, Some(0.25)),
        ("plain.aif", None, Some(0.25)),
        ("alaw.aif", None, Some(0.25)),
        ("plain.caf", None, Some(0.25)),
        ("alac.caf", None, Some(0.25)),
        ("plain.wma", None, Some(1.0)),
        ("vorbis.ogg", None, Some(1.0)),
        ("opus.ogg", None, Some(1.0)),
        ("speex.ogg", None, Some(1.0)),
        ("branded.m4a", None, Some(1.0)),
        ("isom.m4a", None, Some(1.0)),
        ("mp42.m4a", None, Some(1.0)),
        ("sound.3gp", None, Some(1.0)),
        ("film.3gp", Some((176, 144)), Some(1.0)),
        ("plain.mp4", Some((64, 48)), Some(1.0)),
        ("fast.mp4", Some((64, 48)), Some(1.0)),
        ("turned.mp4", Some((48, 64)), Some(1.0)),
        ("mpeg4.mp4", Some((64, 48)), Some(1.0)),
        ("plain.mov", Some((64, 48)), Some(0.25)),
        ("timecode.mov", Some((64, 48)), Some(1.0)),
        ("studio.mov", Some((64, 48)), Some(0.1)),
        ("plain.avi", Some((64, 48)), Some(1.0)),
        ("voice.webm", None, Some(1.0)),
        ("film.webm", Some((64, 48)), Some(1.0)),
    ] {
        let file_type = sniff(&path(name)).expect(name).expect(name);
        let probe = probe(&path(name), file_type);
        assert_eq!(probe.width.zip(probe.height), size, "{name}");
        match (probe.duration, seconds) {
            // An encoder adds up to a frame or two at either end.
            (Some(measured), Some(real)) => assert!((measured - real).abs() < 0.4, "{name}: {measured}"),
            (measured, real) => assert_eq!(measured, real, "{name}"),
        }
    }
}

#[test]
fn pictures_have_no_duration_and_sound_has_no_width_and_height() {
    for (name, file_type) in FILES {
        let Some(file_type) = file_type else { continue };
        let probe = probe(&path(name), file_type);
        assert_eq!(probe.width.is_some(), file_type.family() != Family::Audio, "{name}");
        assert_eq!(probe.height.is_some(), file_type.family() != Family::Audio, "{name}");
        assert!(probe.duration.is_none() || file_type.family() != Family::Picture, "{name}");
        assert!(probe.duration.is_none_or(|seconds| seconds > 0.0), "{name}");
    }
}
