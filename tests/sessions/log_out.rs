//! Accounts that persons own: they are logged out, never deleted, at each end of an account.

use windu::domain::{NeedsUser, SessionState};
use windu::sessions::{AskError, RegisterError, Timeouts};
use windu::upstream::{Credentials, Failure};

use crate::scripted::{Call, Fault, NETWORK, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";

#[tokio::test]
async fn removing_an_account_logs_it_out_with_its_credentials_and_state() {
    let world = World::new().await;
    let process = world.process();
    let account = process.persons(&world, ANNA).await;
    let line = world.line(&account);
    for failure in [Failure::Refused("no".to_owned()), Failure::Retry("network_unreachable")] {
        line.plan_fault("log_out", Fault::Fails(failure));
        let error = process.sessions.unregister(account.id, None).await.unwrap_err();
        assert!(matches!(error, AskError::Refused(_) | AskError::NotNow { .. }), "{error:?}");
        assert!(process.fresh(&account).await.is_registered());
    }
    line.stores(vec![message(BEN, "m1", "still here", 1)]).await;
    process.sessions.unregister(account.id, None).await.unwrap();
    assert!(process.store.account(account.user, None).await.unwrap().is_none());
    let state =
        vec![("login".to_owned(), b"login 1".to_vec()), ("session".to_owned(), b"start submit".to_vec())];
    assert_eq!(line.log_outs(), vec![(login(1), state); 3]);
    assert!(!line.calls().contains(&Call::Unregister));
    let closed = async || (line.open() == 0).then_some(());
    wait_until_async("the connection to end", DEADLINE, closed).await;
}

#[tokio::test]
async fn a_removal_without_a_session_logs_out_too() {
    let world = World::new().await;
    let process = world.process();
    let (one, two) = (process.persons(&world, ANNA).await, process.persons(&world, BEN).await);
    process.stop().await;
    // As the command line does it, beside the server or without one.
    let other = world.idle_process(Timeouts::default());
    let line = world.line(&one);
    line.plan_fault("log_out", Fault::Fails(Failure::Retry("network_unreachable")));
    let error = other.sessions.remove(&one, false).await.unwrap_err();
    assert!(matches!(error, RegisterError::Network(Failure::Retry(_))), "{error:?}");
    assert!(other.fresh(&one).await.is_registered());
    line.plan_fault("log_out", Fault::Fails(Failure::Retry("network_unreachable")));
    other.sessions.remove(&one, true).await.unwrap();
    assert_eq!(line.log_outs().len(), 2);
    // Before a user is deleted.
    other.sessions.remove_all(two.user).await.unwrap();
    let state =
        vec![("login".to_owned(), b"login 1".to_vec()), ("session".to_owned(), b"start submit".to_vec())];
    assert_eq!(world.line(&two).log_outs(), [(login(1), state)]);
    for account in [&one, &two] {
        assert!(other.store.account(account.user, None).await.unwrap().is_none());
        assert!(!world.line(account).calls().contains(&Call::Unregister));
    }
}

#[tokio::test]
async fn the_session_of_a_former_owner_ends_and_the_account_stays_on_the_network() {
    let world = World::new().await;
    let process = world.process();
    let former = process.persons(&world, ANNA).await;
    let line = world.line(&former);
    let new = process.persons(&world, ANNA).await;
    assert_eq!(
        line.logins().iter().map(|login| login.credentials.clone()).collect::<Vec<_>>(),
        [login(1), login(2)]
    );
    assert_eq!(line.log_outs().into_iter().map(|(login, _)| login).collect::<Vec<_>>(), [login(1)]);
    assert!(!line.calls().contains(&Call::Unregister));
    let moved = process.fresh(&former).await;
    assert!(!moved.is_registered());
    assert_eq!(moved.session.state, SessionState::NeedsUser(NeedsUser::LoggedOut));
    let one = async || (line.open() == 1).then_some(());
    wait_until_async("the former session to end", DEADLINE, one).await;
    line.stores(vec![message(BEN, "m1", "for the new owner", 1)]).await;
    assert_eq!(process.texts(&new, BEN).await, ["for the new owner"]);
    assert_eq!(process.texts(&former, BEN).await, [""; 0]);

    // A log-out that fails does not keep the number from its next owner.
    line.plan_fault("log_out", Fault::Fails(Failure::Refused("no".to_owned())));
    process.persons(&world, ANNA).await;
    assert!(!process.fresh(&new).await.is_registered());
}

#[tokio::test]
async fn a_number_moves_between_networks_of_both_kinds() {
    let world = World::new().await;
    let process = world.process();
    let persons = process.persons(&world, ANNA).await;
    let ours = process.waiting(&world, world.user().await, ANNA, NETWORK).await;
    process.sessions.register(&ours).await.unwrap();
    process.until_state(&ours, "online").await;
    assert_eq!(world.line(&persons).log_outs().len(), 1);
    assert!(!process.fresh(&persons).await.is_registered());
    let again = process.persons(&world, ANNA).await;
    assert!(world.line(&ours).calls().contains(&Call::Unregister));
    assert!(!process.fresh(&ours).await.is_registered());
    assert!(process.fresh(&again).await.is_registered());
}

/// The credentials that the network gives for the n-th submission.
fn login(n: usize) -> Credentials {
    Credentials(format!("login {n}").into_bytes())
}
