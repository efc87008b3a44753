//! How long messages and their files are stored.

use std::time::Duration;

use serde_json::json;

use crate::media_messages::{form, png, upload};
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::wait_until_async;

/// The job runs about once a minute.
const LONG: Duration = Duration::from_mins(3);

/// Makes a message of all accounts older than every retention here.
fn age(server: &Server, id: &str) {
    server.database().sql(&format!(
        "UPDATE message SET stored_at = stored_at - interval '3 days' WHERE network_id = '{id}'"
    ));
}

#[tokio::test]
async fn old_messages_go_and_what_waits_stays() {
    let server = Server::setup().env("WINDU_MESSAGE_RETENTION", "2d").start();
    let (anna, bert) = Person::two_friends(&server).await;
    let (_, cora) = Person::two_friends(&server).await;
    let (old, waits) = (anna.delivers(&bert, "old").await, anna.delivers(&bert, "waits").await);
    let young = anna.delivers(&bert, "young").await;
    anna.adds_contact(&cora.number).await;
    let only = anna.delivers(&cora, "the only one").await;
    server.database().sql(&format!(
        "INSERT INTO outbox (message_id, account_id, chat_id, attempts, retry_at, expires_at)
         SELECT m.id, m.account_id, m.chat_id, 1, now() + interval '1 hour', now() + interval '1 day'
         FROM message m WHERE m.network_id = '{waits}' AND m.sender_peer_id IS NULL"
    ));
    for id in [&old, &only, &waits] {
        age(&server, id);
    }
    wait_until_async("the old messages to be deleted", LONG, async || {
        (bert.texts(&format!("/api/messages/chats/{}/", anna.number)).await == ["young"]
            && cora.chat(&anna.number).await.is_empty())
        .then_some(())
    })
    .await;
    // Of the sender's, what waits for the network is still there.
    assert_eq!(anna.texts(&format!("/api/messages/chats/{}/", bert.number)).await, ["waits", "young"]);
    assert_eq!(bert.chat_entry(&anna.number).await.expect("a chat")["unread"], 1);
    // A chat without messages is not listed, until there is one again.
    assert_eq!(cora.chat_entry(&anna.number).await, None);
    anna.delivers(&cora, "again").await;
    let entry = cora.chat_entry(&anna.number).await.expect("a chat");
    assert_eq!((&entry["unread"], &entry["snippet"]), (&json!(1), &json!("again")), "{entry}");
    assert!(bert.chat(&anna.number).await.iter().any(|message| message["id"] == young.as_str()));
}

#[tokio::test]
async fn a_chat_of_which_only_what_waits_is_left_stays_in_the_list() {
    let server = Server::setup().env("WINDU_MESSAGE_RETENTION", "2d").start();
    let (anna, bert) = Person::two_friends(&server).await;
    let waits = anna.delivers(&bert, "waits").await;
    let last = bert.delivers(&anna, "the last one").await;
    server.database().sql(&format!(
        "INSERT INTO outbox (message_id, account_id, chat_id, attempts, retry_at, expires_at)
         SELECT m.id, m.account_id, m.chat_id, 1, now() + interval '1 hour', now() + interval '9 days'
         FROM message m WHERE m.network_id = '{waits}' AND m.sender_peer_id IS NULL"
    ));
    for id in [&waits, &last] {
        age(&server, id);
    }
    wait_until_async("the old messages to be deleted", LONG, async || {
        (anna.texts(&format!("/api/messages/chats/{}/", bert.number)).await == ["waits"]
            && bert.chat(&anna.number).await.is_empty())
        .then_some(())
    })
    .await;
    let entry = anna.chat_entry(&bert.number).await.expect("a chat");
    assert_eq!((&entry["snippet"], &entry["unread"]), (&json!("waits"), &json!(0)), "{entry}");
    assert_eq!(bert.chat_entry(&anna.number).await, None);
}

