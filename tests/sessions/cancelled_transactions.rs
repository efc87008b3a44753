//! Cancelled transactions: a client disconnects, or a session is stopped.

use std::time::Duration;

use windu::domain::AccountId;

use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_returns_to_the_pool_with_an_open_transaction() {
    let world = World::new().await;
    // With one connection, the next caller gets the one that was left.
    let store = world.store(1);
    for polls in 0..200 {
        tokio::select! {
            biased;
            tx = store.begin() => drop(tx.unwrap()),
            () = looks_away(polls) => {}
        }
        store.ask(AccountId(polls), &serde_json::Value::Null, Duration::ZERO, None).await.unwrap();
        let written = world.count("SELECT count(*) FROM command").await;
        assert_eq!(written, polls + 1, "the write after the dropped transaction is not committed");
    }
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let none = async || (world.count(open).await == 0).then_some(());
    wait_until_async("all transactions to end", DEADLINE, none).await;
}

async fn looks_away(polls: i64) {
    for _ in 0..polls {
        tokio::task::yield_now().await;
    }
}
