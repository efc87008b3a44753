//! The command `windu`.

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::Runtime;
use windu::cli::Arguments;
use windu::config::Env;
use windu::{cli, telemetry};

/// Gives memory back soon after a burst; see "Decisions" in the library for the figures.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before the first use of TLS. Fails only when a provider is installed already, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads the output, such as `head`, has enough of it.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("windu: {}", telemetry::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let env = Env::load()?;
    let _traces = telemetry::start(&env)?;
    let runtime = Runtime::new()?;
    let ended = runtime.block_on(cli::run(arguments, &env));
    // A thread that still inspects a file or waits for a name server does not hold up the end of the process.
    runtime.shutdown_background();
    ended
}
