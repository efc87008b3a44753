//! What a receiver gets: every event, once and in order, signed, as the list shows it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::hook::{Hook, setup};
use crate::support::owner::Owner;
use crate::support::people::{fresh_number, register};
use crate::support::receiver::{Answer, Receiver};

/// What does not change from one rendering to the next.
fn without_urls(mut event: Value) -> Value {
    if let Some(message) = event["data"]["message"].as_object_mut() {
        message.retain(|name, _| !name.contains("url"));
    }
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_once_signed_and_as_the_list_shows_it() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/hook?key=1"), "after": "oldest"})).await;
    for number in 0..5 {
        owner.sends(0, 1, &format!("text {number}")).await;
    }
    let read = |event: &Value| event["data"]["chat"] == owner.numbers[0].as_str();
    owner
        .waits_for("oldest", "message.received", |event| {
            read(event) && event["data"]["message"]["text"] == "text 4"
        })
        .await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    let listed = owner.all("").await;
    let requests = receiver.waits_for("all events", listed.len(), |_| true).await;
    assert_eq!(requests.len(), listed.len());
    for number in &owner.numbers {
        let got: Vec<Value> = requests
            .iter()
            .filter(|request| request.account() == number)
            .map(|request| without_urls(request.event.clone()))
            .collect();
        let expected: Vec<Value> = listed
            .iter()
            .filter(|event| event["account"] == number.as_str())
            .cloned()
            .map(without_urls)
            .collect();
        let ids =
            |events: &[Value]| -> Vec<Value> { events.iter().map(|event| event["id"].clone()).collect() };
        assert_eq!(ids(&got), ids(&expected));
        // A message has more receipts by now.
        assert_eq!(got.last(), expected.last());
    }
    for request in &requests {
        hook.verify(request);
        assert_eq!((request.path.as_str(), request.header("user-agent")), ("/hook", "Windu"));
        assert_eq!(request.header("content-type"), "application/json");
    }
    let attempts = hook.get("attempts/?limit=1000").await;
    let attempts = attempts["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), requests.len());
    for attempt in attempts {
        assert_eq!((&attempt["status"], &attempt["attempt"]), (&json!(200), &json!(1)), "{attempt}");
        assert_eq!(
            (&attempt["error"], &attempt["next"], &attempt["replay"]),
            (&Value::Null, &Value::Null, &json!(false))
        );
    }
    assert_eq!(hook.get("").await["state"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_accounts_choose_the_events() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let later = fresh_number();
    let settings = json!({"url": receiver.url("/received"), "types": "message.received"});
    Hook::with(&server, &owner, settings).await;
    let settings = json!({"url": receiver.url("/one"), "accounts": [owner.numbers[1]], "types": "message.*"});
    Hook::with(&server, &owner, settings).await;
    // A number that its user has later.
    let settings = json!({"url": receiver.url("/later"), "accounts": [later]});
    let hook = Hook::with(&server, &owner, settings).await;
    owner.sends(0, 1, "first").await;
    owner.sends(1, 0, "second").await;
    register(&server, &owner.api, &later).await;
    let registered = |request: &crate::support::receiver::Request| request.kind() == "account.registered";
    receiver.waits_for("the later number", 1, registered).await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    receiver.waits_for("both texts", 2, |request| request.path == "/received").await;
    receiver.waits_for("its messages", 4, |request| request.path == "/one").await;
    for request in receiver.requests() {
        match request.path.as_str() {
            "/received" => assert_eq!(request.kind(), "message.received"),
            "/one" => {
                assert_eq!(request.account(), owner.numbers[1]);
                assert!(request.kind().starts_with("message."), "{}", request.kind());
            }
            _ => assert_eq!(request.account(), later, "{}", request.event),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_one_request_at_a_time_and_eight_accounts_have_eight() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 10).await, Receiver::start().await);
    receiver.answers(|_| Answer::Slow(Duration::from_millis(150), 200));
    let settings = json!({"url": receiver.url("/"), "types": "message.queued"});
    let hook = Hook::with(&server, &owner, settings).await;
    for turn in 0..3 {
        for from in 0..10 {
            owner.sends(from, (from + 1) % 10, &format!("{turn}")).await;
        }
    }
    let requests = receiver.waits_for("all", 30, |_| true).await;
    assert_eq!(receiver.most_at_once(), 8);
    for number in &owner.numbers {
        let own: Vec<_> = requests.iter().filter(|request| request.account() == number).collect();
        assert!(own.windows(2).all(|pair| pair[0].event["seq"].as_i64() < pair[1].event["seq"].as_i64()));
        let pause = Duration::from_millis(150);
        assert!(own.windows(2).all(|pair| pair[1].at - pair[0].at >= pause), "two at a time");
    }
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_secret_changes_both_sign_and_the_new_one_is_the_first() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let mut hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await;
    let own = format!("whsec_{}", data_encoding::BASE64.encode(&[7; 24]));
    let rotated = hook.post("rotate-secret/", &json!({"secret": own, "keep_old": 3_600})).await;
    assert_eq!(rotated["secret"], own.as_str());
    assert_eq!(hook.get("").await["old_until"], rotated["old_until"]);
    owner.sends(0, 1, "with both").await;
    let both = receiver.waits_for("an event", 1, |_| true).await.remove(0);
    hook.verify(&both);
    let old = std::mem::replace(&mut hook.secret, own);
    hook.verify(&both);
    let signatures: Vec<String> = both.header("webhook-signature").split(' ').map(str::to_owned).collect();
    assert_eq!(signatures.len(), 2);
    let mut first = both.clone();
    first.headers.insert("webhook-signature", signatures[0].parse().expect("a value"));
    hook.verify(&first);

    // When its time has passed, the old one does not sign any more, although the webhook is not read anew.
    hook.post("rotate-secret/", &json!({"secret": hook.secret, "keep_old": 1})).await;
    let sent = receiver.count();
    owner.sends(0, 1, "before its time").await;
    receiver.waits_for("an event", sent + 1, |_| true).await;
    hook.waits_for("its time", |hook| hook["old_until"].is_null()).await;
    owner.sends(0, 1, "after its time").await;
    let late = receiver.waits_for("an event", sent + 2, |_| true).await.remove(sent + 1);
    assert_eq!(late.header("webhook-signature").split(' ').count(), 1);

    // A third secret: at most two sign. Without keep_old the new one alone.
    let rotated = hook.post("rotate-secret/", &json!({"keep_old": 0})).await;
    assert_eq!(rotated["old_until"], Value::Null);
    hook.secret = rotated["secret"].as_str().expect("a secret").to_owned();
    owner.sends(0, 1, "with one").await;
    let one = receiver.waits_for("an event", sent + 3, |_| true).await.remove(sent + 2);
    hook.verify(&one);
    assert_eq!(one.header("webhook-signature").split(' ').count(), 1);
    assert_ne!(hook.secret, old);
    let long = owner.api.post_json(&hook.path("rotate-secret/"), &json!({"keep_old": 604_801})).await;
    long.refused(400, "invalid_parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_sent_at_once_and_answered_with_its_attempt() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 1).await, Receiver::start().await);
    let hook = Hook::with(&server, &owner, json!({"url": receiver.url("/"), "active": 0})).await;
    receiver.answers(|_| Answer::With(202, "x-anything", "1".to_owned()));
    let attempt = hook.post("test/", &json!({})).await;
    assert_eq!((&attempt["type"], &attempt["status"]), (&json!("webhook.test"), &json!(202)), "{attempt}");
    assert_eq!((&attempt["account"], &attempt["error"]), (&Value::Null, &Value::Null));
    let request = receiver.requests().remove(0);
    hook.verify(&request);
    assert_eq!(
        (request.id(), &request.event["data"]),
        (attempt["event_id"].as_str().expect("an id"), &json!({"webhook": hook.id}))
    );
    assert_eq!(request.event["account"], Value::Null);

    receiver.answers(|_| Answer::Status(404));
    let attempt = hook.post("test/", &json!({})).await;
    assert_eq!((&attempt["status"], &attempt["error"]), (&json!(404), &json!("status")));
    assert_eq!(hook.get("attempts/").await["attempts"].as_array().map(Vec::len), Some(2));
    assert_eq!(hook.get("attempts/?failed=1").await["attempts"], json!([attempt]));
    receiver.answers(|_| Answer::Status(200));
    // It is no event that waits, not for this webhook and not for others.
    hook.patch(&json!({"active": 1})).await;
    let other = Hook::with(&server, &owner, json!({"url": receiver.url("/other"), "after": "oldest"})).await;
    other.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    assert_eq!(hook.get("").await["state"], "ok");
    let tests = receiver.requests().into_iter().filter(|request| request.kind() == "webhook.test").count();
    assert_eq!(tests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_are_sent_only_if_named() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let settings = json!({"url": receiver.url("/named"), "types": "chat.typing,message.received"});
    let hook = Hook::with(&server, &owner, settings).await;
    Hook::new(&server, &owner, &receiver).await;
    owner.sends(0, 1, "a chat").await;
    receiver.waits_for("a text", 2, |request| request.kind() == "message.received").await;
    let typing = [("account", owner.numbers[0].as_str()), ("contact", &owner.numbers[1])];
    let path = "/api/messages/set-typing/";
    let requests =
        crate::support::wait::wait_until_async("a live event", Duration::from_secs(30), async || {
            owner.api.post(path, &typing).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let found: Vec<_> =
                receiver.requests().into_iter().filter(|request| request.kind() == "chat.typing").collect();
            (!found.is_empty()).then_some(found)
        })
        .await;
    assert!(requests.iter().all(|request| request.path == "/named" && request.event.get("id").is_none()));
    let attempts = hook.get("attempts/?limit=1000").await;
    let attempts = attempts["attempts"].as_array().expect("attempts");
    assert!(
        attempts.iter().all(|attempt| attempt["type"] == "message.received"),
        "live events are not listed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_goes_on_after_a_pause_or_is_skipped() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await;
    hook.patch(&json!({"active": 0})).await;
    let first = owner.sends(0, 1, "one").await;
    let shown = hook.get("").await;
    assert_eq!((&shown["state"], &shown["waiting"]), (&json!("paused"), &json!(1)));
    assert!(shown["oldest"].is_string());
    hook.patch(&json!({"active": 1})).await;
    let got = receiver.waits_for("what waited", 1, |_| true).await;
    assert_eq!(got[0].event["data"]["id"], first.as_str());

    hook.patch(&json!({"active": 0})).await;
    owner.sends(0, 1, "skipped").await;
    hook.patch(&json!({"active": 1, "after": "newest"})).await;
    let third = owner.sends(0, 1, "three").await;
    let got = receiver.waits_for("the third", 2, |_| true).await;
    assert_eq!(got[1].event["data"]["id"], third.as_str());
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_removed_account_still_go_out() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let settings = json!({"url": receiver.url("/"), "accounts": [owner.numbers[0]], "active": 0});
    let hook = Hook::with(&server, &owner, settings).await;
    owner.sends(0, 1, "before the end").await;
    let removed = owner.api.post("/api/account/remove-account/", &[("account", &owner.numbers[0])]).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    hook.patch(&json!({"active": 1})).await;
    let requests = receiver.waits_for("the end", 1, |request| request.kind() == "account.removed").await;
    assert_eq!(requests.len(), 1);
    let all = receiver.requests();
    assert_eq!(all.last().expect("events").kind(), "account.removed");
    let queued = all.iter().find(|request| request.kind() == "message.queued").expect("queued");
    assert_eq!(queued.event["data"]["gone"], true, "{}", queued.event);
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_disabled_user_everything_waits_and_for_a_deleted_one_nothing_is_sent() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook = Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.*"})).await;
    owner.sends(0, 1, "before").await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    let name = block_in_place(|| {
        server.database().sql("SELECT u.name FROM windu_user u JOIN webhook w ON w.user_id = u.id")
    });
    block_in_place(|| server.run(&["user", "disable", &name], ""));
    // What is sent by then is sent.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let count = receiver.count();
    block_in_place(|| {
        server.database().sql(
            "WITH counter AS (
                 UPDATE account_counter SET seq = seq + 1, stored_at = clock_timestamp()
                 WHERE number <> '' AND id = (SELECT min(id) FROM account_counter WHERE number <> '')
                 RETURNING id, seq, stored_at)
             INSERT INTO event (counter_id, seq, at, kind, payload)
             SELECT id, seq, stored_at, 'message.removed', '{}' FROM counter",
        )
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(receiver.count(), count);
    block_in_place(|| server.run(&["user", "enable", &name], ""));
    receiver.waits_for("what waited", 1, |request| request.kind() == "message.removed").await;

    block_in_place(|| server.run(&["user", "delete", &name], ""));
    let count = receiver.count();
    let left =
        crate::support::wait::wait_until_async("nothing is left", Duration::from_secs(30), async || {
            let left = block_in_place(|| {
                server.database().sql(
                    "SELECT (SELECT count(*) FROM webhook) + (SELECT count(*) FROM webhook_attempt)
                      + (SELECT count(*) FROM webhook_account) + (SELECT count(*) FROM webhook_redelivery)",
                )
            });
            (left == "0").then_some(left)
        })
        .await;
    assert_eq!((left.as_str(), receiver.count()), ("0", count));
    let gone = owner.api.send(owner.api.request(Method::GET, "/api/webhooks/")).await;
    assert_eq!(gone.status, 401);
}
