//! What becomes of messages when nobody can send them any more.

use serde_json::json;
use windu::store::Accepted;

use crate::scripted::{Asked, NETWORK, Opening};
use crate::world::{A_DAY, World};
use windu::upstream::End;

const BEN: &str = "15550100002";

#[tokio::test]
async fn a_number_that_is_lost_fails_what_it_had_to_send_and_accepts_no_more() {
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
    let told = process.entries(&old, "message.failed").await;
    assert_eq!(told, [json!({"chat": BEN, "id": waits, "reason": "unregistered"})]);
    // A request that read the account a moment earlier is told so: nobody would ever send its message.
    assert_eq!(process.try_send(&old, BEN, "too late", A_DAY).await, Accepted::NotAllowed);
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, 0);
    assert!(!line.asked().iter().any(|asked| matches!(asked, Asked::Send { .. })));
}

#[tokio::test]
async fn an_outbox_holds_so_many_and_no_more() {
    let world = World::new().await;
    let process = world.process();
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Fails(End::RateLimited(windu::clock::now() + chrono::TimeDelta::hours(1)))]);
    let account = process.registered(&world, "15550100001").await;
    process.send(&account, BEN, "first").await;
    let fill = "WITH filled AS (
            INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
            SELECT h.account_id, h.id, 'f' || n, 'queued', 't', 'text', '', now()
            FROM chat h, generate_series(2, 9999) n WHERE h.account_id = $1 RETURNING id, account_id, chat_id)
         INSERT INTO outbox (message_id, account_id, chat_id, expires_at)
         SELECT id, account_id, chat_id, now() + interval '1 day' FROM filled";
    world.change(&account, fill).await;
    assert!(matches!(process.try_send(&account, BEN, "the last", A_DAY).await, Accepted::Queued(_)));
    assert_eq!(process.try_send(&account, BEN, "one more", A_DAY).await, Accepted::OutboxFull);
    assert_eq!(world.count("SELECT count(*) FROM outbox").await, windu::store::OUTBOX_LIMIT);
}
