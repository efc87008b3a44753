//! Locked accounts and chats: only their own writes wait.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use tokio::time::timeout;
use windu::db::DbError;
use windu::domain::Account;
use windu::store::Accepted;

use crate::scripted::message;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;
use crate::writer::{BEN, Fixture, queued, send};

/// The time that a write waits for locks.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const ROUNDS: u32 = 5;

fn counter_of(account: &Account) -> String {
    format!("SELECT FROM account_counter WHERE id = {} FOR UPDATE", account.counter)
}

fn chats_of(account: &Account) -> String {
    format!("SELECT FROM chat WHERE account_id = {} FOR UPDATE", account.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_account_does_not_delay_other_accounts() {
    assert_others_are_not_delayed(counter_of).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_chat_does_not_delay_other_accounts() {
    assert_others_are_not_delayed(chats_of).await;
}

async fn assert_others_are_not_delayed(lock: fn(&Account) -> String) {
    let fixture = Fixture::new().await;
    let (held, _) = fixture.account().await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(fixture.account().await.0);
    }
    let ben = fixture.peer(&held, BEN).await;
    for account in others.iter().chain([&held]) {
        queued(send(&fixture.process.store, account, &ben, "first").await);
    }
    let lock = fixture.world.hold(&lock(&held));
    let (store, account, peer) = (fixture.process.store.clone(), held.clone(), ben.clone());
    // Like a client, it retries after errors.
    let waiting = fixture.process.lifecycle.spawn(async move {
        let mut unavailable = 0;
        loop {
            match send(&store, &account, &peer, "waits").await {
                Ok(Accepted::Queued(_)) => return unavailable,
                Err(DbError::Unavailable(_)) => unavailable += 1,
                other => panic!("{other:?}"),
            }
        }
    });
    let began = Instant::now();
    for round in 0..ROUNDS {
        let new = fixture.peer(&held, &format!("155503000{round:02}")).await;
        let sends = others.iter().flat_map(|account| {
            [
                send(&fixture.process.store, account, &ben, "text"),
                send(&fixture.process.store, account, &new, "new"),
            ]
        });
        let sent = timeout(DEADLINE, join_all(sends)).await.expect("other accounts do not wait for the lock");
        sent.into_iter().for_each(queued);
    }
    // One lock timeout per round would take longer.
    assert!(began.elapsed() < LOCK_TIMEOUT * (ROUNDS - 1), "{:?}", began.elapsed());
    assert!(!waiting.is_finished());
    drop(lock);
    let unavailable = timeout(DEADLINE, waiting).await.expect("it is freed").unwrap();
    // Sends that were answered with an error are not stored.
    assert_eq!(fixture.process.texts(&held, BEN).await, ["first", "waits"], "after {unavailable} errors");
}

#[tokio::test]
async fn a_send_waits_two_seconds_for_a_locked_account() {
    let fixture = Fixture::new().await;
    let (store, (account, _)) = (&fixture.process.store, fixture.account().await);
    let ben = fixture.peer(&account, BEN).await;
    queued(send(store, &account, &ben, "first").await);
    let lock = fixture.world.hold(&counter_of(&account));
    let began = Instant::now();
    let sends = (0..50).map(|_| send(store, &account, &ben, "too late"));
    let answers = timeout(DEADLINE, join_all(sends)).await.expect("every send ends");
    assert!(began.elapsed() >= LOCK_TIMEOUT && began.elapsed() < LOCK_TIMEOUT * 4, "{:?}", began.elapsed());
    assert!(answers.iter().all(|answer| matches!(answer, Err(DbError::Unavailable(_)))), "{answers:?}");
    drop(lock);
    queued(send(store, &account, &ben, "second").await);
    assert_eq!(fixture.process.texts(&account, BEN).await, ["first", "second"]);
}

#[tokio::test]
async fn the_queue_of_a_locked_account_is_bounded() {
    let fixture = Fixture::new().await;
    let (store, (account, _)) = (&fixture.process.store, fixture.account().await);
    let ben = fixture.peer(&account, BEN).await;
    let _lock = fixture.world.hold(&counter_of(&account));
    let began = Instant::now();
    let sends = (0..3_000).map(|_| Box::pin(send(store, &account, &ben, "too late")));
    let (first, ..) = select_all(sends).await;
    assert!(matches!(first, Err(DbError::Unavailable(_))), "{first:?}");
    assert!(began.elapsed() < LOCK_TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_session_stores_events_later_when_its_account_is_locked() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.stores(vec![message(BEN, "m1", "first", 1)]).await;
    let lock = world.hold(&counter_of(&account));
    assert!(line.receives(vec![message(BEN, "m2", "inbound", 2)]).await);
    // A message that was committed just before the lock was taken.
    let queue = "WITH new AS (
            INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
            SELECT account_id, id, 'q1', 'queued', 't', 'sent', '', now() FROM chat WHERE account_id = $1
            RETURNING id, account_id, chat_id)
         INSERT INTO outbox (message_id, account_id, chat_id, expires_at)
         SELECT id, account_id, chat_id, now() + interval '1 day' FROM new";
    assert_eq!(world.change(&account, queue).await, 1);
    let gave_up = async || (line.open() == 0).then_some(());
    wait_until_async("the end of the connection", DEADLINE, gave_up).await;
    assert_eq!(line.acknowledged(), [1]);
    drop(lock);
    line.opened(2).await;
    process.until_state(&account, "online").await;
    line.stores(vec![message(BEN, "m2", "inbound", 2)]).await;
    process.until_message(&account, BEN, "q1", "sent").await;
    assert_eq!(
        process.entries(&account, "message.sent").await,
        [serde_json::json!({"chat": BEN, "id": "q1"})]
    );
    let mut texts = process.texts(&account, BEN).await;
    texts.sort();
    assert_eq!(texts, ["first", "inbound", "sent"]);
}
