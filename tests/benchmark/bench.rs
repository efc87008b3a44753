//! Measures the program; `tests/bench` runs it. Ratios count, not rates: both sides of one run on the same machine,
//! against the same PostgreSQL with fsync, one after the other and again.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "../support/mod.rs"]
mod support;

mod load;
mod meter;
mod people;
mod pgbench;
mod report;
mod send;
mod world;

use clap::{Parser, ValueEnum};

/// Measures the release build on this machine.
#[derive(Parser)]
#[command(name = "tests/bench")]
pub struct Options {
    /// What to measure; everything when not given.
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
    /// WINDU_LOG of the server. At `info` each request is a line, which this program has to read.
    #[arg(long, default_value = "warn")]
    log: String,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Send,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::parse();
    let wanted = |what| options.what.is_empty() || options.what.contains(&what);
    // Defaults otherwise: fsync is on.
    support::postgres::use_settings("");
    if wanted(What::Send) {
        send::run(&options).await;
    }
}
