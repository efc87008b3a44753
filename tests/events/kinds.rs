//! The events that happen, and what each shows.

use serde_json::{Value, json};

use crate::support::owner::Owner;
use crate::support::people::{assert_time, without_timestamps};
use crate::support::server::Server;

/// The event's data without the uncut times, each of which must stand beside its time.
fn data(event: &Value) -> Value {
    without_timestamps(event["data"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_object_has_its_fields_in_their_forms() {
    let server = Server::start();
    let owner = Owner::new(&server, 1).await;
    let events = owner.all("").await;
    let event = &events[0];
    let names: Vec<&str> = event.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = ["id", "seq", "epoch", "type", "account", "time", "timestamp", "cursor", "data"];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_time(&event["time"]);
    assert_eq!(event["timestamp"].as_str().map(|text| (text.len(), text.ends_with('Z'))), Some((27, true)));
    assert_eq!(event["account"], owner.numbers[0].as_str());
    assert_eq!((&event["type"], &event["seq"]), (&"account.registered".into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_shown_as_in_their_chat() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let (from, to) = (owner.numbers[0].as_str(), owner.numbers[1].as_str());
    let id = owner.sends(0, 1, "hello").await;
    let named = owner
        .api
        .patch(&format!("/api/contacts/{from}/?account={to}"), &[("first_name", "Ann"), ("last_name", "Lee")])
        .await;
    assert_eq!(named.status, 200, "{}", named.text());
    let read_form = [("account", to), ("contact", from)];
    let read =
        owner.waits_for("oldest", "message.received", |event| event["data"]["id"] == id.as_str()).await;
    assert_eq!(owner.api.post("/api/messages/update-last-read/", &read_form).await.status, 200);
    owner.waits_for("oldest", "message.read", |_| true).await;

    // As it is now: the chat's name, and that it was read.
    let of =
        async |kind: &str| owner.waits_for("oldest", kind, |event| event["data"]["id"] == id.as_str()).await;
    let received = of("message.received").await;
    assert_eq!(received["id"], read["id"]);
    let listed = owner.api.get(&format!("/api/messages/chats/{from}/?account={to}")).await.json();
    let mut expected = listed["messages"][0].clone();
    expected["chat"] = from.into();
    expected["title"] = "Ann Lee".into();
    assert_eq!(received["data"]["message"], expected);
    assert!(expected["read"].is_string());
    assert_eq!(received["account"], to);

    let queued = of("message.queued").await;
    assert_eq!(queued["account"], from);
    let sent_list = owner.api.get(&format!("/api/messages/chats/{to}/?account={from}")).await.json();
    let mut expected = sent_list["messages"][0].clone();
    expected["chat"] = to.into();
    expected["title"] = to.into();
    assert_eq!(queued["data"]["message"], expected);
    for (kind, field) in
        [("message.sent", "sent"), ("message.delivered", "delivered"), ("message.read", "read")]
    {
        let event = of(kind).await;
        assert_eq!(data(&event), json!({"chat": to, "id": id, field: sent_list["messages"][0][field]}));
    }
    let chat_read = owner.waits_for("oldest", "chat.read", |_| true).await;
    assert_eq!(chat_read["data"], json!({"chat": from, "messages": 1, "unread": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn contacts_and_the_own_profile_are_shown_as_they_are() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let (mine, friend) = (owner.numbers[0].as_str(), owner.numbers[1].as_str());
    let of_mine = [("account", mine)];
    let with = |name: &'static str, value: &'static str| [("account", mine), (name, value)];
    let post = async |path: &str, form: &[(&str, &str)]| {
        let answer = owner.api.post(path, form).await;
        assert!([200, 201].contains(&answer.status), "{path}: {}", answer.text());
    };
    post("/api/account/nickname/", &with("nickname", "Annie")).await;
    post("/api/account/status-message/", &with("status_message", "busy")).await;
    post("/api/account/connected-status/", &with("connected_status", "online")).await;
    post("/api/account/privacy-settings/", &with("photo", "contacts")).await;
    post(&format!("/api/contacts/{friend}/block/"), &of_mine).await;
    post(&format!("/api/contacts/{friend}/unblock/"), &of_mine).await;
    post(
        "/api/contacts/add-contact/",
        &[("account", mine), ("contact_id", "15550007777"), ("first_name", "Bo")],
    )
    .await;
    let gone = owner.api.delete(&format!("/api/contacts/15550007777/?account={mine}")).await;
    assert_eq!(gone.status, 200);
    for (kind, expected) in [
        ("account.nickname_changed", json!({"nickname": "Annie"})),
        ("account.status_message_changed", json!({"status_message": "busy"})),
        ("account.connected_status_changed", json!({"connected_status": "online"})),
        (
            "account.privacy_changed",
            json!({"status_message": "all", "photo": "contacts", "last_seen": "all"}),
        ),
        ("contact.blocked", json!({"contact": friend})),
        ("contact.unblocked", json!({"contact": friend})),
        ("contact.removed", json!({"contact": "15550007777"})),
    ] {
        let event = owner.waits_for("oldest", kind, |event| event["account"] == mine).await;
        assert_eq!(event["data"], expected, "{kind}");
    }
    let added = owner.waits_for("oldest", "contact.added", |event| event["data"]["contact"] == friend).await;
    assert_eq!(
        added["data"],
        json!({"contact": friend, "contact_id": friend, "first_name": "", "last_name": "", "exists": true})
    );
    // It was removed again.
    let added =
        owner.waits_for("oldest", "contact.added", |event| event["data"]["contact"] == "15550007777").await;
    assert_eq!(added["data"], json!({"contact": "15550007777", "gone": true}));
    // It was hidden while the friend was blocked.
    let shown = json!({"contact": mine, "status_message": "busy"});
    owner
        .waits_for("oldest", "contact.status_message_changed", |event| {
            event["account"] == friend && event["data"] == shown
        })
        .await;
    let session = owner.waits_for("oldest", "session.changed", |_| true).await;
    assert_eq!(session["data"], json!({"state": "online", "reason": null, "attempt": null, "until": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_shown_with_their_subject_and_authors_with_their_names() {
    let server = Server::start();
    let owner = Owner::new(&server, 3).await;
    let (admin, member) = (owner.numbers[0].as_str(), owner.numbers[1].as_str());
    let new = json!({"account": admin, "participants": [member], "subject": "Walks"});
    let created = owner.api.post_json("/api/groups/create-group/", &new).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let group = created.json()["groupid"].as_str().expect("an id").to_owned();
    let event = owner
        .waits_for("oldest", "group.created", |event| {
            event["account"] == admin && event["data"]["group"] == group.as_str()
        })
        .await;
    let info = owner.api.get(&format!("/api/groups/{group}/info/?account={admin}")).await.json();
    assert_eq!(event["data"], json!({"group": group, "info": info}));

    let form = [("account", admin), ("contact", owner.numbers[2].as_str())];
    let added = owner.api.post(&format!("/api/groups/{group}/add-participant/"), &form).await;
    assert_eq!(added.status, 200, "{}", added.text());
    let event = owner
        .waits_for("oldest", "group.changed", |event| {
            event["account"] == member && event["data"]["change"] == "added"
        })
        .await;
    assert_eq!(
        event["data"],
        json!({"group": group, "change": "added", "by": admin, "participants": [owner.numbers[2]], "subject": "Walks"})
    );

    let named =
        owner.api.patch(&format!("/api/contacts/{admin}/?account={member}"), &[("first_name", "Ann")]).await;
    assert_eq!(named.status, 200);
    let form = [("account", admin), ("group_id", group.as_str()), ("message", "hello all")];
    let sent = owner.api.post("/api/messages/send-message/", &form).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let id = sent.json()["id"].clone();
    let received = owner
        .waits_for("oldest", "message.received", |event| {
            event["account"] == member && event["data"]["id"] == id
        })
        .await;
    let message = &received["data"]["message"];
    assert_eq!(
        (&message["chat"], &message["title"], &message["participant"], &message["participant_title"]),
        (&group.as_str().into(), &"Walks".into(), &admin.into(), &"Ann".into())
    );
    assert_eq!(message["text"], "hello all");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_urls_that_open_and_photos_say_whether_they_are_there() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let (mine, friend) = (owner.numbers[0].as_str(), owner.numbers[1].as_str());
    let picture = std::fs::read("tests/files/camera.jpg").expect("a picture");
    let form = |name: &'static str| {
        let part = reqwest::multipart::Part::bytes(picture.clone()).file_name("camera.jpg");
        reqwest::multipart::Form::new().text("account", mine.to_owned()).part(name, part)
    };
    let photo =
        owner.api.request(reqwest::Method::POST, "/api/account/profile-photo/").multipart(form("photo"));
    let answer = owner.api.send(photo).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let changed = owner.waits_for("oldest", "account.photo_changed", |_| true).await;
    assert_eq!(changed["data"], json!({"photo_status": "200"}));
    let seen = owner
        .waits_for("oldest", "contact.photo_changed", |event| {
            event["account"] == friend && event["data"]["photo_status"] == "200"
        })
        .await;
    assert_eq!(seen["data"]["contact"], mine);
    let nobody = crate::support::client::Client::new(String::new());
    for url in ["photo_url", "preview_photo_url"] {
        let opened = nobody.get(seen["data"][url].as_str().expect("a URL")).await;
        assert_eq!((opened.status, opened.header("content-type")), (200, "image/jpeg"));
    }

    let image = owner.api.request(reqwest::Method::POST, "/api/messages/send-image/");
    let image = image.multipart(form("filename").text("contact", friend.to_owned()));
    let sent = owner.api.send(image).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let id = sent.json()["id"].clone();
    let media = owner.waits_for("oldest", "message.media", |event| event["data"]["id"] == id).await;
    let message = &media["data"]["message"];
    assert_eq!((&message["media"], &message["type"]), (&"stored".into(), &"i".into()), "{media}");
    let opened = nobody.get(message["url"].as_str().expect("a URL")).await;
    assert_eq!(opened.status, 200);

    let removed = owner.api.delete(&format!("/api/account/profile-photo/?account={mine}")).await;
    assert_eq!(removed.status, 200);
    let changed = owner.waits_for("oldest", "account.photo_changed", |_| true).await;
    assert_eq!(changed["data"], json!({"photo_status": "404"}), "as it is now");
}
