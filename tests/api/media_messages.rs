//! Messages with files, locations and cards, from the upload to the URL of the receiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use axum::routing::get;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use windu::secrets::sha256;

use crate::shared_server::{open, server};
use crate::support::client::{Answer, Client};
use crate::support::people::Person;
use crate::support::server::Server;

const VCARD: &str = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Zoë Quill\r\nTEL:+15550100009\r\nEND:VCARD\r\n";

/// A hash in the format of responses.
fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A picture without anything to remove.
pub fn png(shade: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(3, 2, image::Rgb([shade, 2, 3]));
    picture.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

pub fn form(to: &str, name: &str, bytes: Vec<u8>) -> Form {
    let part = Part::bytes(bytes).file_name(name.to_owned());
    Form::new().text("contact", to.to_owned()).part("filename", part)
}

pub async fn upload(api: &Client, endpoint: &str, form: Form) -> Answer {
    let path = format!("/api/messages/{endpoint}/");
    api.send(api.request(Method::POST, &path).multipart(form)).await
}

#[tokio::test]
async fn files_of_each_kind_arrive_with_equal_bytes() {
    let (anna, bert) = Person::two_friends(server()).await;
    let endpoint = format!("/api/messages/chats/{}/", anna.number);
    for (endpoint_name, letter, name, bytes, mimetype) in [
        ("send-image", "i", "a.png", png(1), "image/png"),
        ("send-video", "v", "a.mp4", fixture("plain.mp4"), "video/mp4"),
        ("send-audio", "a", "a.mp3", fixture("plain.mp3"), "audio/mpeg"),
        ("send-voice", "s", "a.ogg", fixture("opus.ogg"), "audio/ogg"),
    ] {
        let with_caption = matches!(letter, "i" | "v");
        let mut given = form(&bert.number, name, bytes.clone());
        if with_caption {
            given = given.text("caption", "für dich & mich");
        }
        let sent = upload(&anna.api, endpoint_name, given).await;
        assert_eq!(sent.status, 200, "{endpoint_name}: {}", sent.text());
        let sent = sent.json();
        assert_eq!(sent["message_id"], sent["id"]);
        assert_eq!(open(sent["url"].as_str().expect("a URL")).await.status, 200);
        let id = sent["id"].as_str().expect("an id");

        let here = |message: &Value| message["media"] == "stored";
        for (message, received) in [
            (bert.waits_until(&anna.number, id, here).await, true),
            (anna.waits_until(&bert.number, id, |message| message["delivered"].is_string()).await, false),
        ] {
            assert_eq!((&message["type"], &message["received"]), (&json!(letter), &json!(received)));
            assert_eq!(message["mimetype"], mimetype);
            assert_eq!(message["caption"], if with_caption { json!("für dich & mich") } else { Value::Null });
            assert_eq!(message.get("text"), None);
            assert_eq!(message["hash"], sent["hash"]);
            let opened = open(message["url"].as_str().expect("a URL")).await;
            assert_eq!((opened.status, opened.header("content-type")), (200, mimetype));
            assert_eq!(message["hash"], base64(&sha256(&opened.bytes)));
            assert_eq!(message["size"], opened.bytes.len());
            assert!(opened.bytes == bytes, "{name}: other bytes");
        }
    }
    let pictures: Vec<Value> = bert.list(&endpoint).await;
    assert_eq!((&pictures[0]["width"], &pictures[0]["height"]), (&json!(3), &json!(2)));
    let chat = anna.chat_entry(&bert.number).await.expect("a chat");
    assert_eq!((&chat["type"], &chat["snippet"]), (&json!("s"), &json!("")));
}

#[tokio::test]
async fn a_file_and_a_location_reach_all_members_of_a_group() {
    let (anna, bert) = Person::two_friends(server()).await;
    let carl = Person::new(server()).await;
    anna.adds_contact(&carl.number).await;
    let group = json!({"subject": "Files", "participants": [bert.number, carl.number]});
    let made = anna.api.post_json("/api/groups/create-group/", &group).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let group = made.json()["groupid"].as_str().expect("an id").to_owned();

    let part = Part::bytes(png(7)).file_name("a.png");
    let file = Form::new().text("group_id", group.clone()).text("caption", "all").part("filename", part);
    let sent = upload(&anna.api, "send-image", file).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let place = [("group_id", group.as_str()), ("latitude", "1"), ("longitude", "2")];
    let sent_place = anna.api.post("/api/messages/send-location/", &place).await;
    assert_eq!(sent_place.status, 200, "{}", sent_place.text());
    let id = |answer: &Answer| answer.json()["id"].as_str().expect("an id").to_owned();
    for person in [&bert, &carl] {
        let message = person.waits_until(&group, &id(&sent), |message| message["media"] == "stored").await;
        assert_eq!((&message["participant"], &message["caption"]), (&json!(anna.number), &json!("all")));
        assert_eq!(message["hash"], sent.json()["hash"]);
        assert_eq!(open(message["url"].as_str().expect("a URL")).await.bytes, png(7));
        let message = person.waits_until(&group, &id(&sent_place), |_| true).await;
        assert_eq!((&message["type"], &message["longitude"]), (&json!("l"), &json!(2.0)));
    }
    anna.waits_until(&group, &id(&sent), |message| message["delivered"].is_string()).await;
}

#[tokio::test]
async fn a_file_of_a_wrong_type_for_its_endpoint_changes_nothing() {
    let (anna, bert) = Person::two_friends(server()).await;
    for (endpoint, name, bytes) in [
        ("send-image", "a.png", b"no picture".to_vec()),
        ("send-image", "a.png", fixture("plain.mp3")),
        ("send-image", "a.png", Vec::new()),
        ("send-video", "a.mp4", png(1)),
        ("send-audio", "a.mp3", b"#!/bin/sh".to_vec()),
        ("send-video", "a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()),
    ] {
        let answer = upload(&anna.api, endpoint, form(&bert.number, name, bytes)).await;
        assert_eq!(answer.status, 400, "{endpoint} {name}: {}", answer.text());
    }
    for endpoint in ["send-voice", "send-audio"] {
        let film = upload(&anna.api, endpoint, form(&bert.number, "a.mp4", fixture("plain.mp4"))).await;
        let sentence = film.json()["error"].as_str().expect("a sentence").to_owned();
        assert_eq!(film.status, 400, "{sentence}");
        assert!(sentence.contains("send-video"), "{sentence}");
    }
    for endpoint in ["send-image", "send-video", "send-audio", "send-voice"] {
        let path = format!("/api/messages/{endpoint}/");
        anna.api.post(&path, &[("contact", &bert.number)]).await.refused(400, "missing_parameter");
        anna.api.post(&path, &[("contact", "15550000000")]).await.refused(400, "not_a_contact");
    }
    let named = upload(&anna.api, "send-image", form(&bert.number, "a.jpg", b"no picture".to_vec())).await;
    let sentence = named.refused(400, "unsupported_file");
    assert!(sentence.contains("although its name ends in .jpg"), "{sentence}");
    let long = form(&bert.number, "a.png", png(1)).text("caption", "x".repeat(1_025));
    upload(&anna.api, "send-image", long).await.refused(400, "invalid_parameter");
    assert_eq!(anna.chat(&bert.number).await, [] as [Value; 0]);
    assert_eq!(bert.chat(&anna.number).await, [] as [Value; 0]);
}

#[tokio::test]
async fn the_content_decides_and_not_the_name() {
    let (anna, bert) = Person::two_friends(server()).await;
    for (endpoint, name, bytes, mimetype) in [
        ("send-image", "a.jpg", png(1), "image/png"),
        ("send-image", "Photo 12.05.2026", png(2), "image/png"),
        ("send-image", "photo.jpg:large", png(3), "image/png"),
        ("send-image", "a.mp3", png(4), "image/png"),
        ("send-image", "blob", png(5), "image/png"),
        ("send-voice", "voice.opus", fixture("opus.ogg"), "audio/ogg"),
        ("send-voice", "a.oga", fixture("vorbis.ogg"), "audio/ogg"),
        ("send-voice", "recording.webm", fixture("voice.webm"), "audio/webm"),
        ("send-audio", "sound.mp4", fixture("isom.m4a"), "audio/mp4"),
        ("send-video", "film.m4v", fixture("plain.mp4"), "video/mp4"),
        ("send-video", "film.webm", fixture("film.webm"), "video/webm"),
    ] {
        let sent = upload(&anna.api, endpoint, form(&bert.number, name, bytes)).await;
        assert_eq!(sent.status, 200, "{endpoint} {name}: {}", sent.text());
        let opened = open(sent.json()["url"].as_str().expect("a URL")).await;
        assert_eq!((opened.status, opened.header("content-type")), (200, mimetype), "{name}");
    }
}

/// A form as it is on the wire.
async fn upload_raw(api: &Client, endpoint: &str, heads: &[(&[u8], Vec<u8>)]) -> Answer {
    let mut body = Vec::new();
    for (head, content) in heads {
        body.extend([b"--X\r\n", *head, b"\r\n\r\n", content, b"\r\n"].concat());
    }
    body.extend(b"--X--\r\n");
    let request = api.request(Method::POST, &format!("/api/messages/{endpoint}/"));
    api.send(request.header("content-type", "multipart/form-data; boundary=X").body(body)).await
}

#[tokio::test]
async fn file_parts_of_all_clients_are_files() {
    let (anna, bert) = Person::two_friends(server()).await;
    let contact = b"Content-Disposition: form-data; name=\"contact\"";
    for head in [
        &b"Content-Disposition: form-data; name=\"filename\"; filename*=UTF-8''%C3%A9.png"[..],
        b"Content-Disposition: form-data; filename*=UTF-8''%C3%A9.png; filename=\"e.png\"; name=\"filename\"",
        b"content-disposition: Form-Data; FILENAME=\"a.png\"; NAME=\"filename\"",
        b"Content-Disposition: form-data; name=\"filename\"; filename=\"\xe9.png\"",
        b"Content-Disposition: form-data; name=\"filename\"; filename=\"=?UTF-8?B?w6kucG5n?=\"",
        b"Content-Disposition: form-data; name=filename; filename=a.png\r\nContent-Type: text/plain",
    ] {
        let parts = [(&contact[..], bert.number.clone().into_bytes()), (head, png(1))];
        let sent = upload_raw(&anna.api, "send-image", &parts).await;
        assert_eq!(sent.status, 200, "{}: {}", String::from_utf8_lossy(head), sent.text());
    }
}

#[tokio::test]
async fn a_url_stays_the_same_and_gives_no_referrer() {
    let (anna, bert) = Person::two_friends(server()).await;
    let sent = upload(&anna.api, "send-image", form(&bert.number, "a.png", png(1))).await;
    let sent = sent.json();
    let listed = async || {
        let chat = anna.chat(&bert.number).await;
        chat[0]["url"].as_str().expect("a URL").to_owned()
    };
    let first = listed().await;
    // The next hour may begin meanwhile, but not twice.
    let stays = first == sent["url"] || listed().await == first;
    assert!(stays, "{first}");
    assert_eq!(open(&first).await.header("referrer-policy"), "no-referrer");
}

#[tokio::test]
async fn an_idempotency_key_covers_the_file_and_not_how_it_is_sent() {
    let (anna, bert) = Person::two_friends(server()).await;
    let names = std::sync::atomic::AtomicU32::new(0);
    let ask = async |shade: u8| {
        // A client that repeats a request from a temporary file names it anew; the boundary differs, too.
        let name = format!("tmp{}.png", names.fetch_add(1, Ordering::SeqCst));
        let given = form(&bert.number, &name, png(shade));
        let request = anna.api.request(Method::POST, "/api/messages/send-image/").multipart(given);
        anna.api.send(request.header("Idempotency-Key", "one")).await
    };
    let first = ask(1).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(ask(1).await.json(), first.json());
    ask(2).await.refused(422, "idempotency_key_reused");
    assert_eq!(anna.chat(&bert.number).await.len(), 1);
}

#[tokio::test]
async fn locations_arrive_and_impossible_ones_are_refused() {
    let (anna, bert) = Person::two_friends(server()).await;
    let endpoint = "/api/messages/send-location/";
    let form = [
        ("contact", bert.number.as_str()),
        ("latitude", "51.477811"),
        ("longitude", "-0.001475"),
        ("caption", "zero"),
    ];
    let by_form = anna.api.post(endpoint, &form).await;
    assert_eq!(by_form.status, 200, "{}", by_form.text());
    let place = json!({"contact": bert.number, "latitude": -90, "longitude": 180.0});
    let by_json = anna.api.post_json(endpoint, &place).await;
    assert_eq!(by_json.status, 200, "{}", by_json.text());
    for (answer, latitude, longitude, caption) in
        [(by_form, 51.477_811, -0.001_475, json!("zero")), (by_json, -90.0, 180.0, Value::Null)]
    {
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        let message = bert.waits_for(&anna, &id).await;
        assert_eq!(message["type"], "l");
        assert_eq!((&message["latitude"], &message["longitude"]), (&json!(latitude), &json!(longitude)));
        assert_eq!(message["caption"], caption);
    }
    for (latitude, longitude) in [("90.1", "0"), ("0", "-180.5"), ("north", "0"), ("NaN", "0")] {
        let form = [("contact", bert.number.as_str()), ("latitude", latitude), ("longitude", longitude)];
        anna.api.post(endpoint, &form).await.refused(400, "invalid_parameter");
    }
    anna.api
        .post(endpoint, &[("contact", &*bert.number), ("latitude", "1")])
        .await
        .refused(400, "missing_parameter");
    assert_eq!(anna.chat(&bert.number).await.len(), 2);
}

#[tokio::test]
async fn vcards_arrive_as_text_or_file_and_other_text_is_refused() {
    let (anna, bert) = Person::two_friends(server()).await;
    let endpoint = "/api/messages/send-vcard/";
    let unix = VCARD.replace("\r\n", "\n");
    let mut ids = Vec::new();
    for (card, name) in [(VCARD, None), (unix.as_str(), Some("The quill"))] {
        let mut form = vec![("contact", bert.number.as_str()), ("vcard", card)];
        form.extend(name.map(|name| ("name", name)));
        let sent = anna.api.post(endpoint, &form).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        ids.push((sent.json()["id"].clone(), card.to_owned(), name.unwrap_or("Zoë Quill")));
    }
    let sent = upload(&anna.api, "send-vcard", form(&bert.number, "zoe.vcf", VCARD.into())).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    ids.push((sent.json()["id"].clone(), VCARD.to_owned(), "Zoë Quill"));
    let photo = "QUJD".repeat(68_000);
    let phone = format!(
        "BEGIN:VCARD\r\nVERSION:2.1\r\nFN;CHARSET=ISO-8859-1:Zo\u{eb} Quill\r\nPHOTO;BASE64:{photo}\r\n\r\nEND:VCARD\r\n"
    );
    // Each of these characters is one byte in Latin-1.
    let bytes = phone.chars().map(|sign| u8::try_from(u32::from(sign)).expect("Latin-1")).collect();
    let sent = upload(&anna.api, "send-vcard", form(&bert.number, "zoe.vcf", bytes)).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    ids.push((sent.json()["id"].clone(), phone.replace("ISO-8859-1", "UTF-8"), "Zo\u{eb} Quill"));
    for (id, card, name) in ids {
        let message = bert.waits_for(&anna, id.as_str().expect("an id")).await;
        assert_eq!(
            (&message["type"], &message["vcard"], &message["name"]),
            (&json!("c"), &json!(card), &json!(name))
        );
    }
    for card in ["Zoë", "BEGIN:VCARD\r\nFN:Zoë", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"] {
        let form = [("contact", bert.number.as_str()), ("vcard", card)];
        anna.api.post(endpoint, &form).await.refused(400, "invalid_parameter");
    }
    let binary = form(&bert.number, "zoe.vcf", vec![0xff, 0xfe, 0]);
    assert_eq!(upload(&anna.api, "send-vcard", binary).await.status, 400);
    anna.api.post(endpoint, &[("contact", &bert.number)]).await.refused(400, "missing_parameter");
    assert_eq!(anna.chat_entry(&bert.number).await.expect("a chat")["snippet"], "Zoë Quill");
}

/// A server on loopback with a picture at `/picture`, and at `/later` once it is ready.
struct Elsewhere {
    url: String,
    ready: Arc<AtomicBool>,
}

impl Elsewhere {
    async fn start() -> Self {
        let ready = Arc::new(AtomicBool::new(false));
        let asked = ready.clone();
        let later = move || {
            let ready = asked.load(Ordering::SeqCst);
            async move { if ready { Ok(png(1)) } else { Err(StatusCode::SERVICE_UNAVAILABLE) } }
        };
        let files = axum::Router::new()
            .route("/picture", get(async || png(1)))
            .route("/download.php", get(async || png(1)))
            .route("/photo.jpg:large", get(async || png(1)))
            .route("/later/a.png", get(later));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, files).await });
        Self { url, ready }
    }
}

