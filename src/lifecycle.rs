//! Signals, the two steps of a stop, and the tasks that a stop waits for.
//!
//! The soft token asks everything to finish what it has begun; the hard one ends it where it stands.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a stop may take before what is left is ended.
pub const DRAIN: Duration = Duration::from_secs(30);

/// The tokens and the tracked tasks of one program run; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
}

impl Lifecycle {
    /// Runs a task that the stop waits for. The task must end soon after `soft` is cancelled.
    #[expect(clippy::disallowed_methods, reason = "the tracker is where all spawns go")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(task))
    }

    /// Cancelled when the program was asked to stop.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when it must stop now.
    #[must_use]
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Turns SIGTERM and SIGINT into the soft token, a second one (or the end of [`DRAIN`]) into the hard one.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
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
            tracing::info!("stopping: finishing what is under way; a second signal ends at once");
            this.soft.cancel();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(DRAIN) => {}
            }
            tracing::warn!("ending at once");
            this.hard.cancel();
        });
        Ok(())
    }

    /// Waits until all tasks have ended or the hard token is cancelled. True: everything finished in order.
    pub async fn drained(&self) -> bool {
        self.soft.cancel();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => true,
            () = self.hard.cancelled() => false,
        }
    }
}
