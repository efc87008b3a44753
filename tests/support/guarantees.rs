//! The guarantees that must hold after every fault.

use std::io::Write as _;

use super::postgres::Database;
use super::wait::{DEADLINE, wait_until};

/// Counts of acknowledged and received messages.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    /// Answered with 200. All of them arrived.
    pub acknowledged: usize,
    /// Received messages: the acknowledged ones, and stored ones whose response was lost.
    pub arrived: usize,
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { acknowledged: self.acknowledged + other.acknowledged, arrived: self.arrived + other.arrived }
    }
}

/// Prints the counts of a test; `tests/run` adds them up.
pub fn print_summary(test: &str, faults: &[(&str, usize)], tally: Tally) {
    let Tally { acknowledged, arrived } = tally;
    let messages = [("acknowledged", acknowledged), ("arrived", arrived)];
    let counts = faults.iter().chain(&messages).map(|(name, count)| format!("{name}={count}"));
    let counts: Vec<String> = counts.collect();
    // Directly to standard output, because the test harness hides the output of a passing test. On a line of its own.
    writeln!(std::io::stdout(), "\nfault: test={test} {}", counts.join(" ")).expect("standard output");
}

/// Waits until the system is idle and checks the database. Nothing may be sent meanwhile.
///
/// The senders check that no message is lost, duplicated or out of order.
pub fn assert_guarantees(database: &Database) {
    assert_guarantees_without_receipts(database);
    // Those of a network that is no part of the database are still on their way.
    wait_until("message.delivered of all messages", DEADLINE, || {
        undelivered(database).is_empty().then_some(())
    });
}

/// The same for a network that may have lost receipts: [`undelivered`] says whose.
pub fn assert_guarantees_without_receipts(database: &Database) {
    every_account_is_online(database);
    wait_until_delivered(database);
    nothing_is_stuck(database);
    journals_have_no_gaps(database);
}

/// The accounts' numbers and the ids of their sent messages without an event that they were delivered.
pub fn undelivered(database: &Database) -> Vec<(String, String)> {
    let rows = database.sql(
        "SELECT a.number || ' ' || m.network_id FROM message m JOIN account a ON a.id = m.account_id
         WHERE m.sender_peer_id IS NULL
           AND NOT EXISTS (SELECT 1 FROM event e WHERE e.counter_id = a.counter_id AND e.kind = 'message.delivered'
                           AND e.payload->>'id' = m.network_id)",
    );
    let rows = rows.lines().map(|line| line.split_once(' ').expect("a number and an id"));
    rows.map(|(number, id)| (number.to_owned(), id.to_owned())).collect()
}

/// Waits until outboxes and mailboxes are empty.
pub fn wait_until_delivered(database: &Database) {
    wait_until_empty(
        database,
        "undelivered messages",
        "SELECT 'message', account_id, message_id FROM outbox UNION ALL
         SELECT 'receipt', account_id, message_id FROM receipt_outbox UNION ALL
         SELECT 'stanza', NULL, id FROM localnet_stanza",
    );
}

/// Waits until a living process holds every account's lease, and its session is online.
fn every_account_is_online(database: &Database) {
    const LIVING: &str =
        "SELECT id FROM process WHERE heartbeat_at > clock_timestamp() - interval '15 seconds'";
    wait_until_empty(
        database,
        "accounts without a session",
        &format!(
            "SELECT a.id, c.owner, a.session_state, a.session_reason, a.session_until
             FROM account a JOIN account_counter c ON c.id = a.counter_id
             WHERE a.registered_at IS NOT NULL
               AND (a.session_state <> 'online' OR c.owner IS NULL OR c.owner NOT IN ({LIVING}))"
        ),
    );
    let orphans = format!("SELECT id, owner FROM account_counter WHERE owner NOT IN ({LIVING})");
    assert_eq!(database.sql(&orphans), "", "leases of dead processes");
}

/// Without requests, no command may wait for its answer, and no key or lock may be in use.
fn nothing_is_stuck(database: &Database) {
    // A command whose caller has disconnected does not count after its deadline.
    wait_until_empty(
        database,
        "commands that wait for an answer",
        "SELECT id, state, deadline FROM command
         WHERE state IN ('waiting', 'taken') AND deadline > clock_timestamp()",
    );
    // A claim of a dead process ends with its heartbeat; one of a living process ends with its request.
    wait_until_empty(
        database,
        "keys that stay in use",
        "SELECT k.user_id, k.key, k.process_id FROM idempotency_key k JOIN process p ON p.id = k.process_id
         WHERE k.status IS NULL AND p.heartbeat_at > clock_timestamp() - interval '15 seconds'",
    );
    wait_until_empty(
        database,
        "transactions that stay open",
        "SELECT pid, state, state_change, query FROM pg_stat_activity
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'
           AND state_change < clock_timestamp() - interval '1 second'",
    );
}

fn wait_until_empty(database: &Database, what: &str, rows: &str) {
    let mut left = String::new();
    let emptied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(what, DEADLINE * 2, || {
            left = database.sql(rows);
            left.is_empty().then_some(())
        });
    }));
    assert!(emptied.is_ok(), "{what}:\n{left}");
}

/// Checks that each journal has each event once, without a gap.
pub fn journals_have_no_gaps(database: &Database) {
    let gaps = database.sql(
        "SELECT c.id, c.seq, count(e.seq), min(e.seq), max(e.seq) FROM account_counter c
         LEFT JOIN event e ON e.counter_id = c.id GROUP BY c.id
         HAVING c.seq <> count(e.seq) OR (c.seq > 0 AND (min(e.seq) <> 1 OR max(e.seq) <> c.seq))",
    );
    assert_eq!(gaps, "", "gaps in journals");
    let backwards = database.sql(
        "SELECT counter_id, seq FROM (SELECT *, lag(at) OVER (PARTITION BY counter_id ORDER BY seq) AS before
                                      FROM event) e WHERE at <= before",
    );
    assert_eq!(backwards, "", "times that run backwards");
    let twice = database.sql(
        "SELECT counter_id, kind, payload->>'id', count(*) FROM event
         WHERE kind LIKE 'message.%' GROUP BY 1, 2, 3 HAVING count(*) > 1",
    );
    assert_eq!(twice, "", "events that were published twice");
    let without_event = database.sql(
        "SELECT m.network_id, k.kind FROM message m JOIN account a ON a.id = m.account_id
         CROSS JOIN LATERAL unnest(CASE WHEN m.sender_peer_id IS NULL
             THEN ARRAY['message.queued', 'message.sent']
             ELSE ARRAY['message.received'] END) AS k (kind)
         WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.counter_id = a.counter_id AND e.kind = k.kind
                           AND e.payload->>'id' = m.network_id)",
    );
    assert_eq!(without_event, "", "messages without their events");
    let deadlocks = database.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
    assert_eq!(deadlocks, "0", "deadlocks");
}

/// Makes the leases of killed programs run out at once.
pub fn expire_killed_processes(database: &Database) {
    database.sql("UPDATE process SET heartbeat_at = heartbeat_at - interval '1 minute'");
}

/// Whether the fault tests run with many more rounds: `WINDU_TEST_SOAK=1`.
pub fn soak() -> bool {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings of their own")]
    std::env::var("WINDU_TEST_SOAK").is_ok_and(|value| value == "1")
}

/// The number of rounds: `usual`, or ten times as many in a soak.
pub fn rounds(usual: usize) -> usize {
    if soak() { usual * 10 } else { usual }
}

/// The number of messages per round: `usual`, or four times as many in a soak.
pub fn messages(usual: usize) -> usize {
    if soak() { usual * 4 } else { usual }
}
