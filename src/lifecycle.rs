//! Shutdown: signals, the two tokens that stop the program, and the tracker of its tasks.
//!
//! The soft token asks all tasks to finish the work that they have begun; the hard one ends them at once.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest time from the soft token to the hard one.
pub const DRAIN: Duration = Duration::from_secs(25);
/// The longest time from the soft token to the end of the process, whatever runs: the rest is for closing the database.
const SHUTDOWN: Duration = Duration::from_secs(30);

/// The tokens and the tracked tasks of one program run; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    /// When a signal or the program's own end began the shutdown.
    stopping: Arc<OnceLock<Instant>>,
}

impl Lifecycle {
    /// Spawns a task that the shutdown waits for. The task must end soon after `soft` is cancelled.
    #[expect(clippy::disallowed_methods, reason = "the tracker is where all spawns go")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(task))
    }

    /// Cancelled when the program is to stop.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when the program is to stop at once.
    #[must_use]
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Starts a task that cancels the soft token at SIGTERM or SIGINT, and the hard one at a second signal or after
    /// [`DRAIN`].
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let this = self.clone();
        // Not tracked: it lives until the process ends.
        #[expect(clippy::disallowed_methods, reason = "must outlive the tracked tasks")]
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping: unfinished work is completed; a second signal stops at once");
            this.stop();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(DRAIN) => {}
            }
            tracing::warn!("stopping at once");
            this.hard.cancel();
        });
        Ok(())
    }

    /// Cancels the soft token, and waits until all tasks have ended or the hard token is cancelled. Returns whether all have
    /// ended.
    pub async fn drained(&self) -> bool {
        self.stop();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => true,
            () = self.hard.cancelled() => false,
        }
    }
    /// The time until the process must have ended.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        SHUTDOWN.saturating_sub(self.stopping.get().map_or(Duration::ZERO, Instant::elapsed))
    }

    fn stop(&self) {
        self.stopping.get_or_init(Instant::now);
        self.soft.cancel();
    }
}
