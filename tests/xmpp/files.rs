//! Files, places and cards: in groups with other apps, several in one message, slowly, and where the server refuses them.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::Instant;
use windu::secrets::sha256;

use crate::groups::Three;
use crate::support::people::Person;
use crate::support::proxy::Proxy;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::{Software, Uploads, XmppServer};
use crate::world::{jid, outsider_of, romeo, setup, shared};

on_both_servers!(
    files_places_and_cards_go_both_ways_in_a_group,
    several_files_of_one_message_are_several_messages,
    a_slow_upload_holds_up_its_chat_alone,
    a_refused_upload_fails_its_message_alone,
    check_names_a_missing_service,
);

const VCARD: &str = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Zoë Quill\r\nEND:VCARD\r\n";

/// A picture of noise, of about `3 * width * width` bytes.
fn noise(width: u32) -> Vec<u8> {
    let mut state = width;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let mut bytes = Cursor::new(Vec::new());
    let picture = RgbImage::from_fn(width, width, |_, _| Rgb([next(), next(), next()]));
    picture.write_to(&mut bytes, ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

fn voice() -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/opus.ogg");
    std::fs::read(path).expect("a voice")
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&sha256(bytes))
}

/// Whether a message is stored with exactly these bytes.
fn holds(message: &Value, bytes: &[u8]) -> bool {
    message["media"] == "stored" && message["hash"] == data_encoding::BASE64.encode(&sha256(bytes))
}

impl Person {
    /// Sends a file to a contact or a group; returns the id of the message.
    async fn sends_file(&self, to: (&str, &str), endpoint: &str, name: &str, bytes: Vec<u8>) -> String {
        let part = Part::bytes(bytes).file_name(name.to_owned());
        let form = Form::new().text(to.0.to_owned(), to.1.to_owned()).part("filename", part);
        let path = format!("/api/messages/{endpoint}/");
        let sent = self.api.send(self.api.request(Method::POST, &path).multipart(form)).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        sent.json()["id"].as_str().expect("an id").to_owned()
    }
}

async fn files_places_and_cards_go_both_ways_in_a_group(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let Three { anna, ben, romeo, outsider, group, room } = Three::new(&server, xmpp).await;
    let (picture, voice) = (noise(40), voice());
    let to = ("group_id", group.as_str());
    for (endpoint, name, letter, bytes) in
        [("send-image", "a.png", "i", &picture), ("send-voice", "a.ogg", "s", &voice)]
    {
        let id = anna.sends_file(to, endpoint, name, bytes.clone()).await;
        let heard = romeo.until("the file", |event| event["id"] == *id && event["file"].is_object()).await;
        let url = heard["urls"][0].as_str().expect("a URL");
        assert_eq!((&heard["body"], &heard["file"]["urls"][0]), (&json!(url), &json!(url)), "{heard}");
        assert_eq!(romeo.fetch(url).await.expect("the file").sha256, hex(bytes));
        let message = ben.waits_until(&group, &id, |message| holds(message, bytes)).await;
        assert_eq!((&message["type"], &message["participant"]), (&json!(letter), &json!(anna.number)));
    }
    let place = [to, ("latitude", "45.5"), ("longitude", "-11.25")];
    let sent = anna.api.post("/api/messages/send-location/", &place).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    romeo.hears(&room, "geo:45.5,-11.25").await;
    ben.waits_until(&group, sent.json()["id"].as_str().expect("an id"), |message| message["type"] == "l")
        .await;
    let sent = anna.api.post("/api/messages/send-vcard/", &[to, ("vcard", VCARD)]).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let id = sent.json()["id"].as_str().expect("an id").to_owned();
    let heard = romeo.until("the card", |event| event["id"] == *id && event["file"].is_object()).await;
    let url = heard["urls"][0].as_str().expect("a URL");
    assert_eq!(romeo.fetch(url).await.expect("the card").sha256, hex(VCARD.as_bytes()));
    ben.waits_until(&group, &id, |message| message["vcard"] == VCARD).await;

    // A voice is a sound from other apps, because they say nothing of how it was made.
    for (name, mime, letter, bytes) in
        [("b.png", "image/png", "i", &noise(41)), ("b.ogg", "audio/ogg", "a", &voice)]
    {
        let url = romeo.upload(bytes, name, mime).await;
        let id = romeo.room(&room).file(&url, bytes, name, mime).await;
        for person in [&anna, &ben] {
            let message = person.waits_until(&group, &id, |message| holds(message, bytes)).await;
            assert_eq!((&message["type"], &message["participant"]), (&json!(letter), &json!(outsider)));
        }
    }
    let id = romeo.room(&room).text("geo:45.44,10.99").await;
    let message = anna.waits_until(&group, &id, |message| message["type"] == "l").await;
    assert_eq!((&message["latitude"], &message["participant"]), (&json!(45.44), &json!(outsider)));
    let url = romeo.upload(VCARD.as_bytes(), "zoe.vcf", "text/vcard").await;
    let id = romeo.room(&room).file(&url, VCARD.as_bytes(), "zoe.vcf", "text/vcard").await;
    let message = anna.waits_until(&group, &id, |message| message["type"] == "c").await;
    assert_eq!((&message["vcard"], &message["name"]), (&json!(VCARD), &json!("Zoë Quill")));
}

