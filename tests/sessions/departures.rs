//! What could not leave its network at once: accounts whose numbers were taken over, and logins that are not used any more.

use windu::domain::Account;
use windu::upstream::{Credentials, Failure, Submitted};

use crate::scripted::{Call, Fault, Line, NETWORK};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{Process, World};

const ANNA: &str = "15550100001";
const LEFT: &str = "SELECT count(*) FROM departure";

fn away() -> Fault {
    Fault::Fails(Failure::Retry("network_unreachable"))
}

/// The time before the next attempt passes.
fn pass(world: &World) {
    world.sql("UPDATE departure SET due_at = now() - interval '1 second'");
}

/// The number moves to an account of the network of persons. A failed departure is not tried again for an hour, however long
/// the new session takes.
async fn moved(world: &World, process: &Process) -> Account {
    let account = process.unproved(world.user().await, ANNA).await;
    process.ask(world, &account).await.unwrap();
    process.enter(world, &account).await.unwrap();
    world.sql("UPDATE departure SET due_at = now() + interval '1 hour'");
    process.until_state(&account, "online").await;
    process.fresh(&account).await
}

fn calls(line: &Line, wanted: &Call) -> usize {
    line.calls().iter().filter(|call| *call == wanted).count()
}

async fn until_logged_out(line: &Line, logins: &[&str]) {
    wait_until_async("the log-outs", DEADLINE, async || {
        let ended = line.log_outs().into_iter().map(|(login, _)| login);
        let wanted = logins.iter().map(|login| Credentials(login.as_bytes().to_vec()));
        ended.eq(wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_login_that_could_not_be_ended_at_a_takeover_is_ended_later() {
    let world = World::new().await;
    let process = world.process();
    let former = process.persons(&world, ANNA).await;
    let line = world.line(&former);
    line.plan_fault("log_out", away());
    line.plan_fault("log_out", Fault::Fails(Failure::Refused("not now".to_owned())));
    let new = process.persons(&world, ANNA).await;
    assert!(process.fresh(&new).await.is_registered());
    assert_eq!(world.count(LEFT).await, 1);
    assert_eq!(world.sql("SELECT position('login'::bytea IN credentials) FROM departure"), "0");
    // Also by a process that was not there, and after the former account is gone.
    process.stop().await;
    let later = world.process();
    later.sessions.remove(&process.fresh(&former).await, false).await.unwrap();
    pass(&world);
    until_logged_out(&line, &["login 1"; 2]).await;
    wait_until_async("the pause", DEADLINE, async || {
        (world.sql("SELECT held_until IS NULL FROM departure") == "t").then_some(())
    })
    .await;
    pass(&world);
    until_logged_out(&line, &["login 1"; 3]).await;
    world.until_count(LEFT, 0).await;
    let states: Vec<_> = line.log_outs().into_iter().map(|(_, state)| state).collect();
    assert!(states[0].iter().any(|(key, value)| key == "login" && value == b"login 1"), "{states:?}");
    assert_eq!(states[0], states[2]);
    assert!(later.fresh(&new).await.is_registered());
}

#[tokio::test]
async fn a_login_that_a_new_one_replaces_is_ended_later() {
    let world = World::new().await;
    let process = world.process();
    let account = process.persons(&world, ANNA).await;
    let line = world.line(&account);
    line.plan_fault("log_out", away());
    process.ask(&world, &account).await.unwrap();
    process.enter(&world, &account).await.unwrap();
    assert_eq!(world.count(LEFT).await, 1);
    pass(&world);
    until_logged_out(&line, &["login 1"; 2]).await;
    world.until_count(LEFT, 0).await;
    // A refused code changes nothing about the login.
    process.ask(&world, &account).await.unwrap();
    line.plan_submissions(&[Submitted::Wrong]);
    process.enter(&world, &account).await.unwrap_err();
    assert_eq!((world.count(LEFT).await, line.log_outs().len()), (0, 2));
}

#[tokio::test]
async fn an_account_that_could_not_be_deleted_at_a_takeover_is_deleted_later() {
    let world = World::new().await;
    let process = world.process();
    let ours = process.waiting(&world, world.user().await, ANNA, NETWORK).await;
    process.sessions.register(&ours).await.unwrap();
    let line = world.line(&ours);
    line.plan_fault("unregister", away());
    // The number moves to another network, which does not wait for this one.
    assert!(moved(&world, &process).await.is_registered());
    assert!(!process.fresh(&ours).await.is_registered());
    assert_eq!((world.count(LEFT).await, calls(&line, &Call::Unregister)), (1, 1));
    pass(&world);
    world.until_count(LEFT, 0).await;
    assert_eq!(calls(&line, &Call::Unregister), 2);

    // It moves back before that: the new account there is not deleted.
    let again = process.waiting(&world, world.user().await, ANNA, NETWORK).await;
    process.sessions.register(&again).await.unwrap();
    line.plan_fault("unregister", away());
    moved(&world, &process).await;
    assert_eq!((world.count(LEFT).await, calls(&line, &Call::Unregister)), (1, 3));
    world.sql("UPDATE departure SET held_until = now() + interval '1 minute'");
    let last = process.waiting(&world, world.user().await, ANNA, NETWORK).await;
    process.sessions.register(&last).await.expect_err("it is just being deleted");
    world.sql("UPDATE departure SET held_until = NULL");
    process.sessions.register(&last).await.unwrap();
    process.until_state(&last, "online").await;
    assert_eq!((world.count(LEFT).await, calls(&line, &Call::Unregister)), (0, 3));
}

/// On the same network nothing is registered before the former account is deleted.
#[tokio::test]
async fn a_takeover_on_the_same_network_waits_for_the_deletion() {
    let world = World::new().await;
    let process = world.process();
    let former = process.online(&world, ANNA).await;
    let line = world.line(&former);
    line.plan_fault("unregister", away());
    line.plan_fault("register", away());
    let new = process.waiting(&world, world.user().await, ANNA, NETWORK).await;
    let registered = calls(&line, &Call::Register);
    process.sessions.register(&new).await.unwrap_err();
    assert_eq!((calls(&line, &Call::Register), calls(&line, &Call::Unregister)), (registered, 1));
    assert_eq!(world.count(LEFT).await, 1);
    process.sessions.register(&new).await.unwrap_err();
    // Nobody goes on with it.
    pass(&world);
    world.until_count(LEFT, 0).await;
    assert_eq!(calls(&line, &Call::Unregister), 2);
    process.sessions.register(&new).await.unwrap();
    process.until_state(&new, "online").await;
}
