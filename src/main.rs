//! The command `windu`.

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
    let ended = Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let ended = runtime.block_on(run(arguments));
        // A thread that still inspects a file or waits for a name server does not hold up the end of the process.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("windu: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let env = Env::load()?;
    telemetry::start(&env)?;
    cli::run(arguments, &env).await
}
