//! Profile photos: the own one and those of contacts.

use image::{GenericImageView as _, ImageFormat, Rgb, RgbImage};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::shared_server::{open, server};
use crate::support::client::Answer;
use crate::support::people::{Person, assert_time, fresh_number, login, register, without_timestamps};
use crate::support::wait::{DEADLINE, wait_until_async};

const OWN: &str = "/api/account/profile-photo/";
const PRIVACY: &str = "/api/account/privacy-settings/";

/// A picture of one colour.
pub fn picture(shade: u8, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(300, 150, Rgb([shade, 0, 0])).write_to(&mut bytes, format).expect("a picture");
    bytes.into_inner()
}

/// The red of a JPEG's middle, and its size.
#[track_caller]
fn seen(jpeg: &[u8]) -> (u8, (u32, u32)) {
    let picture = image::load_from_memory_with_format(jpeg, ImageFormat::Jpeg).expect("a JPEG");
    (picture.get_pixel(picture.width() / 2, picture.height() / 2).0[0], picture.dimensions())
}

#[track_caller]
fn assert_jpeg_looks(jpeg: &[u8], shade: u8, dimensions: (u32, u32)) {
    let (red, size) = seen(jpeg);
    assert!(red.abs_diff(shade) <= 8, "{red} instead of {shade}");
    assert_eq!(size, dimensions);
}

/// Asserts that this is a JPEG of about this shade of red, and so large.
#[track_caller]
pub fn is_jpeg(answer: &Answer, shade: u8, dimensions: (u32, u32)) {
    assert_eq!((answer.status, answer.header("content-type")), (200, "image/jpeg"), "{}", answer.text());
    assert_jpeg_looks(&answer.bytes, shade, dimensions);
}

impl Person {
    async fn uploads(&self, bytes: Vec<u8>) -> Answer {
        self.uploads_as("photo", bytes, None).await
    }

    async fn uploads_as(&self, name: &str, bytes: Vec<u8>, key: Option<&str>) -> Answer {
        let part =
            Part::bytes(bytes).file_name("me.bin").mime_str("application/octet-stream").expect("a type");
        let mut request =
            self.api.request(Method::POST, OWN).multipart(Form::new().part(name.to_owned(), part));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.api.send(request).await
    }

    async fn sets_photo(&self, shade: u8) {
        let answer = self.uploads(picture(shade, ImageFormat::Png)).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})));
    }

    async fn get(&self, of: &Person, endpoint: &str) -> Answer {
        self.api.get(&format!("/api/contacts/{}/{endpoint}/", of.number)).await
    }

    async fn waits_for_photo(&self, of: &Person, status: &str) -> Value {
        wait_until_async(&format!("photo status {status}"), DEADLINE, async || {
            let answer = self.get(of, "photo-url").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            Some(answer.json()).filter(|url| url["photo_status"] == status)
        })
        .await
    }

    /// Waits until the photo of a contact has this colour.
    async fn waits_for_shade(&self, of: &Person, shade: u8) {
        wait_until_async(&format!("a photo of shade {shade}"), DEADLINE, async || {
            let answer = self.get(of, "photo").await;
            (answer.status == 200 && seen(&answer.bytes).0.abs_diff(shade) <= 8).then_some(())
        })
        .await;
    }

    async fn photo_history(&self, of: &Person, endpoint: &str) -> Vec<Value> {
        let answer = self.get(of, endpoint).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["contact_id"], of.number);
        answer.json()["photo_urls"].as_array().expect("a list").clone()
    }

    async fn sets_photo_privacy(&self, audience: &str) {
        let answer = self.api.post(PRIVACY, &[("photo", audience)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// A picture of a phone, beyond what could be decoded as a whole.
#[tokio::test]
async fn a_large_picture_becomes_a_photo_and_a_message() {
    let mut jpeg = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 50);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    let (width, height) = (8_000_u16, 6_000_u16);
    let pixels = vec![120; usize::from(width) * usize::from(height)];
    encoder.encode(&pixels, width, height, jpeg_encoder::ColorType::Luma).expect("encoded");
    drop(pixels);
    // Only now: encoding takes longer than an idle connection lives.
    let (anna, bert) = Person::two_friends(server()).await;
    let answer = anna.uploads(jpeg.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    is_jpeg(&anna.api.get(OWN).await, 120, (1_600, 1_200));
    let part = Part::bytes(jpeg).file_name("a.jpg");
    let form = Form::new().text("contact", bert.number.clone()).part("filename", part);
    let sent =
        anna.api.send(anna.api.request(Method::POST, "/api/messages/send-image/").multipart(form)).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
}

/// The response of the `photo_url` in an entry, requested without a token.
async fn open_photo(entry: &Value) -> Answer {
    open(entry["photo_url"].as_str().unwrap_or_else(|| panic!("a URL in {entry}"))).await
}

#[tokio::test]
async fn the_own_photo_is_stored_as_jpeg_until_it_is_deleted() {
    let anna = Person::new(server()).await;
    anna.api.get(OWN).await.refused(404, "photo_not_found");
    for (shade, format) in
        [(200, ImageFormat::Png), (120, ImageFormat::Jpeg), (40, ImageFormat::Gif), (80, ImageFormat::WebP)]
    {
        let answer = anna.uploads(picture(shade, format)).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})), "{format:?}");
        is_jpeg(&anna.api.get(OWN).await, shade, (300, 150));
    }
    let head = anna.api.send(anna.api.request(Method::HEAD, OWN)).await;
    assert_eq!((head.status, head.header("content-type"), head.bytes.len()), (200, "image/jpeg", 0));
    // Another name is fine when it is the only file.
    assert_eq!(anna.uploads_as("file", picture(90, ImageFormat::Png), None).await.status, 200);
    is_jpeg(&anna.api.get(OWN).await, 90, (300, 150));
    for wrong in [b"no picture".to_vec(), Vec::new(), picture(5, ImageFormat::Png)[..60].to_vec()] {
        let answer = anna.uploads(wrong).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    anna.api.post(OWN, &[]).await.refused(400, "missing_parameter");
    is_jpeg(&anna.api.get(OWN).await, 90, (300, 150));
    for _ in 0..2 {
        let removed = anna.api.delete(OWN).await;
        assert_eq!((removed.status, removed.json()), (200, json!({})));
        anna.api.get(OWN).await.refused(404, "photo_not_found");
    }
}

