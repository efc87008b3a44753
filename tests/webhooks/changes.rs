//! A webhook is changed, paused or handed over while a request is in progress.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::hook::{Hook, setup};
use crate::support::guarantees::expire_killed_processes;
use crate::support::owner::Owner;
use crate::support::receiver::{Answer, Receiver};

/// Its process had stopped to send and died before it gave the webhook back.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_paused_when_its_process_died_goes_on() {
    let mut server = setup().on_a_fixed_port().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await;
    receiver.answers(|_| Answer::Hang);
    owner.sends(0, 1, "in progress").await;
    receiver.waits_for("a request", 1, |_| true).await;
    hook.patch(&json!({"active": 0})).await;
    block_in_place(|| {
        server.kill();
        expire_killed_processes(server.database());
        server.restart();
    });
    receiver.answers(|_| Answer::Status(200));
    // Also when its process is in no list any more.
    block_in_place(|| server.database().sql("UPDATE webhook SET owner = 1000000"));
    hook.patch(&json!({"active": 1})).await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_of_the_old_url_does_not_count_for_the_new_one() {
    let server = setup().start();
    let (owner, old, new) = (Owner::new(&server, 2).await, Receiver::start().await, Receiver::start().await);
    let pause = Duration::from_secs(2);
    for answer in
        [Answer::Late(pause, 503, "3600"), Answer::Late(pause, 410, "0"), Answer::Late(pause, 500, "3600")]
    {
        let settings = json!({"url": old.url("/"), "types": "message.queued"});
        let hook = Hook::with(&server, &owner, settings).await;
        old.answers(move |_| answer.clone());
        let (before, arrived) = (old.count(), new.count());
        owner.sends(0, 1, "to the old one").await;
        old.waits_for("a request", before + 1, |_| true).await;
        hook.patch(&json!({"url": new.url("/")})).await;
        new.waits_for("the event at the new one", arrived + 1, |_| true).await;
        let shown =
            hook.waits_for("nothing waits", |hook| hook["waiting"] == 0 && hook["state"] == "ok").await;
        assert_eq!((&shown["state"], &shown["active"]), (&json!("ok"), &json!(true)));
        hook.api.delete(&hook.path("")).await;
    }
}

