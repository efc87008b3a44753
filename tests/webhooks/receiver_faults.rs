//! Receivers that fail: whose fault it is, who waits, and who does not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::hook::{Hook, setup};
use crate::support::owner::Owner;
use crate::support::receiver::{Answer, Receiver};

async fn queued_only(server: &crate::support::server::Server, owner: &Owner, receiver: &Receiver) -> Hook {
    Hook::with(server, owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_holds_up_its_account_alone_and_is_set_aside_in_the_end() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 3).await, Receiver::start().await);
    let hook = queued_only(&server, &owner, &receiver).await;
    receiver.answers(|request| {
        Answer::Status(if request.event["data"]["message"]["text"] == "bad" { 500 } else { 200 })
    });
    let bad = owner.sends(0, 1, "bad").await;
    let is_bad = |request: &crate::support::receiver::Request| request.event["data"]["id"] == bad.as_str();
    receiver.waits_for("the bad one", 1, is_bad).await;
    hook.waits_for("it fails", |hook| hook["state"] == "failing").await;
    let behind = owner.sends(0, 1, "behind the bad one").await;
    let others = [owner.sends(1, 2, "another").await, owner.sends(2, 1, "a third").await];
    for id in &others {
        receiver.waits_for("the others", 1, |request| request.event["data"]["id"] == id.as_str()).await;
    }
    let is_behind =
        |request: &crate::support::receiver::Request| request.event["data"]["id"] == behind.as_str();
    assert!(!receiver.requests().iter().any(is_behind), "order is lost");
    // The others were accepted, so it does not count as failing.
    let shown = hook.waits_for("the others are done", |hook| hook["waiting"] == 2).await;
    assert_eq!(shown["active"], true);

    for refusals in 1..6 {
        hook.waits_for_attempts("another attempt", "failed=1&limit=100", refusals).await;
        assert!(!receiver.requests().iter().any(is_behind), "order is lost");
        hook.retry_now().await;
    }
    receiver.waits_for("the one behind it", 1, is_behind).await;
    hook.waits_for("the one behind it is done", |hook| hook["waiting"] == 1).await;
    let attempts = hook.waits_for_attempts("six attempts", "failed=1&limit=100", 6).await;
    assert_eq!(attempts.len(), 6, "{attempts:?}");
    for attempt in &attempts {
        assert_eq!((&attempt["status"], &attempt["error"]), (&json!(500), &json!("status")));
        assert!(attempt["next"].is_string());
    }
    // Alone it is still tried, and accepted in the end.
    receiver.answers(|_| Answer::Status(200));
    hook.retry_now().await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    let last = hook.get("attempts/?limit=1").await;
    assert_eq!(
        (&last["attempts"][0]["status"], &last["attempts"][0]["seq"]),
        (&json!(200), &attempts[0]["seq"])
    );
    assert_eq!(hook.get("dead/").await, json!({"dead": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_receiver_is_away_all_wait_and_one_is_tried() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 4).await, Receiver::start().await);
    for (answer, status) in [
        (Answer::Status(503), json!(503)),
        (Answer::Status(429), json!(429)),
        (Answer::With(502, "x-anything", String::new()), json!(502)),
    ] {
        let hook = queued_only(&server, &owner, &receiver).await;
        receiver.answers(move |_| answer.clone());
        let before = receiver.count();
        for from in 0..4 {
            owner.sends(from, (from + 1) % 4, "while it is away").await;
        }
        let shown =
            hook.waits_for("it fails", |hook| hook["state"] == "failing" && hook["waiting"] == 4).await;
        assert_eq!((&shown["reason"], &shown["active"]), (&json!("status"), &json!(true)));
        // Those that were in progress at the first failure, and no more.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let tried = receiver.count() - before;
        assert!((1..=4).contains(&tried), "{tried}");
        hook.retry_now().await;
        receiver.waits_for("a probe", before + tried + 1, |_| true).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(receiver.count(), before + tried + 1, "one at a time");
        let attempts = hook.get("attempts/").await;
        assert!(
            attempts["attempts"]
                .as_array()
                .expect("attempts")
                .iter()
                .all(|attempt| attempt["status"] == status)
        );

        receiver.answers(|_| Answer::Status(204));
        hook.retry_now().await;
        let shown =
            hook.waits_for("nothing waits", |hook| hook["waiting"] == 0 && hook["state"] == "ok").await;
        assert_eq!((&shown["state"], &shown["reason"]), (&json!("ok"), &Value::Null));
        hook.api.delete(&hook.path("")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_may_say_when_to_come_again() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook = queued_only(&server, &owner, &receiver).await;
    receiver.answers(|_| Answer::With(503, "retry-after", "100".to_owned()));
    owner.sends(0, 1, "later").await;
    hook.waits_for("it fails", |hook| hook["state"] == "failing").await;
    let attempt = hook.get("attempts/").await["attempts"][0].clone();
    let time = |name: &str| -> chrono::DateTime<chrono::Utc> {
        attempt[name].as_str().expect("a time").parse().expect("a time")
    };
    let pause = (time("next_timestamp") - time("timestamp")).num_seconds();
    assert!((99..=102).contains(&pause), "{attempt}");

    // Two seconds are two seconds.
    receiver.answers(|_| Answer::With(503, "retry-after", "2".to_owned()));
    hook.retry_now().await;
    receiver.waits_for("a probe", 3, |_| true).await;
    let requests = receiver.requests();
    let pause = requests[2].at - requests[1].at;
    assert!(pause >= Duration::from_millis(1_900) && pause < Duration::from_secs(10), "{pause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_disabled_at_once() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook = queued_only(&server, &owner, &receiver).await;
    let other =
        Hook::with(&server, &owner, json!({"url": receiver.url("/other"), "types": "webhook.*"})).await;
    receiver.answers(|request| Answer::Status(if request.path == "/" { 410 } else { 200 }));
    owner.sends(0, 1, "nobody is there").await;
    let shown = hook.waits_for("it is disabled", |hook| hook["state"] == "disabled").await;
    assert_eq!(
        (&shown["reason"], &shown["active"], &shown["waiting"]),
        (&json!("gone"), &json!(false), &json!(1))
    );
    let event =
        receiver.waits_for("the event", 1, |request| request.kind() == "webhook.disabled").await.remove(0);
    assert_eq!((event.path.as_str(), &event.event["account"]), ("/other", &Value::Null));
    assert_eq!(
        (&event.event["data"]["webhook"], &event.event["data"]["reason"]),
        (&json!(hook.id), &json!("gone"))
    );
    assert!(event.event["data"]["since"].is_string());
    other.verify(&event);
    let tried = receiver.requests().iter().filter(|request| request.path == "/").count();
    assert_eq!(tried, 1);
    // It goes on where it stopped.
    receiver.answers(|_| Answer::Status(200));
    hook.patch(&json!({"active": 1})).await;
    let shown = hook.waits_for("nothing waits", |hook| hook["waiting"] == 0 && hook["state"] == "ok").await;
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("ok"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let there = receiver.url("/elsewhere");
    let hook = queued_only(&server, &owner, &receiver).await;
    receiver.answers(move |_| Answer::With(307, "location", there.clone()));
    owner.sends(0, 1, "follow me").await;
    hook.waits_for("it fails", |hook| hook["state"] == "failing").await;
    let attempt = hook.get("attempts/").await["attempts"][0].clone();
    assert_eq!((&attempt["status"], &attempt["error"]), (&json!(307), &json!("redirect")));
    assert!(receiver.requests().iter().all(|request| request.path == "/"));
}

/// None of these costs another webhook of the same user anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_resets_or_never_ends_delays_no_other() {
    let server = setup().start();
    let (owner, good) = (Owner::new(&server, 2).await, Receiver::start().await);
    let (hanging, resetting, away) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let (endless, stuck) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(|_| Answer::Hang);
    resetting.resets(true);
    away.go_away();
    endless.answers(|_| Answer::Endless(200));
    stuck.answers(|_| Answer::Stuck(200));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut hooks = Vec::new();
    for receiver in [&hanging, &resetting, &away, &endless, &stuck] {
        hooks.push(queued_only(&server, &owner, receiver).await);
    }
    let hook = queued_only(&server, &owner, &good).await;
    let memory = server.memory("VmRSS");
    for number in 0..20 {
        let sent = tokio::time::Instant::now();
        let id = owner.sends(number % 2, 1 - number % 2, "in time").await;
        let got = good.waits_for("an event", 1, |request| request.event["data"]["id"] == id.as_str()).await;
        assert!(got[0].at - sent < Duration::from_secs(2), "{:?}", got[0].at - sent);
    }
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    for (hook, error) in [(&hooks[1], "closed"), (&hooks[2], "connect")] {
        let shown = hook.waits_for("it fails", |hook| hook["state"] == "failing").await;
        assert_eq!((&shown["reason"], &shown["waiting"]), (&json!(error), &json!(20)));
    }
    let shown = hooks[0].waits_for("it took too long", |hook| hook["state"] == "failing").await;
    assert_eq!(shown["reason"], "timeout");
    let attempt = hooks[0].get("attempts/").await["attempts"][0].clone();
    assert!(
        attempt["milliseconds"].as_i64().is_some_and(|took| (14_900..17_000).contains(&took)),
        "{attempt}"
    );
    // The status is what counts. Of a body at most 16 KiB are read, and 1,024 bytes stored.
    hooks[3].waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    let attempt = hooks[3].get("attempts/").await["attempts"][0].clone();
    assert_eq!(attempt["response"].as_str().map(str::len), Some(1_024));
    let shown = hooks[4].get("").await;
    assert_eq!(shown["state"], "ok");
    assert!(server.memory("VmRSS") < memory + 64 * 1024, "memory follows what a receiver sends");
}
