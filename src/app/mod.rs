//! Composition of the program: construction, start and stop, each in its order.

pub mod audit;
mod backup;
mod check;
mod database;
mod terminal;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::config::{
    self, BrokerSettings, CodeSettings, CodeSurroundings, ConfigError, DatabaseSettings, Env, FetchSettings,
    KEY_NAMES, ListenSettings, LogSettings, MediaSettings, Missing, NetworkSettings, OAuthSettings,
    QuotaSettings, RateSettings, RetentionSettings, XmppSettings,
};
use crate::db::{Db, DbError};
use crate::events::broker::Broker;
use crate::events::{Consumers, Events};
use crate::fair_share::FairShare;
use crate::fetch::Fetch;
use crate::http::extract::body_budget::BodyBudget;
use crate::http::rate_limit::RateLimits;
use crate::http::server::ConnectionLimits;
use crate::http::{AppState, Shared, SlowChecks, Started, metrics, router, server};
use crate::lifecycle::Lifecycle;
use crate::maintenance;
use crate::oauth::{self, BootstrapError, FirstPassword, OAuth};
use crate::sessions::own_name;
use crate::store::Store;
use crate::verification::Verification;
use crate::webhooks::Webhooks;

pub use backup::{backup, restore, verify_backup};
pub use check::check;
pub use database::Database;

/// The pause between attempts to reach an unavailable database.
const RETRY: Duration = Duration::from_secs(1);

/// Every setting of the program.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: ListenSettings,
    pub database: DatabaseSettings,
    pub networks: NetworkSettings,
    pub media: MediaSettings,
    pub codes: CodeSettings,
    pub oauth: OAuthSettings,
    pub fetch: FetchSettings,
    pub rates: RateSettings,
    pub retention: RetentionSettings,
    pub quotas: QuotaSettings,
    pub broker: Option<BrokerSettings>,
}

impl Settings {
    /// The names of all variables that the program reads.
    const NAMES: &[&[&str]] = &[
        ListenSettings::NAMES,
        DatabaseSettings::NAMES,
        LogSettings::NAMES,
        NetworkSettings::NAMES,
        XmppSettings::NAMES,
        MediaSettings::NAMES,
        CodeSettings::NAMES,
        KEY_NAMES,
        &["WINDU_BOOTSTRAP_USER", "WINDU_BOOTSTRAP_PASSWORD"],
        OAuthSettings::NAMES,
        FetchSettings::NAMES,
        RateSettings::NAMES,
        RetentionSettings::NAMES,
        QuotaSettings::NAMES,
        BrokerSettings::NAMES,
    ];

    /// Reads all settings, and warns of unknown variables.
    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        for (name, meant) in config::unknown(env, Self::NAMES) {
            if let Some(meant) = meant {
                tracing::warn!(name, "unknown variable; is {meant} meant?");
            } else {
                tracing::warn!(name, "unknown variable; .env.example lists all");
            }
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
        let (rates, retention) = (RateSettings::read(env)?, RetentionSettings::read(env)?);
        let (quotas, broker) = (QuotaSettings::read(env)?, BrokerSettings::read(env)?);
        if broker.is_none() && BrokerSettings::NAMES.iter().any(|name| env.get(name).is_some()) {
            tracing::warn!("WINDU_EVENTS_NATS_STREAM means nothing without WINDU_EVENTS_NATS_URL");
        }
        Ok(Self { listen, database, networks, media, codes, oauth, fetch, rates, retention, quotas, broker })
    }
}

/// Opens the database for a command that works beside a running server. The caller closes it.
///
/// # Errors
/// When there is no database yet, or its tables are older than this program.
pub async fn open(env: &Env) -> anyhow::Result<Database> {
    let settings = Settings::read(env)?;
    let database = Database::open(env, &settings, Missing::Refuse).await?;
    match is_usable(database.store.db()).await {
        Ok(()) => Ok(database),
        Err(error) => {
            database.close(true).await;
            Err(error)
        }
    }
}

