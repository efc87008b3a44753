//! Registration by codes that the network sends, over several processes and accounts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use windu::db::DbError;
use windu::domain::NeedsUser;
use windu::sessions::{CodeRequestError, RegisterError, SubmitError, Timeouts};
use windu::upstream::{CodeMethod, Credentials, End, Failure, Proof, Submitted};

use crate::scripted::{Call, Fault, PERSONS, Values, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";

#[tokio::test]
async fn a_code_of_the_network_registers_and_the_adapters_state_becomes_the_accounts() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    let sent = process.ask(&world, &account).await.unwrap();
    assert_eq!((sent.method, sent.length), (CodeMethod::Sms, 5));
    let line = world.line(&account);
    line.plan_submissions(&[Submitted::Wrong, Submitted::Expired, Submitted::NoSuchAccount]);
    let wrong = process.submit(&world, &account, Some("11111"), None).await;
    assert!(matches!(wrong, Err(SubmitError::WrongCode)), "{wrong:?}");
    let expired = process.enter(&world, &account).await;
    assert!(matches!(expired, Err(SubmitError::Expired)), "{expired:?}");
    let nobody = process.enter(&world, &account).await;
    assert!(matches!(nobody, Err(SubmitError::NoSuchAccount)), "{nobody:?}");
    assert!(!process.fresh(&account).await.is_registered());

    process.enter(&world, &account).await.unwrap();
    process.until_state(&account, "online").await;
    assert_eq!(line.logins()[0].credentials, Credentials(b"login 4".to_vec()));
    assert_eq!(
        line.states(),
        [state(&[("login", "login 4"), ("session", "start submit submit submit submit")])]
    );
    assert_eq!(process.kinds(&account).await[0], "account.registered");
    assert!(process.fresh(&account).await.was_proved);
    for left in [
        "SELECT count(*) FROM registration",
        "SELECT count(*) FROM registration_state",
        "SELECT count(*) FROM registration_lease",
    ] {
        assert_eq!(world.count(left).await, 0, "{left}");
    }
}

#[tokio::test]
async fn each_step_may_run_in_another_process() {
    let world = World::new().await;
    let first = world.process();
    let account = first.unproved(world.user().await, ANNA).await;
    first.ask(&world, &account).await.unwrap();
    // Without an orderly end: its heartbeat is fresh for a while.
    drop(first);
    let second = world.process();
    second.ask(&world, &account).await.unwrap();
    let third = world.process();
    third.enter(&world, &account).await.unwrap();
    third.until_state(&account, "online").await;
    let calls = world.line(&account).calls();
    let submitted = Call::Submit(Proof::Code(crate::world::CODE.to_owned()));
    assert_eq!(calls, [Call::Start(CodeMethod::Sms), Call::Again(CodeMethod::Sms), submitted]);
    assert_eq!(world.line(&account).states()[0][1], ("session".to_owned(), b"start again submit".to_vec()));
}

#[tokio::test]
async fn requests_about_one_number_come_one_after_the_other() {
    let world = World::new().await;
    let (one, two) = (world.process(), world.process());
    let account = one.unproved(world.user().await, ANNA).await;
    let others = one.unproved(world.user().await, ANNA).await;
    one.ask(&world, &account).await.unwrap();
    let (line, released) = (world.line(&account), Arc::new(Notify::new()));
    line.plan_fault("submit", Fault::Waits(released.clone()));
    let ((), submitted) = tokio::join!(
        async {
            line.waits_for_call(&Call::Submit(Proof::Code(crate::world::CODE.to_owned()))).await;
            for process in [&one, &two] {
                let busy = process.enter(&world, &account).await;
                assert!(matches!(busy, Err(SubmitError::Register(RegisterError::UnderWay))), "{busy:?}");
                let busy = process.ask(&world, &others).await;
                assert!(matches!(busy, Err(CodeRequestError::Register(RegisterError::UnderWay))), "{busy:?}");
            }
            released.notify_one();
        },
        one.enter(&world, &account)
    );
    submitted.unwrap();
    assert_eq!(line.calls().len(), 2, "{:?}", line.calls());
    // Each account has a state of its own.
    two.ask(&world, &others).await.unwrap();
}

