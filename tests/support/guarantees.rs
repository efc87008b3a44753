//! What must be true after a fault, whatever it was.

use std::io::Write as _;

use super::postgres::Database;
use super::wait::{DEADLINE, wait_until};

/// What was acknowledged to the senders, and what came of it.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    /// Answered with 200. All of these arrived.
    pub acknowledged: usize,
    /// What the receivers have: that and what was stored although nobody heard of it.
    pub arrived: usize,
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { acknowledged: self.acknowledged + other.acknowledged, arrived: self.arrived + other.arrived }
    }
}

/// The line of a test by which a run can state its totals: `tests/run --soak` adds them up.
pub fn print_summary(test: &str, faults: &[(&str, usize)], tally: Tally) {
    let Tally { acknowledged, arrived } = tally;
    let messages = [("acknowledged", acknowledged), ("arrived", arrived)];
    let counts = faults.iter().chain(&messages).map(|(name, count)| format!("{name}={count}"));
    let counts: Vec<String> = counts.collect();
    // Below the test harness, which keeps to itself what a test prints that passes. And on a line of its own.
    writeln!(std::io::stdout(), "\nfault: test={test} {}", counts.join(" ")).expect("standard output");
}

/// Waits until all has come to rest and checks what is left in the database. Nothing may be sent meanwhile.
///
/// Nothing is lost, doubled or out of order: that is for those who sent to say.
pub fn assert_guarantees(database: &Database) {
    every_account_is_online(database);
    wait_until_delivered(database);
    nothing_is_stuck(database);
    journals_have_no_gaps(database);
}

/// Waits until nothing is on its way any more: outboxes and mailboxes are empty.
pub fn wait_until_delivered(database: &Database) {
    wait_until_empty(
        database,
        "what is on its way",
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
    assert_eq!(database.sql(&orphans), "", "leases of the dead");
}

/// Nobody asks any more, so nothing may wait for an answer, nor hold a key or a lock.
fn nothing_is_stuck(database: &Database) {
    // One whose asker has gone counts no more once its time is over.
    wait_until_empty(
        database,
        "commands that are waited for",
        "SELECT id, state, deadline FROM command
         WHERE state IN ('waiting', 'taken') AND deadline > clock_timestamp()",
    );
    // A claim of a dead process ends with its heartbeat; one of a living process ends with its request.
    wait_until_empty(
        database,
        "keys that stay taken",
        "SELECT k.user_id, k.key, k.process_id FROM idempotency_key k JOIN process p ON p.id = k.process_id
         WHERE k.status IS NULL AND p.heartbeat_at > clock_timestamp() - interval '15 seconds'",
    );
    wait_until_empty(
        database,
        "transactions that nobody ends",
        "SELECT pid, state, state_change, query FROM pg_stat_activity
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'
           AND state_change < clock_timestamp() - interval '1 second'",
    );
}

fn wait_until_empty(database: &Database, what: &str, rows: &str) {
    let mut left = String::new();
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(what, DEADLINE * 2, || {
            left = database.sql(rows);
            left.is_empty().then_some(())
        });
    }));
    assert!(gone.is_ok(), "{what}:\n{left}");
}

/// Each journal tells each thing once, without a gap.
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
             THEN ARRAY['message.queued', 'message.sent', 'message.delivered']
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

/// How many rounds a test takes: so many, or ten times as many.
pub fn rounds(usual: usize) -> usize {
    if soak() { usual * 10 } else { usual }
}

/// How many messages a round waits for: so many, or in a soak four times as many.
pub fn messages(usual: usize) -> usize {
    if soak() { usual * 4 } else { usual }
}
