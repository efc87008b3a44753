//! Composition: what is made, in which order it starts, and in which order it stops.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;

use crate::config::{self, ConfigError, DatabaseSettings, Env, ListenSettings, LogSettings};
use crate::http::{AppState, router, server};
use crate::lifecycle::Lifecycle;
use crate::store::{SchemaError, Store, StoreError};

/// Connections to the database: right for two to four cores, whatever the number of clients.
const POOL: u32 = 12;

/// Pauses between attempts to reach a database that is away.
const RETRY: Duration = Duration::from_secs(1);

/// Every setting of the program.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The listener.
    pub listen: ListenSettings,
    /// The database.
    pub database: DatabaseSettings,
}

impl Settings {
    /// The names of all variables that some part of the program reads.
    const NAMES: &[&[&str]] = &[ListenSettings::NAMES, DatabaseSettings::NAMES, LogSettings::NAMES];

    /// Reads all settings, and warns of variables that nothing reads.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        for name in config::unknown(env, Self::NAMES) {
            tracing::warn!(name, "this variable is not a setting of windu; is it misspelt?");
        }
        Ok(Self { listen: ListenSettings::read(env)?, database: DatabaseSettings::read(env)? })
    }
}

/// Opens the database that the settings name, for the server and for the other commands. Does not wait for it.
///
/// # Errors
/// When the settings name none.
pub fn open_store(settings: &Settings) -> anyhow::Result<Store> {
    let Some(url) = &settings.database.url else {
        bail!(
            "DATABASE_URL: not set; write the URL of a PostgreSQL database, such as postgres://windu@localhost/windu"
        );
    };
    // The URL may hold a password, so the parser's words stay unsaid.
    Store::from_url(url, POOL).ok_or_else(|| {
        ConfigError::new("DATABASE_URL", "a URL such as postgres://user@host/database is expected").into()
    })
}

/// `windu migrate`.
///
/// # Errors
/// When the database cannot be reached or migrated.
pub async fn migrate(env: &Env) -> anyhow::Result<()> {
    let store = open_store(&Settings::read(env)?)?;
    store.migrate().await?;
    store.close().await;
    Ok(())
}

/// `windu serve`: until a signal asks for the end.
///
/// # Errors
/// When the program cannot start; a database that is away is waited for.
pub async fn serve(env: &Env) -> anyhow::Result<()> {
    let settings = Settings::read(env)?;
    let address = settings.listen.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("WINDU_LISTEN: cannot listen on {address}"))?;
    serve_on(listener, settings).await
}

/// Serves on a listener that is given.
///
/// # Errors
/// When the program cannot start.
pub async fn serve_on(listener: TcpListener, settings: Settings) -> anyhow::Result<()> {
    let lifecycle = Lifecycle::default();
    lifecycle.listen_for_signals()?;
    let url = format!("http://{}", listener.local_addr()?);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %url, "starting");

    let store = open_store(&settings)?;
    let public_url = settings.listen.public_url.as_deref().unwrap_or(&url);
    let state = AppState::new(store.clone(), public_url, settings.listen.cors_origins.clone());
    // Listening before the database answers: probes and callers hear a 503 instead of a refused connection.
    let max_connections = settings.listen.max_connections;
    lifecycle.spawn(server::serve(listener, router::router(&state), max_connections, lifecycle.clone()));

    let started = tokio::select! {
        () = lifecycle.soft().cancelled() => Ok(()),
        outcome = start(&settings, &state, &lifecycle) => outcome,
    };
    if started.is_ok() && state.has_started() {
        announce(&url)?;
        lifecycle.soft().cancelled().await;
    }
    let in_order = lifecycle.drained().await;
    store.close().await;
    tracing::info!(in_order, "stopped");
    started
}

/// What must be there before requests are served; background tasks start here.
async fn start(settings: &Settings, state: &AppState, _lifecycle: &Lifecycle) -> anyhow::Result<()> {
    wait_for_schema(&state.store, settings.database.migrate).await?;
    state.set_started();
    Ok(())
}

async fn wait_for_schema(store: &Store, migrate: bool) -> Result<(), SchemaError> {
    loop {
        let outcome = if migrate { store.migrate().await.map(|()| true) } else { store.is_migrated().await };
        match outcome {
            Ok(true) => return Ok(()),
            Ok(false) => {
                tracing::warn!("the tables are older than this program: waiting for `windu migrate`");
            }
            Err(SchemaError::Store(StoreError::Unavailable(error))) => {
                tracing::warn!(%error, "the database is away; trying again");
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Tells the person at the terminal, and whoever started the program, where it is.
fn announce(url: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Windu listens on {url}")?;
    out.flush()
}