#[tokio::test]
async fn a_request_that_lost_its_lease_writes_nothing() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    process.ask(&world, &account).await.unwrap();
    let (line, released) = (world.line(&account), Arc::new(Notify::new()));
    line.plan_fault("submit", Fault::Waits(released.clone()));
    let ((), submitted) = tokio::join!(
        async {
            line.waits_for_call(&Call::Submit(Proof::Code(crate::world::CODE.to_owned()))).await;
            world.sql("UPDATE registration_lease SET fence = nextval('registration_fence')");
            released.notify_one();
        },
        process.enter(&world, &account)
    );
    assert!(matches!(submitted, Err(SubmitError::Register(RegisterError::UnderWay))), "{submitted:?}");
    assert!(!process.fresh(&account).await.is_registered());
    let kept = process.store.list_registration_state(account.id, "").await.unwrap();
    let kept: Vec<&str> = kept.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(kept, ["session"]);
    // The lease of the other one is not released.
    assert_eq!(world.count("SELECT count(*) FROM registration_lease").await, 1);
}

#[tokio::test]
async fn each_write_of_a_registration_is_refused_without_its_lease() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    process.ask(&world, &account).await.unwrap();
    let store = &process.store;
    let me = process.sessions.process(DEADLINE).await.unwrap();
    let claim =
        async || store.claim_registration(me, account.id, PERSONS, &account.number, DEADLINE).await.unwrap();
    let lease = claim().await.unwrap();
    assert!(claim().await.is_none());
    let key = ["key".to_owned()];
    for lost in [false, true] {
        if lost {
            store.release_registration(&lease).await.unwrap();
            assert!(claim().await.is_some_and(|later| later != lease));
        }
        let mut tx = store.begin().await.unwrap();
        let outcomes = [
            ("start", store.start_registration(&lease).await),
            ("put", store.put_registration_state(&lease, &key, &[b"value".to_vec()]).await),
            ("delete", store.delete_registration_state(&lease, &key).await),
            ("sent", store.network_code_sent(&lease, 5, Duration::ZERO).await),
            ("password", store.network_needs_password(&lease).await),
            ("login", store.keep_login(&lease, b"sealed").await.map(drop)),
            ("registration", tx.assert_registration(&lease).await),
        ];
        for (what, outcome) in outcomes {
            let refused = matches!(outcome, Err(DbError::Fenced));
            assert_eq!(refused, lost, "{what}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn the_lease_of_a_dead_process_is_taken_over() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    let store = &process.store;
    let networks = [PERSONS.to_owned()];
    let claim = async |name: &str| {
        let other = store.join_process(name, &networks).await.unwrap();
        let lease = store.claim_registration(other, account.id, PERSONS, &account.number, DEADLINE).await;
        (other, lease.unwrap().expect("a free lease"))
    };
    let busy = async || {
        let outcome = process.ask(&world, &account).await;
        assert!(matches!(outcome, Err(CodeRequestError::Register(RegisterError::UnderWay))), "{outcome:?}");
    };
    let (killed, lease) = claim("killed").await;
    busy().await;
    world
        .sql(&format!("UPDATE process SET heartbeat_at = now() - interval '16 seconds' WHERE id = {killed}"));
    assert!(
        store
            .claim_registration(killed, account.id, PERSONS, &account.number, DEADLINE)
            .await
            .unwrap()
            .is_none(),
        "a process without a heartbeat claims nothing"
    );
    process.ask(&world, &account).await.unwrap();
    let late = store.put_registration_state(&lease, &["key".to_owned()], &[Vec::new()]).await;
    assert!(matches!(late, Err(DbError::Fenced)), "{late:?}");

    // Of a process that is known to be dead.
    let _ = claim("dead").await;
    busy().await;
    store.forget_process("dead").await.unwrap();
    process.ask(&world, &account).await.unwrap();

    // One that has left in order may still be speaking to the network.
    let (left, _) = claim("leaves").await;
    store.leave_process(left).await.unwrap();
    busy().await;
    world.sql("UPDATE registration_lease SET held_until = now() - interval '1 second'");
    process.ask(&world, &account).await.unwrap();
}

#[tokio::test]
async fn a_password_may_follow_the_code_or_come_with_it() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    let none = process.enter(&world, &account).await;
    assert!(matches!(none, Err(SubmitError::NoneAsked)), "{none:?}");
    process.ask(&world, &account).await.unwrap();
    let line = world.line(&account);
    let alone = process.submit(&world, &account, None, Some("secret")).await;
    assert!(matches!(alone, Err(SubmitError::NeedsCode)), "{alone:?}");
    line.plan_submissions(&[Submitted::NeedsPassword, Submitted::Wrong]);
    for (code, password) in [(Some("12345"), None), (None, Some("wrong"))] {
        let error = process.submit(&world, &account, code, password).await.unwrap_err();
        assert!(matches!(
            (password, error),
            (None, SubmitError::NeedsPassword) | (Some(_), SubmitError::WrongPassword)
        ));
    }
    // The network has accepted the code, and is not asked about it again.
    process.submit(&world, &account, Some("12345"), Some("secret")).await.unwrap();
    let password = |text: &str| Call::Submit(Proof::Password(text.to_owned()));
    let code = Call::Submit(Proof::Code("12345".to_owned()));
    let start = Call::Start(CodeMethod::Sms);
    assert_eq!(line.calls(), [start.clone(), code.clone(), password("wrong"), password("secret")]);

    let other = process.unproved(world.user().await, BEN).await;
    process.ask(&world, &other).await.unwrap();
    world.line(&other).plan_submissions(&[Submitted::NeedsPassword]);
    process.submit(&world, &other, Some("12345"), Some("secret")).await.unwrap();
    assert_eq!(world.line(&other).calls(), [start, code, password("secret")]);
    process.until_state(&other, "online").await;
}

#[tokio::test]
async fn a_network_that_sends_no_code_says_why_and_the_next_request_starts_anew() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    let line = world.line(&account);
    for failure in [
        Failure::Retry("network_unreachable"),
        Failure::Refused("banned".to_owned()),
        Failure::Unsupported("send codes"),
    ] {
        line.plan_fault("start", Fault::Fails(failure.clone()));
        let error = process.ask(&world, &account).await.unwrap_err();
        let CodeRequestError::Register(RegisterError::Network(found)) = error else { panic!("{error:?}") };
        assert_eq!(found, failure);
    }
    line.plan_fault("start", Fault::Fails(Failure::RateLimited(Duration::from_secs(90))));
    let error = process.ask(&world, &account).await.unwrap_err();
    assert!(matches!(error, CodeRequestError::TooSoon { retry_after: 90 }), "{error:?}");
    let none = process.enter(&world, &account).await;
    assert!(matches!(none, Err(SubmitError::NoneAsked)), "{none:?}");
    process.ask(&world, &account).await.unwrap();
    line.plan_fault("submit", Fault::Fails(Failure::RateLimited(Duration::from_secs(30))));
    let error = process.enter(&world, &account).await.unwrap_err();
    assert!(matches!(error, SubmitError::TooMany { retry_after: 30 }), "{error:?}");
    assert_eq!(line.calls().iter().filter(|call| matches!(call, Call::Start(_))).count(), 5);
}

