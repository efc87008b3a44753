//! Tests of complete and broken forms, in chunks of any size.

use super::*;
use crate::domain::UserId;
use crate::http::extract::body::LARGEST;
use crate::media::{Spools, Uploader};
use axum::body::Body;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fs;
use std::sync::LazyLock;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const TYPE: &str = "multipart/form-data; boundary=X-boundary";
/// Bytes of the largest file here.
const MAX_UPLOAD: usize = 300_000;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));
static SPOOLS: LazyLock<UploaderSpools> =
    LazyLock::new(|| Spools::new(FOLDER.path(), MAX_UPLOAD as u64).of(Uploader::User(UserId(1))));

/// A part: its name, the file's name if it is one, the content.
type FormPart = (String, Option<String>, Vec<u8>);

fn encoded(parts: &[FormPart]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file_name, content) in parts {
        let file_name = file_name.as_ref().map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
        let head =
            format!("--X-boundary\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--X-boundary--\r\n");
    body
}

fn text(name: &str, content: impl Into<Vec<u8>>) -> FormPart {
    (name.to_owned(), None, content.into())
}

fn file(name: &str, content: impl Into<Vec<u8>>) -> FormPart {
    (name.to_owned(), Some("a.jpg".to_owned()), content.into())
}

/// Parses a body that comes in these chunks.
async fn parse(
    chunks: Vec<Vec<u8>>,
    kind: &str,
    spools: Option<&UploaderSpools>,
) -> Result<FormParts, &'static str> {
    let body = Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)));
    let limit = MAX_UPLOAD as u64 + LARGEST;
    let mut body = LimitedBody::new(body, limit).map_err(|_| "announced")?;
    let first = body.next().await.map_err(|error| ApiError::from(error).code().as_str())?.expect("not empty");
    read(kind, first, &mut body, LARGEST, spools, None).await.map_err(|error| error.code().as_str())
}

async fn whole(parts: &[FormPart]) -> Result<FormParts, &'static str> {
    parse(vec![encoded(parts)], TYPE, Some(&SPOOLS)).await
}

/// The same parts as they were written.
fn decoded(parts: &FormParts) -> (Vec<(String, Vec<u8>)>, Vec<FormPart>) {
    let pairs = parts.pairs.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    let files = parts.files.iter().map(|file| {
        let content = fs::read(file.spooled.path()).expect("a file");
        assert_eq!(file.spooled.size(), content.len() as u64);
        (file.name.clone(), Some(file.file_name.clone()), content)
    });
    (pairs.collect(), files.collect())
}

