//! The command line: one variant per subcommand; each calls into [`crate::app`].

mod client;
mod user;

use std::io::Write as _;

use clap::{Parser, Subcommand};

use crate::app;
use crate::config::Env;
use crate::http::router;
use crate::store::{Revoked, Store};
use client::ClientCommand;
use user::UserCommand;

/// A phone number on a messaging network as a REST API.
#[derive(Debug, Parser)]
#[command(name = "windu", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API; this is what `windu` alone does
    Serve,
    /// Make, list, change and delete users
    #[command(subcommand)]
    User(UserCommand),
    /// Make, list, change and delete OAuth clients
    #[command(subcommand)]
    Client(ClientCommand),
    /// Bring the database's tables to this version and exit
    Migrate,
    /// Print the OpenAPI description of the API as JSON
    Openapi,
}

/// Does what the command line asks for.
///
/// # Errors
/// When it cannot be done; the message is for the person at the terminal.
pub async fn run(arguments: Arguments, env: &Env) -> anyhow::Result<()> {
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => app::serve(env).await,
        Command::User(command) => user::run(command, &app::open(env).await?).await,
        Command::Client(command) => client::run(command, &app::open(env).await?).await,
        Command::Migrate => app::migrate(env).await,
        Command::Openapi => {
            let mut text = router::openapi().to_pretty_json()?;
            text.push('\n');
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
    }
}

/// Tells running servers to forget what they remember of tokens.
async fn announce(store: &Store) {
    if store.announce_revoked(&Revoked::Any).await.is_err() {
        eprintln!("windu: running servers could not be told; they notice within 5 seconds");
    }
}