#[tokio::test]
async fn a_file_is_fetched_from_an_allowed_url() {
    let elsewhere = Elsewhere::start().await;
    let allowing = Server::setup().env("WINDU_FETCH_ALLOW", "127.0.0.1/32").start();
    let (anna, bert) = Person::two_friends(&allowing).await;
    let endpoint = "/api/messages/send-image/";
    let ask = async |path: &str, key: Option<&str>| {
        let url = format!("{}{path}", elsewhere.url);
        let form = [("contact", bert.number.as_str()), ("url", &url), ("caption", "from afar")];
        let request = anna.api.request(Method::POST, endpoint).form(&form);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        anna.api.send(request).await
    };
    let sent = ask("/picture", None).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(sent.json()["hash"], base64(&sha256(&png(1))));
    let id = sent.json()["id"].as_str().expect("an id").to_owned();
    let message = bert.waits_until(&anna.number, &id, |message| message["media"] == "stored").await;
    assert_eq!((&message["type"], &message["caption"]), (&json!("i"), &json!("from afar")));

    for path in ["/download.php?id=3", "/photo.jpg:large"] {
        assert_eq!(ask(path, None).await.json()["hash"], sent.json()["hash"], "{path}");
    }

    // A failure of the other server is not stored for the key: the same request may work the next time.
    ask("/later/a.png", Some("later")).await.refused(400, "url_failed");
    elsewhere.ready.store(true, Ordering::SeqCst);
    let sent = ask("/later/a.png", Some("later")).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(ask("/later/a.png", Some("later")).await.json(), sent.json());
    ask("/nothing", None).await.refused(400, "url_failed");
    assert_eq!(anna.chat(&bert.number).await.len(), 4);
}

#[tokio::test]
async fn a_url_that_leads_to_this_machine_is_refused_and_not_fetched() {
    let elsewhere = Elsewhere::start().await;
    let (anna, bert) = Person::two_friends(server()).await;
    for url in
        [format!("{}/picture", elsewhere.url), "http://localhost/".to_owned(), "http://[::1]/".to_owned()]
    {
        let form = [("contact", bert.number.as_str()), ("url", &url)];
        anna.api.post("/api/messages/send-image/", &form).await.refused(400, "url_not_allowed");
    }
    for url in ["ftp://example.com/a.png", "example.com/a.png", "file:///etc/passwd"] {
        let form = [("contact", bert.number.as_str()), ("url", url)];
        assert_eq!(anna.api.post("/api/messages/send-image/", &form).await.status, 400, "{url}");
    }
    // The file wins over the URL.
    let form = form(&bert.number, "a.png", png(1)).text("url", format!("{}/picture", elsewhere.url));
    assert_eq!(upload(&anna.api, "send-image", form).await.status, 200);
}
