//! The database of the settings, or the private cluster, with its master key.

use std::sync::Arc;

use crate::config::{self, ConfigError, Env, MediaSettings, Missing, NetworkSettings};
use crate::db::SchemaError;
use crate::db::cluster::Cluster;
use crate::db::{Db, DbError, Unreachable};
use crate::fetch::UntrustedRules;
use crate::lifecycle::Lifecycle;
use crate::media::Media;
use crate::secrets::MasterKey;
use crate::sessions::{Connectors, Sessions, StoredNetworkState};
use crate::store::{KeyError, Store};
use crate::telemetry::chain;
use crate::upstream::local::Local;
use crate::upstream::local::network::LocalNet;
use crate::upstream::xmpp::Xmpp;

use super::{RETRY, Settings, audit};

/// Connections to the database: enough for two to four cores, independent of the number of clients.
const POOL: u32 = 12;

/// The database with its master key, for the server and for the other commands.
pub struct Database {
    /// May be neither connected nor migrated yet.
    pub store: Store,
    pub keys: MasterKey,
    networks: NetworkSettings,
    media: MediaSettings,
    /// For URLs that others supply. Clones share the threads for name resolution.
    pub(super) rules: UntrustedRules,
    pub(super) cluster: Option<Cluster>,
}

impl Database {
    /// Opens the database of the settings, or the private cluster when they name none. `missing` decides whether a missing
    /// cluster and key are created. Does not wait for an unavailable database.
    pub async fn open(env: &Env, settings: &Settings, missing: Missing) -> anyhow::Result<Self> {
        let (networks, media) = (settings.networks.clone(), settings.media.clone());
        let rules = UntrustedRules::new(settings.fetch.allow.clone());
        let settings = &settings.database;
        let keys = config::master_key(env, settings, missing)?;
        let (options, cluster) = if let Some(url) = &settings.url {
            // The URL may hold a password, so the parser's error is not shown.
            let options = url.parse().map_err(|_| {
                ConfigError::new("DATABASE_URL", "a URL such as postgres://user@host/database is expected")
            })?;
            (options, None)
        } else {
            let cluster = Cluster::start(&settings.data_dir, settings.pg_bin.as_deref(), missing).await?;
            (cluster.connect_options(), Some(cluster))
        };
        Ok(Self { store: Store::new(Db::new(options, POOL)), keys, networks, media, rules, cluster })
    }

    /// Migrates the tables, or without `migrate` waits until they are at this program's version, and checks that the key is
    /// the database's. Waits for an unavailable database.
    pub async fn prepare(&self, migrate: bool) -> anyhow::Result<()> {
        wait_for_database(&self.store).await?;
        wait_for_schema(&self.store, migrate).await?;
        loop {
            match self.begin_use().await {
                Err(KeyError::Store(DbError::Unavailable(_))) => wait_for_database(&self.store).await?,
                checked => {
                    checked?;
                    return self.check_domain().await;
                }
            }
        }
    }

    /// Checks the key. What is used from now on is no restoration any more that could be repeated.
    async fn begin_use(&self) -> Result<(), KeyError> {
        self.check_key().await?;
        Ok(self.store.forget_restoration().await?)
    }

    /// Checks that the domain of the settings is that of the accounts in the database; the first one is stored.
    async fn check_domain(&self) -> anyhow::Result<()> {
        let Some(settings) = &self.networks.xmpp else { return Ok(()) };
        let stored = self.store.keep_network_domain("xmpp", &settings.domain).await?;
        match other_domain(&stored, &settings.domain) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Checks that the key is the database's; a change of keys is recorded.
    pub async fn check_key(&self) -> Result<(), KeyError> {
        if self.store.check_key_fingerprint(&self.keys).await? {
            audit::record(&self.store, Some(("key.change", String::new())), true).await;
        }
        Ok(())
    }

    /// The handle of stored files, whose URLs begin with `public_url`.
    #[must_use]
    pub fn media(&self, public_url: &str) -> Media {
        Media::new(self.store.clone(), self.keys.clone(), &self.media, public_url.into())
    }

    /// The handle of the sessions, with the networks of the settings.
    pub fn sessions(&self, media: &Media, lifecycle: &Lifecycle) -> Result<Sessions, ConfigError> {
        let connectors = self.connectors(media, lifecycle)?;
        Ok(Sessions::new(self.store.clone(), connectors, self.keys.clone(), media.clone()))
    }

    /// The networks of the settings.
    pub fn connectors(&self, media: &Media, lifecycle: &Lifecycle) -> Result<Connectors, ConfigError> {
        let mut connectors = Connectors::default();
        let blobs = || Arc::new(media.clone());
        if self.networks.networks.iter().any(|network| network == "local") {
            let net = LocalNet::new(self.store.db().clone());
            connectors.add(Arc::new(Local::new(net, blobs(), lifecycle.clone())));
        }
        if let Some(settings) = &self.networks.xmpp {
            let rules = self.rules.clone();
            let state = Arc::new(StoredNetworkState { store: self.store.clone(), network: "xmpp" });
            connectors.add(Arc::new(Xmpp::new(settings.clone(), blobs(), rules, state, lifecycle.clone())?));
        }
        Ok(connectors)
    }

    /// Closes all connections; the last program stops the private cluster. When not `in_order`, unfinished tasks may hold
    /// connections and the pool is not closed; PostgreSQL rolls their work back.
    pub async fn close(self, in_order: bool) {
        if in_order {
            self.store.db().close().await;
        }
        if let Some(cluster) = self.cluster
            && let Err(error) = cluster.stop().await
        {
            tracing::warn!(error = chain(&error), "the private PostgreSQL did not stop");
        }
    }
}

/// The error when the domain of the settings is not that of the database.
pub(super) fn other_domain(stored: &str, domain: &str) -> Option<ConfigError> {
    let problem = || {
        format!(
            "the accounts in this database have addresses at {stored}, not at {domain}: set it back, or use another database"
        )
    };
    (stored != domain).then(|| ConfigError::new("WINDU_XMPP_DOMAIN", problem()))
}

async fn wait_for_schema(store: &Store, migrate: bool) -> anyhow::Result<()> {
    loop {
        let outcome =
            if migrate { store.db().migrate().await.map(|()| true) } else { store.db().is_migrated().await };
        match outcome {
            Ok(true) => return Ok(()),
            Ok(false) => {
                tracing::warn!("the tables are older than this program: waiting for `windu migrate`");
                tokio::time::sleep(RETRY).await;
            }
            Err(SchemaError::Database(DbError::Unavailable(_))) => wait_for_database(store).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until the database takes a connection.
///
/// # Errors
/// When it refuses, and waiting does not change that.
pub(super) async fn wait_for_database(store: &Store) -> Result<(), Unreachable> {
    loop {
        match store.db().connect_once().await {
            Ok(()) => return Ok(()),
            Err(Unreachable::Refused { place, problem }) => {
                return Err(Unreachable::Refused { place, problem });
            }
            Err(away @ Unreachable::Away { .. }) => tracing::warn!("{away}; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