#[tokio::test]
async fn a_session_goes_on_until_a_new_login_replaces_its_own() {
    let world = World::new().await;
    let process = world.process();
    let account = process.persons(&world, ANNA).await;
    let line = world.line(&account);
    let lease = world.lease(&account).await;
    process
        .store
        .put_adapter_state(&lease, &["keys".to_owned()], &[b"of the old login".to_vec()])
        .await
        .unwrap();
    process.ask(&world, &account).await.unwrap();
    line.plan_submissions(&[Submitted::Wrong]);
    process.enter(&world, &account).await.unwrap_err();
    line.stores(vec![message(BEN, "m1", "meanwhile", 1)]).await;
    assert_eq!((world.lease(&account).await, line.logins().len()), (lease, 1));
    assert_eq!(line.log_outs(), []);

    process.enter(&world, &account).await.unwrap();
    line.opened(2).await;
    process.until_state(&account, "online").await;
    let login = |text: &str| Credentials(text.as_bytes().to_vec());
    assert_eq!(line.logins()[1].credentials, login("login 3"));
    assert_eq!(line.states()[1], state(&[("login", "login 3"), ("session", "start submit submit")]));
    let old = state(&[("keys", "of the old login"), ("login", "login 1"), ("session", "start submit")]);
    assert_eq!(line.log_outs(), [(login("login 1"), old)]);
    assert_eq!(process.texts(&account, BEN).await, ["meanwhile"]);
}