async fn several_files_of_one_message_are_several_messages(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    romeo.chat(&address).text("Three pictures").await;
    let outsider = outsider_of(&anna).await;
    let pictures = [noise(20), noise(21), noise(22)];
    let mut elements = Vec::new();
    for (index, picture) in pictures.iter().enumerate() {
        let url = romeo.upload(picture, &format!("{index}.png"), "image/png").await;
        elements.push(format!(
            "<file-sharing xmlns='urn:xmpp:sfs:0' disposition='inline'><file xmlns='urn:xmpp:file:metadata:0'>\
             <media-type>image/png</media-type><desc>number {index}</desc></file><sources>\
             <url-data xmlns='http://jabber.org/protocol/url-data' target='{url}'/></sources></file-sharing>"
        ));
    }
    let elements = elements.concat();
    let message = format!(
        "<message xmlns='jabber:client' type='chat' to='{address}' id='album'><body>Three pictures</body>{elements}\
         <request xmlns='urn:xmpp:receipts'/></message>"
    );
    romeo.raw(&message).await;
    for (id, picture) in ["album#1", "album#2", "album"].into_iter().zip(&pictures) {
        anna.waits_until(&outsider, id, |message| holds(message, picture)).await;
    }
    romeo.until("the receipt", |event| event["receipt"] == "album").await;
    let listed: Vec<Value> =
        anna.chat(&outsider).await.iter().map(|message| message["caption"].clone()).collect();
    assert_eq!(listed[1..], [json!("number 0"), json!("number 1"), json!("number 2")]);
    // Read up to the last one, which has the id of the whole.
    let read = anna.api.post("/api/messages/update-last-read/", &[("contact", &outsider)]).await;
    assert_eq!(read.status, 200, "{}", read.text());
    romeo.until("the marker", |event| event["displayed"] == "album").await;
}

async fn a_slow_upload_holds_up_its_chat_alone(software: Software) {
    let xmpp = block_in_place(|| XmppServer::start(software));
    let proxy = Proxy::start(xmpp.upload_address());
    let port = Some(proxy.address().port());
    let xmpp = block_in_place(|| xmpp.with_uploads(Uploads { port, ..Uploads::default() }));
    let server = setup(&xmpp).start();
    let (anna, ben) = Person::two_friends(&server).await;
    let cleo = Person::new(&server).await;
    anna.adds_contact(&cleo.number).await;
    let picture = noise(210);
    proxy.slow(15_000);
    let begun = Instant::now();
    let slow = anna.sends_file(("contact", &ben.number), "send-image", "a.png", picture.clone()).await;
    let behind = anna.sends(&ben, "behind it").await;
    anna.delivers(&cleo, "beside it").await;
    let beside = begun.elapsed();
    ben.waits_for(&anna, &slow).await;
    let uploaded = begun.elapsed();
    assert!(beside < uploaded && uploaded.as_secs() >= 6, "{beside:?} {uploaded:?}");
    proxy.heal().await;
    ben.waits_until(&anna.number, &slow, |message| holds(message, &picture)).await;
    ben.waits_for(&anna, &behind).await;
    let ids: Vec<Value> = ben.chat(&anna.number).await.iter().map(|message| message["id"].clone()).collect();
    assert_eq!(ids, [json!(slow), json!(behind)]);
}

