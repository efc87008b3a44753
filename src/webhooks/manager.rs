//! The webhooks of this process: claimed up to its share, each with a task, and handed over when others have fewer.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Webhooks;
use super::worker::Worker;
use crate::db::DbError;
use crate::domain::{ProcessId, WebhookId};
use crate::lifecycle::Lifecycle;
use crate::store::topic;
use crate::telemetry::chain;

/// Webhooks that nobody holds are looked for this often, if no notification comes.
const SWEEP: Duration = Duration::from_secs(2);
/// The interval of comparisons between held leases and what runs.
const LEASE_CHECK: Duration = Duration::from_secs(20);
/// Webhooks that are claimed at once.
const BATCH: usize = 100;

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Manager {
    webhooks: Webhooks,
    lifecycle: Lifecycle,
    process: Option<ProcessId>,
    running: HashMap<WebhookId, Running>,
    /// When the leases were compared with what runs.
    checked: Instant,
}

/// Starts the task. It ends with the lifecycle's soft token, after the requests in progress.
pub(super) fn start(
    webhooks: Webhooks,
    mut process: watch::Receiver<Option<ProcessId>>,
    lifecycle: &Lifecycle,
) {
    let soft = lifecycle.soft().clone();
    let mut manager = Manager {
        webhooks,
        lifecycle: lifecycle.clone(),
        process: None,
        running: HashMap::new(),
        checked: Instant::now(),
    };
    lifecycle.spawn(async move {
        let mut changes = manager.webhooks.store().notifications().subscribe(topic::webhooks());
        loop {
            let present = *process.borrow_and_update();
            manager.become_process(present);
            if let Err(error) = manager.round().await {
                tracing::debug!(error = chain(&error), "webhooks were not claimed; trying again");
            }
            tokio::select! {
                () = soft.cancelled() => break,
                () = changes.woken() => {}
                _ = process.changed() => {}
                () = sleep(SWEEP) => {}
            }
        }
        manager.stop_all();
    });
}

impl Manager {
    /// Under another id this process holds nothing.
    fn become_process(&mut self, process: Option<ProcessId>) {
        if self.process != process {
            self.stop_all();
            self.process = process;
        }
    }

    async fn round(&mut self) -> Result<(), DbError> {
        self.running.retain(|_, running| !running.task.is_finished());
        let Some(process) = self.process else { return Ok(()) };
        if self.checked.elapsed() >= LEASE_CHECK {
            let running: Vec<WebhookId> = self.running.keys().copied().collect();
            let store = self.webhooks.store();
            store.release_other_webhooks(process, &running).await?;
            store.free_orphaned_webhooks().await?;
            self.checked = Instant::now();
        }
        let share = self.webhooks.store().webhook_share().await?.per_process();
        let held = self.running.len();
        if held > share {
            for running in self.running.values().take(held - share) {
                running.stop.cancel();
            }
            return Ok(());
        }
        let limit = i64::try_from((share - held).min(BATCH)).unwrap_or(i64::MAX);
        if limit == 0 {
            return Ok(());
        }
        for lease in self.webhooks.store().claim_webhooks(process, limit).await? {
            let (id, stop) = (lease.webhook, CancellationToken::new());
            let worker = Worker { webhooks: self.webhooks.clone(), lease, stop: stop.clone() };
            let task = self.lifecycle.spawn(worker.run());
            if let Some(earlier) = self.running.insert(id, Running { stop, task }) {
                earlier.stop.cancel();
            }
        }
        Ok(())
    }

    fn stop_all(&mut self) {
        for (_, running) in self.running.drain() {
            running.stop.cancel();
        }
    }
}
