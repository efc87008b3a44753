//! Several processes on one database: each account has one session.

use windu::domain::{Account, NeedsUser, ProcessId, SessionState};
use windu::upstream::End;

use crate::scripted::{Opening, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{Process, World};

const ACCOUNTS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_shared_evenly_and_move_when_a_process_stops() {
    let world = World::new().await;
    let first = world.process();
    let accounts = crowd(&world, &first).await;
    assert_eq!(held(&world, &accounts).await, [ACCOUNTS]);
    let second = world.process();
    until_held(&world, &accounts, &[ACCOUNTS / 2, ACCOUNTS / 2]).await;
    let third = world.process();
    until_held(&world, &accounts, &[ACCOUNTS / 3, ACCOUNTS / 3, ACCOUNTS / 3]).await;
    all_online(&second, &accounts).await;
    until_connected(&world, &accounts).await;
    // An orderly stop releases the leases at once, long before the heartbeat expires.
    let began = std::time::Instant::now();
    third.stop().await;
    second.stop().await;
    until_held(&world, &accounts, &[ACCOUNTS]).await;
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    all_online(&first, &accounts).await;
    until_connected(&world, &accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_of_a_process_without_a_heartbeat_move() {
    let world = World::new().await;
    let first = world.process();
    let accounts = crowd(&world, &first).await;
    let silent = world.owner(&accounts[0]).await.unwrap();
    let second = world.process();
    until_held(&world, &accounts, &[ACCOUNTS / 2, ACCOUNTS / 2]).await;
    // Simulates a process that was paused and has not noticed yet.
    world
        .sql(&format!("UPDATE process SET heartbeat_at = now() - interval '16 seconds' WHERE id = {silent}"));
    let moved = async || {
        for account in &accounts {
            if world.owner(account).await.is_none_or(|owner| owner == silent) {
                return None;
            }
        }
        Some(())
    };
    wait_until_async("all accounts to leave the process without a heartbeat", DEADLINE, moved).await;
    all_online(&second, &accounts).await;
    // It joins again under another name, and takes its share.
    until_held(&world, &accounts, &[ACCOUNTS / 2, ACCOUNTS / 2]).await;
    all_online(&second, &accounts).await;
    until_connected(&world, &accounts).await;
    for account in &accounts {
        assert_ne!(world.owner(account).await, Some(silent));
        world.line(account).stores(vec![message("15550109999", "m1", "hello", 1)]).await;
        assert_eq!(first.texts(account, "15550109999").await, ["hello"]);
    }
}

#[tokio::test]
async fn accounts_of_a_killed_process_move() {
    let world = World::new().await;
    let idle = world.idle_process(windu::sessions::Timeouts::default());
    let account = idle.registered(&world, "15550100001").await;
    let networks = [account.network.clone()];
    let killed = idle.store.join_process("killed", &networks).await.unwrap();
    assert_eq!(idle.store.claim_leases(killed, &networks, 9).await.unwrap().len(), 1);
    let running = world.process();
    // While it may be alive, it keeps its account.
    wait_until_async("the process to join", DEADLINE, async || {
        (world.count("SELECT count(*) FROM process").await == 2).then_some(())
    })
    .await;
    running.sweeps(&world, 2).await;
    assert_eq!(world.owner(&account).await, Some(killed));
    world
        .sql(&format!("UPDATE process SET heartbeat_at = now() - interval '16 seconds' WHERE id = {killed}"));
    running.until_state(&account, "online").await;
}

#[tokio::test]
async fn a_process_without_a_heartbeat_claims_no_lease() {
    let world = World::new().await;
    let process = world.idle_process(windu::sessions::Timeouts::default());
    let account = process.registered(&world, "15550100001").await;
    let networks = [account.network.clone()];
    let late = process.store.join_process("late", &networks).await.unwrap();
    world.sql("UPDATE process SET heartbeat_at = now() - interval '16 seconds'");
    assert!(process.store.claim_leases(late, &networks, 9).await.unwrap().is_empty());
    assert!(!process.store.heartbeat(late).await.unwrap());
    let early = process.store.join_process("early", &networks).await.unwrap();
    assert_eq!(process.store.claim_leases(early, &[], 9).await.unwrap().len(), 0);
    let first = process.store.claim_leases(early, &networks, 9).await.unwrap().remove(0);
    assert_eq!(process.store.claim_leases(early, &networks, 9).await.unwrap().len(), 0);
    process.store.leave_process(early).await.unwrap();
    let next = process.store.join_process("next", &networks).await.unwrap();
    let second = process.store.claim_leases(next, &networks, 9).await.unwrap().remove(0);
    assert!(second.fence > first.fence);
}

#[tokio::test]
async fn an_account_without_a_process_is_shown_as_stopped() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let looking = world.idle_process(windu::sessions::Timeouts::default());
    process.stop().await;
    looking.until_state(&account, "stopped").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_hangs_does_not_delay_the_others() {
    let world = World::new().await;
    let process = world.process();
    let stuck = "15550100000";
    world.network.line(&stuck.parse().unwrap()).plan(&[Opening::Hangs]);
    let hanging = process.registered(&world, stuck).await;
    process.until_state(&hanging, "connecting").await;
    let account = process.online(&world, "15550100001").await;
    world.line(&account).ends(End::Retry("network_unreachable")).await;
    world.line(&account).opened(2).await;
    process.until_state(&account, "online").await;
    assert_eq!(process.state(&hanging).await.name(), "connecting");
    process.stop().await;
}

#[tokio::test]
async fn the_reason_to_wait_or_rest_holds_for_the_next_process() {
    let world = World::new().await;
    let first = world.process();
    let late = windu::clock::now() + chrono::TimeDelta::hours(1);
    let mut accounts = Vec::new();
    for (number, end, state) in [
        ("15550100001", End::NeedsUser(NeedsUser::Replaced), "replaced"),
        ("15550100002", End::RateLimited(late), "waiting"),
        ("15550100003", End::Never("version_unknown"), "stopped"),
        ("15550100004", End::Retry("network_unreachable"), "waiting"),
    ] {
        world.network.line(&number.parse().unwrap()).plan(&[Opening::Fails(end)]);
        let account = first.registered(&world, number).await;
        first.until_state(&account, state).await;
        accounts.push(account);
    }
    first.stop().await;
    world.log_states();
    let second = world.process();
    second.until_state(&accounts[3], "online").await;
    // Another version of the program may know more.
    second.until_state(&accounts[2], "online").await;
    second.sweeps(&world, 2).await;
    assert_eq!(
        second.until_state(&accounts[0], "replaced").await,
        SessionState::NeedsUser(NeedsUser::Replaced)
    );
    assert_eq!(
        second.until_state(&accounts[1], "waiting").await,
        SessionState::Waiting { attempt: 0, until: late }
    );
    for (account, opened) in accounts.iter().zip([1, 1, 2]) {
        assert_eq!(world.line(account).logins().len(), opened);
    }
    assert_eq!(world.logged_states(&accounts[2]).await, ["starting", "connecting", "catching_up", "online"]);
    assert_eq!(world.logged_states(&accounts[0]).await, [""; 0]);
    second.register_again(&world, &accounts[0]).await.unwrap();
    second.until_state(&accounts[0], "online").await;
}

async fn crowd(world: &World, process: &Process) -> Vec<Account> {
    let mut accounts = Vec::new();
    for index in 0..ACCOUNTS {
        accounts.push(process.online(world, &format!("1555010000{index}")).await);
    }
    accounts
}

/// The number of accounts for each process that holds any, fewest first.
async fn held(world: &World, accounts: &[Account]) -> Vec<usize> {
    let mut owners: Vec<ProcessId> = Vec::new();
    for account in accounts {
        owners.extend(world.owner(account).await);
    }
    owners.sort();
    let mut counts: Vec<usize> = owners.chunk_by(PartialEq::eq).map(<[ProcessId]>::len).collect();
    counts.sort_unstable();
    counts
}

async fn until_held(world: &World, accounts: &[Account], expected: &[usize]) {
    let reached = async || (held(world, accounts).await == expected).then_some(());
    wait_until_async(&format!("shares {expected:?}"), DEADLINE, reached).await;
}

async fn all_online(process: &Process, accounts: &[Account]) {
    for account in accounts {
        process.until_state(account, "online").await;
    }
}

/// Waits for one connection per account on the network: the stored state may be a moment behind.
async fn until_connected(world: &World, accounts: &[Account]) {
    let one_each = async || accounts.iter().all(|account| world.line(account).open() == 1).then_some(());
    wait_until_async("one connection for each account", DEADLINE, one_each).await;
}
