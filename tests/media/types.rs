//! File types, and the kinds of media that accept them.

use windu::domain::MediaKind;
use windu::media::{Family, FileType, WrongFileType, accepts};

use crate::files::{FILES, bytes, path, sniff, written};

#[test]
fn the_type_is_detected_from_the_content_and_not_from_the_name() {
    for (name, file_type) in FILES {
        assert_eq!(sniff(&path(name)).expect(name), file_type, "{name}");
        assert_eq!(sniff(written(&bytes(name)).path()).expect(name), file_type, "{name} without its name");
    }
}

#[test]
fn every_accepted_type_has_a_test_file() {
    for file_type in FileType::ALL {
        assert!(FILES.iter().any(|(_, other)| *other == Some(file_type)), "{file_type:?}");
    }
}

#[test]
fn each_kind_accepts_its_own_files_and_no_others() {
    for (name, file_type) in FILES {
        let Some(file_type) = sniff(&path(name)).expect(name).or(file_type) else { continue };
        for kind in [MediaKind::Image, MediaKind::Voice, MediaKind::Audio, MediaKind::Video] {
            let expected = match (kind, file_type.family()) {
                (MediaKind::Image, Family::Picture)
                | (MediaKind::Voice | MediaKind::Audio, Family::Audio)
                | (MediaKind::Video, Family::Video) => Ok(()),
                (_, Family::Picture) => Err(WrongFileType::Picture),
                (_, Family::Audio) => Err(WrongFileType::Audio),
                (_, Family::Video) => Err(WrongFileType::Video),
            };
            assert_eq!(accepts(kind, file_type), expected, "{kind:?} {name}");
        }
    }
}

#[test]
fn other_files_have_no_type() {
    for bytes in [
        &b""[..],
        b"\xff",
        b"\xff\xd8",
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0",
        b"II*\0\x08\0\0\0",
        b"\x7fELF\x02\x01\x01",
        b"fLaC\0\0\0\x22",
        b"\0\0\0\x0cftypisom",
        b"\x1a\x45\xdf\xa3",
    ] {
        assert_eq!(sniff(written(bytes).path()).expect("no failure"), None, "{bytes:?}");
    }
}

#[test]
fn a_missing_file_is_an_error() {
    assert!(sniff(&path("nothing")).is_err());
}
