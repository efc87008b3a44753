//! The benchmark; `tests/bench` runs it. Ratios count, not rates: both sides run on the same machine, against the
//! same PostgreSQL with fsync, in turn.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "../support/mod.rs"]
mod support;

mod bearer;
mod events;
mod idle;
mod large;
mod list;
mod load;
mod meter;
mod people;
mod pgbench;
mod plain_client;
mod report;
mod send;
mod sink;
mod statements;
mod world;
mod xmpp;

use clap::{Parser, ValueEnum};

/// Measures the release build on this machine.
#[derive(Parser)]
#[command(name = "tests/bench")]
pub struct Options {
    /// What to measure; everything by default.
    what: Vec<What>,
    /// Messages in one measurement.
    #[arg(long, default_value_t = 20_000)]
    messages: usize,
    /// Senders, and as many receivers; the connections are spread over them.
    #[arg(long, default_value_t = 16)]
    pairs: usize,
    /// Interleaved pairs of measurements.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections that send.
    #[arg(long, value_delimiter = ',', default_value = "32,128")]
    connections: Vec<usize>,
    /// Idle sessions whose memory is measured.
    #[arg(long, default_value_t = 1_000)]
    sessions: usize,
    /// Idle streams whose memory is measured.
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
    /// Accounts that are there at the start.
    #[arg(long, default_value_t = 10_000)]
    accounts: usize,
    /// Unread messages in a chat of the large account.
    #[arg(long, default_value_t = 100_000)]
    unread: i64,
    /// Messages in one measurement of `xmpp`.
    #[arg(long, default_value_t = 2_000)]
    xmpp_messages: usize,
    /// Also print what the SQL statements of `send`, `list`, `start` and `events` cost. That makes all of it slower.
    #[arg(long)]
    statements: bool,
    /// WINDU_LOG of the server. At `info` each request is a line, which this program has to read.
    #[arg(long, default_value = "warn")]
    log: String,
    /// Added by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Messages from the request to the delivered receipt, against pgbench.
    Send,
    /// The cost of a request and of its token.
    Bearer,
    /// A page of messages, against pgbench.
    List,
    /// Large accounts, against small ones.
    Large,
    /// Resident memory, idle.
    Memory,
    /// The time until all sessions are online.
    Start,
    /// Streams of events: arrival, memory, and their cost for those who send.
    Events,
    /// Sessions, logins and messages on an XMPP server.
    Xmpp,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::parse();
    let wanted = |what| options.what.is_empty() || options.what.contains(&what);
    // Defaults otherwise: fsync is on.
    support::cluster::use_settings(if options.statements { statements::SETTINGS } else { "" });
    if wanted(What::Send) {
        send::run(&options).await;
    }
    if wanted(What::Bearer) {
        bearer::run(&options).await;
    }
    if wanted(What::List) {
        list::run(&options).await;
    }
    if wanted(What::Large) {
        large::run(&options).await;
    }
    if wanted(What::Memory) {
        idle::memory(&options).await;
    }
    if wanted(What::Start) {
        idle::start(&options).await;
    }
    if wanted(What::Events) {
        events::run(&options).await;
    }
    if wanted(What::Xmpp) {
        xmpp::run(&options).await;
    }
}
