//! The private PostgreSQL: a cluster in the data folder, run from the installed binaries, for whoever gives no
//! DATABASE_URL.
//!
//! Several programs may use one data folder, for example a server and `windu user create`. The first one in starts
//! the cluster, the last one out stops it, a server restarts it when it crashed. A program that is killed leaves the
//! cluster running; the next one adopts it. fsync stays on: what was committed survives.

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
use lock::{Presence, Turn};
use postmaster::Postmaster;

/// How often [`Cluster::supervise`] looks.
const LOOK: Duration = Duration::from_millis(500);
/// The longest pause between two tries to restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The use of the private cluster by this program. While one program has it the cluster runs.
///
/// Dropped without [`Cluster::stop`] it asks the cluster to stop if nobody else uses it, and does not wait.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    layout: Layout,
    binaries: Binaries,
    /// The folder of the socket.
    sockets: PathBuf,
    /// Gone once the program has stopped using the cluster.
    presence: Mutex<Option<Presence>>,
}

impl Cluster {
    /// Starts the cluster in the data folder, or joins in when it runs. Makes it first when it is missing, unless
    /// told to refuse.
    ///
    /// `pg_bin` is the folder of PostgreSQL's programs (`WINDU_PG_BIN`). Takes 2 s the first time, 0.3 s later,
    /// as long as a crash recovery takes after a crash. Dropping the future gives up.
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
            let inner = Inner::start(&data_dir, pg_bin.as_deref(), missing, cancel)?;
            Ok(Self { inner: Arc::new(inner) })
        })
        .await
    }

    /// How to connect: the database `windu` as its superuser, over the cluster's socket.
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
            let mut pause = LOOK;
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
                    Ok(()) => LOOK,
                    Err(error) => {
                        let next = (pause * 2).min(LONGEST_PAUSE);
                        tracing::error!(%error, again_in = ?next, "the private PostgreSQL does not run");
                        next
                    }
                };
            }
        });
    }

    /// Stops using the cluster; the last one out stops it. Every clone is without a database then.
    ///
    /// # Errors
    /// When the cluster does not stop in time.
    pub async fn stop(&self) -> Result<(), ClusterError> {
        let inner = Arc::clone(&self.inner);
        blocking(move |cancel| inner.stop(cancel)).await
    }
}

impl Inner {
    fn start(
        data_dir: &Path,
        pg_bin: Option<&Path>,
        missing: Missing,
        cancel: &Cancel,
    ) -> Result<Self, ClusterError> {
        let layout = Layout::prepare(data_dir, missing)?;
        let turn = Turn::take(&layout.data_dir, cancel)?;
        let presence = Presence::enter(&layout.data_dir, &turn)?;
        layout.make_folder()?;
        let version = layout.version()?;
        let binaries = Binaries::find(pg_bin, version, &layout.folder)?;
        if version.is_none() {
            let (folder, version) = (layout.cluster.display(), binaries.version);
            tracing::info!(%folder, version, "making a private PostgreSQL cluster");
            initdb::make(&layout, &binaries, cancel)?;
        }
        let sockets = layout.socket_folder()?;
        let sockets = server::ensure(&layout, &binaries, &sockets, (&turn, &presence), cancel)?;
        Ok(Self { layout, binaries, sockets, presence: Mutex::new(Some(presence)) })
    }

    /// Starts the server again if it is not there.
    fn revive(&self, cancel: &Cancel) -> Result<(), ClusterError> {
        if matches!(Postmaster::of(&self.layout.cluster)?, Postmaster::Ready(..)) {
            return Ok(());
        }
        let turn = Turn::take(&self.layout.data_dir, cancel)?;
        let presence = self.presence.lock().unwrap_or_else(PoisonError::into_inner);
        // Stopped on purpose in the meantime.
        let Some(presence) = presence.as_ref() else { return Ok(()) };
        if matches!(Postmaster::of(&self.layout.cluster)?, Postmaster::Ready(..)) {
            return Ok(());
        }
        tracing::error!(log = %self.layout.log.display(), "the private PostgreSQL has ended: starting it again");
        self.layout.socket_folder()?;
        server::ensure(&self.layout, &self.binaries, &self.sockets, (&turn, presence), cancel)?;
        tracing::info!("the private PostgreSQL runs again");
        Ok(())
    }

    fn stop(&self, cancel: &Cancel) -> Result<(), ClusterError> {
        let turn = Turn::take(&self.layout.data_dir, cancel)?;
        let presence = self.presence.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(presence) = presence else { return Ok(()) };
        if presence.alone(&self.layout.data_dir, &turn)? {
            server::stop(&self.layout, cancel)?;
            self.layout.remove_socket_folder(&self.sockets);
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let presence = self.presence.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(presence) = presence else { return };
        // As far as it goes without waiting: whoever comes next adopts or waits for what is left.
        if let Ok(Some(turn)) = Turn::take_now(&self.layout.data_dir)
            && let Ok(true) = presence.alone(&self.layout.data_dir, &turn)
            && let Ok(Some(pid)) = Postmaster::of(&self.layout.cluster).map(|postmaster| postmaster.pid())
        {
            let _ = postmaster::signal(pid, Signal::SIGINT);
        }
    }
}