#[tokio::test]
async fn parts_are_parameters_or_files() {
    let mut body = encoded(&[
        text("a", "1"),
        text("a", "é & 2"),
        file("photo", "bytes"),
        ("empty".to_owned(), Some(String::new()), Vec::new()),
    ]);
    let typed = b"--X-boundary\r\nContent-Disposition: form-data; name=\"t\"\r\nContent-Type: text/plain; charset=latin1\r\n\r\ntext\r\n";
    body.splice(0..0, typed.iter().copied());
    body.extend_from_slice(b"an epilogue");
    let (pairs, files) = decoded(&parse(vec![body], TYPE, Some(&SPOOLS)).await.expect("a form"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    assert_eq!(pairs, [pair("t", "text"), pair("a", "1"), pair("a", "é & 2")]);
    let empty = ("empty".to_owned(), Some(String::new()), Vec::new());
    assert_eq!(files, [file("photo", "bytes"), empty]);
}

#[tokio::test]
async fn a_file_needs_no_name() {
    let part = |head: &str, content: &str| {
        format!("--X-boundary\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    };
    let mut body = part("name=\"filename\"", "one");
    body += &part("name=\"photo\"\r\nContent-Type: image/png", "two");
    // A setting.
    body += &part("name=\"photo\"", "all");
    body += "--X-boundary--\r\n";
    let (pairs, files) = decoded(&parse(vec![body.into_bytes()], TYPE, Some(&SPOOLS)).await.expect("a form"));
    assert_eq!(pairs, [("photo".to_owned(), b"all".to_vec())]);
    let unnamed =
        |name: &str, content: &str| (name.to_owned(), Some(String::new()), content.as_bytes().to_vec());
    assert_eq!(files, [unnamed("filename", "one"), unnamed("photo", "two")]);
}

#[tokio::test]
async fn broken_forms_are_refused() {
    let one = encoded(&[text("a", "1")]);
    let cut = |by: usize| one[..one.len() - by].to_vec();
    let replaced = |from: &str, to: &str| {
        String::from_utf8(one.clone()).expect("text").replacen(from, to, 1).into_bytes()
    };
    for body in [
        b"nothing".to_vec(),
        cut("--\r\n".len()),
        cut("\r\n--X-boundary--\r\n".len()),
        replaced("\r\n\r\n", "\r\n"),
        replaced("name=\"a\"", "filename=\"a\""),
        replaced("\r\n1\r\n", "\r\n\0\r\n"),
        encoded(&[text("a", b"\xff".to_vec())]),
        encoded(&vec![text("a", "1"); form::MAX_PARAMETERS + 1]),
        replaced("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(70_000))),
    ] {
        // In chunks, so that a long head is not all there at once.
        let chunks = body.chunks(10_000).map(<[u8]>::to_vec).collect();
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(parse(chunks, TYPE, Some(&SPOOLS)).await.err(), Some("malformed"), "{shown:?}");
    }
    assert!(parse(vec![one], "multipart/form-data", Some(&SPOOLS)).await.is_err());
}

#[tokio::test]
async fn text_and_files_have_their_own_limits() {
    let largest = usize::try_from(LARGEST).expect("fits");
    let half = "a".repeat(largest / 2 - 1);
    assert!(whole(&[text("a", half.as_str()), text("b", half.as_str())]).await.is_ok());
    assert_eq!(whole(&[text("a", half.as_str()), text("bcd", half.as_str())]).await.err(), Some("too_large"));
    assert!(whole(&[file("a", vec![1; MAX_UPLOAD])]).await.is_ok());
    assert_eq!(whole(&[file("a", vec![1; MAX_UPLOAD + 1])]).await.err(), Some("too_large"));
    // The whole has one too.
    let many = vec![file("a", vec![1; MAX_UPLOAD]); largest / MAX_UPLOAD + 2];
    assert_eq!(whole(&many).await.err(), Some("too_large"));
}

#[tokio::test]
async fn without_a_spool_files_are_dropped() {
    let body = encoded(&[file("photo", "bytes"), text("a", "1")]);
    let parts = parse(vec![body], TYPE, None).await.expect("a form");
    assert_eq!((parts.pairs.len(), parts.files.len()), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_form_in_any_pieces_is_read_as_it_was_written(
        parts in vec((
            "[a-zA-Z_ é]{1,8}",
            proptest::option::of("[a-z. é]{0,8}"),
            // Line ends and dashes, of which boundaries are made, more often than by chance.
            vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'X')], 0..3_000),
        ), 0..6),
        size in 1_usize..2_000,
    ) {
        let parts: Vec<FormPart> = parts
            .into_iter()
            .map(|(name, file_name, content)| match &file_name {
                Some(_) => (name, file_name, content),
                None => (name, None, String::from_utf8_lossy(&content).replace('\0', "").into_bytes()),
            })
            .filter(|(_, _, content)| !String::from_utf8_lossy(content).contains("X-boundary"))
            .collect();
        let chunks = encoded(&parts).chunks(size).map(<[u8]>::to_vec).collect();
        let read = Runtime::new().expect("a runtime").block_on(parse(chunks, TYPE, Some(&SPOOLS)));
        let (pairs, files) = decoded(&read.expect("a form"));
        let (expected_files, texts): (Vec<FormPart>, Vec<FormPart>) =
            parts.into_iter().partition(|(_, file_name, _)| file_name.is_some());
        let expected_pairs: Vec<_> = texts.into_iter().map(|(name, _, content)| (name, content)).collect();
        prop_assert_eq!(pairs, expected_pairs);
        prop_assert_eq!(files, expected_files);
    }

    #[test]
    fn nonsense_is_refused_and_nothing_else(
        chunks in vec(prop_oneof![
            vec(any::<u8>(), 1..200),
            Just(b"--X-boundary".to_vec()),
            Just(b"--X-boundary--".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\r\n\r\n".to_vec()),
            Just(b"Content-Disposition: form-data; name=\"a\"".to_vec()),
            Just(b"; filename=\"".to_vec()),
        ], 1..40),
    ) {
        let read = Runtime::new().expect("a runtime").block_on(parse(chunks, TYPE, Some(&SPOOLS)));
        prop_assert!(matches!(read, Ok(_) | Err("malformed")), "{:?}", read);
    }
}
