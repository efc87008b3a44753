//! The endpoints of webhooks: what is accepted, shown, changed and refused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::hook::{Hook, setup};
use crate::support::owner::Owner;
use crate::support::people::login;
use crate::support::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_made_shown_changed_and_deleted() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 1).await, Receiver::start().await);
    let number = &owner.numbers[0];
    let body = json!({"url": receiver.url("/a"), "types": "message.*,contact.added", "accounts": [number],
        "description": "ours", "active": 0});
    let made = owner.api.post_json("/api/webhooks/", &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let id = made["id"].as_str().expect("an id");
    assert!(made["secret"].as_str().expect("a secret").starts_with("whsec_"));
    assert_eq!(made["types"], json!(["message.*", "contact.added"]));
    assert_eq!(made["accounts"], json!([number]));
    assert_eq!(
        (&made["state"], &made["reason"], &made["active"]),
        (&json!("paused"), &Value::Null, &json!(false))
    );
    assert_eq!(
        (&made["waiting"], &made["oldest"], &made["old_until"]),
        (&json!(0), &Value::Null, &Value::Null)
    );
    for time in ["since", "created"] {
        let cut = made[time].as_str().expect("a time");
        assert!(made[format!("{time}_timestamp")].as_str().expect("a time").starts_with(cut));
    }

    let list = owner.api.get("/api/webhooks/").await.json();
    let mut shown = list["webhooks"][0].clone();
    shown["secret"] = made["secret"].clone();
    assert_eq!((list["webhooks"].as_array().map(Vec::len), &shown), (Some(1), &made));

    let path = format!("/api/webhooks/{id}/");
    let answer_to =
        async |body: Value| owner.api.send(owner.api.request(Method::PATCH, &path).json(&body)).await;
    let changed = answer_to(json!({"types": "*", "accounts": [], "active": 1, "description": ""})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let changed = changed.json();
    assert_eq!((&changed["types"], &changed["accounts"]), (&Value::Null, &Value::Null));
    assert_eq!((&changed["state"], &changed["description"]), (&json!("ok"), &json!("")));
    assert!(changed.get("secret").is_none());
    let nothing = answer_to(json!({})).await;
    nothing.refused(400, "missing_parameter");

    assert_eq!(owner.api.delete(&path).await.status, 200);
    for answer in
        [owner.api.get(&path).await, owner.api.delete(&path).await, answer_to(json!({"active": 0})).await]
    {
        answer.refused(404, "webhook_not_found");
    }
    assert_eq!(owner.api.get("/api/webhooks/").await.json(), json!({"webhooks": []}));

    let audit = server.run(&["audit"], "");
    for act in ["webhook.create", "webhook.change", "webhook.delete"] {
        assert!(audit.contains(&format!("{act} {id} ok")), "{act}: {audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_accepted_is_named_and_changes_nothing() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 1).await, Receiver::start().await);
    let url = receiver.url("/");
    let long = format!("{url}{}", "a".repeat(2_048));
    for (body, code) in [
        (json!({}), "missing_parameter"),
        (json!({"url": "example.com"}), "invalid_parameter"),
        (json!({"url": "ftp://example.com/"}), "invalid_parameter"),
        (json!({"url": long}), "invalid_parameter"),
        (json!({"url": "http://8.8.8.8/"}), "url_not_allowed"),
        (json!({"url": "https://8.8.8.8:8443/"}), "url_not_allowed"),
        (json!({"url": "https://10.0.0.1/"}), "url_not_allowed"),
        (json!({"url": "https://[::1]/"}), "url_not_allowed"),
        (json!({"url": "https://ann:secret@8.8.8.8/"}), "url_not_allowed"),
        (json!({"url": "https://8.8.8.8/#part"}), "url_not_allowed"),
        (json!({"url": "http://169.254.169.254/latest"}), "url_not_allowed"),
        (json!({"url": url, "types": "message.recieved"}), "unknown_type"),
        (json!({"url": url, "types": ["message.*", "nothing.*"]}), "unknown_type"),
        (json!({"url": url, "accounts": "abc"}), "invalid_parameter"),
        (json!({"url": url, "secret": "whsec_abc"}), "invalid_parameter"),
        (json!({"url": url, "secret": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}), "invalid_parameter"),
        (json!({"url": url, "after": "nowhere"}), "invalid_cursor"),
        (json!({"url": url, "active": "maybe"}), "invalid_parameter"),
        (json!({"url": url, "description": "a".repeat(257)}), "invalid_parameter"),
    ] {
        let answer = owner.api.post_json("/api/webhooks/", &body).await;
        let text = answer.refused(400, code);
        assert!(!text.contains("whsec_abc"), "{text}");
    }
    let gone = owner.api.post_json("/api/webhooks/", &json!({"url": url, "after": "other.1.5"})).await;
    gone.refused(410, "cursor_gone");
    assert_eq!(owner.api.get("/api/webhooks/").await.json(), json!({"webhooks": []}));

    for _ in 0..20 {
        let answer = owner.api.post_json("/api/webhooks/", &json!({"url": url})).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let answer = owner.api.post_json("/api/webhooks/", &json!({"url": url})).await;
    answer.refused(400, "too_many_webhooks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_another_user_is_as_none() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 1).await, Receiver::start().await);
    let hook = Hook::new(&server, &owner, &receiver).await;
    let other = login(&server).await;
    let there = |rest: &str| hook.path(rest);
    let none = |rest: &str| format!("/api/webhooks/0123456789abcdef0123456789abcdef/{rest}");
    for (method, rest) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::POST, "rotate-secret/"),
        (Method::POST, "test/"),
        (Method::POST, "replay/"),
        (Method::GET, "attempts/"),
        (Method::GET, "dead/"),
    ] {
        let mut answers = Vec::new();
        for path in [there(rest), none(rest)] {
            let answer =
                other.send(other.request(method.clone(), &path).json(&json!({"active": 0, "dead": 1}))).await;
            answers.push(answer.refused(404, "webhook_not_found"));
        }
        assert_eq!(answers[0], answers[1], "{method} {rest}");
    }
    assert_eq!(hook.get("").await["active"], true);
    assert_eq!(receiver.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_stored_sealed() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 1).await, Receiver::start().await);
    let create = async || {
        let request = owner.api.request(Method::POST, "/api/webhooks/").header("idempotency-key", "one");
        owner.api.send(request.json(&json!({"url": receiver.url("/")}))).await
    };
    let (first, again) = (create().await, create().await);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let (first, again) = (first.json(), again.json());
    assert_eq!(first["id"], again["id"]);
    let secret = first["secret"].as_str().expect("a secret").to_owned();
    assert!(again.get("secret").is_none(), "{again}");

    let rotate = async || {
        let path = format!("/api/webhooks/{}/rotate-secret/", first["id"].as_str().expect("an id"));
        owner.api.send(owner.api.request(Method::POST, &path).header("idempotency-key", "two")).await.json()
    };
    let (rotated, again) = (rotate().await, rotate().await);
    let new = rotated["secret"].as_str().expect("a secret").to_owned();
    assert_ne!(secret, new);
    assert!(again.get("secret").is_none() && again["old_until"] == rotated["old_until"], "{again}");
    assert!(rotated["old_until"].is_string());

    // Neither in the database nor in the log.
    let stored = tokio::task::block_in_place(|| {
        let rows = |table| server.database().sql(&format!("SELECT row_to_json(t)::text FROM {table} t"));
        rows("webhook") + &rows("idempotency_key")
    });
    for hidden in [&secret, &new] {
        let text = hidden.trim_start_matches("whsec_");
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).expect("base64");
        for form in [
            text.to_owned(),
            data_encoding::HEXLOWER.encode(&bytes),
            data_encoding::HEXLOWER.encode(hidden.as_bytes()),
        ] {
            assert!(!stored.contains(&form) && !server.log().contains(&form), "{form}");
        }
    }
}
