//! Whole conversations on the local network.

use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{Process, World};
use windu::domain::Account;

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_travels_through_two_processes() {
    let world = World::new().await;
    let (one, two) = (world.process(), world.process());
    let (anna, ben) = (one.local(&world, ANNA).await, two.local(&world, BEN).await);
    one.set_nickname(&anna, "Anna").await;
    let id = one.send(&anna, BEN, "Hello, Ben").await;
    assert_eq!(two.until_texts(&ben, ANNA, 1).await, ["Hello, Ben"]);
    one.until_entries(&anna, "message.delivered", 1).await;
    assert_eq!(two.mark_read(&ben, ANNA).await, 1);
    one.until_entries(&anna, "message.read", 1).await;
    let message = one.message(&anna, BEN, &id).await;
    assert!(message.sent <= message.delivered && message.delivered < message.read, "{message:?}");
    let kinds: Vec<String> =
        one.kinds(&anna).await.into_iter().filter(|kind| kind.starts_with("message.")).collect();
    assert_eq!(kinds, ["message.queued", "message.sent", "message.delivered", "message.read"]);
    // The nickname of a chat partner is received.
    let titled = async || {
        let page = windu::store::Page { limit: 9, offset: 0, after: chrono::DateTime::UNIX_EPOCH };
        (two.store.chats(&ben, page).await.unwrap()[0].title == "Anna").then_some(())
    };
    wait_until_async("the nickname", DEADLINE, titled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_wait_while_no_process_runs() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.local(&world, ANNA).await, process.local(&world, BEN).await);
    process.stop().await;
    let idle = world.idle_process(windu::sessions::Timeouts::default());
    for index in 0..250 {
        idle.send(&anna, BEN, &index.to_string()).await;
    }
    let again = world.process();
    let texts = again.until_texts(&ben, ANNA, 250).await;
    assert!(texts.into_iter().eq((0..250).map(|index| index.to_string())));
    again.until_entries(&anna, "message.delivered", 250).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_sent_twice_is_stored_once() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.local(&world, ANNA).await, process.local(&world, BEN).await);
    let id = process.send(&anna, BEN, "once").await;
    process.until_message(&anna, BEN, &id, "sent").await;
    process.until_texts(&ben, ANNA, 1).await;
    process.until_entries(&anna, "message.delivered", 1).await;
    // Simulates a kill between the response of the network and the commit: the message is due again.
    let due =
        "WITH back AS (UPDATE message SET state = 'queued', sent_at = NULL WHERE account_id = $1 RETURNING *)
         INSERT INTO outbox (message_id, account_id, chat_id, expires_at)
         SELECT id, account_id, chat_id, now() + interval '1 hour' FROM back";
    assert_eq!(world.change(&anna, due).await, 1);
    process.until_message(&anna, BEN, &id, "sent").await;
    world.until_count("SELECT count(*) FROM localnet_stanza", 0).await;
    assert_eq!(process.texts(&ben, ANNA).await, ["once"]);
    assert_eq!(process.entries(&ben, "message.received").await.len(), 1);
    assert_eq!(process.entries(&anna, "message.delivered").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_an_unregistered_number_fails() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.local(&world, ANNA).await, process.local(&world, BEN).await);
    process.sessions.unregister(ben.id, None).await.unwrap();
    let id = process.send(&anna, BEN, "anybody there?").await;
    let message = process.until_message(&anna, BEN, &id, "failed").await;
    assert_eq!(message.failure.as_deref(), Some("recipient_gone"));
}

