//! The spread of leases: each process runs its share of the accounts of its networks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::scripted::NETWORK;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

/// Accounts of the large test.
const CROWD: i64 = 1_000;
/// They are spread and online within this time.
const SPREAD: Duration = Duration::from_secs(20);

/// The number of accounts of a network for each process that holds any, fewest first.
async fn shares(world: &World, network: &str) -> Vec<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM account a JOIN account_counter c ON c.id = a.counter_id
         WHERE a.network = $1 AND c.owner IS NOT NULL GROUP BY c.owner ORDER BY 1",
    )
    .bind(network)
    .fetch_all(&world.pool)
    .await
    .unwrap()
}

async fn until_shares(world: &World, expected: &[(&str, &[i64])]) {
    let mut found = BTreeMap::new();
    let reached = async || {
        for (network, _) in expected {
            found.insert(*network, shares(world, network).await);
        }
        expected.iter().all(|(network, shares)| found[network] == *shares).then_some(())
    };
    wait_until_async(&format!("shares {expected:?}"), DEADLINE, reached).await;
}

/// Two accounts on the local network and six on the scripted one, which no process runs yet.
async fn eight_accounts(world: &World) {
    world.crowd(NETWORK, 6).await;
    world.crowd("local", 2).await;
}

#[tokio::test]
async fn a_process_runs_its_share_of_its_own_networks() {
    let world = World::new().await;
    eight_accounts(&world).await;
    // A half of all eight accounts for each process would leave two accounts over, on the network that only one of them
    // runs.
    let _local = world.process_on(&["local"]);
    let _scripted = world.process_on(&[NETWORK]);
    until_shares(&world, &[("local", &[2]), (NETWORK, &[6])]).await;
    let both = world.process();
    until_shares(&world, &[("local", &[1, 1]), (NETWORK, &[3, 3])]).await;
    both.stop().await;
    until_shares(&world, &[("local", &[2]), (NETWORK, &[6])]).await;
}

#[tokio::test]
async fn accounts_of_a_network_that_no_process_runs_wait() {
    let world = World::new().await;
    eight_accounts(&world).await;
    let _one = world.process_on(&["local"]);
    let _other = world.process_on(&["local"]);
    until_shares(&world, &[("local", &[1, 1]), (NETWORK, &[])]).await;
}

#[tokio::test]
async fn a_process_of_the_previous_version_counts_for_every_network() {
    let world = World::new().await;
    eight_accounts(&world).await;
    world.sql("INSERT INTO process (name, heartbeat_at) VALUES ('previous', now() + interval '1 hour')");
    let _one = world.process();
    until_shares(&world, &[("local", &[1]), (NETWORK, &[3])]).await;
    let _other = world.process();
    until_shares(&world, &[("local", &[1, 1]), (NETWORK, &[2, 2])]).await;
    world.sql("DELETE FROM process WHERE name = 'previous'");
    until_shares(&world, &[("local", &[1, 1]), (NETWORK, &[3, 3])]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_are_spread_with_few_moves() {
    let world = World::new().await;
    world.crowd(NETWORK, CROWD).await;
    let first = world.process();
    is_spread(&world, 1).await;
    let _second = world.process();
    is_spread(&world, 2).await;
    let before = moves(&world).await;
    let third = world.process();
    is_spread(&world, 3).await;
    let moved = moves(&world).await - before;
    assert!(moved <= CROWD * 2 / 5, "{moved} sessions moved to a third process");
    let before = moves(&world).await;
    third.stop().await;
    is_spread(&world, 2).await;
    let moved = moves(&world).await - before;
    assert!(moved <= CROWD * 2 / 5, "{moved} sessions moved from a third process");
    // Then nothing moves any more.
    let before = moves(&world).await;
    first.sweeps(&world, 3).await;
    assert_eq!(moves(&world).await, before);
}

/// Waits until each of `processes` processes holds its share, plus or minus a fifth, and all accounts are online.
async fn is_spread(world: &World, processes: usize) {
    let began = Instant::now();
    let share = CROWD / i64::try_from(processes).unwrap();
    let mut found = Vec::new();
    let spread = async || {
        found = shares(world, NETWORK).await;
        let fair = found.iter().all(|held| (held - share).abs() <= share / 5);
        (found.len() == processes && found.iter().sum::<i64>() == CROWD && fair).then_some(())
    };
    wait_until_async(&format!("shares of {processes} processes"), SPREAD, spread).await;
    world.until_count("SELECT count(*) FROM account WHERE session_state = 'online'", CROWD).await;
    assert!(began.elapsed() < SPREAD, "{:?}", began.elapsed());
}

/// The number of lease changes of the crowd.
async fn moves(world: &World) -> i64 {
    world.count("SELECT sum(fence)::bigint FROM account_counter WHERE number LIKE '15558%'").await
}