async fn is_usable(db: &Db) -> anyhow::Result<()> {
    db.connect_once().await?;
    if db.is_migrated().await? {
        Ok(())
    } else {
        bail!("the tables are older than this program: run `windu migrate` first")
    }
}

/// `windu migrate`.
pub async fn migrate(env: &Env) -> anyhow::Result<()> {
    let settings = Settings::read(env)?;
    let database = Database::open(env, &settings, Missing::Create).await?;
    let migrated = async {
        database.store.db().connect_once().await?;
        database.store.db().migrate().await?;
        Ok(database.check_key().await?)
    }
    .await;
    database.close(true).await;
    migrated
}

/// `windu serve`: runs until a signal stops it. Waits for an unavailable database.
pub async fn serve(env: &Env) -> anyhow::Result<()> {
    let settings = Settings::read(env)?;
    raise_file_limit();
    let listener = listen("WINDU_LISTEN", settings.listen.address).await?;
    let metrics = match settings.listen.metrics {
        None => None,
        Some(address) => Some(listen("WINDU_METRICS_LISTEN", address).await?),
    };
    let database = Database::open(env, &settings, Missing::Create).await?;
    Box::pin(serve_on(listener, metrics, settings, database)).await
}

async fn listen(variable: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{variable}: cannot listen on {address}"))
}

/// As [`serve`], on open listeners: of the API, and of the figures.
pub async fn serve_on(
    listener: TcpListener,
    metrics: Option<TcpListener>,
    settings: Settings,
    database: Database,
) -> anyhow::Result<()> {
    let lifecycle = Lifecycle::default();
    lifecycle.listen_for_signals()?;
    let url = format!("http://{}", listener.local_addr()?);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %url, "starting");

    let (store, keys) = (database.store.clone(), database.keys.clone());
    if let Some(cluster) = &database.cluster {
        cluster.supervise(&lifecycle);
    }
    let fetch = Arc::new(Fetch::new(database.rules.clone()));
    let codes = settings.codes.clone();
    let public_url: Arc<str> = settings.listen.public_url.as_deref().unwrap_or(&url).into();
    let media = database.media(&public_url);
    let sessions = database.sessions(&media, &lifecycle)?;
    let limits = RateLimits::new(settings.rates.requests, settings.rates.sends);
    limits.tidy(&lifecycle);
    let events = Events::new(store.clone(), media.clone());
    let state = AppState::from(Shared {
        store: store.clone(),
        oauth: Arc::new(OAuth::new(store.clone(), &settings.oauth)),
        sessions,
        webhooks: Webhooks::new(events.clone(), Arc::clone(&fetch), keys.clone()),
        events,
        consumers: Consumers::new(settings.quotas.streams.map(NonZero::get)),
        verification: Verification::new(store.clone(), keys, codes, Arc::clone(&fetch), lifecycle.clone())?,
        fetch,
        media,
        lifecycle: lifecycle.clone(),
        default_network: settings.networks.networks[0].as_str().into(),
        send_ttl: settings.networks.send_ttl,
        quotas: settings.quotas,
        public_url,
        cors_origins: Arc::new(settings.listen.cors_origins.clone()),
        started: Started::default(),
        bodies: BodyBudget::default(),
        limits,
        slow_checks: SlowChecks::default(),
        // The smallest limit of which one alone gets anything is two.
        requests: FairShare::new((settings.listen.max_connections as u64).max(2)),
    });
    // Listening before the database answers: probes and callers get a 503 instead of a refused connection.
    let limits = ConnectionLimits {
        total: settings.listen.max_connections,
        waiting_give_way: false,
        per_address: settings.listen.max_connections_per_address,
        trusted_proxies: settings.oauth.trusted_proxies.clone(),
    };
    lifecycle.spawn(server::serve(listener, router::router(&state), limits, lifecycle.clone()));
    if let Some(listener) = metrics {
        let has_broker = settings.broker.is_some();
        metrics::serve(listener, store.clone(), &settings.networks.networks, has_broker, &lifecycle);
    }

    let started = tokio::select! {
        () = lifecycle.soft().cancelled() => Ok(()),
        outcome = start(&settings, &database, &state, &lifecycle, &url) => outcome,
    };
    if started.is_ok() && state.started.is_set() {
        lifecycle.soft().cancelled().await;
    }
    let in_order = lifecycle.drained().await && !lifecycle.hard().is_cancelled();
    // A private PostgreSQL that takes longer stops by itself; the next start waits for it.
    let closed = timeout(lifecycle.time_left(), database.close(in_order)).await;
    if closed.is_err() {
        tracing::warn!("the database is not closed yet");
    }
    if in_order {
        tracing::info!("stopped");
        started
    } else {
        started.and(Err(anyhow!("stopped before all tasks had finished")))
    }
}

