//! Work that grows with what an account has stored: it is recorded at once and done in slices, also after a kill.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::shared_server::server;
use crate::support::guarantees::expire_killed_processes;
use crate::support::people::{Person, login, register};
use crate::support::server::Server;
use crate::support::wait::wait_until_async;

const LAST_READ: &str = "/api/messages/update-last-read/";
const REMOVE: &str = "/api/account/remove-account/";

/// Time for many slices on a busy machine.
const LONG: Duration = Duration::from_mins(2);

/// Stores unread messages, as if the author had written them in the last hour; returns the id of the receiver's account.
async fn receives_many(server: &Server, receiver: &Person, author: &Person, count: usize) -> String {
    author.delivers(receiver, "the first").await;
    server.database().sql(&format!(
        "WITH target AS (
            SELECT h.id, h.account_id, h.peer_id FROM chat h
            JOIN account a ON a.id = h.account_id AND a.number = '{}' AND a.registered_at IS NOT NULL
            JOIN peer p ON p.id = h.peer_id AND p.public_id = '{}'
         ), new AS (
            INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint, stored_at)
            SELECT account_id, id, id || '-bulk-' || n, peer_id, 'received', 't', 'bulk', sha256(n::text::bytea),
                   clock_timestamp() - interval '1 hour' + n * interval '1 microsecond'
            FROM target, generate_series(1, {count}) n
         )
         UPDATE chat SET unread = unread + {count} FROM target WHERE chat.id = target.id
         RETURNING target.account_id",
        receiver.number, author.number
    ))
}

/// Queues messages of the author to the receiver for which it is not yet time; returns the id of the author's account.
async fn queues_many(server: &Server, author: &Person, receiver: &Person, count: usize) -> String {
    author.delivers(receiver, "the first").await;
    server.database().sql(&format!(
        "WITH target AS (
            SELECT h.id, h.account_id FROM chat h
            JOIN account a ON a.id = h.account_id AND a.number = '{}' AND a.registered_at IS NOT NULL
            JOIN peer p ON p.id = h.peer_id AND p.public_id = '{}'
         ), new AS (
            INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
            SELECT account_id, id, id || '-queued-' || n, 'queued', 't', 'later', sha256(n::text::bytea), clock_timestamp()
            FROM target, generate_series(1, {count}) n RETURNING id, account_id, chat_id
         ), waits AS (
            INSERT INTO outbox (message_id, account_id, chat_id, attempts, retry_at, expires_at)
            SELECT id, account_id, chat_id, 1, now() + interval '1 hour', now() + interval '1 day' FROM new
         )
         SELECT account_id FROM target",
        author.number, receiver.number
    ))
}

/// How many messages of an account failed, and how many events say so.
fn failed(server: &Server, account: &str) -> String {
    server.database().sql(&format!(
        "SELECT (SELECT count(*) FROM message WHERE account_id = {account} AND failure = 'unregistered')
             || ' ' || (SELECT count(DISTINCT payload->>'id') FROM event e JOIN account a ON a.counter_id = e.counter_id
                        WHERE a.id = {account} AND kind = 'message.failed')"
    ))
}

fn left_unread(server: &Server, account: &str) -> u64 {
    let unread = format!(
        "SELECT count(*) FROM message WHERE account_id = {account} AND sender_peer_id IS NOT NULL AND read_at IS NULL"
    );
    server.database().sql(&unread).parse().expect("a count")
}

async fn until_none(server: &Server, what: &str, count: &str) {
    wait_until_async(what, LONG, async || (server.database().sql(count) == "0").then_some(())).await;
}

#[tokio::test]
async fn many_messages_are_marked_as_read_in_slices() {
    let (anna, bert) = Person::two_friends(server()).await;
    let account = receives_many(server(), &bert, &anna, 2_500).await;
    let marked = bert.api.post(LAST_READ, &[("contact", &anna.number)]).await;
    assert_eq!((marked.status, marked.json()), (200, json!({"read": 1000, "pending": true})));
    // What comes after the request stays unread.
    let later = anna.delivers(&bert, "later").await;
    let unread = wait_until_async("the rest to be marked", LONG, async || {
        let left = left_unread(server(), &account);
        (left <= 1).then_some(left)
    })
    .await;
    assert_eq!(unread, 1);
    let entry = bert.chat_entry(&anna.number).await.expect("the chat");
    assert_eq!(entry["unread"], 1);
    let last = bert.waits_for(&anna, &later).await;
    assert_eq!(last.get("read"), None, "{last}");
    // The senders hear of each.
    let receipts = format!("SELECT count(*) FROM receipt_outbox WHERE account_id = {account}");
    until_none(server(), "the receipts to be sent", &receipts).await;
    let marks = format!(
        "SELECT count(*) FROM read_mark r JOIN chat h ON h.id = r.chat_id WHERE account_id = {account}"
    );
    assert_eq!(server().database().sql(&marks), "0");
    let events = server().database().sql(&format!(
        "SELECT sum((payload->>'messages')::integer) FROM event e JOIN account a ON a.counter_id = e.counter_id
         WHERE a.id = {account} AND kind = 'chat.read'"
    ));
    assert_eq!(events, "2501");
    let rest = bert.api.post(LAST_READ, &[("contact", &anna.number)]).await;
    assert_eq!(rest.json(), json!({"read": 1}));
}

