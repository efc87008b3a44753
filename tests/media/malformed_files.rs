//! Hostile files: every function returns, and soon.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio_util::sync::CancellationToken;
use windu::media::picture::{self, PictureError};
use windu::media::{Deadline, Family, FileType, vcard};

use crate::files::{FILES, bytes, path, photo, probe, sniff, stripped, written};

/// The limit of a thread's work on a file of a few KiB, or of a few MiB that repeats itself.
const SOON: Duration = Duration::from_secs(5);

/// The processor time that this thread has used, whatever else the machine does.
fn worked() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("the usage");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).expect("not negative"))
}

/// Calls every function with these bytes, also with a wrong type.
fn ask(bytes: &[u8], pretended: FileType) {
    let begin = worked();
    let file = written(bytes);
    let sniffed = sniff(file.path()).expect("the file can be read");
    for file_type in sniffed.into_iter().chain([pretended]) {
        let length = probe(file.path(), file_type).duration;
        assert!(length.is_none_or(|seconds| seconds.is_finite() && seconds > 0.0));
        let made = photo(file.path(), file_type);
        assert!(!matches!(made, Err(PictureError::File(_))), "{made:?}");
        match stripped(file.path(), file_type) {
            // The result can be cleaned again and does not change.
            Ok((header, once)) => {
                let (again, twice) = stripped(written(&once).path(), file_type).expect("a clean picture");
                assert_eq!((again, twice), (header, once), "{file_type:?}");
            }
            Err(error) => {
                assert!(!matches!(error, PictureError::File(_)), "{error:?}");
                assert!(made.is_err(), "{file_type:?}: a photo of a picture that cannot be sent");
                let is_no_picture = matches!(error, PictureError::NotAPicture);
                assert_eq!(file_type.family() != Family::Picture, is_no_picture);
            }
        }
    }
    let worked = worked().checked_sub(begin).expect("more");
    assert!(worked < SOON, "worked for {worked:?}");
}

#[test]
fn truncated_files_are_handled() {
    for (name, file_type) in FILES {
        let Some(file_type) = file_type else { continue };
        let whole = bytes(name);
        let file = written(&whole);
        for length in (0..whole.len()).rev() {
            file.as_file().set_len(u64::try_from(length).expect("a length")).expect("a shorter file");
            sniff(file.path()).expect("the file can be read");
            let _ = probe(file.path(), file_type);
            if file_type.family() == Family::Picture {
                let _ = stripped(file.path(), file_type);
                if length % 16 == 0 {
                    let _ = photo(file.path(), file_type);
                }
            }
        }
    }
}

fn any_type() -> impl Strategy<Value = FileType> {
    proptest::sample::select(FileType::ALL.to_vec())
}

/// A file with some bytes changed, a piece removed, and a piece inserted.
fn mutated() -> impl Strategy<Value = (Vec<u8>, FileType)> {
    let files = FILES.iter().filter(|(_, file_type)| file_type.is_some()).copied().collect::<Vec<_>>();
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..8);
    let cut = prop::option::of((any::<Index>(), any::<Index>()));
    let insert = prop::option::of((any::<Index>(), prop::collection::vec(any::<u8>(), 1..16)));
    // Most of the relevant bytes are near the beginning.
    (proptest::sample::select(files), any::<bool>(), changes, cut, insert).prop_map(
        |((name, file_type), near, changes, cut, insert)| {
            let mut bytes = bytes(name);
            for (at, value) in changes {
                let most = if near { bytes.len().min(200) } else { bytes.len() };
                bytes[at.index(most)] = value;
            }
            if let Some((from, to)) = cut {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                bytes.drain(from.min(to)..from.max(to));
            }
            if let Some((at, piece)) = insert {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, piece);
            }
            (bytes, file_type.expect("a type"))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_handled(bytes in prop::collection::vec(any::<u8>(), 0..2_000), file_type in any_type()) {
        ask(&bytes, file_type);
    }

    #[test]
    fn broken_files_are_handled((bytes, file_type) in mutated()) {
        ask(&bytes, file_type);
    }

    #[test]
    fn random_texts_are_handled(text in any::<String>()) {
        let _ = vcard::read(&text);
        let _ = vcard::read(&format!("BEGIN:VCARD\n{text}\nEND:VCARD"));
    }

    #[test]
    fn random_vcard_lines_are_handled(
        lines in prop::collection::vec(
            "(BEGIN|END|FN|N|item1\\.TEL|PHOTO|BDAY|REV|X-A)?[;:=, \\\\\"]?(VCARD|VALUE=[a-z]{1,8}|ENCODING=(B|QUOTED-PRINTABLE)|CHARSET=[a-z0-9-]{1,10})?[;:=,\\\\]{0,3}[ -~]{0,20}(=|\r)?",
            0..12,
        )
    ) {
        let text = format!("BEGIN:VCARD\n{}\nEND:VCARD\n", lines.join("\n"));
        let _ = vcard::read(&text);
    }
}

