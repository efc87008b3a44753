//! Registration, and numbers that change their owner.

use windu::domain::NeedsUser;
use windu::domain::SessionState;
use windu::sessions::RegisterError;
use windu::upstream::{End, Failure, Signal};

use crate::scripted::{Call, Fault, NETWORK, message};
use crate::world::World;

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";

#[tokio::test]
async fn without_a_code_nothing_is_registered() {
    let world = World::new().await;
    let process = world.process();
    let account = process.waiting(&world, world.user().await, ANNA, NETWORK).await;
    world.change(&account, "DELETE FROM verification_code WHERE account_id = $1").await;
    let error = process.sessions.register(&account).await.unwrap_err();
    assert!(matches!(error, RegisterError::UnderWay), "{error:?}");
    assert!(!process.fresh(&account).await.is_registered());
    assert_eq!(world.line(&account).calls(), []);
}

#[tokio::test]
async fn a_refusal_of_the_network_leaves_the_code_valid() {
    let world = World::new().await;
    let process = world.process();
    let account = process.waiting(&world, world.user().await, ANNA, NETWORK).await;
    world.line(&account).plan_fault("register", Fault::Fails(Failure::Refused("closed".to_owned())));
    let error = process.sessions.register(&account).await.unwrap_err();
    assert!(matches!(error, RegisterError::Network(Failure::Refused(_))), "{error:?}");
    assert!(!process.fresh(&account).await.is_registered());
    process.sessions.register(&account).await.unwrap();
    process.until_state(&account, "online").await;
    assert_eq!(world.count("SELECT count(*) FROM verification_code").await, 0);
}

#[tokio::test]
async fn a_working_registration_is_not_replaced() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    process.register_again(&world, &account).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM verification_code").await, 0);
    line.stores(vec![message(BEN, "m1", "still here", 1)]).await;
    assert_eq!(line.logins().len(), 1);
    assert_eq!(line.calls().iter().filter(|call| **call == Call::Register).count(), 1);
}

#[tokio::test]
async fn what_an_adapter_keeps_ends_with_the_registration() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let (lease, key) = (world.lease(&account).await, ["published".to_owned()]);
    process.store.put_adapter_state(&lease, &key, &[b"a picture".to_vec()]).await.unwrap();
    world.line(&account).signal(Signal::End(End::NeedsUser(NeedsUser::LoggedOut))).await;
    process.until_state(&account, "logged_out").await;
    assert_eq!(process.store.list_adapter_state(account.id, "pub").await.unwrap().len(), 1);
    process.register_again(&world, &account).await.unwrap();
    process.until_state(&account, "online").await;
    assert_eq!(process.store.list_adapter_state(account.id, "").await.unwrap(), []);
}

