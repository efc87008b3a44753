//! Rules for every row: paths, bodies, query, methods, and which account is meant.

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::people::{Person, fresh_number, login, register};

const SEND: &str = "/api/messages/send-message/";
const CONTACTS: &str = "/api/contacts/";
const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn both_forms_of_a_path_and_the_old_spelling_work_for_every_method() {
    let (anna, bert) = Person::two_friends(server()).await;
    for row in ["/api/messages", "/api/message"] {
        for slash in ["/", ""] {
            let form = [("contact", bert.number.as_str()), ("message", "hello")];
            assert_eq!(anna.api.post(&format!("{row}/send-message{slash}"), &form).await.status, 200);
            for word in ["chats", &format!("chats/{}", bert.number)] {
                let answer = anna.api.get(&format!("{row}/{word}{slash}?limit=5")).await;
                assert_eq!(answer.status, 200, "{row}/{word}{slash}");
            }
        }
    }
    assert_eq!(anna.chat(&bert.number).await.len(), 4);
    for slash in ["", "/"] {
        let path = format!("{CONTACTS}{}{slash}", bert.number);
        assert_eq!(anna.api.patch(&path, &[("first_name", "B")]).await.status, 200);
        assert_eq!(anna.api.get(&path).await.status, 200);
        let head = anna.api.send(anna.api.request(Method::HEAD, &path)).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0));
        assert_eq!(anna.api.delete(&path).await.status, 200);
        anna.adds(&bert.number).await;
    }
    assert_eq!(anna.api.get("/api/account").await.status, 200);
}

#[tokio::test]
async fn three_kinds_of_body_are_read() {
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
    ];
    for request in requests {
        let answer = anna.api.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let expected = ["form & more", "raw bl\u{e4}nks 100%", "multipart & more", "json & more", "json number"];
    assert_eq!(anna.texts(&format!("/api/messages/chats/{number}/")).await, expected);
}

#[tokio::test]
async fn get_and_delete_take_a_body_too() {
    let (anna, bert) = Person::two_friends(server()).await;
    let second = fresh_number();
    register(server(), &anna.api, &second).await;
    for number in 0..3 {
        anna.tells(&bert, &number.to_string()).await;
    }
    let chat = format!("/api/messages/chats/{}/", bert.number);
    let get = |path: &str| anna.api.request(Method::GET, path);
    for request in [
        get(&chat).form(&[("limit", "1")]),
        get(&chat).json(&json!({"limit": 1})),
        get(&chat).multipart(Form::new().text("limit", "1")),
        get(&format!("{chat}?limit=1")),
        // The body wins over the query; a null is not given; the last of several wins.
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
    // Of which account: the second one has no contacts.
    let delete = |account: &str| {
        let path = format!("{CONTACTS}{}/", bert.number);
        anna.api.request(Method::DELETE, &path).form(&[("account", account)])
    };
    anna.api.send(delete(&second)).await.refused(404, "contact_not_found");
    assert_eq!(anna.api.send(delete(&anna.number)).await.status, 200);
    // An empty body is none, whatever its type.
    let empty = get(CONTACTS).header("content-type", "text/plain").body("");
    assert_eq!(anna.api.send(empty).await.status, 200);
}

#[tokio::test]
async fn bodies_that_are_not_taken() {
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
async fn another_method_is_refused_with_those_that_work() {
    let anna = Person::new(server()).await;
    for (method, path, allowed) in [
        (Method::GET, SEND, &["POST"][..]),
        (Method::POST, "/api/messages/chats/", &["GET", "HEAD"]),
        (Method::PUT, "/api/account/nickname/", &["GET", "HEAD", "POST"]),
        (Method::POST, "/api/contacts/15551230000/", &["GET", "HEAD", "PATCH", "DELETE"]),
        (Method::GET, "/api/contacts/force-sync", &["POST"]),
        (Method::GET, "/api/contacts/add-contact", &["POST"]),
        (Method::DELETE, "/api/account/", &["GET", "HEAD"]),
    ] {
        let answer = anna.api.send(anna.api.request(method, path)).await;
        answer.refused(405, "method_not_allowed");
        let mut methods: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        methods.sort_unstable();
        let mut expected = allowed.to_vec();
        expected.sort_unstable();
        assert_eq!(methods, expected, "{path}");
    }
    for path in ["/api/", "/api/nothing/", "/api/contacts/1555123000a/", "/api/messages/"] {
        assert_eq!(anna.api.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_account_is_named_by_its_number() {
    let api = login(server()).await;
    let (first, second, third) = (fresh_number(), fresh_number(), fresh_number());
    let nickname = "/api/account/nickname/";
    api.get(nickname).await.refused(400, "no_account");
    api.get(&format!("{nickname}?account={first}")).await.refused(400, "account_unknown");
    let create = |number: String| {
        let api = &api;
        async move { api.post("/api/account/create-account/", &[("account", number.as_str())]).await.status }
    };
    // One that waits for its code is none that can be used.
    assert_eq!(create(third.clone()).await, 201);
    api.get(nickname).await.refused(400, "account_not_registered");
    api.get(&format!("{nickname}?account={third}")).await.refused(400, "account_not_registered");
    api.post(SEND, &[("account", &third), ("contact", &first), ("message", "hi")])
        .await
        .refused(400, "account_not_registered");

    register(server(), &api, &first).await;
    register(server(), &api, &second).await;
    api.post(nickname, &[("nickname", "oldest")]).await;
    api.post(nickname, &[("nickname", "other"), ("account", &second)]).await;
    let shown = async |query: &str| api.get(&format!("{nickname}{query}")).await.json()["nickname"].clone();
    // The oldest that is registered, although the one that waits is older.
    assert_eq!(shown("").await, "oldest");
    assert_eq!(shown(&format!("?account={first}")).await, "oldest");
    let pretty = format!("%2B{}%20({}){}.{}-", &second[..1], &second[1..4], &second[4..7], &second[7..]);
    for spelling in [second.as_str(), &pretty, &format!("+{second}")] {
        assert_eq!(shown(&format!("?account={spelling}")).await, "other", "{spelling}");
    }
    let digits: u64 = second.parse().expect("digits");
    let body = |account: Value| api.request(Method::GET, nickname).json(&json!({"account": account}));
    assert_eq!(api.send(body(json!(digits))).await.json()["nickname"], "other");
    assert_eq!(api.send(body(json!(second))).await.json()["nickname"], "other");
    assert_eq!(api.send(body(Value::Null)).await.json()["nickname"], "oldest");
    for wrong in [json!(-5), json!(1.5), json!([]), json!("12a34567"), json!(""), json!(true)] {
        api.send(body(wrong)).await.refused(400, "invalid_parameter");
    }
    let hint = api.get(&format!("{nickname}?account={second}limit=5")).await;
    assert!(hint.refused(400, "invalid_parameter").contains('&'), "{}", hint.text());
}