/// Nested boxes, lists and tags: depth must not crash the process, and length must not take long.
#[test]
fn deep_nesting_and_long_repetition_are_handled() {
    let nested = |level: fn(u32) -> Vec<u8>| (0..100_000).rev().flat_map(level).collect::<Vec<u8>>();
    let lists = nested(|inside| [*b"LIST", (inside * 12 + 4).to_le_bytes(), *b"LIST"].concat());
    let length = u32::try_from(lists.len() + 4).expect("a length").to_le_bytes();
    let webp = [&b"RIFF"[..], &length, b"WEBP", &lists].concat();
    let boxes = nested(|inside| [(inside * 8 + 8).to_be_bytes(), *b"moov"].concat());
    let tags = b"ID3\x04\0\0\0\0\0\0".repeat(10_000);
    let segments = [&b"\xff\xd8"[..], &b"\xff\xe1\0\x02".repeat(500_000), b"\xff\xd9"].concat();
    let blocks = [&b"GIF89a\x01\0\x01\0\0\0\0"[..], &b"\x21\xfe\0".repeat(500_000), b"\x3b"].concat();
    let chunks = [&b"caff\0\x01\0\0"[..], &b"free\0\0\0\0\0\0\0\0".repeat(100_000)].concat();
    let pages = b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x08fishead\0".repeat(10_000);
    for (bytes, file_type) in [
        (webp, FileType::Webp),
        (boxes, FileType::Mp4),
        (tags, FileType::Mp3),
        (segments, FileType::Jpeg),
        (blocks, FileType::Gif),
        (chunks, FileType::Caf),
        (pages, FileType::Ogg),
    ] {
        ask(&bytes, file_type);
    }
    let card = format!("BEGIN:VCARD\n{}END:VCARD", "BEGIN:VCARD\n".repeat(5_000));
    let _ = vcard::read(&card);
    let folded = format!("BEGIN:VCARD\nFN:a{}\nEND:VCARD", "\n \\".repeat(20_000));
    let begin = worked();
    let _ = vcard::read(&folded);
    assert!(worked().checked_sub(begin).expect("more") < SOON);
}

/// Few bytes that ask for much work: scans over a picture that say of all blocks that nothing changes.
#[test]
fn progressive_scans_without_content_are_limited() {
    let mut jpeg = b"\xff\xd8\xff\xc2\0\x0b\x08\x04\0\x04\0\x01\x01\x11\0\xff\xc4\0\x26".to_vec();
    // One code each: for a run of 16,384 blocks without coefficients, and for a difference of 0.
    jpeg.extend([&[0x10, 1][..], &[0; 15], &[0xe0], &[0x00, 1], &[0; 15], &[0]].concat());
    jpeg.extend(b"\xff\xda\0\x08\x01\x01\0\0\0\0".iter().chain(&[0; 2_050]));
    for _ in 0..4_000 {
        jpeg.extend(b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0\0\0");
    }
    jpeg.extend(b"\xff\xd9");
    assert!(photo(written(&jpeg).path(), FileType::Jpeg).is_ok());
    ask(&jpeg, FileType::Mp3);
}

#[test]
fn work_on_every_type_ends_at_its_deadline() {
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let over = Deadline::new(0, cancelled);
    let clean = tempfile::NamedTempFile::new().expect("a file");
    for (name, file_type) in FILES {
        assert!(windu::media::sniff(&path(name), &over).is_err(), "{name}");
        let Some(file_type) = file_type else { continue };
        assert_eq!(windu::media::probe(&path(name), file_type, &over), windu::media::Probe::default());
        if file_type.family() == Family::Picture {
            let refused = picture::strip(&path(name), clean.path(), file_type, 1, &over);
            assert!(matches!(refused, Err(PictureError::File(_))), "{name} {refused:?}");
            let begun = crate::files::deadline();
            let header = picture::strip(&path(name), clean.path(), file_type, 1, &begun).expect(name);
            let plan = picture::PhotoPlan::new(clean.path(), file_type, header, &begun).expect(name);
            let refused = plan.encode(clean.path(), &over);
            assert!(matches!(refused, Err(PictureError::File(_))), "{name} {refused:?}");
        }
    }
}