#[tokio::test]
async fn one_code_registers_once_however_often_it_is_entered() {
    let world = World::new().await;
    let process = world.process();
    let account = process.waiting(&world, world.user().await, ANNA, NETWORK).await;
    let sessions = &process.sessions;
    let (one, two, three) =
        tokio::join!(sessions.register(&account), sessions.register(&account), sessions.register(&account));
    assert_eq!([one, two, three].iter().filter(|outcome| outcome.is_ok()).count(), 1);
    process.until_state(&account, "online").await;
    assert_eq!(world.line(&account).calls().iter().filter(|call| **call == Call::Register).count(), 1);
    assert_eq!(process.entries(&account, "account.registered").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_another_user_proves_moves() {
    let world = World::new().await;
    let process = world.process();
    let ben = process.local(&world, BEN).await;
    let old = process.local(&world, ANNA).await;
    process.send(&ben, ANNA, "for the old owner").await;
    process.until_texts(&old, BEN, 1).await;
    // The old owner is offline when the next message comes. The new one must not receive it.
    process.stop().await;
    let idle = world.idle_process(windu::sessions::Timeouts::default());
    let queued = idle.send(&old, BEN, "never sent").await;
    world.sql(
        "INSERT INTO localnet_stanza (recipient, sender, stanza)
         VALUES ('15550100001', '15550100002', '{\"stanza\": \"text\", \"id\": \"b2\", \"text\": \"in the mailbox\"}')",
    );
    let new = idle.waiting(&world, world.user().await, ANNA, "local").await;
    idle.sessions.register(&new).await.unwrap();
    let running = world.process();
    running.until_state(&new, "online").await;
    running.send(&ben, ANNA, "for the new owner").await;
    assert_eq!(running.until_texts(&new, BEN, 1).await, ["for the new owner"]);

    let former = running.fresh(&old).await;
    assert!(!former.is_registered());
    assert_eq!(former.session.state, SessionState::NeedsUser(NeedsUser::LoggedOut));
    assert_eq!(former.session.reason.as_deref(), Some("moved"));
    assert_eq!(running.texts(&old, BEN).await, ["for the old owner", "never sent"]);
    assert_eq!(running.message(&old, BEN, &queued).await.failure.as_deref(), Some("unregistered"));
    let kinds = running.kinds(&old).await;
    assert_eq!(kinds[kinds.len() - 2..], ["account.unregistered", "message.failed"]);
    assert_eq!(running.kinds(&new).await[0], "account.registered");
    assert_eq!(world.count("SELECT count(*) FROM account WHERE registered_at IS NOT NULL").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_users_who_prove_one_number_at_once_leave_it_registered_once() {
    let world = World::new().await;
    let process = world.process();
    for round in 0..5 {
        let number = format!("1555010001{round}");
        let one = process.waiting(&world, world.user().await, &number, "local").await;
        let two = process.waiting(&world, world.user().await, &number, "local").await;
        let outcomes = tokio::join!(process.sessions.register(&one), process.sessions.register(&two));
        assert!(outcomes.0.is_ok() || outcomes.1.is_ok(), "{outcomes:?}");
        let registered =
            [process.fresh(&one).await.is_registered(), process.fresh(&two).await.is_registered()];
        assert!(registered[0] != registered[1], "{registered:?}");
        // The owner now has the login that works.
        process.until_state(if registered[0] { &one } else { &two }, "online").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_subscriber_leaves_is_deleted_in_slices() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.local(&world, ANNA).await, process.local(&world, BEN).await);
    process.stop().await;
    world.sql(
        "CREATE TABLE slice (size bigint);
         CREATE FUNCTION note_slice() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO slice SELECT count(*) FROM changed; RETURN NULL; END $$;
         CREATE TRIGGER slices AFTER DELETE ON localnet_stanza REFERENCING OLD TABLE AS changed
             FOR EACH STATEMENT EXECUTE FUNCTION note_slice();
         CREATE TRIGGER update_slices AFTER UPDATE ON localnet_watch REFERENCING OLD TABLE AS changed
             FOR EACH STATEMENT EXECUTE FUNCTION note_slice();
         CREATE TRIGGER slices AFTER DELETE ON localnet_watch REFERENCING OLD TABLE AS changed
             FOR EACH STATEMENT EXECUTE FUNCTION note_slice();
         CREATE TRIGGER slices AFTER DELETE ON localnet_contact REFERENCING OLD TABLE AS changed
             FOR EACH STATEMENT EXECUTE FUNCTION note_slice();
         CREATE TRIGGER slices AFTER DELETE ON localnet_block REFERENCING OLD TABLE AS changed
             FOR EACH STATEMENT EXECUTE FUNCTION note_slice();
         INSERT INTO localnet_subscriber (number, incarnation) SELECT 16000000000 + i, '-' FROM generate_series(1, 2500) i;
         INSERT INTO localnet_stanza (recipient, sender, stanza) SELECT '15550100001', number, '{}' FROM localnet_subscriber;
         INSERT INTO localnet_watch (watched, watcher) SELECT '15550100001', number FROM localnet_subscriber
             WHERE number LIKE '16%';
         UPDATE localnet_watch SET told = '{\"nickname\": \"A\"}' WHERE watched = '15550100001';
         DELETE FROM slice;
         INSERT INTO localnet_watch (watched, watcher) SELECT number, '15550100001' FROM localnet_subscriber WHERE number LIKE '16%';
         INSERT INTO localnet_contact SELECT '15550100001', number FROM localnet_subscriber;
         INSERT INTO localnet_block SELECT '15550100001', number FROM localnet_subscriber;
         INSERT INTO localnet_group (address, subject, creator) SELECT 'group:' || i, 'G', '15550100002' FROM generate_series(1, 3) i;
         INSERT INTO localnet_member (address, number, position) SELECT address, '15550100001', 1 FROM localnet_group;
         INSERT INTO localnet_member (address, number, position, admin) SELECT address, '15550100002', 2, true FROM localnet_group",
    );
    let again = world.idle_process(windu::sessions::Timeouts::default());
    again.sessions.remove(&anna, false).await.unwrap();
    let largest = world.count("SELECT max(size) FROM slice").await;
    assert_eq!(largest, 1_000);
    for table in [
        "SELECT count(*) FROM localnet_stanza WHERE recipient = '15550100001'",
        "SELECT count(*) FROM localnet_watch WHERE watcher = '15550100001' OR told <> '{}'",
        "SELECT count(*) FROM localnet_contact WHERE owner = '15550100001'",
        "SELECT count(*) FROM localnet_block WHERE owner = '15550100001'",
        "SELECT count(*) FROM localnet_member WHERE number = '15550100001'",
        "SELECT count(*) FROM localnet_subscriber WHERE number = '15550100001'",
    ] {
        assert_eq!(world.count(table).await, 0, "{table}");
    }
    let gone =
        "SELECT count(*) FROM localnet_stanza WHERE sender = '15550100001' AND stanza->>'stanza' = 'gone'
                AND recipient LIKE '16%'";
    assert_eq!(world.count(gone).await, 2_500);
    let left =
        "SELECT count(*) FROM localnet_stanza WHERE sender = '15550100001' AND stanza->>'stanza' = 'group'
                AND recipient = '15550100002'";
    assert_eq!(world.count(left).await, 3);
    assert!(again.fresh(&ben).await.is_registered());
}
