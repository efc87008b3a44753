//! A group's photo.

use image::ImageFormat;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;

use super::group_of_three;
use crate::profile_photos::{is_jpeg, picture};
use crate::support::client::{Answer, Client};
use crate::support::people::Person;
use crate::support::wait::{DEADLINE, wait_until_async};

impl Person {
    async fn puts_on(&self, group: &str, bytes: Vec<u8>, key: Option<&str>) -> Answer {
        let part = Part::bytes(bytes).file_name("photo.png");
        let mut request = self.api.request(Method::POST, &format!("/api/groups/{group}/photo/"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.api.send(request.multipart(Form::new().part("photo", part))).await
    }

    async fn photo_row(&self, group: &str, endpoint: &str) -> Answer {
        self.api.get(&format!("/api/groups/{group}/{endpoint}/")).await
    }

    /// Waits until the photo that is shown is another one than this.
    async fn sees_another_than(&self, group: &str, known: &[u8]) -> Answer {
        wait_until_async("another photo", DEADLINE, async || {
            let answer = self.photo_row(group, "photo").await;
            (answer.status == 200 && answer.bytes != known).then_some(answer)
        })
        .await
    }
}

#[tokio::test]
async fn every_participant_may_change_the_photo_and_all_see_it() {
    let ([anna, bert, carl], group) = group_of_three().await;
    let none = json!({"photo_url": null, "photo_status": "404"});
    for endpoint in ["photo", "preview-photo"] {
        anna.photo_row(&group, endpoint).await.refused(404, "photo_not_found");
        assert_eq!(anna.photo_row(&group, &format!("{endpoint}-url")).await.json(), none);
    }
    // Bert is no admin.
    let set = bert.puts_on(&group, picture(200, ImageFormat::Png), Some("photo")).await;
    assert_eq!((set.status, set.json()), (200, json!({})), "{}", set.text());
    let again = bert.puts_on(&group, picture(200, ImageFormat::Png), Some("photo")).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
    let whole = bert.photo_row(&group, "photo").await;
    is_jpeg(&whole, 200, (300, 150));
    for person in [&anna, &carl] {
        assert_eq!(person.sees_another_than(&group, &[]).await.bytes, whole.bytes);
    }
    let preview = carl.photo_row(&group, "preview-photo").await;
    is_jpeg(&preview, 200, (96, 48));
    let open = Client::new(String::new());
    let mut urls = Vec::new();
    for (endpoint, expected) in [("photo-url", &whole.bytes), ("preview-photo-url", &preview.bytes)] {
        let answer = anna.photo_row(&group, endpoint).await.json();
        assert_eq!(answer["photo_status"], "200");
        let url = answer["photo_url"].as_str().expect("a URL").to_owned();
        assert_eq!(&open.get(&url).await.bytes, expected, "{endpoint}");
        urls.push(url);
    }
    // After a change or a deletion the old URLs do not open.
    assert_eq!(carl.puts_on(&group, picture(40, ImageFormat::Png), None).await.status, 200);
    let other = anna.sees_another_than(&group, &whole.bytes).await;
    assert_eq!(other.bytes, carl.photo_row(&group, "photo").await.bytes);
    for url in &urls {
        assert_eq!(open.get(url).await.status, 404);
    }
    let deleted = anna.api.delete(&format!("/api/groups/{group}/photo/")).await;
    assert_eq!((deleted.status, deleted.json()), (200, json!({})));
    anna.photo_row(&group, "photo").await.refused(404, "photo_not_found");
    wait_until_async("no photo", DEADLINE, async || {
        (bert.photo_row(&group, "photo").await.status == 404).then_some(())
    })
    .await;
    // Deleting a missing photo changes nothing.
    assert_eq!(bert.api.delete(&format!("/api/groups/{group}/photo/")).await.status, 200);
}

#[tokio::test]
async fn a_group_photo_must_be_a_picture_and_is_only_for_participants() {
    let ([anna, bert, _], group) = group_of_three().await;
    assert_eq!(anna.puts_on(&group, b"no picture".to_vec(), None).await.status, 400);
    let missing = anna.api.post(&format!("/api/groups/{group}/photo/"), &[]).await;
    missing.refused(400, "missing_parameter");
    assert_eq!(anna.puts_on(&group, picture(10, ImageFormat::Png), None).await.status, 200);
    bert.sees_another_than(&group, &[]).await;
    let mut urls = Vec::new();
    for person in [&anna, &bert] {
        let answer = person.photo_row(&group, "photo-url").await.json();
        urls.push(answer["photo_url"].as_str().expect("a URL").to_owned());
    }
    let open = Client::new(String::new());
    let opened = async |url: &str| open.get(url).await.status;
    assert_eq!((opened(&urls[0]).await, opened(&urls[1]).await), (200, 200));
    bert.changes(&group, "leave", &[]).await;
    // A former participant does not see it any more, not even with an older URL.
    assert_eq!((opened(&urls[0]).await, opened(&urls[1]).await), (200, 404));
    for endpoint in ["photo", "preview-photo", "photo-url", "preview-photo-url"] {
        bert.photo_row(&group, endpoint).await.refused(404, "group_not_found");
        bert.photo_row("15551230000-1466000000", endpoint).await.refused(404, "group_not_found");
    }
    bert.puts_on(&group, picture(20, ImageFormat::Png), None).await.refused(404, "group_not_found");
    bert.puts_on(&group, b"no picture".to_vec(), None).await.refused(404, "group_not_found");
    let deleted = bert.api.delete(&format!("/api/groups/{group}/photo/")).await;
    deleted.refused(404, "group_not_found");
    assert_eq!(anna.photo_row(&group, "photo").await.status, 200);
}
