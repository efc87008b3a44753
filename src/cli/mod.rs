//! The command line: one variant per subcommand.

mod account;
mod audit;
mod client;
mod user;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::app;
use crate::app::audit::{Intent, record};
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
    /// Serve the API; the default
    Serve,
    /// Create, list, change and delete users
    #[command(subcommand)]
    User(UserCommand),
    /// Create, list, change and delete OAuth clients
    #[command(subcommand)]
    Client(ClientCommand),
    /// List accounts, and remove one even if its network fails
    #[command(subcommand)]
    Account(AccountCommand),
    /// Migrate the database's tables to this version and exit
    Migrate,
    /// Check the settings, the database, the storage of media, the networks and the sender of codes
    Check,
    /// Write a backup of everything beside a running server: tables, media and the key
    Backup {
        /// A new file; with --verify, a backup
        file: PathBuf,
        /// Leave the media out
        #[arg(long)]
        no_media: bool,
        /// Read a backup and say whether it is whole
        #[arg(long, conflicts_with = "no_media")]
        verify: bool,
    },
    /// Restore a backup into an empty database and data folder
    Restore {
        /// The backup
        file: PathBuf,
    },
    /// List administrative acts: who did what to which user, client or account
    Audit {
        /// Only those since this day or moment, such as 2026-11-23 or 2026-11-23T12:00:00Z
        #[arg(long)]
        since: Option<String>,
        /// One JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// Print the OpenAPI description of the API as JSON
    Openapi,
}

/// Runs the command.
///
/// # Errors
/// The message is for the person at the terminal.
pub async fn run(arguments: Arguments, env: &Env) -> anyhow::Result<()> {
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => app::serve(env).await,
        Command::User(command) => {
            with_sessions(env, command.intent(), async |store, sessions| {
                user::run(command, store, sessions).await
            })
            .await
        }
        Command::Account(command) => {
            with_sessions(env, command.intent(), async |store, sessions| {
                account::run(command, store, sessions).await
            })
            .await
        }
        Command::Client(command) => {
            with_sessions(env, command.intent(), async |store, _| client::run(command, store).await).await
        }
        Command::Migrate => app::migrate(env).await,
        Command::Check => Box::pin(app::check(env)).await,
        Command::Audit { since, json } => {
            let list = async |store: &Store, _: &Sessions| audit::list(store, since.as_deref(), json).await;
            with_sessions(env, None, list).await
        }
        Command::Backup { file, verify: true, .. } => app::verify_backup(&file),
        Command::Backup { file, no_media, .. } => {
            app::backup(env, &file, !no_media, async |store, done| {
                record(store, Some(("backup", name_of(&file))), done).await;
            })
            .await
        }
        Command::Restore { file } => {
            app::restore(env, &file, async |store| {
                record(store, Some(("restore", name_of(&file))), true).await;
            })
            .await
        }
        Command::Openapi => {
            let mut text = serde_json::to_string_pretty(&router::openapi())?;
            text.push('\n');
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
    }
}

/// The name of a file without its folder, for the audit.
fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs a command on the database and its networks.
async fn with_sessions(
    env: &Env,
    intent: Intent,
    command: impl AsyncFnOnce(&Store, &Sessions) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let database = app::open(env).await?;
    let lifecycle = Lifecycle::default();
    let sessions = database.sessions(&database.media(""), &lifecycle)?;
    database.store.db().connect_notifications(&lifecycle);
    let done = command(&database.store, &sessions).await;
    record(&database.store, intent, done.is_ok()).await;
    // Until running servers were notified of the changes.
    lifecycle.drained().await;
    database.close(true).await;
    done
}

/// Notifies running servers that tokens were revoked. If it does not reach them, their caches expire within 5 s.
fn announce_revocation(store: &Store) {
    store.notifications().wake(topic::tokens());
}