/// A receiver that was repaired need not be waited for.
/// What a receiver accepts just before the webhook is changed counts: nothing comes after it that would say that it works.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_just_after_a_recovery_does_not_hide_it() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await;
    for _ in 0..5 {
        receiver.answers(|_| Answer::Status(503));
        owner.sends(0, 1, "while it is away").await;
        hook.waits_for("it fails", |hook| hook["state"] == "failing").await;
        receiver.answers(|_| Answer::Status(204));
        let before = receiver.count();
        hook.retry_now().await;
        receiver.waits_for("the event", before + 1, |_| true).await;
        hook.patch(&json!({"description": "changed"})).await;
        hook.waits_for("it works", |hook| hook["state"] == "ok" && hook["waiting"] == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn active_tries_a_failing_webhook_at_once() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    for status in [503, 500] {
        let settings = json!({"url": receiver.url("/"), "types": "message.queued"});
        let hook = Hook::with(&server, &owner, settings).await;
        receiver.answers(move |_| Answer::With(status, "retry-after", "3600".to_owned()));
        owner.sends(0, 1, "later").await;
        hook.waits_for("it fails", |hook| hook["state"] == "failing").await;
        receiver.answers(|_| Answer::Status(200));
        hook.patch(&json!({"active": 1})).await;
        hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
        hook.api.delete(&hook.path("")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_and_a_receiver_that_is_gone_send_nothing_twice() {
    let mut one = setup().start();
    let (owner, receiver) = (Owner::new(&one, 3).await, Receiver::start().await);
    let settings = json!({"url": receiver.url("/"), "types": "message.queued"});
    let hook = Hook::with(&one, &owner, settings).await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    let other = setup().database(Arc::clone(one.database())).start();
    receiver.answers(|_| Answer::Slow(Duration::from_secs(4), 200));
    owner.sends(0, 1, "while it stops").await;
    receiver.waits_for("a request", 1, |_| true).await;
    block_in_place(|| {
        one.terminate();
        assert!(one.wait().success());
    });
    let owner = Owner { api: owner.api.at(other.url()), numbers: owner.numbers };
    let hook = Hook { api: hook.api.at(other.url()), ..hook };
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    receiver.answers(|_| Answer::Status(200));
    owner.sends(0, 1, "to the other").await;
    receiver.waits_for("the next", 2, |_| true).await;
    assert_eq!(receiver.count(), 2);

    // Two accounts: one answer is 410, the other comes later and is a success.
    let gone = owner.numbers[0].clone();
    receiver.answers(move |request| {
        let status = if request.account() == gone { 410 } else { 200 };
        Answer::Slow(Duration::from_secs(if status == 410 { 1 } else { 3 }), status)
    });
    let (from, to) = (owner.sends(0, 1, "gone"), owner.sends(2, 1, "taken"));
    let (_, taken) = tokio::join!(from, to);
    hook.waits_for("it is disabled", |hook| hook["state"] == "disabled").await;
    assert_eq!(hook.get("").await["waiting"], 1);
    receiver.answers(|_| Answer::Status(200));
    hook.patch(&json!({"active": 1})).await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    let again =
        receiver.requests().iter().filter(|request| request.event["data"]["id"] == taken.as_str()).count();
    assert_eq!(again, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_of_one_account_do_not_wait_for_each_other_and_are_skipped() {
    let server = setup().start();
    let (owner, receiver) = (Owner::new(&server, 2).await, Receiver::start().await);
    let hook =
        Hook::with(&server, &owner, json!({"url": receiver.url("/"), "types": "message.queued"})).await;
    for number in 0..30 {
        owner.sends(0, 1, &number.to_string()).await;
    }
    receiver.waits_for("all", 30, |_| true).await;
    let began = Instant::now();
    hook.post("replay/", &json!({"after": "oldest"})).await;
    receiver.waits_for("all again", 60, |_| true).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;

    hook.patch(&json!({"active": 0})).await;
    hook.post("replay/", &json!({"after": "oldest"})).await;
    assert_eq!(hook.get("").await["waiting"], 30);
    hook.patch(&json!({"after": "newest"})).await;
    assert_eq!(hook.get("").await["waiting"], 0);
    hook.patch(&json!({"active": 1})).await;
    owner.sends(0, 1, "new").await;
    receiver.waits_for("the new one", 61, |_| true).await;
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    assert_eq!(receiver.count(), 61);
}

/// Users with many requests in progress leave room for the others.
#[tokio::test(flavor = "multi_thread")]
async fn users_whose_receivers_hang_delay_no_other() {
    let server = setup()
        .env("WINDU_MAX_CONNECTIONS", "4000")
        .env("WINDU_MAX_CONNECTIONS_PER_ADDRESS", "4000")
        .env("WINDU_LOG", "warn")
        .start();
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(|_| Answer::Hang);
    let mut tests = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let owner = Owner::new(&server, 1).await;
        let hook = Hook::with(&server, &owner, json!({"url": hanging.url("/"), "active": 0})).await;
        for _ in 0..250 {
            let (api, path) = (hook.api.clone(), hook.path("test/"));
            tests.spawn(async move { api.post_json(&path, &json!({})).await.status });
        }
    }
    hanging.waits_for("many requests", 300, |_| true).await;
    let owner = Owner::new(&server, 2).await;
    let hook = Hook::with(&server, &owner, json!({"url": good.url("/"), "types": "message.queued"})).await;
    let began = Instant::now();
    owner.sends(0, 1, "in time").await;
    good.waits_for("an event", 1, |_| true).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    hook.waits_for("nothing waits", |hook| hook["waiting"] == 0).await;
    tests.abort_all();
}
