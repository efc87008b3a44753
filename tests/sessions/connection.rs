//! The life of a session: its states, retries, and published changes.

use serde_json::{Value, json};
use windu::domain::{NeedsUser, SessionState};
use windu::upstream::{End, Signal};

use crate::scripted::{Call, Fault, Opening, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

#[tokio::test]
async fn every_state_is_stored_and_only_relevant_ones_are_published() {
    let world = World::new().await;
    world.log_states();
    let process = world.process();
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Quiet]);
    let account = process.registered(&world, "15550100001").await;
    process.until_state(&account, "catching_up").await;
    assert!(line.signal(Signal::CaughtUp(None)).await);
    process.until_state(&account, "online").await;
    line.ends(End::Retry("network_unreachable")).await;
    line.opened(2).await;
    process.until_state(&account, "online").await;

    let first = ["starting", "connecting", "catching_up", "online"];
    let again = ["waiting", "connecting", "catching_up", "online"];
    assert_eq!(world.logged_states(&account).await, [first, again].concat());
    let events = process.entries(&account, "session.changed").await;
    let states: Vec<&Value> = events.iter().map(|entry| &entry["state"]).collect();
    assert_eq!(states, ["online", "waiting", "online"]);
    assert_eq!(events[1]["reason"], "network_unreachable");
    assert_eq!(events[1]["attempt"], 1);
    assert_eq!(process.kinds(&account).await[0], "account.registered");
}

#[tokio::test]
async fn failed_attempts_are_counted_and_the_backoff_grows() {
    let world = World::new().await;
    let process = world.process();
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Fails(End::Retry("network_unreachable")); 3]);
    let account = process.registered(&world, "15550100001").await;
    line.opened(4).await;
    process.until_state(&account, "online").await;
    let waits: Vec<Value> = process.entries(&account, "session.changed").await;
    let attempts: Vec<&Value> = waits[..3].iter().map(|wait| &wait["attempt"]).collect();
    assert_eq!(attempts, [&json!(1), &json!(2), &json!(3)]);
    let pauses = world.waits(&account).await;
    for (index, pause) in pauses.iter().enumerate() {
        let whole = 1_000 << index;
        // The state is written after the pause began.
        assert!((whole / 2 - 500..=whole).contains(pause), "{pauses:?}");
    }
}

#[tokio::test]
async fn a_stable_connection_resets_the_attempts() {
    let world = World::new().await;
    let timeouts = windu::sessions::Timeouts { stable: std::time::Duration::ZERO, ..Default::default() };
    let process = world.process_with(timeouts);
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    for round in 1..=2 {
        line.stores(vec![message("15550100002", &format!("m{round}"), "good", round)]).await;
        line.ends(End::Retry("network_unreachable")).await;
        process.until_entries(&account, "session.changed", usize::try_from(2 * round).unwrap() + 1).await;
    }
    let attempts: Vec<Value> = process
        .entries(&account, "session.changed")
        .await
        .into_iter()
        .map(|entry| entry["attempt"].clone())
        .collect();
    assert_eq!(attempts, [Value::Null, json!(1), Value::Null, json!(1), Value::Null]);
}

#[tokio::test]
async fn a_rate_limit_of_the_network_is_respected() {
    let world = World::new().await;
    let process = world.process();
    let line = world.network.line(&"15550100001".parse().unwrap());
    let soon = windu::clock::now() + chrono::TimeDelta::seconds(4);
    let late = windu::clock::now() + chrono::TimeDelta::hours(1);
    line.plan(&[Opening::Fails(End::RateLimited(soon)), Opening::Fails(End::RateLimited(late))]);
    let account = process.registered(&world, "15550100001").await;
    assert_eq!(
        process.until_state(&account, "waiting").await,
        SessionState::Waiting { attempt: 0, until: soon }
    );
    line.opened(2).await;
    assert!(windu::clock::now() >= soon);
    let until = async || {
        (process.state(&account).await == SessionState::Waiting { attempt: 0, until: late }).then_some(())
    };
    wait_until_async("the long pause", DEADLINE, until).await;
    assert_eq!(process.fresh(&account).await.session.reason.as_deref(), Some("rate_limited"));
}

#[tokio::test]
async fn a_session_that_needs_the_user_rests_until_a_new_registration() {
    let world = World::new().await;
    let process = world.process();
    for (number, why, name) in [
        ("15550100001", NeedsUser::LoggedOut, "logged_out"),
        ("15550100002", NeedsUser::Replaced, "replaced"),
        ("15550100003", NeedsUser::Banned(None), "banned"),
    ] {
        let account = process.online(&world, number).await;
        let line = world.line(&account);
        line.ends(End::NeedsUser(why)).await;
        assert_eq!(process.until_state(&account, name).await, SessionState::NeedsUser(why));
        // A new message does not wake this session: it waits, and nobody connects.
        let id = process.send(&account, "15550100009", "later").await;
        process.sweeps(&world, 2).await;
        assert_eq!((line.logins().len(), process.state(&account).await.name()), (1, name));
        process.register_again(&world, &account).await.unwrap();
        process.until_state(&account, "online").await;
        process.until_message(&account, "15550100009", &id, "sent").await;
        assert_eq!(line.logins().len(), 2);
        assert_eq!(line.calls().iter().filter(|call| **call == Call::Register).count(), 2);
    }
}

#[tokio::test]
async fn a_permanent_end_is_never_retried() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    world.line(&account).ends(End::Never("version_unknown")).await;
    process.until_state(&account, "stopped").await;
    assert_eq!(process.fresh(&account).await.session.reason.as_deref(), Some("version_unknown"));
    process.sweeps(&world, 2).await;
    assert_eq!(world.line(&account).logins().len(), 1);
}

#[tokio::test]
async fn a_panic_harms_no_other_account_and_the_session_comes_back() {
    let world = World::new().await;
    let process = world.process();
    let other = process.online(&world, "15550100002").await;
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Panics]);
    let account = process.registered(&world, "15550100001").await;
    let SessionState::Waiting { attempt, .. } = process.until_state(&account, "waiting").await else {
        panic!()
    };
    assert_eq!(attempt, 1);
    process.until_state(&account, "online").await;
    // In the middle of a conversation.
    line.plan_fault("acknowledge", Fault::Panics);
    assert!(line.receives(vec![message("15550100009", "m1", "hello", 1)]).await);
    line.opened(3).await;
    process.until_state(&account, "online").await;
    assert_eq!(process.texts(&account, "15550100009").await, ["hello"]);
    assert_eq!(world.line(&other).logins().len(), 1);
    world.line(&other).stores(vec![message("15550100009", "m1", "hello", 1)]).await;
}

#[tokio::test]
async fn a_session_drops_its_connection_before_it_opens_another() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    assert_eq!(line.open(), 1);
    line.ends(End::Retry("network_unreachable")).await;
    line.opened(2).await;
    process.until_state(&account, "online").await;
    assert_eq!(line.open(), 1);
    process.stop().await;
    assert_eq!(line.open(), 0);
}
