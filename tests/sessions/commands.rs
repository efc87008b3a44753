//! Commands: issued in one process, answered in the one that holds the lease.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use windu::db::DbError;
use windu::domain::{PhoneNumber, ProcessId, UserId};
use windu::sessions::{AskError, Timeouts};
use windu::store::{Claim, CommandProgress, IdempotentRequest, KeyState, Store};
use windu::upstream::{End, Failure};

use crate::scripted::{Call, Fault, NETWORK, Opening, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

const ANNA: &str = "15550100001";

#[tokio::test]
async fn the_process_with_the_lease_answers_commands_of_another_process() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let asking = world.idle_process(Timeouts::default());
    let existing =
        asking.sessions.existing(account.id, numbers(&["15550100002", "95550100003"]), None).await.unwrap();
    assert_eq!(existing, numbers(&["15550100002"]));
}

#[tokio::test]
async fn a_waiting_session_answers_commands_too() {
    let world = World::new().await;
    let process = world.process();
    let later = End::RateLimited(windu::clock::now() + chrono::TimeDelta::hours(1));
    world.network.line(&ANNA.parse().unwrap()).plan(&[Opening::Fails(later)]);
    let account = process.registered(&world, ANNA).await;
    process.until_state(&account, "waiting").await;
    let asked = numbers(&["15550100002"]);
    assert_eq!(process.sessions.existing(account.id, asked.clone(), None).await.unwrap(), asked);
}

#[tokio::test]
async fn without_a_session_a_command_is_refused_for_now() {
    let world = World::new().await;
    let process = world.idle_process(Timeouts::default());
    let account = process.registered(&world, ANNA).await;
    let began = Instant::now();
    let error = process.sessions.existing(account.id, numbers(&["15550100002"]), None).await.unwrap_err();
    assert!(matches!(error, AskError::NotNow { retry_after: 1.. }), "{error:?}");
    assert!((Duration::from_secs(5)..Duration::from_secs(15)).contains(&began.elapsed()));
    // Nobody waits for it any more, so a session that starts later ignores it.
    let running = world.process();
    running.until_state(&account, "online").await;
    let asked = numbers(&["15550100003"]);
    running.sessions.existing(account.id, asked, None).await.unwrap();
    let line = world.network.line(&"15550100002".parse().unwrap());
    assert_eq!(line.calls(), []);
}

#[tokio::test]
async fn a_session_that_starts_in_time_answers_the_command() {
    let world = World::new().await;
    let process = world.idle_process(Timeouts::default());
    let account = process.registered(&world, ANNA).await;
    let asked = numbers(&["15550100002"]);
    let (answer, _running) =
        tokio::join!(process.sessions.existing(account.id, asked.clone(), None), async {
            world.until_count("SELECT count(*) FROM command", 1).await;
            world.process()
        });
    assert_eq!(answer.unwrap(), asked);
}

#[tokio::test]
async fn each_failure_of_the_network_has_its_own_error() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let asked = numbers(&["15550100002"]);
    let line = world.network.line(&asked[0]);
    let mut answers = Vec::new();
    for failure in [
        Failure::Refused("no such service".to_owned()),
        Failure::RateLimited(Duration::from_secs(90)),
        Failure::Retry("network_unreachable"),
        Failure::OutcomeUnknown,
        Failure::Unsupported("look up numbers"),
    ] {
        line.plan_fault("existing", Fault::Fails(failure));
        answers.push(process.sessions.existing(account.id, asked.clone(), None).await.unwrap_err());
    }
    assert!(matches!(&answers[0], AskError::Refused(reason) if reason == "no such service"), "{answers:?}");
    assert!(matches!(answers[1], AskError::NotNow { retry_after: 90 }), "{answers:?}");
    assert!(matches!(answers[2], AskError::NotNow { retry_after: 1..=10 }), "{answers:?}");
    assert!(matches!(answers[3], AskError::OutcomeUnknown), "{answers:?}");
    assert!(matches!(&answers[4], AskError::Unsupported(what) if what == "look up numbers"), "{answers:?}");
    assert_eq!(process.sessions.existing(account.id, asked.clone(), None).await.unwrap(), asked);
}