#[tokio::test]
async fn the_file_of_an_old_message_goes_and_the_message_stays() {
    let server = Server::setup().env("WINDU_MEDIA_RETENTION", "2d").start();
    let (anna, bert) = Person::two_friends(&server).await;
    let mut ids = Vec::new();
    for shade in [1, 2] {
        let sent = upload(&anna.api, "send-image", form(&bert.number, "a.png", png(shade))).await.json();
        let id = sent["id"].as_str().expect("an id").to_owned();
        bert.waits_until(&anna.number, &id, |message| message["media"] == "stored").await;
        ids.push(id);
    }
    age(&server, &ids[0]);
    let message = wait_until_async("the file to be lost", LONG, async || {
        let messages = bert.chat(&anna.number).await;
        messages.into_iter().find(|message| message["id"] == ids[0] && message["media"] == "lost")
    })
    .await;
    assert_eq!(message.get("url"), None);
    bert.waits_until(&anna.number, &ids[1], |message| message["media"] == "stored").await;
    // What is left counts against a quota.
    let counted = server.database().sql(
        "SELECT (SELECT sum(bytes) FROM media_usage) = (SELECT sum(size) FROM message_media JOIN media_blob USING (hash))",
    );
    assert_eq!(counted, "t");
}

#[tokio::test]
async fn what_waits_stops_no_deletion_behind_it() {
    // More than one slice of messages, and of files, that wait for the network.
    let waiting = 1_100;
    let server =
        Server::setup().env("WINDU_MESSAGE_RETENTION", "4d").env("WINDU_MEDIA_RETENTION", "2d").start();
    let (anna, bert) = Person::two_friends(&server).await;
    let (old, young) = (anna.delivers(&bert, "old").await, anna.delivers(&bert, "young").await);
    let sent = upload(&anna.api, "send-image", form(&bert.number, "a.png", png(1))).await.json();
    let file = sent["id"].as_str().expect("an id").to_owned();
    bert.waits_until(&anna.number, &file, |message| message["media"] == "stored").await;
    server.database().sql(&format!(
        "BEGIN;
         CREATE TEMPORARY TABLE waits AS
         SELECT h.account_id, h.id AS chat_id, f.hash, n FROM message m JOIN chat h ON h.id = m.chat_id
         JOIN message_media f ON f.message_id = m.id, generate_series(1, {waiting}) n
         WHERE m.network_id = '{file}' AND m.sender_peer_id IS NULL;
         INSERT INTO message (id, account_id, chat_id, network_id, state, type, fingerprint, stored_at)
         OVERRIDING SYSTEM VALUE
         SELECT -n, account_id, chat_id, 'waits ' || n, 'queued', 'i', sha256('x'),
                now() - interval '9 days' + n * interval '1 microsecond' FROM waits;
         INSERT INTO outbox (message_id, account_id, chat_id, attempts, retry_at, expires_at)
         SELECT -n, account_id, chat_id, 1, now() + interval '1 hour', now() + interval '1 day' FROM waits;
         INSERT INTO message_media (message_id, account_id, hash) SELECT -n, account_id, hash FROM waits;
         UPDATE message SET stored_at = stored_at - interval '3 days' WHERE network_id = '{file}';
         UPDATE message SET stored_at = stored_at - interval '5 days' WHERE network_id = '{old}';
         COMMIT"
    ));
    let count = |which: &str| server.database().sql(&format!("SELECT count(*) FROM {which}"));
    wait_until_async("the old message to be deleted", LONG, async || {
        (count(&format!("message WHERE network_id = '{old}'")) == "0").then_some(())
    })
    .await;
    wait_until_async("the old file to be lost", LONG, async || {
        let lost = "message_media f JOIN message m ON m.id = f.message_id WHERE f.hash IS NULL";
        (count(&format!("{lost} AND m.network_id = '{file}'")) == "2").then_some(())
    })
    .await;
    let waits = waiting.to_string();
    assert_eq!(count("message WHERE network_id LIKE 'waits %'"), waits);
    assert_eq!(count("message_media WHERE message_id < 0 AND hash IS NOT NULL"), waits);
    assert_eq!(count(&format!("message WHERE network_id = '{young}'")), "2");
}
