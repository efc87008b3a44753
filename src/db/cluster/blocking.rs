//! Waiting in blocking code, in a way that ends when nobody wants the result any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::error::ClusterError;

const LOOK: Duration = Duration::from_millis(20);
const REPORT: Duration = Duration::from_secs(10);

/// Tells blocking work that its caller is gone: set when the future that it belongs to is dropped.
#[derive(Clone, Default)]
pub(super) struct Cancel(Arc<AtomicBool>);

/// Cancels when dropped.
struct EndOnDrop(Cancel);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Cancel {
    /// Looks again and again until there is something; `None` when the limit has passed. Says every 10 s what it
    /// waits for.
    ///
    /// # Errors
    /// When `look` fails, or the caller gave up.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<Option<T>, ClusterError>,
    ) -> Result<Option<T>, ClusterError> {
        let begin = Instant::now();
        let mut report = begin + REPORT;
        loop {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            if self.0.load(Ordering::Relaxed) {
                return Err(ClusterError::GivenUp);
            }
            let now = Instant::now();
            if now.duration_since(begin) >= limit {
                return Ok(None);
            }
            if now >= report {
                tracing::info!(seconds = now.duration_since(begin).as_secs(), "still waiting: {what}");
                report = now + REPORT;
            }
            thread::sleep(LOOK);
        }
    }
}

/// Runs blocking work off the async threads; dropping the future cancels it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Cancel) -> Result<T, ClusterError> + Send + 'static,
) -> Result<T, ClusterError> {
    let cancel = Cancel::default();
    let _end = EndOnDrop(cancel.clone());
    match tokio::task::spawn_blocking(move || work(&cancel)).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down.
            Err(_) => Err(ClusterError::GivenUp),
        },
    }
}
