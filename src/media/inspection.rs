//! The limits on inspections of files: how many run at a time, and how much memory they take.

use std::num::NonZero;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::deadline::Deadline;
use super::picture::MOST_MEMORY;
use super::{MediaError, Uploader};
use crate::fair_share::{FairShare, Turns};

/// How many inspections may wait or run before more are refused; at most half of them of one uploader.
const WAITING: u64 = 128;

/// The unit in which memory is counted, in bytes.
const UNIT: u64 = 1 << 10;

/// Runs one inspection per core at a time, because each takes all of a core. With several cores, an uploader
/// runs or has queued at most one fewer than there are cores, so that one is left for others; its further inspections wait
/// for its own.
#[derive(Debug)]
pub struct InspectionPool {
    cores: Arc<Semaphore>,
    /// For decoded pictures, in units of [`UNIT`].
    memory: Arc<Semaphore>,
    waiting: FairShare<Uploader>,
    turns: Turns<Uploader>,
}

impl InspectionPool {
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            memory: Arc::new(Semaphore::new(units(MOST_MEMORY) as usize)),
            waiting: FairShare::new(WAITING),
            turns: Turns::new((cores - 1).max(1)),
        }
    }

    /// Runs blocking work on a file of so many bytes when there is a core for it. It ends with its deadline, also when
    /// nobody waits for it any more.
    ///
    /// # Errors
    /// The work's own, [`MediaError::Busy`] when too many wait already, and [`MediaError::TooSlow`] after the deadline.
    pub async fn run<T: Send + 'static>(
        &self,
        uploader: Uploader,
        bytes: u64,
        work: impl FnOnce(&Deadline) -> Result<T, MediaError> + Send + 'static,
    ) -> Result<T, MediaError> {
        self.run_within(uploader, bytes, 0, work).await
    }

    /// As [`InspectionPool::run`], for work that takes so many bytes of `memory`.
    pub async fn run_within<T: Send + 'static>(
        &self,
        uploader: Uploader,
        bytes: u64,
        memory: u64,
        work: impl FnOnce(&Deadline) -> Result<T, MediaError> + Send + 'static,
    ) -> Result<T, MediaError> {
        let waiting = self.waiting.take(uploader, 1).ok_or(MediaError::Busy)?;
        let turn = self.turns.next(uploader).await;
        let memory = Arc::clone(&self.memory).acquire_many_owned(units(memory)).await;
        let core = Arc::clone(&self.cores).acquire_owned().await;
        let cancelled = CancellationToken::new();
        let _cancel = cancelled.clone().drop_guard();
        let done = spawn_blocking(move || {
            // Held until the work has ended, even if nobody waits for it any more.
            let _held = (waiting, turn, memory, core);
            let deadline = Deadline::new(bytes, cancelled);
            work(&deadline).map_err(|error| if deadline.is_over() { MediaError::TooSlow } else { error })
        });
        done.await.map_err(|error| MediaError::unavailable("this server", error))?
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;
    use futures_util::FutureExt as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    const ONE: Uploader = Uploader::User(UserId(1));
    const OTHER: Uploader = Uploader::User(UserId(2));

    #[tokio::test]
    async fn one_uploader_leaves_room_and_threads_for_another() {
        let pool = InspectionPool::new();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let mut first: Vec<_> = (0..WAITING / 2)
            .map(|_| {
                let wait = Arc::clone(&wait);
                Box::pin(pool.run(ONE, 0, move |_| {
                    let _ = wait.lock().map(|wait| wait.recv());
                    Ok(())
                }))
            })
            .collect();
        assert!(first.iter_mut().all(|work| work.as_mut().now_or_never().is_none()));
        assert!(matches!(pool.run(ONE, 0, |_| Ok(())).await, Err(MediaError::Busy)));
        // On one core everything waits for the work that runs; it is among the first.
        if std::thread::available_parallelism().map_or(1, NonZero::get) > 1 {
            assert!(matches!(pool.run(OTHER, 0, |_| Ok(7)).await, Ok(7)));
        }
        drop(release);
        for work in first {
            work.await.expect("done");
        }
    }

    #[tokio::test]
    async fn work_ends_when_nobody_waits_for_it() {
        let pool = InspectionPool::new();
        let (ended, end) = tokio::sync::oneshot::channel();
        let mut work = Box::pin(pool.run(ONE, 0, move |deadline| {
            while !deadline.is_over() {
                std::thread::yield_now();
            }
            let _ = ended.send(());
            Ok(())
        }));
        assert!(work.as_mut().now_or_never().is_none());
        drop(work);
        end.await.expect("the work ended");
    }

    #[tokio::test]
    async fn decoded_pictures_share_a_limit_of_memory() {
        let pool = InspectionPool::new();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let works = (0..20).map(|user| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            pool.run_within(Uploader::User(UserId(user)), 0, MOST_MEMORY / 2 + 1, move |_| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        });
        assert!(futures_util::future::join_all(works).await.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}
