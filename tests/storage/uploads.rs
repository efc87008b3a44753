//! Uploads: they are streamed to the disk, and not kept in memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::stream;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, RequestBuilder};
use tokio::task::JoinSet;

use crate::sent_file::{get, header, path, try_send_file};
use crate::support::client::{Answer, Client};
use crate::support::not_run::not_run;
use crate::support::people::{Person, login};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until};

/// An endpoint without files: it reads an unexpected one all the same.
const ENDPOINT: &str = "/api/contacts/force-sync/";
const MEBIBYTE: u64 = 1024 * 1024;

/// A file of `size` bytes, generated while it is sent.
fn file(size: u64) -> Part {
    const PIECE: u64 = 64 * 1024;
    let pieces = (0..size.div_ceil(PIECE)).map(move |at| {
        let length = PIECE.min(size - at * PIECE);
        Ok::<_, std::io::Error>(vec![0x5a; usize::try_from(length).expect("small")])
    });
    Part::stream_with_length(Body::wrap_stream(stream::iter(pieces)), size).file_name("a.bin")
}

fn upload(api: &Client, form: Form) -> RequestBuilder {
    api.request(Method::POST, ENDPOINT).multipart(form)
}

/// The files in the folders of all processes.
fn spooled(data_dir: &Path) -> usize {
    let folders = fs::read_dir(data_dir.join("spool")).into_iter().flatten().map_while(Result::ok);
    folders.map(|folder| fs::read_dir(folder.path()).map_or(0, Iterator::count)).sum()
}

/// Waits until no upload is left.
fn nothing_is_left(server: &Server) {
    wait_until("the spool to be empty", DEADLINE, || (spooled(server.folder()) == 0).then_some(()));
}

