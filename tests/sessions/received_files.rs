//! Files of received messages: the message is stored first, the file when it is fetched.

use bytes::Bytes;
use serde_json::json;
use windu::domain::{
    Account, BlobHash, Content, MediaContent, MediaFile, MediaKind, ReceiptKind, RemoteMedia, StoredMedia,
};
use windu::secrets::sha256;
use windu::sessions::Timeouts;
use windu::store::StoredContent;
use windu::upstream::{Failure, Incoming, UpstreamEvent};

use crate::scripted::{Call, Fault, Line, address, incoming, long_ago, message, receipt};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{A_DAY, Process, World};

const BEN: &str = "15550100002";

/// A message from Ben whose file the network stores under the id of the message.
fn film(id: &str, hash: Option<BlobHash>, number: u64) -> Incoming {
    let file = MediaFile::Remote(RemoteMedia {
        reference: id.to_owned(),
        mimetype: Some("video/mp4".to_owned()),
        size: Some(11),
        hash,
    });
    let media = MediaContent { kind: Some(MediaKind::Video), caption: Some("look".to_owned()), file };
    let content = Content::Media(Box::new(media));
    incoming(
        UpstreamEvent::Message {
            from: address(BEN),
            id: id.to_owned(),
            content,
            reply_to: None,
            sent_at: long_ago(),
            group: None,
        },
        number,
    )
}

fn keep(line: &Line, id: &str, text: &'static str) {
    let (first, rest) = text.split_at(text.len() / 2);
    line.keep_file(
        id,
        vec![Ok(Bytes::from_static(first.as_bytes())), Ok(Bytes::from_static(rest.as_bytes()))],
    );
}

async fn file(process: &Process, account: &Account, id: &str) -> MediaFile {
    let content = process.message(account, BEN, id).await.content;
    let StoredContent::Known(Content::Media(media)) = content else { panic!("a file") };
    assert_eq!(media.caption.as_deref(), Some("look"));
    media.file
}

async fn stored(process: &Process, account: &Account, id: &str) -> StoredMedia {
    wait_until_async("the file", DEADLINE, async || match file(process, account, id).await {
        MediaFile::Stored(stored) => Some(stored),
        MediaFile::Remote(_) => None,
    })
    .await
}

async fn lost(process: &Process, account: &Account, id: &str) {
    let lost = async || process.message(account, BEN, id).await.lost.then_some(());
    wait_until_async("the loss", DEADLINE, lost).await;
    assert!(matches!(file(process, account, id).await, MediaFile::Remote(_)));
}

#[tokio::test]
async fn a_message_is_shown_before_its_file_is_fetched() {
    let world = World::new().await;
    // The hanging fetch does not time out during the test.
    let process = world.process_with(Timeouts { step: A_DAY, ..Timeouts::default() });
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.plan_fault("fetch", Fault::Hangs);
    line.stores(vec![film("m1", None, 1)]).await;
    line.waits_for_call(&Call::Fetch("m1".to_owned())).await;
    assert!(!process.message(&account, BEN, "m1").await.lost);
    assert!(matches!(file(&process, &account, "m1").await, MediaFile::Remote(_)));
    // While one file hangs, messages, receipts and other files go on.
    keep(&line, "m2", "hello world");
    line.stores(vec![film("m2", Some(BlobHash(sha256(b"hello world"))), 2), message(BEN, "m3", "text", 3)])
        .await;
    let id = process.send(&account, BEN, "answer").await;
    process.until_message(&account, BEN, &id, "sent").await;
    line.stores(vec![receipt(BEN, &id, ReceiptKind::Read, 4)]).await;
    let came = stored(&process, &account, "m2").await;
    assert_eq!((came.hash.0, came.size), (sha256(b"hello world"), 11));
    let of = |id: &str, state: &str| json!({"chat": BEN, "id": id, "state": state});
    assert_eq!(process.until_entries(&account, "message.media", 1).await, [of("m2", "stored")]);
    let kinds = process.kinds(&account).await;
    let index = |kind: &str| kinds.iter().position(|other| other == kind).expect(kind);
    assert!(index("message.received") < index("message.media"), "{kinds:?}");
}

#[tokio::test]
async fn a_file_that_is_unavailable_is_lost_and_the_message_stays() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.stores(vec![film("m1", None, 1)]).await;
    lost(&process, &account, "m1").await;
    let of = json!({"chat": BEN, "id": "m1", "state": "lost"});
    assert_eq!(process.until_entries(&account, "message.media", 1).await, [of]);
    // Delivered again, it is a duplicate: nothing is fetched again.
    line.stores(vec![film("m1", None, 1)]).await;
    process.sweeps(&world, 2).await;
    let fetched = line.calls().into_iter().filter(|call| matches!(call, Call::Fetch(_))).count();
    assert_eq!(fetched, 1);
}

#[tokio::test]
async fn a_failed_fetch_is_retried_and_content_with_a_wrong_hash_is_refused() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.plan_fault("fetch", Fault::Fails(Failure::Retry("network_unreachable")));
    keep(&line, "m1", "hello world");
    line.keep_file("m2", vec![Ok(Bytes::from_static(b"hel")), Err(Failure::Retry("broken"))]);
    keep(&line, "m3", "other");
    let hash = BlobHash(sha256(b"hello world"));
    line.stores(vec![film("m1", Some(hash), 1), film("m2", Some(hash), 2), film("m3", Some(hash), 3)]).await;
    for (id, attempts) in [("m1", 1), ("m2", 1), ("m3", 1)] {
        let statement = "SELECT f.attempts FROM message_media f WHERE f.message_id =
                         (SELECT max(id) FROM message WHERE account_id = $1 AND network_id = ";
        let statement = format!("{statement}'{id}')");
        wait_until_async("an attempt", DEADLINE, async || {
            let tried: i32 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement.clone()))
                .bind(account.id.0)
                .fetch_one(&world.pool)
                .await
                .unwrap();
            (tried == attempts).then_some(())
        })
        .await;
    }
    for id in ["m2", "m3"] {
        keep(&line, id, "hello world");
    }
    // The retries are due now.
    world.sql("UPDATE message_media SET retry_at = now()");
    for id in ["m1", "m2", "m3"] {
        assert_eq!(stored(&process, &account, id).await.hash, hash);
    }
    assert_eq!(process.entries(&account, "message.media").await.len(), 3);
}

#[tokio::test]
async fn the_next_process_continues_a_fetch() {
    let world = World::new().await;
    let first = world.process();
    let account = first.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.plan_fault("fetch", Fault::Hangs);
    line.stores(vec![film("m1", None, 1)]).await;
    line.waits_for_call(&Call::Fetch("m1".to_owned())).await;
    first.stop().await;
    keep(&line, "m1", "hello world");
    let second = world.process();
    assert_eq!(stored(&second, &account, "m1").await.size, 11);
}
