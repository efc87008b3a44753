//! Composition: what is made, in which order it starts, and in which order it stops.

mod check;
mod database;
mod terminal;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::net::TcpListener;

use crate::config::{
    self, CodeSettings, CodeSurroundings, ConfigError, DatabaseSettings, Env, FetchSettings, KEY_NAMES,
    ListenSettings, LogSettings, MediaSettings, Missing, NetworkSettings, OAuthSettings,
};
use crate::db::DbError;
use crate::fetch::{Fetch, UntrustedRules};
use crate::http::{AppState, Shared, Started, router, server};
use crate::lifecycle::Lifecycle;
use crate::maintenance;
use crate::oauth::{self, BootstrapError, FirstPassword, OAuth};
use crate::sessions::own_name;
use crate::store::Store;
use crate::verification::Verification;

pub use check::check;
pub use database::Database;

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
    /// Stored files.
    pub media: MediaSettings,
    /// Verification codes.
    pub codes: CodeSettings,
    /// Tokens and the first user.
    pub oauth: OAuthSettings,
    /// URLs that callers give.
    pub fetch: FetchSettings,
}

impl Settings {
    /// The names of all variables that some part of the program reads.
    const NAMES: &[&[&str]] = &[
        ListenSettings::NAMES,
        DatabaseSettings::NAMES,
        LogSettings::NAMES,
        NetworkSettings::NAMES,
        MediaSettings::NAMES,
        CodeSettings::NAMES,
        KEY_NAMES,
        &["WINDU_BOOTSTRAP_USER", "WINDU_BOOTSTRAP_PASSWORD"],
        OAuthSettings::NAMES,
        FetchSettings::NAMES,
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
        let oauth = OAuthSettings::read(env)?;
        let media = MediaSettings::read(env, &database.data_dir)?;
        let (networks, fetch) = (NetworkSettings::read(env)?, FetchSettings::read(env)?);
        Ok(Self { listen, database, networks, media, codes, oauth, fetch })
    }
}

/// The database for the commands that work beside a running server; close it when they are done.
///
/// # Errors
/// When there is none yet, or its tables are older than this program.
pub async fn open(env: &Env) -> anyhow::Result<Database> {
    let settings = Settings::read(env)?;
    let database = Database::open(env, &settings, Missing::Refuse).await?;
    match database.store.db().is_migrated().await {
        Ok(true) => Ok(database),
        Ok(false) => {
            database.close(true).await;
            bail!("the tables are older than this program: run `windu migrate` first")
        }
        Err(error) => {
            database.close(true).await;
            Err(error.into())
        }
    }
}

/// `windu migrate`.
///
/// # Errors
/// When the database cannot be reached or migrated.
pub async fn migrate(env: &Env) -> anyhow::Result<()> {
    let settings = Settings::read(env)?;
    let database = Database::open(env, &settings, Missing::Create).await?;
    let migrated = database.store.db().migrate().await;
    let checked = match migrated {
        Ok(()) => database.store.check_key_fingerprint(&database.keys).await.map_err(Into::into),
        Err(error) => Err(error.into()),
    };
    database.close(true).await;
    checked
}

/// `windu serve`: until a signal asks for the end.
///
/// # Errors
/// When the program cannot start; a database that is away is waited for.
pub async fn serve(env: &Env) -> anyhow::Result<()> {
    let settings = Settings::read(env)?;
    raise_file_limit();
    let address = settings.listen.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("WINDU_LISTEN: cannot listen on {address}"))?;
    let database = Database::open(env, &settings, Missing::Create).await?;
    serve_on(listener, settings, database).await
}

/// Serves on a listener that is given.
///
/// # Errors
/// When the program cannot start.
pub async fn serve_on(listener: TcpListener, settings: Settings, database: Database) -> anyhow::Result<()> {
    let lifecycle = Lifecycle::default();
    lifecycle.listen_for_signals()?;
    let url = format!("http://{}", listener.local_addr()?);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %url, "starting");

    let (store, keys) = (database.store.clone(), database.keys.clone());
    if let Some(cluster) = &database.cluster {
        cluster.supervise(&lifecycle);
    }
    let fetch = Arc::new(Fetch::new(UntrustedRules::new(settings.fetch.allow.clone())));
    let codes = settings.codes.clone();
    let public_url: Arc<str> = settings.listen.public_url.as_deref().unwrap_or(&url).into();
    let media = database.media(&public_url);
    let sessions = database.sessions(&media, &lifecycle);
    let state = AppState::from(Shared {
        store: store.clone(),
        oauth: Arc::new(OAuth::new(store.clone(), &settings.oauth)),
        sessions,
        verification: Verification::new(store.clone(), keys, codes, Arc::clone(&fetch), lifecycle.clone())?,
        fetch,
        media,
        lifecycle: lifecycle.clone(),
        default_network: settings.networks.networks[0].as_str().into(),
        send_ttl: settings.networks.send_ttl,
        public_url,
        cors_origins: Arc::new(settings.listen.cors_origins.clone()),
        started: Started::default(),
    });
    // Listening before the database answers: probes and callers hear a 503 instead of a refused connection.
    let max_connections = settings.listen.max_connections;
    lifecycle.spawn(server::serve(listener, router::router(&state), max_connections, lifecycle.clone()));

    let started = tokio::select! {
        () = lifecycle.soft().cancelled() => Ok(()),
        outcome = start(&settings, &database, &state, &lifecycle, &url) => outcome,
    };
    if started.is_ok() && state.started.is_set() {
        lifecycle.soft().cancelled().await;
    }
    let in_order = lifecycle.drained().await && !lifecycle.hard().is_cancelled();
    database.close(in_order).await;
    if in_order {
        tracing::info!("stopped");
        started
    } else {
        started.and(Err(anyhow!("ended before everything was finished")))
    }
}

/// What must be there before requests are served; background tasks start here.
async fn start(
    settings: &Settings,
    database: &Database,
    state: &AppState,
    lifecycle: &Lifecycle,
    url: &str,
) -> anyhow::Result<()> {
    database.prepare(settings.database.migrate).await?;
    let first = first_user(&state.store, &settings.oauth).await?;
    state.oauth.follow_revocations(lifecycle);
    state.store.db().connect_notifications(lifecycle);
    state.sessions.run(own_name(), lifecycle);
    let media = state.media.clone();
    // Beside the rest: a slow disk is no reason not to serve.
    lifecycle.spawn(async move { media.prepare().await });
    maintenance::start(&state.store, &state.media, lifecycle);
    state.started.set();
    let user = settings.oauth.bootstrap.user.as_deref().unwrap_or("admin");
    terminal::announce(url, user, first.as_ref(), &settings.database.data_dir)
}

async fn first_user(
    store: &Store,
    settings: &OAuthSettings,
) -> Result<Option<FirstPassword>, BootstrapError> {
    loop {
        match oauth::bootstrap(store, &settings.bootstrap).await {
            Err(BootstrapError::Store(DbError::Unavailable(error))) => {
                tracing::warn!(%error, "the database is away; trying again");
                tokio::time::sleep(RETRY).await;
            }
            outcome => return outcome,
        }
    }
}

/// Every connection is an open file, and many systems allow 1,024 unless asked for more.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
