//! The private PostgreSQL: a cluster in the data folder, run from the installed binaries, for a deployment without
//! DATABASE_URL.
//!
//! Several programs may use one data folder, for example a server and `windu user create`. The first one starts the
//! cluster, the last one stops it, a server restarts it when it crashed. A program that is killed leaves the cluster
//! running; the next one adopts it. fsync stays on: committed data survives.

mod binaries;
mod blocking;
mod error;
mod initdb;
mod layout;
mod lock;
mod postmaster;
mod server;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::config::Missing;
use crate::lifecycle::Lifecycle;
use binaries::Binaries;
use blocking::{Cancel, blocking};
pub use error::ClusterError;
use layout::Layout;
use lock::{ClusterUse, ControlLock};
use postmaster::Postmaster;

/// The interval at which [`Cluster::supervise`] checks the server.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to restart.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The use of the private cluster by this program. The cluster runs as long as any program uses it.
///
/// Dropped without [`Cluster::stop`] it asks the cluster to stop if no other program uses it, and does not wait.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<SharedCluster>,
}

struct SharedCluster {
    layout: Layout,
    binaries: Binaries,
    /// The folder of the socket.
    sockets: PathBuf,
    /// `None` once this program has stopped using the cluster.
    cluster_use: Mutex<Option<ClusterUse>>,
}

impl Cluster {
    /// Starts the cluster in the data folder, or uses the one that runs. Makes it first when it is missing, unless
    /// `missing` refuses that.
    ///
    /// `pg_bin` is the folder of PostgreSQL's programs (`WINDU_PG_BIN`). Takes 2 s the first time, 0.3 s later, and
    /// after a crash as long as the recovery takes. Dropping the future cancels it.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not start; the error's text says what to do.
    pub async fn start(
        data_dir: &Path,
        pg_bin: Option<&Path>,
        missing: Missing,
    ) -> Result<Self, ClusterError> {
        let (data_dir, pg_bin) = (data_dir.to_owned(), pg_bin.map(Path::to_owned));
        blocking(move |cancel| {
            let inner = SharedCluster::start(&data_dir, pg_bin.as_deref(), missing, cancel)?;
            Ok(Self { inner: Arc::new(inner) })
        })
        .await
    }

    /// The options for connections: the database `windu` as its superuser, over the cluster's socket.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.inner.sockets)
            .port(layout::PORT)
            .username(initdb::NAME)
            .database(initdb::NAME)
            .ssl_mode(PgSslMode::Disable)
    }

    /// Restarts the cluster whenever it is found dead, until the program is asked to stop.
    pub fn supervise(&self, lifecycle: &Lifecycle) {
        let (inner, soft) = (Arc::clone(&self.inner), lifecycle.soft().clone());
        lifecycle.spawn(async move {
            let mut pause = CHECK_INTERVAL;
            loop {
                tokio::select! {
                    () = soft.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                let inner = Arc::clone(&inner);
                let revived = tokio::select! {
                    () = soft.cancelled() => return,
                    revived = blocking(move |cancel| inner.revive(cancel)) => revived,
                };
                pause = match revived {
                    Ok(()) => CHECK_INTERVAL,
                    Err(error) => {
                        let next = (pause * 2).min(MAX_PAUSE);
                        tracing::error!(%error, again_in = ?next, "the private PostgreSQL does not run");
                        next
                    }
                };
            }
        });
    }

    /// Stops using the cluster; the last program that used it stops it. The clones have no database then.
    ///
    /// # Errors
    /// When the cluster does not stop in time.
    pub async fn stop(&self) -> Result<(), ClusterError> {
        let inner = Arc::clone(&self.inner);
        blocking(move |cancel| inner.stop(cancel)).await
    }
}

impl SharedCluster {
    fn start(
        data_dir: &Path,
        pg_bin: Option<&Path>,
        missing: Missing,
        cancel: &Cancel,
    ) -> Result<Self, ClusterError> {
        let layout = Layout::prepare(data_dir, missing)?;
        let control_lock = ControlLock::acquire(&layout.data_dir, cancel)?;
        let cluster_use = ClusterUse::register(&layout.data_dir, &control_lock)?;
        layout.make_folder()?;
        let version = layout.version()?;
        let binaries = Binaries::find(pg_bin, version, &layout.folder)?;
        if version.is_none() {
            let (folder, version) = (layout.cluster.display(), binaries.version);
            tracing::info!(%folder, version, "making a private PostgreSQL cluster");
            initdb::make(&layout, &binaries, cancel)?;
        }
        let sockets = layout.socket_folder()?;
        let sockets = server::ensure(&layout, &binaries, &sockets, (&control_lock, &cluster_use), cancel)?;
        Ok(Self { layout, binaries, sockets, cluster_use: Mutex::new(Some(cluster_use)) })
    }

    /// Starts the server again if it does not run.
    fn revive(&self, cancel: &Cancel) -> Result<(), ClusterError> {
        if matches!(Postmaster::of(&self.layout.cluster)?, Postmaster::Ready(..)) {
            return Ok(());
        }
        let control_lock = ControlLock::acquire(&self.layout.data_dir, cancel)?;
        let cluster_use = self.cluster_use.lock().unwrap_or_else(PoisonError::into_inner);
        // This program has stopped using the cluster meanwhile.
        let Some(cluster_use) = cluster_use.as_ref() else { return Ok(()) };
        if matches!(Postmaster::of(&self.layout.cluster)?, Postmaster::Ready(..)) {
            return Ok(());
        }
        tracing::error!(log = %self.layout.log.display(), "the private PostgreSQL has ended: starting it again");
        self.layout.socket_folder()?;
        server::ensure(&self.layout, &self.binaries, &self.sockets, (&control_lock, cluster_use), cancel)?;
        tracing::info!("the private PostgreSQL runs again");
        Ok(())
    }

    fn stop(&self, cancel: &Cancel) -> Result<(), ClusterError> {
        let control_lock = ControlLock::acquire(&self.layout.data_dir, cancel)?;
        let cluster_use = self.cluster_use.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(cluster_use) = cluster_use else { return Ok(()) };
        if cluster_use.is_only_user(&self.layout.data_dir, &control_lock)? {
            server::stop(&self.layout, cancel)?;
            self.layout.remove_socket_folder(&self.sockets);
        }
        Ok(())
    }
}

impl Drop for SharedCluster {
    fn drop(&mut self) {
        let cluster_use = self.cluster_use.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(cluster_use) = cluster_use else { return };
        // As far as that is possible without waiting: the next program adopts the server, or waits for its end.
        if let Ok(Some(control_lock)) = ControlLock::try_acquire(&self.layout.data_dir)
            && let Ok(true) = cluster_use.is_only_user(&self.layout.data_dir, &control_lock)
            && let Ok(Some(pid)) = Postmaster::of(&self.layout.cluster).map(|postmaster| postmaster.pid())
        {
            let _ = postmaster::signal(pid, Signal::SIGINT);
        }
    }
}
