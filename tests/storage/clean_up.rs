//! The clean-up: files without a reference are deleted, one hour after they were last stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use windu::domain::{BlobHash, UserId};
use windu::media::Uploader;

use crate::sent_file::{age, get, media, send_file, sound_file, store};
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until, wait_until_async};

fn objects(server: &Server) -> usize {
    let folders = fs::read_dir(server.folder().join("media")).expect("a folder");
    folders.map(|folder| count(&folder.expect("an entry").path())).sum()
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).expect("a folder").count()
}

/// A server with two files that were sent and received, and their paths.
async fn two_files() -> (Server, [String; 2]) {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let mut paths = Vec::new();
    for mark in [1, 2] {
        let (id, path) = send_file(&anna, &bert, sound_file(1_000, mark)).await;
        bert.waits_until(&anna.number, &id, |message| message["url"].is_string()).await;
        paths.push(path);
    }
    // The network deletes files that everybody has fetched.
    server.database().sql("DELETE FROM localnet_media");
    let paths: Vec<String> = paths;
    (server, paths.try_into().expect("two"))
}

/// The hash in a path, as SQL writes it.
fn hash(path: &str) -> String {
    let name = path.split(['/', '?']).nth(4).expect("a name");
    format!("'\\x{name}'")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_unreferenced_files_are_deleted_after_an_hour() {
    let (server, [one, other]) = two_files().await;
    let media = media(&server, &BTreeMap::new());
    let forget = async || media.delete_unreferenced(None, 1_000).await.expect("looked");
    server.database().sql(&format!("DELETE FROM message_media WHERE hash = {}", hash(&one)));
    assert_eq!(forget().await, None);
    assert_eq!(objects(&server), 2, "the hour has not passed");
    age(&server);
    assert_eq!(forget().await, None);
    assert_eq!(objects(&server), 1);
    assert_eq!(server.database().sql("SELECT count(*) FROM media_blob"), "1");
    assert_eq!(get(&server, &other, &[]).await.status, 200);
    // It can be sent again.
    let (anna, bert) = Person::two_friends(&server).await;
    let (_, again) = send_file(&anna, &bert, sound_file(1_000, 1)).await;
    assert_eq!(get(&server, &again, &[]).await.bytes, sound_file(1_000, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_stored_again_or_newly_referenced_stay() {
    let (server, [one, other]) = two_files().await;
    let media = media(&server, &BTreeMap::new());
    let database = server.database();
    let message = database.sql("SELECT min(message_id) FROM message_media");
    database.sql("DELETE FROM message_media");
    age(&server);
    // One file is stored again, so its hour starts again.
    let mut spool = media.spool(Uploader::User(UserId(1)));
    spool.write(&sound_file(1_000, 1)).await.expect("written");
    let spooled = spool.finish().await.expect("finished");
    media.ingest(&spooled, "audio/wav").await.expect("stored");
    // An open transaction is about to reference the other one.
    let held = database.hold(&format!(
        "INSERT INTO message_media (message_id, account_id, hash)
         SELECT id, account_id, {} FROM message WHERE id = {message}",
        hash(&other)
    ));
    media.delete_unreferenced(None, 1_000).await.expect("looked");
    assert_eq!(objects(&server), 2);
    drop(held);
    // PostgreSQL takes a moment to notice the end of the client; until then its lock is respected.
    wait_until_async("the other file to be deleted after all", DEADLINE, async || {
        media.delete_unreferenced(None, 1_000).await.expect("looked");
        (objects(&server) == 1).then_some(())
    })
    .await;
    assert_eq!(database.sql("SELECT encode(hash, 'hex') FROM media_blob"), hash(&one)[3..67]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_under_the_lock_decides() {
    let (server, [one, _]) = two_files().await;
    let (store, database) = (store(&server), server.database());
    let file: BlobHash = hash(&one)[3..67].parse().expect("a hash");
    let goes = async || {
        let mut tx = store.begin().await.expect("begun");
        tx.lock_unreferred_blob(&file).await.expect("looked")
    };
    age(&server);
    assert!(!goes().await, "messages refer to it");
    database.sql("DELETE FROM message_media");
    assert!(goes().await);
    database.sql("UPDATE media_blob SET put_at = now()");
    assert!(!goes().await, "it was just stored");
    database.sql("DELETE FROM media_blob");
    assert!(!goes().await, "it is deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_clean_up_continues_after_the_last_file() {
    let (server, _) = two_files().await;
    let media = media(&server, &BTreeMap::new());
    server.database().sql("DELETE FROM message_media");
    age(&server);
    let first = media.delete_unreferenced(None, 1).await.expect("looked");
    assert!(first.is_some());
    assert_eq!(objects(&server), 1);
    let second = media.delete_unreferenced(first, 1).await.expect("looked");
    assert_eq!((media.delete_unreferenced(second, 1).await.expect("looked"), objects(&server)), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_deletes_unreferenced_files_by_itself() {
    let (server, _) = two_files().await;
    server.database().sql("DELETE FROM message_media");
    age(&server);
    // The jobs run about once a minute.
    wait_until("both to be deleted", DEADLINE * 4, || (objects(&server) == 0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_see_the_files_of_others_says_so() {
    let (server, _) = two_files().await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let second = Server::setup()
        .database(server.database().clone())
        .env("WINDU_MEDIA_URL", format!("file://{}", elsewhere.path().display()))
        .start();
    second.wait_for_log("of 2 files that messages refer to, 2 are not in this storage");
    assert!(!server.log().contains("not in this storage"));
}
