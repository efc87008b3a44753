//! The command line: one variant per subcommand; each calls into [`crate::app`].

mod account;
mod client;
mod user;

use std::io::Write as _;

use clap::{Parser, Subcommand};

use crate::app;
use crate::config::Env;
use crate::http::router;
use crate::lifecycle::Lifecycle;
use crate::sessions::Sessions;
use crate::store::{Store, topic};
use account::AccountCommand;
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
    /// List accounts, and remove one whatever its network says
    #[command(subcommand)]
    Account(AccountCommand),
    /// Bring the database's tables to this version and exit
    Migrate,
    /// Tell what works with these settings and what does not: configuration, database, networks, codes
    Check,
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
        Command::User(command) => {
            with_sessions(env, async |store, sessions| user::run(command, store, sessions).await).await
        }
        Command::Account(command) => {
            with_sessions(env, async |store, sessions| account::run(command, store, sessions).await).await
        }
        Command::Client(command) => {
            with_sessions(env, async |store, _| client::run(command, store).await).await
        }
        Command::Migrate => app::migrate(env).await,
        Command::Check => app::check(env).await,
        Command::Openapi => {
            let mut text = router::openapi().to_pretty_json()?;
            text.push('\n');
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
    }
}

/// Runs a command on the database and its networks.
async fn with_sessions(
    env: &Env,
    command: impl AsyncFnOnce(&Store, &Sessions) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let database = app::open(env).await?;
    let lifecycle = Lifecycle::default();
    let sessions = database.sessions(&database.media(""), &lifecycle);
    database.store.db().connect_notifications(&lifecycle);
    let done = command(&database.store, &sessions).await;
    // Until running servers have been told what changed.
    lifecycle.drained().await;
    database.close(true).await;
    done
}

/// Tells running servers to forget what they remember of tokens. If it does not reach them, they forget by themselves
/// within 5 s.
fn announce(store: &Store) {
    store.notifications().wake(topic::tokens());
}
