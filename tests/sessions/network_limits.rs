//! What the account's network does not take is refused before it is queued.

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use windu::clock;
use windu::upstream::{Incoming, UpstreamEvent};

use crate::scripted::message;
use crate::support::client::Client;
use crate::world::{Process, World};

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";

/// Anna, registered, with Ben in her list.
async fn anna(world: &World, process: &Process) -> Client {
    let api = process.serve(world).await;
    let anna = process.caller(&api).await;
    anna.post("/api/account/create-account/", &[("account", ANNA)]).await;
    assert_eq!(anna.post("/api/account/register-code/", &[("code", "12345")]).await.status, 200);
    assert_eq!(anna.post("/api/contacts/add-contact/", &[("contact_id", BEN)]).await.status, 201);
    anna
}

#[tokio::test]
async fn a_text_or_a_file_over_the_limit_of_the_network_is_refused() {
    let world = World::new().await;
    let process = world.process();
    let anna = anna(&world, &process).await;
    let limits = anna.get("/api/account/capabilities/").await.json()["limits"].clone();
    assert_eq!((&limits["text_bytes"], &limits["file_bytes"]), (&json!(10_000), &json!(1_000)));

    // Bytes, not characters.
    for (text, status) in [("a".repeat(10_000), 200), ("é".repeat(5_000), 200), ("é".repeat(5_001), 400)] {
        let sent = anna.post("/api/messages/send-message/", &[("contact", BEN), ("message", &text)]).await;
        assert_eq!(sent.status, status, "{}", sent.text());
        assert!(status == 200 || sent.text().contains("10002 bytes"), "{}", sent.text());
    }
    let file = Part::bytes(include_bytes!("../files/plain.mp3").to_vec()).file_name("plain.mp3");
    let form = Form::new().text("contact", BEN).part("filename", file);
    let sent = anna.send(anna.request(Method::POST, "/api/messages/send-audio/").multipart(form)).await;
    sent.refused(413, "too_large");
    assert_eq!(world.count("SELECT count(*) FROM message").await, 2);
}

#[tokio::test]
async fn a_kind_that_the_network_does_not_take_is_refused() {
    let world = World::new().await;
    let process = world.process();
    let anna = anna(&world, &process).await;
    let limits = anna.get("/api/account/capabilities/").await.json()["limits"].clone();
    assert_eq!(limits["kinds"], json!(["t", "i", "v", "a"]));
    let place = [("contact", BEN), ("latitude", "1"), ("longitude", "2")];
    anna.post("/api/messages/send-location/", &place).await.refused(501, "unsupported");
    let card = [("contact", BEN), ("vcard", "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Zoe\r\nEND:VCARD\r\n")];
    anna.post("/api/messages/send-vcard/", &card).await.refused(501, "unsupported");
    // The file is not even stored.
    let file = Part::bytes(include_bytes!("../files/plain.mp3").to_vec()).file_name("plain.mp3");
    let form = Form::new().text("contact", BEN).part("filename", file);
    let sent = anna.send(anna.request(Method::POST, "/api/messages/send-voice/").multipart(form)).await;
    sent.refused(501, "unsupported");
    assert_eq!(world.count("SELECT count(*) FROM message").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM media_blob").await, 0);
}

/// The network counts from when it got the last message, not from when that was stored here.
#[tokio::test]
async fn a_person_is_written_to_only_for_a_while_after_their_last_message() {
    let world = World::new().await;
    let process = world.process();
    let anna = anna(&world, &process).await;
    let line = world.persons.line(&ANNA.parse().unwrap());
    let says = async |id: &str, age: TimeDelta, number: u64| {
        let mut said = message(BEN, id, "hello", number);
        if let UpstreamEvent::Message { sent_at, .. } = &mut said.event {
            *sent_at = clock::now() - age;
        }
        let said: Incoming = said;
        line.stores(vec![said]).await;
    };
    let limits = anna.get("/api/account/capabilities/").await.json()["limits"].clone();
    assert_eq!(limits["reply_seconds"], json!(null));
    world.persons.reply_seconds.store(3_600, Ordering::Relaxed);
    let limits = anna.get("/api/account/capabilities/").await.json()["limits"].clone();
    assert_eq!(limits["reply_seconds"], json!(3_600));
    let attempt =
        async || anna.post("/api/messages/send-message/", &[("contact", BEN), ("message", "hi")]).await;
    // Ben has never written, then long ago, then lately.
    attempt().await.refused(400, "window_closed");
    says("m1", TimeDelta::minutes(61), 1).await;
    attempt().await.refused(400, "window_closed");
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, 0);
    says("m2", TimeDelta::minutes(59), 2).await;
    let sent = attempt().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    // What the account itself has sent opens nothing.
    world.persons.reply_seconds.store(60, Ordering::Relaxed);
    attempt().await.refused(400, "window_closed");
    assert_eq!(world.count("SELECT count(*) FROM message WHERE sender_peer_id IS NULL").await, 1);
}
