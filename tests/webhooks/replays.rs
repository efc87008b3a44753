//! Events that are sent again by request.

use serde_json::{Value, json};

use crate::hook::{Hook, setup};
use crate::support::owner::Owner;
use crate::support::receiver::{Answer, Receiver, Request};

fn ids(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| request.id().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_those_after_a_cursor_and_those_of_a_time_are_sent_again() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await;
    for text in ["one", "two", "three", "four"] {
        owner.sends(0, 1, text).await;
    }
    let first = receiver.waits_for("all", 4, |_| true).await;
    let all = ids(&first);

    let replay = async |body: Value| hook.post("replay/", &body).await["replayed"].as_u64();
    assert_eq!(replay(json!({"event_id": all[2]})).await, Some(1));
    let got = receiver.waits_for("one", 5, |_| true).await;
    assert_eq!(got[4].id(), all[2]);
    hook.verify(&got[4]);

    let cursor = first[1].event["cursor"].clone();
    assert_eq!(replay(json!({"after": cursor})).await, Some(2));
    let got = receiver.waits_for("two", 7, |_| true).await;
    assert_eq!(ids(&got[5..]), all[2..]);

    let until = first[2].event["cursor"].clone();
    assert_eq!(replay(json!({"after": cursor, "until": until})).await, Some(1));
    receiver.waits_for("one", 8, |_| true).await;

    let time = first[0].event["timestamp"].clone();
    assert_eq!(replay(json!({"after": time})).await, Some(3));
    let got = receiver.waits_for("three", 11, |_| true).await;
    assert_eq!(ids(&got[8..]), all[1..]);
    assert_eq!(replay(json!({"after": "oldest", "until": time})).await, Some(1));
    receiver.waits_for("one", 12, |_| true).await;
    assert_eq!(replay(json!({"after": "2099-01-01"})).await, Some(0));

    for (body, code) in [
        (json!({}), "missing_parameter"),
        (json!({"event_id": all[0], "dead": 1}), "missing_parameter"),
        (json!({"after": "nowhere"}), "invalid_cursor"),
        (json!({"event_id": "x-1-1"}), "invalid_parameter"),
        (json!({"event_id": format!("{}0", all[0])}), "invalid_parameter"),
    ] {
        owner.api.post_json(&hook.path("replay/"), &body).await.refused(400, code);
    }
    let attempts = hook.get(&format!("attempts/?event_id={}", all[2])).await;
    let attempts = attempts["attempts"].as_array().expect("attempts");
    let replays: Vec<&Value> = attempts.iter().map(|attempt| &attempt["replay"]).collect();
    assert_eq!(replays, [false, true, true, true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_keep_their_order_beside_the_new_events() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 3).await, Receiver::start().await);
    let hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await;
    for number in 0..30 {
        owner.sends(number % 3, (number + 1) % 3, "old").await;
    }
    receiver.waits_for("all", 30, |_| true).await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    let fails = std::sync::atomic::AtomicBool::new(true);
    // The first replay is refused once: those behind it wait.
    receiver.answers(move |_| {
        Answer::Status(if fails.swap(false, std::sync::atomic::Ordering::Relaxed) { 500 } else { 200 })
    });
    hook.post("replay/", &json!({"after": "oldest"})).await;
    let new = owner.sends(0, 1, "new").await;
    receiver.waits_for("the new one", 1, |request| request.event["data"]["id"] == new.as_str()).await;
    hook.retry_now().await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    let again = receiver.requests().split_off(30);
    for number in &owner.numbers {
        let mut seqs: Vec<i64> = again
            .iter()
            .filter(|request| request.account() == number && request.event["data"]["id"] != new.as_str())
            .filter_map(|request| request.event["seq"].as_i64())
            .collect();
        seqs.dedup();
        assert!(seqs.is_sorted(), "{seqs:?}");
        assert_eq!(seqs.len(), 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_events_are_refused() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 1).await, Receiver::start().await);
    let hook = Hook::with(&server, &owner, json!({"url": receiver.url("/"), "active": 0})).await;
    tokio::task::block_in_place(|| {
        server.database().sql(&format!(
            "WITH counter AS (
                 UPDATE account_counter SET seq = seq + 10001, stored_at = clock_timestamp()
                 WHERE number = '{}' RETURNING id, seq, stored_at)
             INSERT INTO event (counter_id, seq, at, kind, payload)
             SELECT id, seq - nth, stored_at, 'message.removed', '{{}}' FROM counter, generate_series(0, 10000) nth",
            owner.numbers[0]
        ))
    });
    owner.api.post_json(&hook.path("replay/"), &json!({"after": "oldest"})).await.refused(400, "too_many");
    assert_eq!(hook.get("").await["waiting"], 10_000);
}