#[tokio::test]
async fn broken_credentials_are_renewed() {
    let world = World::new().await;
    let process = world.process();
    let account = process.persons(&world, ANNA).await;
    let line = world.line(&account);
    line.ends(End::NeedsUser(NeedsUser::LoggedOut)).await;
    process.until_state(&account, "logged_out").await;
    process.ask(&world, &account).await.unwrap();
    process.enter(&world, &account).await.unwrap();
    process.until_state(&account, "online").await;
    assert_eq!(line.logins()[1].credentials, Credentials(b"login 2".to_vec()));
    assert_eq!(line.states()[1], state(&[("login", "login 2"), ("session", "start submit")]));
    // The network has ended that login itself.
    assert_eq!(line.log_outs(), []);
}

#[tokio::test]
async fn one_code_registers_once_however_often_it_is_entered() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    process.ask(&world, &account).await.unwrap();
    let (one, two, three) = tokio::join!(
        process.enter(&world, &account),
        process.enter(&world, &account),
        process.enter(&world, &account)
    );
    assert!([one, two, three].iter().any(Result::is_ok));
    let again = process.enter(&world, &account).await;
    assert!(matches!(again, Err(SubmitError::NoneAsked)), "{again:?}");
    process.until_state(&account, "online").await;
    assert_eq!(process.entries(&account, "account.registered").await.len(), 1);
}

/// The next login is not stored with its account.
fn refuse_once(world: &World) {
    world.sql(
        "CREATE SEQUENCE failure;
         CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF nextval('failure') = 1 THEN RAISE EXCEPTION 'not now'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER fail BEFORE UPDATE OF registered_at ON account FOR EACH ROW
         WHEN (NEW.registered_at IS NOT NULL) EXECUTE FUNCTION fail_once()",
    );
}

#[tokio::test]
async fn a_login_that_could_not_be_stored_is_kept() {
    let world = World::new().await;
    let process = world.process();
    refuse_once(&world);
    let account = process.unproved(world.user().await, ANNA).await;
    process.ask(&world, &account).await.unwrap();
    let error = process.enter(&world, &account).await.unwrap_err();
    assert!(matches!(error, SubmitError::Register(RegisterError::Store(_))), "{error:?}");
    assert!(!process.fresh(&account).await.is_registered());
    // The network takes a code once.
    let line = world.line(&account);
    line.plan_submissions(&[Submitted::Expired]);
    process.enter(&world, &account).await.unwrap();
    process.until_state(&account, "online").await;
    assert_eq!(line.logins()[0].credentials, Credentials(b"login 1".to_vec()));
    assert_eq!(line.calls().iter().filter(|call| matches!(call, Call::Submit(_))).count(), 1);
}

#[tokio::test]
async fn a_kept_login_does_not_take_the_number_from_who_proved_it_later() {
    let world = World::new().await;
    let process = world.process();
    refuse_once(&world);
    let early = process.unproved(world.user().await, ANNA).await;
    process.ask(&world, &early).await.unwrap();
    process.enter(&world, &early).await.unwrap_err();
    let late = process.persons(&world, ANNA).await;
    let error = process.enter(&world, &early).await.unwrap_err();
    assert!(matches!(error, SubmitError::NoneAsked), "{error:?}");
    assert!(process.fresh(&late).await.is_registered());
    assert!(!process.fresh(&early).await.is_registered());
}