/// Prepares the database and starts the background tasks; then requests are served.
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
    state.oauth.watch_tokens(lifecycle);
    state.store.db().connect_notifications(lifecycle);
    state.events.start(lifecycle);
    state.sessions.run(own_name(), lifecycle);
    state.webhooks.start(state.sessions.watch_process(), settings.retention.events, lifecycle);
    if let Some(broker) = &settings.broker {
        let process = state.sessions.watch_process();
        Broker::new(state.events.clone(), broker.clone(), settings.retention.events, process)
            .start(lifecycle);
    }
    let media = state.media.clone();
    // As a task: a slow disk must not delay the start.
    lifecycle.spawn(async move { media.prepare().await });
    maintenance::start(&state.store, &state.media, settings.retention, lifecycle);
    state.started.set();
    let user = settings.oauth.bootstrap.user.as_deref().unwrap_or("admin");
    terminal::announce(url, &state.public_url, user, first.as_ref(), &settings.database.data_dir)
}

async fn first_user(store: &Store, settings: &OAuthSettings) -> anyhow::Result<Option<FirstPassword>> {
    loop {
        match oauth::bootstrap(store, &settings.bootstrap, &audit::actor()).await {
            Err(BootstrapError::Store(DbError::Unavailable(_))) => database::wait_for_database(store).await?,
            outcome => return Ok(outcome?),
        }
    }
}

/// Every connection is an open file, and on many systems the soft limit is 1,024.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files could not be raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_example_file_works_when_uncommented() {
        let lines = include_str!("../../.env.example").lines().filter_map(|line| line.strip_prefix('#'));
        let settings = lines.filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.contains(' '));
        let mut names = Vec::new();
        for (name, value) in settings {
            // What this one needs besides.
            let mut values = vec![("HOME", "/home/ann"), ("WINDU_CODE_SENDER", "log"), (name, value)];
            if name == "DATABASE_URL" {
                values.push(("WINDU_SECRET_KEY", "anything"));
            }
            let env = Env::of(values);
            Settings::read(&env).unwrap_or_else(|error| panic!("{error}"));
            LogSettings::read(&env, true).unwrap_or_else(|error| panic!("{error}"));
            assert!(name.starts_with("AWS_") || config::unknown(&env, Settings::NAMES).is_empty(), "{name}");
            names.push(name);
        }
        for name in Settings::NAMES.iter().flat_map(|names| names.iter()) {
            assert!(names.contains(name), "{name} is not in .env.example");
        }
    }

    #[test]
    fn a_misspelt_name_is_noticed() {
        let names = ["DATABASE_URI", "WINDU_LISTN", "WINDO_LOG", "WINDU_NO_SUCH_THING", "HOME", "DATABASE"];
        let env = Env::of(names.map(|name| (name, "x")));
        assert_eq!(
            config::unknown(&env, Settings::NAMES),
            [
                ("DATABASE_URI", Some("DATABASE_URL")),
                ("WINDO_LOG", Some("WINDU_LOG")),
                ("WINDU_LISTN", Some("WINDU_LISTEN")),
                ("WINDU_NO_SUCH_THING", None)
            ]
        );
    }
}
