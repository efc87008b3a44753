//! Blocking work that is cancelled when its caller goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::error::ClusterError;

const POLL_INTERVAL: Duration = Duration::from_millis(20);
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The cancellation flag of blocking work: set when the future that waits for it is dropped.
#[derive(Clone, Default)]
pub(super) struct Cancel(Arc<AtomicBool>);

/// Cancels when dropped.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Cancel {
    /// Calls `poll` until it returns something; `None` after the timeout. Logs every 10 s what it waits for.
    ///
    /// # Errors
    /// When `poll` fails, or [`ClusterError::Cancelled`] when the caller went away.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut poll: impl FnMut() -> Result<Option<T>, ClusterError>,
    ) -> Result<Option<T>, ClusterError> {
        let begin = Instant::now();
        let mut report = begin + REPORT_INTERVAL;
        loop {
            if let Some(found) = poll()? {
                return Ok(Some(found));
            }
            if self.0.load(Ordering::Relaxed) {
                return Err(ClusterError::Cancelled);
            }
            let now = Instant::now();
            if now.duration_since(begin) >= timeout {
                return Ok(None);
            }
            if now >= report {
                tracing::info!(seconds = now.duration_since(begin).as_secs(), "still waiting: {what}");
                report = now + REPORT_INTERVAL;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Runs blocking work off the async threads; dropping the future cancels it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Cancel) -> Result<T, ClusterError> + Send + 'static,
) -> Result<T, ClusterError> {
    let cancel = Cancel::default();
    let _cancel_on_drop = CancelOnDrop(cancel.clone());
    match tokio::task::spawn_blocking(move || work(&cancel)).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down.
            Err(_) => Err(ClusterError::Cancelled),
        },
    }
}
