//! Time passes: events that are given up, webhooks that are reported and disabled.

use serde_json::{Value, json};

use crate::hook::{Hook, setup};
use crate::support::owner::Owner;
use crate::support::receiver::{Answer, Receiver};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_given_up_after_75_hours_and_can_be_sent_again() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    receiver.answers(|_| Answer::Status(503));
    let hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await;
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        ids.push(owner.sends(0, 1, text).await);
    }
    hook.waits_for("it fails", |hook| hook["state"] == "failing").await;
    hook.after_sql("UPDATE event SET at = at - interval '76 hours'").await;
    let new = owner.sends(0, 1, "new").await;
    receiver.answers(|_| Answer::Status(200));
    hook.retry_now().await;
    let shown = hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    assert_eq!(shown["state"], "ok");
    let dead = hook.get("dead/").await["dead"].as_array().expect("dead").clone();
    assert_eq!(dead.len(), 3);
    assert_eq!((&dead[0]["status"], &dead[0]["error"]), (&json!(503), &json!("status")), "{}", dead[0]);
    assert!(dead[0]["attempts"].as_i64().is_some_and(|attempts| attempts >= 1));
    assert_eq!((&dead[2]["attempts"], &dead[2]["status"]), (&json!(0), &Value::Null));
    let accepted = |request: &crate::support::receiver::Request| request.event["data"]["id"] == new.as_str();
    receiver.waits_for("the new one", 1, accepted).await;

    let before = receiver.count();
    assert_eq!(hook.post("replay/", &json!({"dead": 1})).await, json!({"replayed": 3}));
    let again = receiver.waits_for("those that were dead", before + 3, |_| true).await;
    let got: Vec<Value> = again[before..].iter().map(|request| request.event["data"]["id"].clone()).collect();
    assert_eq!(got, ids.iter().map(|id| json!(id)).collect::<Vec<_>>());
    assert_eq!(hook.get("dead/").await, json!({"dead": []}));
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    let attempts = hook.get("attempts/?limit=3").await["attempts"].as_array().expect("attempts").clone();
    assert!(attempts.iter().all(|attempt| attempt["replay"] == true && attempt["status"] == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_is_reported_after_an_hour_and_disabled_after_five_days() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await;
    let settings = json!({"url": receiver.url("/other"), "types": "webhook.*"});
    let other = Hook::with(&server, &owner, settings).await;
    receiver.answers(|request| Answer::Status(if request.path == "/" { 503 } else { 200 }));
    owner.sends(0, 1, "nobody listens").await;
    hook.waits_for("it fails", |hook| hook["state"] == "failing").await;
    let failing = "UPDATE webhook SET version = version + 1, failing_since = failing_since - interval";
    hook.after_sql(&format!("{failing} '61 minutes' WHERE failing_since IS NOT NULL")).await;
    let event =
        receiver.waits_for("the report", 1, |request| request.kind() == "webhook.failing").await.remove(0);
    other.verify(&event);
    assert_eq!(
        (&event.event["data"]["webhook"], &event.event["data"]["reason"]),
        (&json!(hook.id), &json!("status"))
    );
    // Once, also when it is read anew and tried again.
    hook.retry_now().await;
    hook.patch(&json!({"description": "still failing"})).await;

    hook.after_sql(&format!("{failing} '5 days' WHERE failing_since IS NOT NULL")).await;
    let shown = hook.waits_for("it is disabled", |hook| hook["state"] == "disabled").await;
    assert_eq!((&shown["reason"], &shown["waiting"]), (&json!("failing"), &json!(1)));
    receiver.waits_for("the event", 1, |request| request.kind() == "webhook.disabled").await;
    let reports = receiver.requests().iter().filter(|request| request.kind() == "webhook.failing").count();
    assert_eq!(reports, 1);

    // Its owner lets it go on: what is not too old is sent.
    receiver.answers(|_| Answer::Status(200));
    hook.patch(&json!({"active": 1})).await;
    let shown = hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    assert_eq!(shown["state"], "ok");
    assert_eq!(hook.get("dead/").await, json!({"dead": []}));
}
