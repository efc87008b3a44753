//! Request bodies: accepted formats, their precedence, and malformed ones.

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::shared_server::{client, server};
use crate::support::people::{Person, fresh_number, register};

const SEND: &str = "/api/messages/send-message/";
const CONTACTS: &str = "/api/contacts/";
const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn form_multipart_and_json_bodies_are_accepted() {
    let (anna, bert) = Person::two_friends(server()).await;
    let number = bert.number.as_str();
    let post = || anna.api.request(Method::POST, SEND);
    let digits = number.parse::<u64>().expect("digits");
    let multipart = Form::new().text("contact", number.to_owned()).part(
        "message",
        Part::text("multipart & more").mime_str("application/octet-stream").expect("a type"),
    );
    let requests = [
        post().form(&[("contact", number), ("message", "form & more")]),
        post().header("content-type", format!("{FORM}; charset=UTF-8")).body(format!(
            "contact=+{number}&message=raw bl\u{e4}nks 100% & more=1&message=raw bl\u{e4}nks 100%"
        )),
        post().multipart(multipart),
        post().json(&json!({"contact": number, "message": "json & more", "ignored": [1, {}]})),
        post()
            .header("content-type", "Application/JSON; charset=utf-8")
            .body(json!({"contact": digits, "message": "json number"}).to_string()),
        post()
            .header("content-type", "application/json")
            .body(format!("\u{feff}{}", json!({"contact": number, "message": "byte order mark"}))),
    ];
    for request in requests {
        let answer = anna.api.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let expected = [
        "form & more",
        "raw bl\u{e4}nks 100%",
        "multipart & more",
        "json & more",
        "json number",
        "byte order mark",
    ];
    assert_eq!(anna.texts(&format!("/api/messages/chats/{number}/")).await, expected);
}

#[tokio::test]
async fn get_and_delete_accept_a_body_too() {
    let (anna, bert) = Person::two_friends(server()).await;
    let second = fresh_number();
    register(server(), &anna.api, &second).await;
    for number in 0..3 {
        anna.delivers(&bert, &number.to_string()).await;
    }
    let chat = format!("/api/messages/chats/{}/", bert.number);
    let get = |path: &str| anna.api.request(Method::GET, path);
    for request in [
        get(&chat).form(&[("limit", "1")]),
        get(&chat).json(&json!({"limit": 1})),
        get(&chat).multipart(Form::new().text("limit", "1")),
        get(&format!("{chat}?limit=1")),
        // The body wins over the query; null means missing; the last of several values wins.
        get(&format!("{chat}?limit=3")).form(&[("limit", "1")]),
        get(&format!("{chat}?limit=1")).json(&json!({"limit": null})),
        get(&format!("{chat}?limit=3&limit=1")),
        get(&chat).form(&[("limit", "2"), ("limit", "1")]),
    ] {
        let answer = anna.api.send(request).await;
        assert_eq!(answer.json()["messages"].as_array().map(Vec::len), Some(1), "{}", answer.text());
    }
    // The path wins over both.
    let path = format!("{CONTACTS}{}/?contact_id={second}", bert.number);
    let shown = anna.api.send(get(&path).form(&[("contact_id", second.as_str())])).await;
    assert_eq!(shown.json()["contact_id"], bert.number);
    // The parameter `account` counts too: the second account has no contacts.
    let delete = |account: &str| {
        let path = format!("{CONTACTS}{}/", bert.number);
        anna.api.request(Method::DELETE, &path).form(&[("account", account)])
    };
    anna.api.send(delete(&second)).await.refused(404, "contact_not_found");
    assert_eq!(anna.api.send(delete(&anna.number)).await.status, 200);
    // An empty body is ignored, with any content type.
    let empty = get(CONTACTS).header("content-type", "text/plain").body("");
    assert_eq!(anna.api.send(empty).await.status, 200);
}

#[tokio::test]
async fn unsupported_malformed_and_too_large_bodies_are_refused() {
    let anna = Person::new(server()).await;
    let post = |kind: &str, body: Vec<u8>| {
        anna.api.request(Method::POST, SEND).header("content-type", kind).body(body)
    };
    for (kind, body, status, code) in [
        ("text/plain", b"contact=1".to_vec(), 415, "unsupported_media_type"),
        ("", b"contact=1".to_vec(), 415, "unsupported_media_type"),
        (FORM, b"contact=\xff".to_vec(), 400, "malformed"),
        (FORM, b"contact=%00".to_vec(), 400, "malformed"),
        (FORM, b"contact=\0".to_vec(), 400, "malformed"),
        ("application/json", b"{".to_vec(), 400, "malformed"),
        ("application/json", b"[]".to_vec(), 400, "malformed"),
        ("application/json", b"{\"message\": \"\\u0000\"}".to_vec(), 400, "malformed"),
        ("application/json", b"{\"message\": \"\xff\"}".to_vec(), 400, "malformed"),
        ("multipart/form-data", b"--x".to_vec(), 400, "malformed"),
        ("multipart/form-data; boundary=x", b"--x".to_vec(), 400, "malformed"),
        (FORM, vec![b'a'; 3 * 1024 * 1024], 413, "too_large"),
    ] {
        anna.api.send(post(kind, body)).await.refused(status, code);
    }
    anna.api.get(&format!("{CONTACTS}?account=%ff")).await.refused(400, "malformed");
}

#[tokio::test]
async fn an_empty_value_is_not_given_except_where_it_may_be_empty() {
    let (anna, bert) = Person::two_friends(server()).await;
    let created = anna
        .api
        .post_json("/api/groups/create-group/", &json!({"participants": [bert.number], "subject": "Trip"}))
        .await;
    let group = created.json()["groupid"].as_str().expect("a group").to_owned();
    let (number, group) = (bert.number.as_str(), group.as_str());
    for form in [
        [("contact", ""), ("group_id", group), ("account", "")],
        [("contact", number), ("group_id", ""), ("account", anna.number.as_str())],
    ] {
        let mut form = form.to_vec();
        form.push(("message", "hello"));
        let sent = anna.api.post(SEND, &form).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        let json = form.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        let sent = anna.api.post_json(SEND, &serde_json::Value::Object(json.collect())).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
    }
    assert_eq!(anna.texts(&format!("/api/messages/chats/{group}/")).await.len(), 2);
    let chat = format!("/api/messages/chats/{number}/");
    assert_eq!(anna.texts(&format!("{chat}?limit=&offset=&after=&received_only=")).await.len(), 2);
    let read =
        anna.api.post("/api/messages/update-last-read/", &[("contact", number), ("date_limit", "")]).await;
    assert_eq!(read.status, 200, "{}", read.text());
    for (path, form) in [
        (SEND, [("contact", ""), ("message", "x")]),
        (SEND, [("contact", number), ("message", "")]),
        ("/api/account/status-message/", [("status_message", ""), ("account", "")]),
        ("/api/account/privacy-settings/", [("photo", ""), ("last_seen", "")]),
    ] {
        anna.api.post(path, &form).await.refused(400, "missing_parameter");
    }
    let nickname = anna.api.post("/api/account/nickname/", &[("nickname", "")]).await;
    assert_eq!(nickname.status, 200, "{}", nickname.text());
}

#[tokio::test]
async fn a_json_number_where_a_text_is_meant_is_refused() {
    let (anna, bert) = Person::two_friends(server()).await;
    let digits = bert.number.parse::<i64>().expect("digits");
    for (path, body) in [
        (SEND, json!({"contact": digits, "message": 12})),
        (SEND, json!({"contact": digits, "message": 1.50})),
        (SEND, json!({"contact": -digits, "message": "x"})),
        (SEND, json!({"contact": 1.5e10, "message": "x"})),
        ("/api/account/nickname/", json!({"nickname": 7})),
        ("/api/account/status-message/", json!({"status_message": 7})),
        ("/api/contacts/add-contact/", json!({"contact_id": fresh_number(), "first_name": 7})),
        ("/api/contacts/blocked-list/", json!({"numbers": [-digits]})),
        ("/api/groups/create-group/", json!({"participants": [digits], "subject": 7})),
        ("/api/groups/create-group/", json!({"participants": [-digits], "subject": "Trip"})),
    ] {
        anna.api.post_json(path, &body).await.refused(400, "invalid_parameter");
    }
    let sent = anna.api.post_json(SEND, &json!({"contact": digits, "message": "12"})).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let password =
        json!({"grant_type": "password", "username": "alice", "password": 12_345_678, "client_id": "x"});
    let refused = client().post_json("/o/token/", &password).await;
    assert_eq!((refused.status, &refused.json()["error"]), (400, &json!("invalid_request")));
}

#[tokio::test]
async fn json_is_neither_guessed_nor_cached() {
    let anna = Person::new(server()).await;
    let answers = [
        anna.api.get("/api/account/").await,
        anna.api.get("/api/messages/chats/").await,
        anna.api.post(SEND, &[]).await,
        anna.api.get("/nothing").await,
        client().get("/api/account/").await,
        client().get("/livez").await,
        client().post("/o/token/", &[]).await,
    ];
    for answer in answers {
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}
