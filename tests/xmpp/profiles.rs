//! Profiles of accounts and of people with another app, as each sees the other.

use serde_json::{Value, json};

use crate::support::people::Person;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::Software;
use crate::support::xmpp::peer::{Peer, is_from};
use crate::world::{jid, outsider_of, romeo, setup, shared};

on_both_servers!(an_account_sees_the_profile_of_an_app, an_app_sees_the_profile_of_an_account);

const PICTURE: &[u8] = include_bytes!("../files/camera.jpg");
const OTHER_PICTURE: &[u8] = include_bytes!("../files/camera.png");

/// Waits until a value in an answer is this one.
async fn until(person: &Person, path: &str, pointer: &str, expected: Value) {
    let mut last = None;
    wait_until_async(&format!("{path}: {pointer} to be {expected}"), DEADLINE, async || {
        let answer = person.api.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        last = answer.json().pointer(pointer).cloned();
        (last.as_ref() == Some(&expected)).then_some(())
    })
    .await;
}

async fn set(person: &Person, path: &str, form: &[(&str, &str)]) {
    let answer = person.api.post(path, form).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
}

/// Somebody who has written to an account, and lets it see the presence, which is none yet.
async fn friend(romeo: &Peer, anna: &Person, address: &str) -> String {
    set(anna, "/api/account/connected-status/", &[("connected_status", "online")]).await;
    romeo.chat(address).text("Is she a Capulet?").await;
    let outsider = outsider_of(anna).await;
    romeo.until("a request", |event| is_from(event, address) && event["type"] == "subscribe").await;
    romeo.accept(address).await;
    outsider
}

async fn an_account_sees_the_profile_of_an_app(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    romeo.nickname("Romeo").await;
    romeo.avatar(PICTURE, "image/jpeg", 1, 1).await;
    let outsider = friend(&romeo, &anna, &address).await;
    romeo.presence(json!({"status": "In love"})).await;

    let contact = |path: &str| format!("/api/contacts/{outsider}/{path}/");
    until(&anna, "/api/messages/chats/", "/chats/0/title", json!("Romeo")).await;
    until(&anna, &contact("status-message"), "/statuses_messages/0/status_message", json!("In love")).await;
    until(&anna, &contact("photo-url"), "/photo_status", json!("200")).await;
    let status = contact("connected-status");
    until(&anna, &status, "/connected_statuses/0/connected_status", json!("online")).await;
    let first = anna.api.get(&contact("photo")).await;
    assert_eq!((first.status, &first.bytes[..2]), (200, &[0xff, 0xd8][..]), "a JPEG");

    // Away for a while is offline; the moment is that of the app.
    romeo.presence(json!({"show": "xa", "idle": "2026-11-20T10:00:00Z"})).await;
    until(&anna, &status, "/connected_statuses/0/connected_status", json!("offline")).await;
    until(&anna, &status, "/connected_statuses/0/last_seen", json!("2026-11-20T10:00:00")).await;

    // Another picture is seen at the next login. ejabberd takes out of a presence what it says of one.
    romeo.avatar(OTHER_PICTURE, "image/png", 1, 1).await;
    romeo.presence(json!({"kind": "unavailable"})).await;
    until(&anna, &status, "/connected_statuses/0/connected_status", json!("offline")).await;
    romeo.presence(json!({})).await;
    wait_until_async("the other picture", DEADLINE, async || {
        let photo = anna.api.get(&contact("photo")).await;
        (photo.status == 200 && photo.bytes != first.bytes).then_some(())
    })
    .await;
    romeo.presence(json!({"kind": "unavailable"})).await;
    until(&anna, &status, "/connected_statuses/0/connected_status", json!("offline")).await;
}

async fn an_app_sees_the_profile_of_an_account(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    set(&anna, "/api/account/nickname/", &[("nickname", "Anna")]).await;
    set(&anna, "/api/account/status-message/", &[("status_message", "At work")]).await;
    let part = reqwest::multipart::Part::bytes(PICTURE).file_name("photo.jpg");
    let form = reqwest::multipart::Form::new().part("photo", part);
    let photo = anna.api.request(reqwest::Method::POST, "/api/account/profile-photo/").multipart(form);
    assert_eq!(photo.send().await.expect("an answer").status(), 200);
    let outsider = friend(&romeo, &anna, &address).await;
    // Who has not asked for its contacts hears of no end of a subscription (RFC 6121, section 2.2).
    romeo.roster().await;
    romeo.subscribe(&address).await;

    let seen = |event: &Value| event["event"] == "presence" && is_from(event, &address);
    let shown = romeo
        .until("a status", |event| seen(event) && event["status"] == "At work" && event["show"].is_null())
        .await;
    assert!(shown["xml"].as_str().expect("XML").contains(">Anna<"), "{shown}");
    let metadata = format!(
        "<iq xmlns='jabber:client' type='get' to='{address}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>
         <items node='urn:xmpp:avatar:metadata' max_items='1'/></pubsub></iq>"
    );
    let metadata = romeo.request(&metadata).await.expect("a picture");
    let id = metadata
        .split(" id=")
        .filter_map(|part| part.get(1..41))
        .find(|id| id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let id = id.expect("an id").to_owned();
    assert!(romeo.avatar_of(&address, &id).await.expect("a picture").length > 100);
    set(&anna, "/api/account/connected-status/", &[("connected_status", "offline")]).await;
    romeo.until("that she is away", |event| seen(event) && event["show"] == "xa").await;

    // Who is hidden from all is not seen, and who has blocked somebody neither.
    set(&anna, "/api/account/status-message/", &[("status_message", "At home")]).await;
    romeo.until("the new status", |event| seen(event) && event["status"] == "At home").await;
    set(&anna, &format!("/api/contacts/{outsider}/block/"), &[]).await;
    romeo.until("the block", |event| seen(event) && event["type"] == "unsubscribed").await;
    wait_until_async("the picture to be hidden", DEADLINE, async || {
        romeo.avatar_of(&address, &id).await.is_err().then_some(())
    })
    .await;
}