/// A number gets another owner, who must not receive messages for the earlier one, while a session is about to put
/// something into its mailbox: a message, or the receipt for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_arrives_while_a_number_changes_its_owner_is_dropped() {
    for (moves, message, statement) in
        [(BEN, "failed", "WITH sender AS%"), (ANNA, "sent", "WITH removed AS%localnet_stanza%")]
    {
        let world = World::new().await;
        let process = world.process();
        let (anna, ben) = (process.local(&world, ANNA).await, process.local(&world, BEN).await);
        // No other event is left to be delivered.
        process.send(&anna, BEN, "for Ben").await;
        process.until_texts(&ben, ANNA, 1).await;
        process.until_entries(&anna, "message.delivered", 1).await;
        world.until_count("SELECT count(*) FROM desired_state WHERE applied < version", 0).await;
        world.until_count("SELECT count(*) FROM localnet_stanza", 0).await;
        let moved = world.hold(&format!(
            "DELETE FROM localnet_subscriber WHERE number = '{moves}';
             INSERT INTO localnet_subscriber (number, incarnation) VALUES ('{moves}', 'another');"
        ));
        let id = process.send(&anna, BEN, "for whom?").await;
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
             AND wait_event_type = 'Lock' AND query LIKE '{statement}'"
        );
        let waits = async || (world.sql(&waiting) == "1").then_some(());
        wait_until_async("the session to wait for the number", DEADLINE, waits).await;
        moved.commit();
        process.until_message(&anna, BEN, &id, message).await;
        let none = async || (world.sql(&waiting) == "0").then_some(());
        wait_until_async("the session to go on", DEADLINE, none).await;
        let found = format!("SELECT count(*) FROM localnet_stanza WHERE recipient = '{moves}'");
        assert_eq!(world.sql(&found), "0", "{moves}");
    }
}

/// A change of a profile is one transaction for each slice of its watchers. What fails in between goes on with the next
/// attempt, although that changes nothing itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watchers_see_a_change_in_slices() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.local(&world, ANNA).await;
    world.until_count("SELECT count(*) FROM desired_state WHERE applied < version", 0).await;
    world.sql(
        "INSERT INTO localnet_subscriber (number, incarnation) SELECT 16000000000 + i, '-' FROM generate_series(1, 2500) i;
         INSERT INTO localnet_watch (watched, watcher) SELECT '15550100001', number FROM localnet_subscriber
             WHERE number LIKE '16%';
         CREATE TABLE slice (transaction bigint, size bigint);
         CREATE TABLE failing ();
         INSERT INTO failing DEFAULT VALUES;
         CREATE FUNCTION note_slice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM failing) AND EXISTS (SELECT FROM slice) THEN RAISE 'the second slice fails'; END IF;
             INSERT INTO slice SELECT txid_current(), count(*) FROM changed;
             RETURN NULL;
         END $$;
         CREATE TRIGGER slices AFTER UPDATE ON localnet_watch REFERENCING OLD TABLE AS changed
             FOR EACH STATEMENT EXECUTE FUNCTION note_slice()",
    );
    process.set_nickname(&anna, "Anna").await;
    let notified = "SELECT count(DISTINCT recipient) FROM localnet_stanza WHERE sender = '15550100001'";
    world.until_count(notified, 1_000).await;
    let recorded = "SELECT count(*) FROM localnet_notification WHERE number = '15550100001'";
    assert_eq!(world.count(recorded).await, 1);
    world.sql("DELETE FROM failing");
    world.until_count(notified, 2_500).await;
    world.until_count(recorded, 0).await;
    let largest = "SELECT max(size)::bigint FROM (SELECT sum(size) AS size FROM slice GROUP BY transaction) AS transactions";
    assert_eq!(world.count(largest).await, 1_000);
    assert_eq!(
        world.count("SELECT count(*) FROM localnet_stanza").await,
        2_500,
        "no watcher is notified twice"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_come_back_after_a_database_outage() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.local(&world, ANNA).await, process.local(&world, BEN).await);
    world.cut();
    world.mend();
    let began = std::time::Instant::now();
    online(&process, &[&anna, &ben]).await;
    process.send(&anna, BEN, "still there").await;
    process.until_texts(&ben, ANNA, 1).await;
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

async fn online(process: &Process, accounts: &[&Account]) {
    for account in accounts {
        wait_until_async("online again", DEADLINE, async || {
            let now = process.store.account(account.user, Some(&account.number)).await.ok()??;
            (now.session.state == windu::domain::SessionState::Online).then_some(())
        })
        .await;
    }
}
