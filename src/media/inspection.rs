//! The pool of threads that inspect files.

use std::num::NonZero;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::MediaError;

/// How many inspections may wait for a core before more are refused.
const WAITING: usize = 64;

/// Runs one inspection per core at a time, because decoding takes memory and all of a core.
#[derive(Debug)]
pub struct InspectionPool {
    cores: Arc<Semaphore>,
    queue: Semaphore,
}

impl InspectionPool {
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { cores: Arc::new(Semaphore::new(cores)), queue: Semaphore::new(cores + WAITING) }
    }

    /// Runs blocking work when there is a core for it.
    ///
    /// # Errors
    /// The work's own, and [`MediaError::Busy`] when too many wait already.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, MediaError> + Send + 'static,
    ) -> Result<T, MediaError> {
        let _queued = self.queue.try_acquire().map_err(|_| MediaError::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| MediaError::Busy)?;
        let done = spawn_blocking(move || {
            let _core = core;
            work()
        });
        done.await.map_err(|error| MediaError::unavailable("this server", error))?
    }
}
