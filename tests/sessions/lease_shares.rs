//! Leases spread the sessions: each process runs its share of the networks that it has, and no account is left over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::scripted::NETWORK;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

/// Accounts of the large test.
const CROWD: i64 = 1_000;
/// So soon they are spread anew, and online.
const SPREAD: Duration = Duration::from_secs(20);

/// How many accounts of a network each process holds that holds any, fewest first.
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

/// Two numbers on the local network and six on the other one, which nobody has to run yet.
async fn eight_accounts(world: &World) {
    world.crowd(NETWORK, 6).await;
    world.crowd("local", 2).await;
}

#[tokio::test]
async fn a_process_runs_its_share_of_its_own_networks() {
    let world = World::new().await;
    eight_accounts(&world).await;
    // One of eight accounts for each of two would leave two over, on the network that only one of them runs.
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
    // Then all is at rest.
    let before = moves(&world).await;
    first.sweeps(&world, 3).await;
    assert_eq!(moves(&world).await, before);
}

/// Waits until each of so many processes holds its share, give or take a fifth, and all are online.
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

/// How often a lease of the crowd changed hands.
async fn moves(world: &World) -> i64 {
    world.count("SELECT sum(fence)::bigint FROM account_counter WHERE number LIKE '15558%'").await
}
