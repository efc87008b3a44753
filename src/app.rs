//! Composition: what is made, in which order it starts, and in which order it stops.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;

use crate::config::{
    self, CodeSettings, CodeSurroundings, ConfigError, DatabaseSettings, Env, ListenSettings, LogSettings,
    NetworkSettings, OAuthSettings,
};
use crate::fetch::Fetch;
use crate::http::{AppState, Started, router, server};
use crate::lifecycle::Lifecycle;
use crate::maintenance;
use crate::oauth::{self, BootstrapError, FirstPassword, OAuth};
use crate::secrets::MasterKey;
use crate::sessions::{Connectors, Sessions};
use crate::store::localnet::LocalNet;
use crate::store::{SchemaError, Store, StoreError};
use crate::upstream::local::Local;
use crate::verification::Verification;

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
    /// The networks.
    pub networks: NetworkSettings,
    /// Verification codes.
    pub codes: CodeSettings,
    /// Tokens and the first user.
    pub oauth: OAuthSettings,
}

impl Settings {
    /// The names of all variables that some part of the program reads.
    const NAMES: &[&[&str]] = &[
        ListenSettings::NAMES,
        DatabaseSettings::NAMES,
        LogSettings::NAMES,
        NetworkSettings::NAMES,
        CodeSettings::NAMES,
        OAuthSettings::NAMES,
    ];

    /// Reads all settings, and warns of variables that nothing reads.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        for name in config::unknown(env, Self::NAMES) {
            tracing::warn!(name, "this variable is not a setting of windu; is it misspelt?");
        }
        let listen = ListenSettings::read(env)?;
        let database = DatabaseSettings::read(env)?;
        let surroundings = CodeSurroundings {
            loopback_only: listen.loopback_only(),
            terminal: std::io::stdout().is_terminal(),
            data_dir: &database.data_dir,
        };
        let codes = CodeSettings::read(env, surroundings)?;
        for warning in &codes.warnings {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            networks: NetworkSettings::read(env)?,
            oauth: OAuthSettings::read(env)?,
            listen,
            database,
            codes,
        })
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

/// The store of the commands that work beside a running server.
///
/// # Errors
/// When the settings name no database, or its tables are older than this program.
pub async fn open(env: &Env) -> anyhow::Result<Store> {
    let store = open_store(&Settings::read(env)?)?;
    if !store.is_migrated().await? {
        bail!("the tables are older than this program: run `windu migrate` first");
    }
    Ok(store)
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
    let keys = MasterKey::from_base64(&std::env::var("WINDU_SECRET_KEY")?, None)?;
    let sessions = Sessions::new(store.clone(), connectors(&settings, &store, &lifecycle), keys.clone());
    let fetch = Arc::new(Fetch::new());
    let codes = settings.codes.clone();
    let state = AppState {
        store: store.clone(),
        oauth: Arc::new(OAuth::new(store.clone(), &settings.oauth)),
        sessions,
        verification: Verification::new(store.clone(), keys, codes, fetch, lifecycle.clone())?,
        lifecycle: lifecycle.clone(),
        default_network: settings.networks.networks[0].as_str().into(),
        send_ttl: settings.networks.send_ttl,
        public_url: settings.listen.public_url.as_deref().unwrap_or(&url).into(),
        cors_origins: Arc::new(settings.listen.cors_origins.clone()),
        started: Started::default(),
    };
    // Listening before the database answers: probes and callers hear a 503 instead of a refused connection.
    let max_connections = settings.listen.max_connections;
    lifecycle.spawn(server::serve(listener, router::router(&state), max_connections, lifecycle.clone()));

    let started = tokio::select! {
        () = lifecycle.soft().cancelled() => Ok(()),
        outcome = start(&settings, &state, &lifecycle) => outcome,
    };
    if started.is_ok() && state.started.is_set() {
        announce(&url)?;
        lifecycle.soft().cancelled().await;
    }
    let in_order = lifecycle.drained().await;
    store.close().await;
    tracing::info!(in_order, "stopped");
    started
}

/// What must be there before requests are served; background tasks start here.
async fn start(settings: &Settings, state: &AppState, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    wait_for_schema(&state.store, settings.database.migrate).await?;
    if let Some(first) = wait_for_first_user(&state.store, &settings.oauth).await? {
        show(&first, &settings.database.data_dir)?;
    }
    state.oauth.start(lifecycle);
    state.store.connect_wakes(lifecycle);
    state.sessions.run(process_name(), lifecycle);
    maintenance::start(&state.store, lifecycle);
    state.started.set();
    Ok(())
}

/// The networks that the settings name.
fn connectors(settings: &Settings, store: &Store, lifecycle: &Lifecycle) -> Connectors {
    let mut connectors = Connectors::default();
    for network in &settings.networks.networks {
        if network == "local" {
            connectors.add(Arc::new(Local::new(LocalNet::new(store.clone()), lifecycle.clone())));
        }
    }
    connectors
}

/// Host and process id, for people who look into the table of processes.
fn process_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}:{}", host.as_deref().unwrap_or("unknown"), std::process::id())
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

async fn wait_for_first_user(
    store: &Store,
    settings: &OAuthSettings,
) -> Result<Option<FirstPassword>, BootstrapError> {
    loop {
        match oauth::bootstrap(store, &settings.bootstrap).await {
            Err(BootstrapError::Store(StoreError::Unavailable(error))) => {
                tracing::warn!(%error, "the database is away; trying again");
            }
            outcome => return outcome,
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Shows a password that was made up: on the terminal, else in a file that only this user can read; never in the log.
fn show(first: &FirstPassword, folder: &Path) -> anyhow::Result<()> {
    let text = format!("user: {}\npassword: {}\n", first.user, first.password.reveal());
    let mut out = std::io::stdout();
    if out.is_terminal() {
        writeln!(out, "The first user; the password is shown this once:\n{text}")?;
        return Ok(());
    }
    let path = folder.join("first-password");
    fs::create_dir_all(folder)
        .and_then(|()| {
            // An older file may be open to others.
            let _ = fs::remove_file(&path);
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)
        })
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{}: cannot be written", path.display()))?;
    writeln!(out, "The first user's password is in {}: read it and delete the file", path.display())?;
    Ok(())
}

/// Tells the person at the terminal, and whoever started the program, where it is.
fn announce(url: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Windu listens on {url}")?;
    out.flush()
}