/// Several processes run the same request one after the other, because each but the last was killed.
#[tokio::test]
async fn a_request_with_an_idempotency_key_issues_its_command_once() {
    let world = World::new().await;
    let process = world.idle_process(Timeouts::default());
    let account = process.registered(&world, ANNA).await;
    let store = &process.store;
    let (question, another) =
        (json!({"request": "unregister"}), json!({"request": "existing", "numbers": []}));
    let claim = async || claim(store, account.user).await;
    let ask = async |claim: &Claim, question| store.ask(account.id, question, DEADLINE, Some(claim)).await;
    let first = claim().await;
    let command = ask(&first, &question).await.unwrap();

    let second = claim().await;
    assert_eq!(second.command, Some(command));
    // Nobody took it in time, and the first caller, which is still alive, has given up.
    assert!(store.abandon(command).await.unwrap());
    assert!(matches!(ask(&first, &question).await, Err(DbError::Fenced)));
    assert_eq!(world.sql("SELECT state FROM command"), "abandoned");
    assert_eq!(ask(&second, &question).await.unwrap(), command);
    assert_eq!(world.sql("SELECT state FROM command"), "waiting");

    // A session took it and has not answered. While it may still answer, the command is not issued again.
    world.sql("UPDATE command SET state = 'taken', fence = 1");
    assert_eq!(ask(&claim().await, &question).await.unwrap(), command);
    assert_eq!(world.sql("SELECT state FROM command"), "taken");
    world.sql("UPDATE command SET deadline = clock_timestamp()");
    assert_eq!(ask(&claim().await, &question).await.unwrap(), command);
    assert_eq!(world.sql("SELECT state FROM command"), "waiting");

    // It is stored with its answer as long as the key may need it.
    world.sql("UPDATE command SET state = 'done', answer = '{}', created_at = now() - interval '2 hours'");
    assert_eq!(store.prune_commands(10).await.unwrap(), 0);
    let last = claim().await;
    assert_eq!(ask(&last, &question).await.unwrap(), command);
    assert_eq!(store.command_progress(command).await.unwrap(), CommandProgress::Done(json!({})));
    // Another command does not get its answer.
    assert_ne!(ask(&last, &another).await.unwrap(), command);
    assert_eq!(store.prune_commands(10).await.unwrap(), 1);
}

#[tokio::test]
async fn a_command_that_failed_under_a_key_is_issued_again() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    world.line(&account).plan_fault("unregister", Fault::Fails(Failure::Refused("no".to_owned())));
    let first = claim(&process.store, account.user).await;
    let refused = process.sessions.unregister(account.id, Some(&first)).await;
    assert!(matches!(refused, Err(AskError::Refused(_))), "{refused:?}");
    let second = claim(&process.store, account.user).await;
    assert!(second.command.is_some() && !process.sessions.has_unregistered(Some(&second)).await.unwrap());
    process.sessions.unregister(account.id, Some(&second)).await.unwrap();
    // The account is removed, and a repeated request gets the same answer.
    let third = claim(&process.store, account.user).await;
    assert!(process.sessions.has_unregistered(Some(&third)).await.unwrap());
    process.sessions.unregister(account.id, Some(&third)).await.unwrap();
    assert_eq!(world.line(&account).calls().iter().filter(|call| **call == Call::Unregister).count(), 2);
}

#[tokio::test]
async fn a_command_that_panics_harms_only_its_own_answer() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    line.plan_fault("unregister", Fault::Panics);
    let asking = process.sessions.unregister(account.id, None);
    let (answer, ()) = tokio::join!(asking, async {
        line.opened(2).await;
        process.until_state(&account, "online").await;
        // The session goes on, even when its connection ends.
        line.ends(End::Retry("network_unreachable")).await;
        line.opened(3).await;
        process.until_state(&account, "online").await;
    });
    assert!(matches!(answer, Err(AskError::OutcomeUnknown)), "{answer:?}");
    process.sessions.unregister(account.id, None).await.unwrap();
}

