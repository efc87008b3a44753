//! The list of chats: groups from their begin, the last message, photos, and pages of long lists.

use image::ImageFormat;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::profile_photos::{is_jpeg, picture};
use crate::shared_server::{open, server};
use crate::support::client::Answer;
use crate::support::people::{Person, assert_time, without_timestamps};
use crate::support::wait::{DEADLINE, wait_until_async};

const CHATS: &str = "/api/messages/chats/";

impl Person {
    /// The list of chats, without uncut times.
    async fn chats(&self, query: &str) -> Vec<Value> {
        let answer = self.api.get(&format!("{CHATS}{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let list = without_timestamps(answer.json());
        list["chats"].as_array().expect("chats").clone()
    }

    async fn chat_ids(&self, query: &str) -> Vec<String> {
        let chats = self.chats(query).await;
        chats.iter().map(|chat| chat["id"].as_str().expect("an id").to_owned()).collect()
    }

    async fn waits_for_chat(&self, id: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        wait_until_async(&format!("the chat {id}"), DEADLINE, async || {
            self.chats("").await.into_iter().find(|chat| chat["id"] == id && predicate(chat))
        })
        .await
    }

    async fn creates(&self, subject: &str, with: &[&Person]) -> String {
        let numbers: Vec<&str> = with.iter().map(|person| person.number.as_str()).collect();
        let body = json!({"subject": subject, "participants": numbers});
        let made = self.api.post_json("/api/groups/create-group/", &body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["groupid"].as_str().expect("an id").to_owned()
    }

    async fn uploads_to(&self, path: &str, shade: u8) {
        let part = Part::bytes(picture(shade, ImageFormat::Png)).file_name("photo.png");
        let request = self.api.request(Method::POST, path).multipart(Form::new().part("photo", part));
        let answer = self.api.send(request).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }

    async fn writes_to_group(&self, group: &str, text: &str) -> String {
        let form = [("group_id", group), ("message", text)];
        let sent = self.api.post("/api/messages/send-message/", &form).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        sent.json()["id"].as_str().expect("an id").to_owned()
    }
}

async fn opened(chat: &Value) -> Answer {
    open(chat["preview_photo_url"].as_str().unwrap_or_else(|| panic!("no URL in {chat}"))).await
}

#[tokio::test]
async fn a_group_is_in_the_list_from_the_moment_the_account_is_in_it() {
    let (anna, bert) = Person::two_friends(server()).await;
    bert.delivers(&anna, "before the group").await;
    let group = anna.creates("Empty", &[&bert]).await;
    let expected = |chat: &Value| {
        json!({"id": group, "title": "Empty", "is_group": true, "snippet": "", "type": "", "time": chat["time"],
               "unread": 0, "received": null, "state": null, "participant": null, "preview_photo_url": null,
               "photo_status": "404"})
    };
    // At once for who made it, and as soon as they hear of it for the others.
    let chats = anna.chats("").await;
    assert_time(&chats[0]["time"]);
    assert_eq!(chats[0], expected(&chats[0]));
    assert_eq!(anna.chat_ids("").await, [group.as_str(), &bert.number]);
    let chat = bert.waits_for_chat(&group, |_| true).await;
    assert_eq!(chat, expected(&chat));

    // It has its place by the time at which the account came into it.
    bert.delivers(&anna, "after the group").await;
    assert_eq!(anna.chat_ids("").await, [&bert.number, group.as_str()]);
    let later = anna.creates("Later", &[]).await;
    assert_eq!(anna.chat_ids("").await, [later.as_str(), &bert.number, &group]);
    assert_eq!(anna.chat_ids("?limit=1&offset=1").await, [bert.number.as_str()]);
    let after =
        anna.api.get(&format!("{CHATS}?offset=1&limit=1")).await.json()["chats"][0]["timestamp"].take();
    let after = after.as_str().expect("a time").to_owned();
    assert_eq!(anna.chat_ids(&format!("?after={after}")).await, [later.as_str()]);

    // A message moves it, and then it stays when the account leaves; an empty group goes.
    anna.writes_to_group(&group, "not empty").await;
    let chat = bert.waits_for_chat(&group, |chat| chat["snippet"] == "not empty").await;
    assert_eq!((&chat["participant"], &chat["received"]), (&json!(anna.number), &json!(true)));
    for group in [&group, &later] {
        let left = anna.api.post(&format!("/api/groups/{group}/leave/"), &[]).await;
        assert_eq!(left.status, 200, "{}", left.text());
    }
    assert_eq!(anna.chat_ids("").await, [group.as_str(), &bert.number]);
}

#[tokio::test]
async fn the_last_message_is_shown_with_its_receipts_and_its_sender() {
    let (anna, bert) = Person::two_friends(server()).await;
    let id = anna.sends(&bert, "how far?").await;
    let chat = anna.waits_for_chat(&bert.number, |chat| chat["state"] == "delivered").await;
    assert_eq!((&chat["received"], &chat["participant"]), (&json!(false), &Value::Null));
    bert.waits_for(&anna, &id).await;
    let chat = bert.waits_for_chat(&anna.number, |_| true).await;
    assert_eq!((&chat["received"], &chat["state"]), (&json!(true), &json!("received")));
    let form = [("contact", anna.number.as_str())];
    assert_eq!(bert.api.post("/api/messages/update-last-read/", &form).await.status, 200);
    anna.waits_for_chat(&bert.number, |chat| chat["state"] == "read").await;
    // For the receiver a message that was read is a received one.
    assert_eq!(bert.waits_for_chat(&anna.number, |_| true).await["state"], "received");

    let set = format!(
        "FROM account a JOIN chat h ON h.account_id = a.id WHERE a.number = '{}' AND m.id = h.last_message_id",
        anna.number
    );
    for (state, shown) in [("queued", "queued"), ("failed", "failed"), ("sent", "sent")] {
        server().database().sql(&format!(
            "UPDATE message m SET state = '{state}', delivered_at = NULL, read_at = NULL {set}"
        ));
        assert_eq!(anna.waits_for_chat(&bert.number, |_| true).await["state"], shown);
    }
    // A type that only a newer version knows is shown by its letter, with its text.
    server().database().sql(&format!("UPDATE message m SET type = 'p', text = 'When?' {set}"));
    let chat = anna.waits_for_chat(&bert.number, |_| true).await;
    assert_eq!((&chat["type"], &chat["snippet"]), (&json!("p"), &json!("When?")));
    let message = without_timestamps(anna.chat(&bert.number).await.remove(0));
    assert_eq!((&message["type"], &message["text"]), (&json!("p"), &json!("When?")));
}

#[tokio::test]
async fn the_photo_of_the_other_side_is_shown() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "hello").await;
    let group = anna.creates("With a photo", &[&bert]).await;
    bert.uploads_to("/api/account/profile-photo/", 200).await;
    anna.uploads_to(&format!("/api/groups/{group}/photo/"), 40).await;
    let of_bert = anna.waits_for_chat(&bert.number, |chat| chat["photo_status"] == "200").await;
    is_jpeg(&opened(&of_bert).await, 200, (96, 48));
    for person in [&anna, &bert] {
        let of_group = person.waits_for_chat(&group, |chat| chat["photo_status"] == "200").await;
        is_jpeg(&opened(&of_group).await, 40, (96, 48));
    }
    // Hidden, and in a group that the account has left.
    let hides = [("photo", "none")];
    assert_eq!(bert.api.post("/api/account/privacy-settings/", &hides).await.status, 200);
    let hidden = anna.waits_for_chat(&bert.number, |chat| chat["photo_status"] == "401").await;
    assert_eq!(hidden["preview_photo_url"], Value::Null);
    bert.writes_to_group(&group, "stays").await;
    anna.waits_for_chat(&group, |chat| chat["snippet"] == "stays").await;
    assert_eq!(anna.api.post(&format!("/api/groups/{group}/leave/"), &[]).await.status, 200);
    let left = anna.waits_for_chat(&group, |_| true).await;
    assert_eq!((&left["photo_status"], &left["preview_photo_url"]), (&json!("404"), &Value::Null));
}

#[tokio::test]
async fn a_page_far_into_a_long_list_is_refused_and_of_a_short_list_it_is_empty() {
    let (anna, bert) = Person::two_friends(server()).await;
    let id = anna.delivers(&bert, "one").await;
    anna.waits_until(&bert.number, &id, |message| message["delivered"].is_string()).await;
    let lists = [
        (CHATS.to_owned(), "chats"),
        (format!("{CHATS}{}/", bert.number), "messages"),
        (format!("{CHATS}{}/?received_only=1", bert.number), "messages"),
        (format!("/api/messages/delivered/{}/", bert.number), "messages"),
        (format!("/api/messages/read/{}/", bert.number), "messages"),
    ];
    let page = |path: &str, offset: &str| {
        let sign = if path.contains('?') { '&' } else { '?' };
        format!("{path}{sign}offset={offset}")
    };
    for (path, name) in &lists {
        for offset in ["10001", "500000", "99999999999999999999"] {
            let answer = anna.api.get(&page(path, offset)).await;
            assert_eq!((answer.status, answer.json()), (200, json!({(*name): []})), "{path} {offset}");
        }
    }
    // 10,001 entries in each list.
    server().database().sql(&format!(
        "WITH own AS (SELECT a.id, h.id AS chat_id, h.peer_id FROM account a JOIN chat h ON h.account_id = a.id
                      WHERE a.number = '{}'
         ), made AS (
            INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint,
                                 stored_at, delivered_at, read_at)
            SELECT own.id, own.chat_id, 'l' || n, CASE WHEN n % 2 = 0 THEN own.peer_id END,
                   CASE WHEN n % 2 = 0 THEN 'received' ELSE 'sent' END, 't', n::text, '',
                   now() - n * interval '1 second', now() - n * interval '1 second',
                   now() - n * interval '1 second'
            FROM own, generate_series(1, 20002) n
         ), people AS (
            INSERT INTO peer (network, address, number, public_id)
            SELECT 'local', n::text, n::text, n::text FROM generate_series(15880000001, 15880010001) n RETURNING id)
         INSERT INTO chat (account_id, peer_id, last_message_id, last_at)
         SELECT own.id, people.id, (SELECT last_message_id FROM chat WHERE id = own.chat_id),
                now() - people.id * interval '1 second'
         FROM own, people",
        anna.number
    ));
    for (path, name) in &lists {
        for offset in ["10001", "500000", "99999999999999999999"] {
            let text = anna.api.get(&page(path, offset)).await.refused(400, "invalid_parameter");
            assert!(text.contains("offset") && text.contains("10000") && text.contains("after"), "{text}");
        }
        let answer = anna.api.get(&page(path, "10000")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(!answer.json()[*name].as_array().expect("a list").is_empty(), "{path}");
        let few = anna.api.get(&format!("{}&after=9999-01-01", page(path, "500000"))).await;
        assert_eq!((few.status, few.json()), (200, json!({(*name): []})), "{path}");
    }
}

#[tokio::test]
async fn a_page_that_does_not_fit_into_an_answer_says_how_much_does() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "one").await;
    // 100 messages of 400 kB each.
    server().database().sql(&format!(
        "INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
         SELECT a.id, h.id, 'large' || n, 'sent', 't', repeat('x', 400000), '', now() - n * interval '1 second'
         FROM account a JOIN chat h ON h.account_id = a.id, generate_series(1, 100) n WHERE a.number = '{}'",
        anna.number
    ));
    let path = format!("{CHATS}{}/", bert.number);
    let text = anna.api.get(&format!("{path}?limit=100")).await.refused(400, "invalid_parameter");
    let fit = text.rsplit("at most ").next().and_then(|rest| rest.split(' ').next()).expect("a number");
    assert!((40..=42).contains(&fit.parse::<u32>().expect("a number")), "{text}");
    let page = anna.api.get(&format!("{path}?limit={fit}")).await;
    assert_eq!(page.json()["messages"].as_array().expect("a list").len().to_string(), fit);
}