/// What the server says that it takes is known before a file is sent; what it says later is not.
async fn a_refused_upload_fails_its_message_alone(software: Software) {
    let xmpp = block_in_place(|| XmppServer::start(software));
    let server = setup(&xmpp).start();
    let (anna, ben) = Person::two_friends(&server).await;
    let limit_is = async |bytes: u64| {
        wait_until_async(&format!("a limit of {bytes}"), DEADLINE, async || {
            let limits = anna.api.get("/api/account/capabilities/").await.json()["limits"].take();
            (limits["file_bytes"] == bytes).then_some(())
        })
        .await;
    };
    limit_is(Uploads::default().largest).await;
    let uploads = Uploads { largest: 60_000, quota: 100_000, ..Uploads::default() };
    let xmpp = block_in_place(|| xmpp.with_uploads(uploads));
    let to = ("contact", ben.number.as_str());
    let large = anna.sends_file(to, "send-image", "a.png", noise(180)).await;
    let failed = anna.waits_until(&ben.number, &large, |message| message["state"] == "failed").await;
    assert_eq!(failed["failure"], "too_large", "{failed}");
    limit_is(60_000).await;
    let part = Part::bytes(noise(181)).file_name("a.png");
    let form = Form::new().text("contact", ben.number.clone()).part("filename", part);
    let path = "/api/messages/send-image/";
    let sent = anna.api.send(anna.api.request(Method::POST, path).multipart(form)).await;
    sent.refused(413, "too_large");
    assert_eq!(anna.chat(&ben.number).await.len(), 1);
    // 48 kB each: Prosody takes two of them in a day, and ejabberd counts nothing.
    for index in 0..3 {
        let picture = noise(126 + index);
        let id = anna.sends_file(to, "send-image", "a.png", picture.clone()).await;
        if software == Software::Prosody && index == 2 {
            let failed = anna.waits_until(&ben.number, &id, |message| message["state"] == "failed").await;
            assert_eq!(failed["failure"], "refused", "{failed}");
        } else {
            ben.waits_until(&anna.number, &id, |message| holds(message, &picture)).await;
        }
    }
    anna.delivers(&ben, "and the session goes on").await;
    drop(xmpp);
}

async fn check_names_a_missing_service(software: Software) {
    let uploads = Uploads { are_taken: false, ..Uploads::default() };
    let xmpp = block_in_place(|| XmppServer::start(software).with_uploads(uploads));
    let server = setup(&xmpp).start();
    let checked = block_in_place(|| server.command(&["check"], ""));
    let printed = String::from_utf8(checked.stdout).expect("UTF-8");
    assert!(!checked.status.success(), "{printed}");
    let missing =
        "network xmpp: no uploads: files cannot be sent: enable http_file_share (mod_http_upload)\n";
    assert!(printed.contains(missing) && printed.contains("ok      network xmpp: rooms\n"), "{printed}");
    // A file fails, a text does not.
    let (anna, ben) = Person::two_friends(&server).await;
    let id = anna.sends_file(("contact", &ben.number), "send-image", "a.png", noise(20)).await;
    let failed = anna.waits_until(&ben.number, &id, |message| message["state"] == "failed").await;
    assert_eq!(failed["failure"], "refused", "{failed}");
    anna.delivers(&ben, "without a file").await;
}
