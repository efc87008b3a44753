//! Bounds on what a statement touches in a call, from `pg_stat_statements`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use crate::scene::Scene;
use crate::support::cluster::{CLUSTER, use_settings};
use crate::support::postgres::Database;

/// The settings that PostgreSQL needs, the usual ones of tests among them.
const SETTINGS: &str = "-c shared_preload_libraries=pg_stat_statements -c pg_stat_statements.track=all \
    -c pg_stat_statements.max=10000 -c autovacuum=off -c fsync=off -c synchronous_commit=off \
    -c full_page_writes=off -c max_wal_size=4GB -c shared_buffers=512MB -c maintenance_work_mem=128MB";

/// Buffers that each call may touch. Among them are entries of rows that are gone: nobody vacuums.
const CALL: f64 = 400.0;
/// Buffers of the catalog that the first call on a new connection may read besides; a step may open one.
const FIRST_CALL: f64 = 200.0;
/// Buffers for each row that a call returns or changes, and for each entry of a list that the request holds.
const ROW: f64 = 26.0;
/// Buffers for each record that a call writes to the WAL: one for the row, and one for each index that learns of it.
const RECORD: f64 = 6.0;
/// WAL records of one call that does not write a list of the request: what is longer is done in slices.
const SLICE: f64 = 60_000.0;

/// The role of the test itself, whose statements do not count.
const OBSERVER: &str = "observer";

/// Prepares PostgreSQL, once for all tests of this binary.
pub static POSTGRES: LazyLock<()> = LazyLock::new(|| {
    use_settings(SETTINGS);
    CLUSTER.sql("postgres", "CREATE EXTENSION pg_stat_statements");
    CLUSTER.sql("postgres", &format!("CREATE ROLE {OBSERVER} SUPERUSER"));
});

/// What statements touched that the bounds do not allow.
pub struct Meter {
    database: Arc<Database>,
    condition: &'static str,
    offenders: BTreeMap<String, Offender>,
}

struct Offender {
    step: String,
    statement: Statement,
    excess: f64,
}

/// The calls of a statement in one step.
#[derive(Deserialize)]
struct Statement {
    query: String,
    calls: f64,
    rows: f64,
    buffers: f64,
    records: f64,
}

impl Statement {
    /// What it touched, as a multiple of what it may touch; `entries` are in the lists of the step's requests.
    fn excess(&self, entries: u32) -> f64 {
        let takes_lists =
            ["unnest(", "ANY(", "ARRAY(", "DELETE"].iter().any(|word| self.query.contains(word));
        let entries = if takes_lists { f64::from(entries) } else { 0.0 };
        let records = self.records / self.calls;
        let allowed =
            CALL + FIRST_CALL / self.calls + ROW * (self.rows / self.calls + entries) + RECORD * records;
        (self.buffers / self.calls / allowed).max(records / (SLICE + ROW * entries))
    }

    /// In one line, without comments.
    fn text(&self) -> String {
        let lines = self.query.lines().filter(|line| !line.trim_start().starts_with("--"));
        let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        words.join(" ")
    }
}

impl Meter {
    pub fn new(scene: &Scene, condition: &'static str) -> Self {
        Self { database: Arc::clone(scene.server.database()), condition, offenders: BTreeMap::new() }
    }

    /// Does a part of the work and compares what statements touched meanwhile with the bounds. `entries` is the length of
    /// the lists that the requests hold, or that a session hands to its network.
    pub async fn step<T>(&mut self, name: &str, entries: u32, work: impl Future<Output = T>) -> T {
        self.reset();
        let done = work.await;
        self.check(name, entries);
        done
    }

    /// Compares what statements touched since the last step began with the bounds.
    pub fn check(&mut self, name: &str, entries: u32) {
        for statement in self.statements() {
            let excess = statement.excess(entries);
            if excess <= 1.0 {
                continue;
            }
            let text = statement.text();
            if self.offenders.get(&text).is_none_or(|known| known.excess < excess) {
                self.offenders.insert(text, Offender { step: name.to_owned(), statement, excess });
            }
        }
    }

    /// How often a statement with this text was called in this step so far.
    pub fn calls(&self, text: &str) -> f64 {
        self.statements().iter().filter(|one| one.query.contains(text)).map(|one| one.calls).sum()
    }

    /// Fails when a statement touched too much.
    pub fn finish(self) {
        let mut report = String::new();
        for (text, Offender { step, statement: Statement { calls, rows, buffers, records, .. }, excess }) in
            &self.offenders
        {
            writeln!(
                report,
                "{excess:.1} times the bound: {:.0} buffers, {:.1} rows, {:.1} WAL records for each of {calls} calls \
                 in {step:?}: {text:.300}",
                buffers / calls,
                rows / calls,
                records / calls
            )
            .expect("a text");
        }
        assert!(report.is_empty(), "{}: statements touch too much:\n{report}", self.condition);
    }

    /// Forgets what was counted so far.
    pub fn reset(&self) {
        let reset = format!(
            "SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = '{}'",
            self.database.name()
        );
        self.database.cluster().sql("postgres", &reset);
    }

    fn statements(&self) -> Vec<Statement> {
        let found = self.database.cluster().sql(
            "postgres",
            &format!(
                "SELECT coalesce(json_agg(s), '[]') FROM (
                    SELECT query, calls, rows, wal_records AS records,
                           shared_blks_hit + shared_blks_read + local_blks_hit + local_blks_read
                               + temp_blks_read + temp_blks_written AS buffers
                    FROM pg_stat_statements s
                    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = '{}')
                      AND userid <> (SELECT oid FROM pg_roles WHERE rolname = '{OBSERVER}')) s",
                self.database.name()
            ),
        );
        serde_json::from_str(&found).expect("JSON")
    }
}

/// Runs SQL of the test, which does not count.
pub fn observe(database: &Database, text: &str) -> String {
    database.sql(&format!("SET ROLE {OBSERVER}; {text}"))
}