#[tokio::test]
async fn a_contacts_photo_is_served_by_its_endpoints_and_urls() {
    let (anna, bert) = Person::two_friends(server()).await;
    let none = json!({"photo_url": null, "photo_status": "404"});
    for endpoint in ["photo", "preview-photo"] {
        anna.get(&bert, endpoint).await.refused(404, "photo_not_found");
        assert_eq!(anna.get(&bert, &format!("{endpoint}-url")).await.json(), none);
        assert_eq!(anna.photo_history(&bert, &format!("{endpoint}-history-urls")).await, [] as [Value; 0]);
    }
    bert.sets_photo(200).await;
    let url = anna.waits_for_photo(&bert, "200").await;
    is_jpeg(&anna.get(&bert, "photo").await, 200, (300, 150));
    is_jpeg(&anna.get(&bert, "preview-photo").await, 200, (96, 48));
    is_jpeg(&open_photo(&url).await, 200, (300, 150));
    let preview = anna.get(&bert, "preview-photo-url").await.json();
    assert_eq!(preview["photo_status"], "200");
    is_jpeg(&open_photo(&preview).await, 200, (96, 48));

    bert.sets_photo(40).await;
    anna.waits_for_shade(&bert, 40).await;
    bert.api.delete(OWN).await;
    assert_eq!(anna.waits_for_photo(&bert, "404").await, none);
    anna.get(&bert, "photo").await.refused(404, "photo_not_found");
    for (endpoint, dimensions) in
        [("photo-history-urls", (300, 150)), ("preview-photo-history-urls", (96, 48))]
    {
        let history = anna.photo_history(&bert, endpoint).await;
        let statuses: Vec<&str> = history.iter().filter_map(|entry| entry["photo_status"].as_str()).collect();
        assert_eq!(statuses, ["404", "200", "200"], "{endpoint}");
        assert_eq!(history[0]["photo_url"], Value::Null);
        for (entry, shade) in history[1..].iter().zip([40, 200]) {
            is_jpeg(&open_photo(entry).await, shade, dimensions);
            assert_time(&entry["updated"]);
            without_timestamps(entry.clone());
        }
    }
    // The same photo again is another change, because it was set at another time.
    bert.sets_photo(40).await;
    anna.waits_for_shade(&bert, 40).await;
    assert_eq!(anna.photo_history(&bert, "photo-history-urls").await.len(), 4);
}

#[tokio::test]
async fn a_hidden_photo_is_hidden_everywhere_and_comes_back_unchanged() {
    let (anna, bert) = Person::two_friends(server()).await;
    bert.sets_photo(200).await;
    let url = anna.waits_for_photo(&bert, "200").await;
    let history = anna.photo_history(&bert, "photo-history-urls").await;
    bert.sets_photo_privacy("none").await;
    let hidden = json!({"photo_url": null, "photo_status": "401"});
    assert_eq!(anna.waits_for_photo(&bert, "401").await, hidden);
    assert_eq!(anna.get(&bert, "preview-photo-url").await.json(), hidden);
    for endpoint in ["photo", "preview-photo"] {
        anna.get(&bert, endpoint).await.refused(403, "hidden");
        assert_eq!(anna.photo_history(&bert, &format!("{endpoint}-history-urls")).await, [] as [Value; 0]);
    }
    // Older URLs do not open any more.
    open_photo(&url).await.refused(404, "media_not_found");
    open_photo(&history[0]).await.refused(404, "media_not_found");
    bert.sets_photo_privacy("contacts").await;
    let url = anna.waits_for_photo(&bert, "200").await;
    is_jpeg(&open_photo(&url).await, 200, (300, 150));
    assert_eq!(anna.photo_history(&bert, "photo-history-urls").await.len(), 1, "hiding is no change");
    // A block hides it too.
    let block = format!("/api/contacts/{}/block/", anna.number);
    assert_eq!(bert.api.post(&block, &[]).await.status, 200);
    assert_eq!(anna.waits_for_photo(&bert, "401").await, hidden);
}

