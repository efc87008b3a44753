//! Work that was recorded to be done in slices: marking many messages as read, settling what unregistered accounts left,
//! deleting what removed accounts left.

use std::time::{Duration, Instant};

use crate::db::DbError;
use crate::lifecycle::Lifecycle;
use crate::store::{Store, topic};
use crate::telemetry::chain;

/// Work is looked for this often, if no notification comes before.
const POLL: Duration = Duration::from_secs(30);
/// The pause after an error.
const RETRY: Duration = Duration::from_secs(5);

/// Starts the work as a task of the lifecycle.
pub(super) fn start(store: &Store, lifecycle: &Lifecycle) {
    let (store, soft) = (store.clone(), lifecycle.soft().clone());
    lifecycle.spawn(async move {
        let mut recorded = store.notifications().subscribe(topic::slices());
        let work = async {
            loop {
                if let Err(error) = run(&store).await {
                    tracing::warn!(error = chain(&error), "work in slices stopped; trying again in 5 s");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                let _ = tokio::time::timeout(POLL, recorded.woken()).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = soft.cancelled() => {}
        }
    });
}

/// Works until nothing is left. It rests as long as it works: others use the database, too.
async fn run(store: &Store) -> Result<(), DbError> {
    loop {
        let began = Instant::now();
        let marks = store.continue_read_marks().await?;
        let unregistered = store.continue_unregistrations().await?;
        let removed = store.delete_removed().await?;
        if !marks && !unregistered && !removed {
            return Ok(());
        }
        tokio::time::sleep(began.elapsed()).await;
    }
}
