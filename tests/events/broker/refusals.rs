//! The broker refuses events: those that it has are not published again, and nobody waits for another user's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream;
use tokio::task::block_in_place;

use super::nats_server::NatsServer;
use super::{assert_complete, wait_until_published};
use crate::support::owner::Owner;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

/// A stream that fits.
fn config() -> stream::Config {
    stream::Config {
        name: "windu".to_owned(),
        subjects: vec!["windu.>".to_owned()],
        // So short that an event that is published again is stored again.
        duplicate_window: Duration::from_millis(100),
        ..stream::Config::default()
    }
}

/// The log says once that it is full, and of a page that it has in part only the rest is published later.
#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_stream_that_is_full() {
    let Some(nats) = NatsServer::start() else { return };
    let full = stream::Config { discard: stream::DiscardPolicy::New, max_messages: 7, ..config() };
    let client = nats.client().await;
    client.create_stream(&full).await.expect("a stream");
    let without = Server::start();
    let owner = Owner::new(&without, 3).await;
    for number in 0..10 {
        owner.sends(number % 3, (number + 1) % 3, "Hello").await;
    }
    let server = nats.setup("").database(Arc::clone(without.database())).start();
    server.wait_for_log("the stream windu is full");
    // Several attempts are made meanwhile.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.log().matches("events are published to the broker;").count(), 1);
    assert_eq!(nats.count().await, Some(7));
    block_in_place(|| {
        let report = server.run_failing(&["check"]);
        let expected = "FAILED  broker: the stream windu is full (7 of 7 messages)";
        assert!(report.contains(expected), "{report}");
    });
    client.update_stream(&stream::Config { max_messages: -1, ..full }).await.expect("a larger stream");
    assert_complete(&nats, server.database()).await;
    server.wait_for_log("events are published to the broker again");
}

/// A user whose events are refused waits alone, also when the stream would have room for those of others.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_user_whose_events_are_refused() {
    let Some(nats) = NatsServer::start() else { return };
    let limited = stream::Config {
        discard: stream::DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: 8,
        ..config()
    };
    let client = nats.client().await;
    client.create_stream(&limited).await.expect("a stream");
    let server = nats.setup("").start();
    let (refused, other) = (Owner::new(&server, 2).await, Owner::new(&server, 2).await);
    for _ in 0..10 {
        refused.sends(0, 1, "Hello").await;
    }
    server.wait_for_log("an event was refused by the broker; those of its user wait");
    for _ in 0..6 {
        let before = nats.count().await;
        let began = Instant::now();
        other.sends(0, 1, "Hello").await;
        wait_until_async("the event of another user", DEADLINE, async || {
            (nats.count().await > before).then_some(())
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let log = server.log();
    assert_eq!(log.matches("an event was refused by the broker").count(), 1, "{log}");
    assert!(!log.contains("no events are published to the broker"), "{log}");
    client
        .update_stream(&stream::Config {
            max_messages_per_subject: -1,
            discard_new_per_subject: false,
            ..limited
        })
        .await
        .expect("a larger stream");
    assert_complete(&nats, server.database()).await;
    server.wait_for_log("events of the user are published to the broker again");
}

/// What the broker's user may not do is in the log at once, without a phone number.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named() {
    let start = |publish: &str, subscribe: &str| {
        NatsServer::start_with(&format!(
            "jetstream {{ store_dir: FOLDER }}\nauthorization {{ users: [
                {{ user: all, password: s3cret }}
                {{ user: windu, password: s3cret, permissions: {{ publish: {publish}, subscribe: {subscribe} }} }}
            ] }}"
        ))
    };
    let most = "[\"windu.>\", \"$JS.API.STREAM.CREATE.windu\"]";
    let Some(nats) = start(most, "\"_INBOX.>\"") else { return };
    block_in_place(|| {
        let began = Instant::now();
        super::settings::finds(
            nats.setup("windu:s3cret@"),
            "denies its user a permission: Publish to \"$JS.API.STREAM.INFO.windu\"",
        );
        let nats = start("\">\"", "\"windu.>\"").expect("it is there");
        super::settings::finds(
            nats.setup("windu:s3cret@"),
            "denies its user a permission: Subscription to _INBOX.>",
        );
        // An answer is waited for for longer.
        assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());
    });
    let some = "[\"windu.*.*.message.*\", \"$JS.API.STREAM.*.windu\"]";
    let nats = start(some, "\"_INBOX.>\"").expect("it is there");
    let server = nats.setup("windu:s3cret@").start();
    let owner = Owner::new(&server, 2).await;
    owner.sends(0, 1, "Hello").await;
    server.wait_for_log("denies its user a permission: Publish to some of windu.user");
    let log = server.log();
    assert!(!log.contains("did not answer in time"), "{log}");
    for number in &owner.numbers {
        assert!(
            !log.lines().any(|line| line.contains("refused by the broker") && line.contains(number)),
            "{log}"
        );
    }
}

/// Each reason is in the log once, also when it is of the same kind as the last one.
#[tokio::test(flavor = "multi_thread")]
async fn another_reason_is_in_the_log() {
    let Some(nats) = NatsServer::start() else { return };
    let client = nats.client().await;
    let wrong = stream::Config { subjects: vec!["windu.ann.>".to_owned()], ..config() };
    client.create_stream(&wrong).await.expect("a stream");
    let server = nats.setup("").start();
    server.wait_for_log("the stream windu does not take the subjects windu.>");
    client.update_stream(&stream::Config { no_ack: true, ..config() }).await.expect("a stream");
    server.wait_for_log("the stream windu acknowledges nothing");
    client.update_stream(&wrong).await.expect("a stream");
    // Several attempts are made meanwhile.
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(server.log().matches("no events are published to the broker").count(), 2, "{}", server.log());
    client.update_stream(&config()).await.expect("a stream");
    let owner = Owner::new(&server, 2).await;
    owner.sends(0, 1, "Hello").await;
    wait_until_published(&nats, server.database()).await;
}