#[tokio::test]
async fn a_mark_up_to_a_time_leaves_what_is_newer_unread() {
    let (anna, bert) = Person::two_friends(server()).await;
    let account = receives_many(server(), &bert, &anna, 1_200).await;
    let limit = server().database().sql(&format!(
        "SELECT to_char(stored_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') FROM message
         WHERE account_id = {account} AND text = 'bulk' ORDER BY stored_at OFFSET 1099 LIMIT 1"
    ));
    let marked = bert.api.post(LAST_READ, &[("contact", &anna.number), ("date_limit", &limit)]).await;
    assert_eq!(marked.json(), json!({"read": 1000, "pending": true}));
    wait_until_async("the rest to be marked", LONG, async || {
        (left_unread(server(), &account) == 101).then_some(())
    })
    .await;
    let marks = format!(
        "SELECT count(*) FROM read_mark r JOIN chat h ON h.id = r.chat_id WHERE account_id = {account}"
    );
    until_none(server(), "the mark to be done", &marks).await;
    assert_eq!(left_unread(server(), &account), 101);
}

#[tokio::test]
async fn a_removed_account_is_gone_at_once_and_its_rows_in_slices() {
    let (anna, bert) = Person::two_friends(server()).await;
    let account = receives_many(server(), &bert, &anna, 3_000).await;
    let counter = server().database().sql(&format!("SELECT counter_id FROM account WHERE id = {account}"));
    assert_eq!(bert.api.post(REMOVE, &[]).await.status, 200);
    assert_eq!(bert.api.get("/api/account/").await.json(), json!({"accounts": []}));
    // The same number of the same user begins anew, while the rows of the old account are still there.
    register(server(), &bert.api, &bert.number).await;
    assert_eq!(bert.chat(&anna.number).await, [] as [Value; 0]);
    assert_eq!(bert.api.get("/api/contacts/").await.json(), json!([]));
    assert_eq!(bert.api.get("/api/messages/chats/").await.json(), json!({"chats": []}));
    let left = format!(
        "SELECT (SELECT count(*) FROM account WHERE id = {account}) + (SELECT count(*) FROM message WHERE account_id = {account})
              + (SELECT count(*) FROM chat WHERE account_id = {account})
              + (SELECT count(*) FROM contact WHERE account_id = {account})"
    );
    until_none(server(), "the rows to be deleted", &left).await;
    // The journal is kept as long as all events are, and goes on.
    let kinds = server().database().sql(&format!(
        "SELECT string_agg(kind, ' ' ORDER BY seq) FROM event WHERE counter_id = {counter} AND kind LIKE 'account.%'"
    ));
    assert_eq!(kinds, "account.registered account.removed account.registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_in_slices_goes_on_after_a_kill() {
    let mut server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let carl = Person { api: login(&server).await, number: crate::support::people::fresh_number() };
    register(&server, &carl.api, &carl.number).await;
    carl.adds_contact(&anna.number).await;
    anna.adds_contact(&carl.number).await;
    let read = receives_many(&server, &bert, &anna, 20_000).await;
    let removed = receives_many(&server, &carl, &anna, 20_000).await;
    assert_eq!(bert.api.post(LAST_READ, &[("contact", &anna.number)]).await.json()["pending"], true);
    assert_eq!(carl.api.post(REMOVE, &[]).await.status, 200);
    block_in_place(|| {
        server.kill();
        let left = format!("SELECT count(*) FROM message WHERE account_id = {removed}");
        assert_ne!(server.database().sql(&left), "0", "killed in the middle");
        assert_ne!(left_unread(&server, &read), 0, "killed in the middle");
        expire_killed_processes(server.database());
        server.restart();
    });
    let left = format!("SELECT count(*) FROM message WHERE account_id = {removed}");
    until_none(&server, "the messages to be deleted", &left).await;
    wait_until_async("the messages to be marked", LONG, async || {
        (left_unread(&server, &read) == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_queue_of_a_number_that_moved_fails_in_slices() {
    let (anna, bert) = Person::two_friends(server()).await;
    let account = queues_many(server(), &anna, &bert, 2_500).await;
    let new = login(server()).await;
    register(server(), &new, &anna.number).await;
    // All of it before the answer, as long as nothing interrupts it.
    assert_eq!(failed(server(), &account), "2500 2500");
    let left = format!("SELECT count(*) FROM outbox WHERE account_id = {account}");
    assert_eq!(server().database().sql(&left), "0");
    let flag = format!("SELECT unregistering FROM account WHERE id = {account}");
    assert_eq!(server().database().sql(&flag), "f");
    let slices = format!(
        "SELECT count(DISTINCT e.xmin::text) > 2 FROM event e JOIN account a ON a.counter_id = e.counter_id
         WHERE a.id = {account} AND kind = 'message.failed'"
    );
    assert_eq!(server().database().sql(&slices), "t", "more than one transaction");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_a_number_that_moved_fails_although_the_server_was_killed() {
    let mut server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let account = queues_many(&server, &anna, &bert, 2_500).await;
    block_in_place(|| {
        server.kill();
        // As a kill between two slices leaves it.
        server.database().sql(&format!(
            "UPDATE account SET registered_at = NULL, credentials = NULL, unregistering = true WHERE id = {account}"
        ));
        expire_killed_processes(server.database());
        server.restart();
    });
    wait_until_async("the queue to fail", LONG, async || {
        (failed(&server, &account) == "2500 2500").then_some(())
    })
    .await;
    let flag = format!("SELECT count(*) FROM account WHERE id = {account} AND unregistering");
    until_none(&server, "the work to be done", &flag).await;
}