#[tokio::test]
async fn list_endpoints_show_the_photo_of_every_contact_that_exists() {
    let anna = Person::new(server()).await;
    let endpoints = ["/api/contacts/photos-urls/", "/api/contacts/preview-photos-urls/"];
    for endpoint in endpoints {
        assert_eq!(anna.api.get(endpoint).await.json(), json!({"photo_urls": []}));
    }
    let (bert, carl, dora) =
        (Person::new(server()).await, Person::new(server()).await, Person::new(server()).await);
    for person in [&bert, &carl, &dora] {
        anna.adds_contact(&person.number).await;
    }
    anna.api.post("/api/contacts/add-contact/", &[("contact_id", &fresh_number())]).await;
    bert.sets_photo(200).await;
    carl.sets_photo(100).await;
    carl.sets_photo_privacy("contacts").await;
    anna.waits_for_photo(&bert, "200").await;
    anna.waits_for_photo(&carl, "401").await;
    for (endpoint, dimensions) in endpoints.into_iter().zip([(300, 150), (96, 48)]) {
        let list = anna.api.get(endpoint).await.json()["photo_urls"].clone();
        assert_eq!(list[0]["contact_id"], bert.number);
        is_jpeg(&open_photo(&list[0]).await, 200, dimensions);
        let rest = json!([
            {"contact_id": carl.number, "photo_url": null, "photo_status": "401"},
            {"contact_id": dora.number, "photo_url": null, "photo_status": "404"},
        ]);
        assert_eq!(json!(list.as_array().expect("a list")[1..]), rest);
    }
}

#[tokio::test]
async fn photo_endpoints_accept_existing_contacts_and_numbers_that_wrote_first() {
    let (anna, bert) = (Person::new(server()).await, Person::new(server()).await);
    bert.sets_photo(200).await;
    for endpoint in ["photo", "preview-photo", "photo-url", "preview-photo-url"] {
        anna.get(&bert, endpoint).await.refused(400, "not_a_contact");
        anna.api.get(&format!("/api/contacts/anna/{endpoint}/")).await.refused(404, "not_found");
    }
    for endpoint in ["photo-history-urls", "preview-photo-history-urls"] {
        let history = anna.get(&bert, endpoint).await;
        assert_eq!(
            (history.status, history.json()),
            (200, json!({"contact_id": bert.number, "photo_urls": []}))
        );
    }
    bert.adds_contact(&anna.number).await;
    bert.delivers(&anna, "first").await;
    anna.waits_for_shade(&bert, 200).await;
}

#[tokio::test]
async fn neither_a_removed_number_nor_its_new_owner_shows_the_old_photo() {
    let (anna, bert) = Person::two_friends(server()).await;
    bert.sets_photo(200).await;
    let url = anna.waits_for_photo(&bert, "200").await;
    assert_eq!(bert.api.post("/api/account/remove-account/", &[]).await.status, 200);
    anna.waits_for_photo(&bert, "404").await;
    open_photo(&url).await.refused(404, "media_not_found");
    assert_eq!(anna.photo_history(&bert, "photo-history-urls").await, [] as [Value; 0]);
    let carl = Person { api: login(server()).await, number: bert.number.clone() };
    register(server(), &carl.api, &carl.number).await;
    carl.api.get(OWN).await.refused(404, "photo_not_found");
    carl.adds_contact(&anna.number).await;
    carl.delivers(&anna, "I am Carl").await;
    anna.get(&carl, "photo").await.refused(404, "photo_not_found");
    carl.sets_photo(60).await;
    anna.waits_for_shade(&carl, 60).await;
    assert_eq!(anna.photo_history(&carl, "photo-history-urls").await.len(), 1);
}

#[tokio::test]
async fn a_repeated_idempotency_key_does_not_set_the_photo_again() {
    let anna = Person::new(server()).await;
    for shade in [200, 40] {
        let key = format!("key {shade}").replace(' ', "-");
        assert_eq!(anna.uploads_as("photo", picture(shade, ImageFormat::Png), Some(&key)).await.status, 200);
    }
    let again = anna.uploads_as("photo", picture(200, ImageFormat::Png), Some("key-200")).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
    is_jpeg(&anna.api.get(OWN).await, 40, (300, 150));
    let other = anna.uploads_as("photo", picture(90, ImageFormat::Png), Some("key-200")).await;
    other.refused(422, "idempotency_key_reused");
}
