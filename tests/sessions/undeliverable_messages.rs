//! Messages that cannot be sent any more.

use serde_json::json;
use windu::store::Accepted;

use crate::scripted::{Call, NETWORK, Opening};
use crate::world::{A_DAY, World};
use windu::upstream::End;

const BEN: &str = "15550100002";

#[tokio::test]
async fn messages_of_a_lost_number_fail_and_new_ones_are_refused() {
    let world = World::new().await;
    let process = world.process();
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Fails(End::RateLimited(windu::clock::now() + chrono::TimeDelta::hours(1)))]);
    let old = process.registered(&world, "15550100001").await;
    process.until_state(&old, "waiting").await;
    let waits = process.send(&old, BEN, "waits").await;
    let new = process.waiting(&world, world.user().await, "15550100001", NETWORK).await;
    process.sessions.register(&new).await.unwrap();
    process.until_state(&new, "online").await;
    let message = process.message(&old, BEN, &waits).await;
    assert_eq!((message.state.name(), message.failure.as_deref()), ("failed", Some("unregistered")));
    let failed = process.entries(&old, "message.failed").await;
    assert_eq!(failed, [json!({"chat": BEN, "id": waits, "reason": "unregistered"})]);
    // A request that read the account a moment earlier is refused: nobody would ever send its message.
    assert_eq!(process.try_send(&old, BEN, "too late", A_DAY).await, Accepted::NotAllowed);
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, 0);
    assert!(!line.calls().iter().any(|call| matches!(call, Call::Send { .. })));
}

#[tokio::test]
async fn an_outbox_accepts_messages_up_to_its_limit() {
    let world = World::new().await;
    let process = world.process();
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Fails(End::RateLimited(windu::clock::now() + chrono::TimeDelta::hours(1)))]);
    let account = process.registered(&world, "15550100001").await;
    process.send(&account, BEN, "first").await;
    world.fill_outbox(&account, 9_998).await;
    assert!(matches!(process.try_send(&account, BEN, "the last", A_DAY).await, Accepted::Queued(_)));
    assert_eq!(process.try_send(&account, BEN, "one more", A_DAY).await, Accepted::OutboxFull);
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, windu::store::OUTBOX_LIMIT);
}
