//! Shutdown: signals, the two tokens that stop the program, and the tracker of its tasks.
//!
//! The soft token asks all tasks to finish the work that they have begun; the hard one ends them at once.

mod deadline;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use deadline::Deadline;

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

    /// Starts a task that cancels the soft token at SIGTERM, SIGINT or SIGHUP, and the hard one at a second signal or after
    /// [`DRAIN`].
    pub fn listen_for_signals(&self) -> std::io::Result<()> {
        let mut signals = StopSignals::listen()?;
        let this = self.clone();
        // Not tracked: it lives until the process ends.
        #[expect(clippy::disallowed_methods, reason = "must outlive the tracked tasks")]
        tokio::spawn(async move {
            signals.received().await;
            tracing::info!("stopping: unfinished work is completed; a second signal stops at once");
            this.stop();
            tokio::select! {
                () = signals.received() => {}
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

/// The signals that stop the program.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// The terminal was closed. `None` under `nohup`, which has it ignored.
    hang_up: Option<Signal>,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        let hang_up = (!is_hang_up_ignored()).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up,
        })
    }

    async fn received(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hang_up => {}
        }
    }
}

/// Whether the program was started with SIGHUP ignored. Where the system does not say, it was not.
fn is_hang_up_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hang_up(&status))
}

/// Whether the mask of ignored signals in a `/proc/PID/status` has the lowest bit set, which is SIGHUP's.
fn ignores_hang_up(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hang_up_is_found_in_the_status() {
        let status =
            |mask: &str| format!("Name:\twindu\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t1\n");
        assert!(ignores_hang_up(&status("0000000000001001")));
        assert!(!ignores_hang_up(&status("0000000000001000")));
        assert!(!ignores_hang_up("Name:\twindu\n"));
    }
}
