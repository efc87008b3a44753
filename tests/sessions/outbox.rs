//! From the outbox to the network: order, failures and expiry.

use std::time::Duration;

use serde_json::json;
use windu::domain::FailureReason;
use windu::store::Accepted;
use windu::upstream::{End, SendFailure};

use crate::scripted::{Call, Opening};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

const BEN: &str = "15550100002";
const CLEO: &str = "15550100003";

#[tokio::test]
async fn messages_accepted_before_the_session_are_sent_in_order() {
    let world = World::new().await;
    let process = world.idle_process(windu::sessions::Timeouts::default());
    let account = process.registered(&world, "15550100001").await;
    // More than one batch.
    let mut ids = Vec::new();
    for index in 0..230 {
        ids.push(process.send(&account, BEN, &index.to_string()).await);
    }
    let running = world.process();
    running.until_entries(&account, "message.sent", ids.len()).await;
    let sent = world.line(&account).calls().into_iter().filter_map(|call| match call {
        Call::Send { id, .. } => Some(id),
        _ => None,
    });
    assert!(sent.eq(ids.clone()));
    let events = running.entries(&account, "message.sent").await;
    assert!(events.into_iter().eq(ids.iter().map(|id| json!({"chat": BEN, "id": id}))));
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, 0);
}

#[tokio::test]
async fn the_order_in_a_chat_survives_a_failure_and_other_chats_continue() {
    let world = World::new().await;
    let process = world.process();
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Fails(End::RateLimited(windu::clock::now() + chrono::TimeDelta::seconds(2)))]);
    let account = process.registered(&world, "15550100001").await;
    line.plan_send("b2", &[SendFailure::Retry, SendFailure::RateLimited(Duration::from_millis(1_500))]);
    let mut last = Vec::new();
    for text in ["b1", "b2", "b3", "b4"] {
        last.push(process.send(&account, BEN, text).await);
        process.send(&account, CLEO, &text.replace('b', "c")).await;
    }
    process.until_message(&account, BEN, &last[3], "sent").await;
    process.until_entries(&account, "message.sent", 8).await;
    let taken: Vec<String> =
        line.sent().into_iter().filter(|(_, outcome)| outcome.is_ok()).map(|(text, _)| text).collect();
    let chat = |letter| taken.iter().filter(|text| text.starts_with(letter)).cloned().collect::<Vec<_>>();
    assert_eq!(chat('b'), ["b1", "b2", "b3", "b4"]);
    assert_eq!(chat('c'), ["c1", "c2", "c3", "c4"]);
    // Cleo's messages did not wait for Ben's, and the messages behind the failed one were not tried early.
    assert!(taken.iter().position(|text| text == "c4") < taken.iter().position(|text| text == "b2"));
    let attempts = |text: &str| line.sent().iter().filter(|(sent, _)| sent == text).count();
    assert_eq!((attempts("b2"), attempts("c4")), (3, 1));
    let ids: Vec<String> = line
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Send { id, text, .. } if text == "b2" => Some(id),
            _ => None,
        })
        .collect();
    assert!(ids.iter().all(|id| *id == last[1]), "each attempt has the same id: {ids:?}");
}

#[tokio::test]
async fn a_message_behind_a_waiting_one_is_not_tried() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.plan_send("first", &[SendFailure::RateLimited(Duration::from_secs(3))]);
    process.send(&account, BEN, "first").await;
    let sent = async || (line.sent().len() == 1).then_some(());
    wait_until_async("the first attempt", DEADLINE, sent).await;
    let second = process.send(&account, BEN, "second").await;
    let other = process.send(&account, CLEO, "other").await;
    process.until_message(&account, CLEO, &other, "sent").await;
    assert_eq!(process.message(&account, BEN, &second).await.state.name(), "queued");
    process.until_message(&account, BEN, &second, "sent").await;
    let texts: Vec<String> = line.sent().into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["first", "other", "first", "second"]);
}

#[tokio::test]
async fn a_refused_message_fails_and_the_next_is_sent() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.plan_send("never", &[SendFailure::Refused(FailureReason::RecipientGone)]);
    let failed = process.send(&account, BEN, "never").await;
    let next = process.send(&account, BEN, "next").await;
    process.until_message(&account, BEN, &next, "sent").await;
    let message = process.message(&account, BEN, &failed).await;
    assert_eq!((message.state.name(), message.failure.as_deref()), ("failed", Some("recipient_gone")));
    assert_eq!(message.sent, None);
    let events = process.entries(&account, "message.failed").await;
    assert_eq!(events, [json!({"chat": BEN, "id": failed, "reason": "recipient_gone"})]);
    assert_eq!(line.sent().len(), 2);
}

#[tokio::test]
async fn a_message_expires_while_the_network_is_unavailable() {
    let world = World::new().await;
    let process = world.process();
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Fails(End::RateLimited(windu::clock::now() + chrono::TimeDelta::hours(1)))]);
    let account = process.registered(&world, "15550100001").await;
    process.until_state(&account, "waiting").await;
    let long_lived = process.send(&account, BEN, "long-lived").await;
    let short = Duration::from_millis(300);
    let Accepted::Queued(id) = process.try_send(&account, BEN, "urgent", short).await else { panic!() };
    let message = process.until_message(&account, BEN, &id, "failed").await;
    assert_eq!(message.failure.as_deref(), Some("expired"));
    let events = process.entries(&account, "message.failed").await;
    assert_eq!(events, [json!({"chat": BEN, "id": id, "reason": "expired"})]);
    assert_eq!(process.message(&account, BEN, &long_lived).await.state.name(), "queued");
    assert_eq!(line.sent(), []);
}

#[tokio::test]
async fn a_message_expires_while_it_waits_for_its_retry() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.plan_send("slow", &[SendFailure::RateLimited(Duration::from_hours(1))]);
    let Accepted::Queued(slow) = process.try_send(&account, BEN, "slow", Duration::from_secs(1)).await else {
        panic!()
    };
    let behind = process.send(&account, BEN, "behind").await;
    process.until_message(&account, BEN, &slow, "failed").await;
    // The message behind it is sent now.
    process.until_message(&account, BEN, &behind, "sent").await;
}