#[tokio::test]
async fn unregistering_deletes_everything_and_leaves_a_tombstone() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let other = process.online(&world, "15550100009").await;
    let line = world.line(&account);
    line.stores(vec![message("15550100002", "m1", "hello", 1)]).await;
    process.send(&account, "15550100002", "hello").await;
    process.add_contact(&account, "15550100003", true).await;
    process.set_nickname(&account, "Anna").await;
    assert_eq!(process.mark_read(&account, "15550100002").await, 1);
    // After that nothing happens by itself.
    let sent = async || {
        process.journal(&account).await.iter().any(|entry| entry.kind == "message.sent").then_some(())
    };
    wait_until_async("the message is sent", DEADLINE, sent).await;
    let before = process.journal(&account).await.last().unwrap().seq;
    process.sessions.unregister(account.id, None).await.unwrap();
    line.waits_for_call(&Call::Unregister).await;
    assert!(process.store.account(account.user, None).await.unwrap().is_none());
    process.store.delete_all_removed().await.unwrap();
    for table in [
        "message",
        "chat",
        "contact",
        "outbox",
        "receipt_outbox",
        "desired_state",
        "peer_profile",
        "adapter_state",
    ] {
        let rows = world.sql(&format!("SELECT count(*) FROM {table} WHERE account_id = {}", account.id));
        assert_eq!(rows, "0", "{table}");
    }
    // The journal is kept: who follows it may be behind.
    let left = process.journal(&account).await;
    let last = left.last().unwrap();
    assert_eq!((last.kind.as_str(), last.seq), ("account.removed", before + 1));
    assert!(left.iter().map(|entry| entry.seq).eq(1..=last.seq));
    let closed = async || (line.open() == 0).then_some(());
    wait_until_async("the connection to end", DEADLINE, closed).await;
    assert_eq!(process.state(&other).await.name(), "online");

    // The number is registered again: its journal continues, its history does not.
    let again = process.waiting(&world, account.user, ANNA, NETWORK).await;
    process.sessions.register(&again).await.unwrap();
    process.until_state(&again, "online").await;
    assert_eq!(again.counter, account.counter);
    let journal = process.journal(&again).await;
    assert_eq!(journal.len(), left.len() + 2);
    assert_eq!(journal[left.len()].kind, "account.registered");
    assert_eq!(process.texts(&again, "15550100002").await, [""; 0]);
}

#[tokio::test]
async fn unregistering_that_the_network_refuses_removes_nothing() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    line.stores(vec![message("15550100002", "m1", "hello", 1)]).await;
    for failure in [Failure::Refused("no".to_owned()), Failure::Retry("network_unreachable")] {
        line.plan_fault("unregister", Fault::Fails(failure));
        let error = process.sessions.unregister(account.id, None).await.unwrap_err();
        assert!(matches!(error, AskError::Refused(_) | AskError::NotNow { .. }), "{error:?}");
    }
    assert_eq!(process.texts(&account, "15550100002").await, ["hello"]);
    assert_eq!(process.state(&account).await.name(), "online");
    // The session controls its connection again.
    line.ends(End::Retry("network_unreachable")).await;
    line.opened(2).await;
}

/// Claims a key for a process that has ended, so that it can be claimed again at once.
async fn claim(store: &Store, user: UserId) -> Claim {
    let process = ProcessId(0);
    let request = IdempotentRequest { user, route: "POST /", key: "k", fingerprint: &[0; 32], process };
    match store.claim_key(request).await.unwrap() {
        KeyState::Claimed(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn numbers(texts: &[&str]) -> Vec<PhoneNumber> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