#[tokio::test]
async fn a_database_that_is_away_after_the_networks_answer_loses_no_login() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    process.ask(&world, &account).await.unwrap();
    // The write of the login fails once, as by a full disk.
    world.sql(
        "CREATE SEQUENCE failure;
         CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF nextval('failure') = 1 THEN RAISE SQLSTATE '53100'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER fail BEFORE UPDATE OF credentials ON registration
         FOR EACH ROW EXECUTE FUNCTION fail_once()",
    );
    process.enter(&world, &account).await.unwrap();
    process.until_state(&account, "online").await;
    assert_eq!(world.sql("SELECT last_value FROM failure"), "2");
    assert_eq!(world.line(&account).calls().len(), 2);
}

#[tokio::test]
async fn an_account_that_is_removed_while_its_number_is_proved_leaves_no_login() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    process.ask(&world, &account).await.unwrap();
    let (line, released) = (world.line(&account), Arc::new(Notify::new()));
    line.plan_fault("submit", Fault::Waits(released.clone()));
    let ((), submitted) = tokio::join!(
        async {
            line.waits_for_call(&Call::Submit(Proof::Code(crate::world::CODE.to_owned()))).await;
            let mut tx = process.store.begin().await.unwrap();
            assert!(tx.remove_unregistered(&account).await.unwrap());
            tx.commit().await.unwrap();
            released.notify_one();
        },
        async {
            let entered = windu::sessions::Entered { code: Some("12345".to_owned()), password: None };
            process.sessions.submit_to_network(&account, &world.persons, &entered).await
        }
    );
    assert!(matches!(submitted, Err(SubmitError::Register(RegisterError::Removed))), "{submitted:?}");
    let kept = state(&[("login", "login 1"), ("session", "start submit")]);
    assert_eq!(line.log_outs(), [(Credentials(b"login 1".to_vec()), kept)]);
    process.store.delete_all_removed().await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM registration_state").await, 0);
}

#[tokio::test]
async fn codes_of_ours_do_not_register_on_a_network_of_persons() {
    let world = World::new().await;
    let process = world.process();
    let account = process.waiting(&world, world.user().await, ANNA, PERSONS).await;
    let error = process.sessions.register(&account).await.unwrap_err();
    assert!(matches!(error, RegisterError::Network(Failure::Unsupported(_))), "{error:?}");
    assert_eq!(world.line(&account).calls(), []);
}

#[tokio::test]
async fn registrations_that_nobody_goes_on_with_are_forgotten() {
    let world = World::new().await;
    let process = world.process();
    let account = process.unproved(world.user().await, ANNA).await;
    process.ask(&world, &account).await.unwrap();
    let lease = world.process_with(Timeouts::default());
    let other = lease.sessions.process(DEADLINE).await.unwrap();
    let number = &account.number;
    lease.store.claim_registration(other, account.id, PERSONS, number, DEADLINE).await.unwrap().unwrap();
    assert_eq!(process.store.prune_registrations(10).await.unwrap(), 0);
    world.sql(
        "UPDATE registration SET updated_at = now() - interval '25 hours';
         UPDATE registration_lease SET held_until = now() - interval '1 second'",
    );
    let none = process.enter(&world, &account).await;
    assert!(matches!(none, Err(SubmitError::NoneAsked)), "{none:?}");
    world.sql("INSERT INTO registration_lease VALUES ('x', '1', 0, 0, now() - interval '1 second')");
    assert_eq!(process.store.prune_registrations(10).await.unwrap(), 2);
    assert_eq!(world.count("SELECT count(*) FROM registration_state").await, 0);
    let began = async || process.ask(&world, &account).await.ok();
    wait_until_async("a new registration", DEADLINE, began).await;
    assert_eq!(world.line(&account).calls(), [Call::Start(CodeMethod::Sms), Call::Start(CodeMethod::Sms)]);
}

fn state(values: &[(&str, &str)]) -> Values {
    values.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}