/// A sound file of `mebibytes` MiB, generated while it is sent.
fn long_sound(mebibytes: u32) -> Body {
    let samples = mebibytes << 20;
    let pieces = (0..samples >> 16).map(|at| vec![u8::try_from(at % 251).expect("below 256"); 1 << 16]);
    let whole = std::iter::once(header(samples)).chain(pieces);
    Body::wrap_stream(stream::iter(whole.map(Ok::<_, std::io::Error>)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_takes_no_memory() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let send = async |mebibytes: u32| {
        let sent = try_send_file(&anna, &bert, long_sound(mebibytes)).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        let path = path(&anna, sent.json()["url"].as_str().expect("a URL"));
        let expected = u64::from(mebibytes) * MEBIBYTE + 44;
        assert_eq!(get(&server, &path, &[]).await.bytes.len() as u64, expected);
    };
    // Allocates the memory that a first upload needs.
    send(1).await;
    fs::write(format!("/proc/{}/clear_refs", server.id()), "5").expect("the peak is reset");
    let before = server.memory("VmRSS");
    send(60).await;
    let dropped = anna.api.send(upload(&anna.api, Form::new().part("photo", file(60 * MEBIBYTE)))).await;
    assert_eq!(dropped.status, 200, "{}", dropped.text());
    let grown = server.memory("VmHWM").saturating_sub(before);
    assert!(grown <= 10 * MEBIBYTE, "{} KiB more", grown / 1024);
    nothing_is_left(&server);
}

/// A GIF of 60 MiB in blocks of one byte, whose picture never ends.
fn long_picture() -> Vec<u8> {
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend([0x10, 0, 0x10, 0, 0x80, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff]);
    bytes.extend([0x2c, 0, 0, 0, 0, 0x10, 0, 0x10, 0, 0, 2]);
    bytes.extend([1, 0x44].repeat(30 << 20));
    bytes.extend([0, 0x3b]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_in_time_although_files_are_being_inspected() {
    let mut server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let picture = long_picture();
    let mut uploads = JoinSet::new();
    for (path, name) in
        [("/api/messages/send-image/", "filename"), ("/api/account/profile-photo/", "photo")].repeat(2)
    {
        let part = Part::bytes(picture.clone()).file_name("a.gif");
        let form = Form::new().text("contact", bert.number.clone()).part(name, part);
        let request = anna.api.request(Method::POST, path).multipart(form);
        uploads.spawn(async move { request.send().await.map(|answer| answer.status().as_u16()) });
    }
    wait_until("files to be there", DEADLINE, || (spooled(server.folder()) >= 2).then_some(()));
    let began = Instant::now();
    server.terminate();
    assert!(server.wait().success(), "{}", server.log());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_other_parameters_have_size_limits() {
    let server = Server::setup().env("WINDU_MAX_UPLOAD", "1 MiB").start();
    let api = login(&server).await;
    let send = async |form: Form| api.send(upload(&api, form)).await;
    send(Form::new().part("photo", file(MEBIBYTE)).text("a", "x".repeat(1_000_000)))
        .await
        .refused(400, "no_account");
    for form in [
        Form::new().part("photo", file(MEBIBYTE + 1)),
        Form::new().part("photo", file(6 * MEBIBYTE)),
        Form::new().part("a", file(MEBIBYTE)).part("b", file(MEBIBYTE)).part("c", file(MEBIBYTE)),
        Form::new().text("a", "x".repeat(2 * 1024 * 1024)),
        Form::new().text("a", "x".repeat(1_500_000)).text("b", "x".repeat(1_500_000)),
    ] {
        send(form).await.refused(413, "too_large");
    }
    // Endpoints under /o need no token, so they store no files. Each request has its own connection, because one whose
    // body was not read completely is closed.
    for (path, size, status) in
        [(ENDPOINT, 10_000, 401), ("/o/token/", MEBIBYTE, 400), ("/o/token/", 3 * MEBIBYTE, 413)]
    {
        let stranger = Client::new(server.url().to_owned());
        let form = Form::new().part("grant_type", file(size));
        let refused = stranger.send(stranger.request(Method::POST, path).multipart(form)).await;
        assert_eq!(refused.status, status, "{}", refused.text());
    }
    nothing_is_left(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_covers_the_content_of_the_file() {
    let server = Server::start();
    let api = login(&server).await;
    let send = async |content: &'static str| -> Answer {
        let form = Form::new().part("photo", Part::text(content).file_name("a.bin"));
        api.send(upload(&api, form).header("Idempotency-Key", "one")).await
    };
    send("first").await.refused(400, "no_account");
    // Another boundary, the same file.
    let again = send("first").await;
    again.refused(400, "no_account");
    assert_eq!(again.header("idempotency-replayed"), "true");
    send("second").await.refused(422, "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_removes_only_the_uploads_of_killed_programs() {
    let mut one = Server::start();
    let data_dir = one.folder().display().to_string();
    let beside = || Server::setup().database(one.database().clone()).env("WINDU_DATA_DIR", &data_dir);
    let other = beside().start();
    let folders = |server: &Server| fs::read_dir(server.folder().join("spool")).expect("a folder").count();
    wait_until("both to have a folder", DEADLINE, || (folders(&one) == 2).then_some(()));
    // An upload that has not ended.
    let api = login(&one).await;
    let mut begun = JoinSet::new();
    begun.spawn(async move {
        let first = stream::iter([Ok::<_, std::io::Error>(vec![1; 600_000])]);
        let body = Body::wrap_stream(futures_util::StreamExt::chain(first, stream::pending()));
        let part = Part::stream_with_length(body, 1_000_000).file_name("a.bin");
        upload(&api, Form::new().part("photo", part)).send().await
    });
    wait_until("a part of the upload to be stored", DEADLINE, || (spooled(one.folder()) == 1).then_some(()));
    let third = beside().start();
    wait_until("the third to have a folder", DEADLINE, || (folders(&one) == 3).then_some(()));
    assert_eq!(spooled(one.folder()), 1, "the upload goes on");
    one.kill();
    assert!(begun.join_next().await.expect("begun").expect("no panic").is_err());
    assert_eq!((folders(&one), spooled(one.folder())), (3, 1), "left by the killed program");
    one.restart();
    wait_until("the left upload to be deleted", DEADLINE, || (spooled(one.folder()) == 0).then_some(()));
    assert_eq!(folders(&one), 3);
    drop((other, third));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_only_uploads() {
    let folder = tempfile::tempdir().expect("a folder");
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        not_run("uploads to a full disk: a small one cannot be mounted here (tmpfs, as root)");
        return;
    }
    let unmount = Unmount(folder);
    let server = Server::setup().env("WINDU_DATA_DIR", unmount.0.path().display().to_string()).start();
    let api = login(&server).await;
    api.send(upload(&api, Form::new().part("photo", file(MEBIBYTE)))).await.refused(400, "no_account");
    let full = api.send(upload(&api, Form::new().part("photo", file(8 * MEBIBYTE)))).await;
    full.refused(503, "storage_unavailable");
    assert!(!full.header("retry-after").is_empty());
    assert_eq!(api.get("/api/account/").await.status, 200);
    wait_until("the disk to have room again", DEADLINE, || (spooled(unmount.0.path()) == 0).then_some(()));
    api.send(upload(&api, Form::new().part("photo", file(MEBIBYTE)))).await.refused(400, "no_account");
    drop(server);
}

/// A mounted folder.
struct Unmount(tempfile::TempDir);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: a program that was just killed may still be in it.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
