//! The database that the settings name, or the private cluster, with the key that belongs to it.

use std::sync::Arc;

use crate::config::{self, ConfigError, Env, MediaSettings, Missing};
use crate::db::SchemaError;
use crate::db::cluster::Cluster;
use crate::db::{Db, DbError};
use crate::lifecycle::Lifecycle;
use crate::media::Media;
use crate::secrets::MasterKey;
use crate::sessions::{Connectors, Sessions};
use crate::store::{KeyError, Store};
use crate::telemetry::chain;
use crate::upstream::local::Local;
use crate::upstream::local::network::LocalNet;

use super::{RETRY, Settings};

/// Connections to the database: right for two to four cores, whatever the number of clients.
const POOL: u32 = 12;

/// The database with what its values are sealed by, for the server and for the other commands.
pub struct Database {
    /// The store. May not be connected yet, nor migrated.
    pub store: Store,
    /// The master key.
    pub keys: MasterKey,
    networks: Vec<String>,
    media: MediaSettings,
    pub(super) cluster: Option<Cluster>,
}

impl Database {
    /// Opens the database that the settings name, or the private cluster when they name none. `missing` says
    /// whether a cluster and a key that are not there are made. Does not wait for a database that is away.
    ///
    /// # Errors
    /// When the settings do not fit, or the cluster does not start.
    pub async fn open(env: &Env, settings: &Settings, missing: Missing) -> anyhow::Result<Self> {
        let (networks, media) = (settings.networks.networks.clone(), settings.media.clone());
        let settings = &settings.database;
        let keys = config::master_key(env, settings, missing)?;
        let (options, cluster) = if let Some(url) = &settings.url {
            // The URL may hold a password, so the parser's words stay unsaid.
            let options = url.parse().map_err(|_| {
                ConfigError::new("DATABASE_URL", "a URL such as postgres://user@host/database is expected")
            })?;
            (options, None)
        } else {
            let cluster = Cluster::start(&settings.data_dir, settings.pg_bin.as_deref(), missing).await?;
            (cluster.connect_options(), Some(cluster))
        };
        Ok(Self { store: Store::new(Db::new(options, POOL)), keys, networks, media, cluster })
    }

    /// Waits until the tables are at this program's version, which with `migrate` this program brings about, and
    /// checks that the values in them open with this key.
    ///
    /// # Errors
    /// When a migration fails, or the database belongs to another key. A database that is away is waited for.
    pub async fn prepare(&self, migrate: bool) -> anyhow::Result<()> {
        wait_for_schema(&self.store, migrate).await?;
        loop {
            match self.store.check_key_fingerprint(&self.keys).await {
                Err(KeyError::Store(DbError::Unavailable(error))) => {
                    tracing::warn!(%error, "the database is away; trying again");
                    tokio::time::sleep(RETRY).await;
                }
                checked => return Ok(checked?),
            }
        }
    }

    /// Stored files, whose URLs begin with `public_url`.
    #[must_use]
    pub fn media(&self, public_url: &str) -> Media {
        Media::new(self.store.clone(), self.keys.clone(), &self.media, public_url.into())
    }

    /// The handle on the sessions, wherever they run, with the networks that the settings name.
    #[must_use]
    pub fn sessions(&self, media: &Media, lifecycle: &Lifecycle) -> Sessions {
        let connectors = self.connectors(media, lifecycle);
        Sessions::new(self.store.clone(), connectors, self.keys.clone(), media.clone())
    }

    /// The networks that the settings name.
    #[must_use]
    pub fn connectors(&self, media: &Media, lifecycle: &Lifecycle) -> Connectors {
        let mut connectors = Connectors::default();
        for network in &self.networks {
            if network == "local" {
                let (net, blobs) = (LocalNet::new(self.store.db().clone()), Arc::new(media.clone()));
                connectors.add(Arc::new(Local::new(net, blobs, lifecycle.clone())));
            }
        }
        connectors
    }

    /// Gives all connections back; the last program out stops the private cluster. Not `in_order`: a connection that
    /// an unfinished task holds would keep the pool from closing; PostgreSQL undoes its work.
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

async fn wait_for_schema(store: &Store, migrate: bool) -> Result<(), SchemaError> {
    loop {
        let outcome =
            if migrate { store.db().migrate().await.map(|()| true) } else { store.db().is_migrated().await };
        match outcome {
            Ok(true) => return Ok(()),
            Ok(false) => {
                tracing::warn!("the tables are older than this program: waiting for `windu migrate`");
            }
            Err(SchemaError::Database(DbError::Unavailable(error))) => {
                tracing::warn!(%error, "the database is away; trying again");
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(RETRY).await;
    }
}
