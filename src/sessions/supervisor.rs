//! Heartbeat, leases and the tasks that run the sessions of this process.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Sessions;
use super::liveness;
use super::session::Session;
use crate::domain::{AccountId, Lease, ProcessId};
use crate::lifecycle::Lifecycle;
use crate::store::{LEASE_SECONDS, StoreError, Topic};

/// How often the process says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often it looks for accounts to claim and for work that no wake-up announced.
const SWEEP: Duration = Duration::from_secs(1);
/// How often it compares what it runs with what it holds.
const CHECK: Duration = Duration::from_secs(5);
/// Accounts claimed at once.
const CLAIM: usize = 500;
/// After so long without one, earlier panics of a session no longer count: twice the longest pause.
const FORGIVEN: Duration = Duration::from_mins(10);
/// Sessions that may be connecting at once.
const STARTING: usize = 64;

/// When the process's leases were last renewed, by its own monotonic clock, counted from before the renewal was sent.
#[derive(Clone)]
pub(super) struct LeaseClock(Arc<Mutex<Instant>>);

impl LeaseClock {
    fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    fn renewed(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// False: another process may hold the leases by now.
    pub fn is_valid(&self) -> bool {
        let renewed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.elapsed().as_secs_f64() < LEASE_SECONDS
    }
}

struct Running {
    lease: Lease,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// One membership of this process among those that share the database.
struct Supervisor {
    sessions: Sessions,
    lifecycle: Lifecycle,
    process: ProcessId,
    clock: LeaseClock,
    starting: Arc<Semaphore>,
    running: HashMap<AccountId, Running>,
}

/// Starts the supervisor as a task of the lifecycle.
pub(super) fn start(sessions: Sessions, process_name: String, lifecycle: &Lifecycle) {
    let supervising = supervise(sessions, process_name, lifecycle.clone());
    lifecycle.spawn(supervising);
}

async fn supervise(sessions: Sessions, process_name: String, lifecycle: Lifecycle) {
    while !lifecycle.soft().is_cancelled() {
        let joined = Instant::now();
        match join(&sessions, &process_name).await {
            Ok(process) => {
                tracing::info!(%process, "running sessions");
                let mut supervisor = Supervisor {
                    sessions: sessions.clone(),
                    lifecycle: lifecycle.clone(),
                    process,
                    clock: LeaseClock::new(joined),
                    starting: Arc::new(Semaphore::new(STARTING)),
                    running: HashMap::new(),
                };
                sessions.process.send_replace(Some(process));
                supervisor.run().await;
                supervisor.stop_all().await;
                if let Err(error) = sessions.store.leave_process(process).await {
                    tracing::debug!(%error, "the leases run out by themselves");
                }
                sessions.store.wakes().wake(Topic::Accounts);
            }
            Err(error) => tracing::warn!(%error, "no sessions yet; trying again"),
        }
        tokio::select! {
            () = sleep(SWEEP) => {}
            () = lifecycle.soft().cancelled() => {}
        }
    }
}

/// Joins the processes that share the database, and frees the leases of those of this machine that have ended.
async fn join(sessions: &Sessions, name: &str) -> Result<ProcessId, StoreError> {
    for other in sessions.store.process_names().await? {
        if liveness::is_dead(&other) {
            tracing::info!(process = other, "it has ended without giving its leases back");
            sessions.store.forget_process(&other).await?;
        }
    }
    sessions.store.join_process(name).await
}

impl Supervisor {
    /// Runs until the stop, or until the leases are lost.
    async fn run(&mut self) {
        let soft = self.lifecycle.soft().clone();
        let heart = beat(self.sessions.clone(), self.process, self.clock.clone());
        tokio::pin!(heart);
        let mut changes = self.sessions.store.wakes().subscribe(Topic::Accounts);
        let mut checked = Instant::now();
        loop {
            tokio::select! {
                () = soft.cancelled() => return,
                () = &mut heart => {
                    tracing::warn!(process = %self.process, "the leases are lost; joining anew");
                    return;
                }
                result = self.round(&mut checked) => if let Err(error) = result {
                    tracing::debug!(%error, "a round of the supervisor failed; it is repeated");
                },
            }
            tokio::select! {
                () = soft.cancelled() => return,
                () = &mut heart => {
                    tracing::warn!(process = %self.process, "the leases are lost; joining anew");
                    return;
                }
                () = changes.woken() => {}
                () = sleep(SWEEP) => {}
            }
        }
    }

    async fn round(&mut self, checked: &mut Instant) -> Result<(), StoreError> {
        self.running.retain(|_, running| !running.task.is_finished());
        if checked.elapsed() >= CHECK {
            *checked = Instant::now();
            self.stop_lost().await?;
        }
        let share = self.sessions.store.share().await?.per_process();
        let free = share.saturating_sub(self.running.len()).min(CLAIM);
        if free > 0 {
            self.claim(free).await?;
        }
        let excess = self.running.len().saturating_sub(share);
        if excess > 0 {
            self.hand_over(excess).await?;
        }
        for topic in self.sessions.store.accounts_with_work(self.process).await? {
            self.sessions.store.wakes().wake_here(&topic);
        }
        Ok(())
    }

    async fn claim(&mut self, limit: usize) -> Result<(), StoreError> {
        let networks = self.sessions.connectors.names();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        for lease in self.sessions.store.claim_leases(self.process, &networks, limit).await? {
            if let Some(earlier) = self.running.remove(&lease.account) {
                // Its lease was taken away, so it writes nothing any more.
                earlier.stop.cancel();
            }
            let running = self.start_session(lease).await?;
            self.running.extend(running.map(|running| (lease.account, running)));
        }
        Ok(())
    }

    async fn start_session(&self, lease: Lease) -> Result<Option<Running>, StoreError> {
        let account = match self.sessions.store.session_account(&lease).await {
            Ok(Some(account)) => account,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.sessions.store.release_lease(self.process, lease.counter, lease.fence).await?;
                return Err(error);
            }
        };
        let Some(connector) = self.sessions.connectors.get(&account.network) else { return Ok(None) };
        let session = Session {
            store: self.sessions.store.clone(),
            connector: connector.clone(),
            keys: self.sessions.keys.clone(),
            patience: self.sessions.patience,
            lease,
            clock: self.clock.clone(),
            starting: self.starting.clone(),
            connected: AtomicBool::new(false),
            leaving: watch::channel(false).0,
        };
        let stop = CancellationToken::new();
        let task = self.lifecycle.spawn(run_session(session, stop.clone()));
        Ok(Some(Running { lease, stop, task }))
    }

    /// Stops sessions whose lease is no longer this process's (moved, removed, registered anew), and frees leases
    /// whose session has ended.
    async fn stop_lost(&mut self) -> Result<(), StoreError> {
        let held: HashMap<_, _> = self.sessions.store.held_leases(self.process).await?.into_iter().collect();
        self.running.retain(|_, running| {
            let keeps = held.get(&running.lease.counter) == Some(&running.lease.fence);
            if !keeps {
                running.stop.cancel();
            }
            keeps
        });
        let running: HashSet<_> = self.running.values().map(|running| running.lease.counter).collect();
        for (counter, fence) in held.into_iter().filter(|(counter, _)| !running.contains(counter)) {
            self.sessions.store.release_lease(self.process, counter, fence).await?;
        }
        Ok(())
    }

    /// Gives sessions back, for processes that hold less than their share.
    async fn hand_over(&mut self, count: usize) -> Result<(), StoreError> {
        let accounts: Vec<AccountId> = self.running.keys().take(count).copied().collect();
        for account in accounts {
            if let Some(running) = self.running.remove(&account) {
                running.stop.cancel();
                if let Err(error) = running.task.await {
                    tracing::error!(%error, %account, "a session did not stop in order");
                }
                let lease = running.lease;
                self.sessions.store.release_lease(self.process, lease.counter, lease.fence).await?;
            }
        }
        tracing::info!(count, "sessions handed over");
        self.sessions.store.wakes().wake(Topic::Accounts);
        Ok(())
    }

    async fn stop_all(&mut self) {
        for running in self.running.values() {
            running.stop.cancel();
        }
        for (account, running) in self.running.drain() {
            if let Err(error) = running.task.await {
                tracing::error!(%error, %account, "a session did not stop in order");
            }
        }
    }
}

/// Renews the leases until they are lost.
async fn beat(sessions: Sessions, process: ProcessId, clock: LeaseClock) {
    loop {
        let before = Instant::now();
        match sessions.store.heartbeat(process).await {
            Ok(true) => clock.renewed(before),
            Ok(false) => return,
            Err(error) => tracing::warn!(%error, "no heartbeat; trying again"),
        }
        if !clock.is_valid() {
            return;
        }
        sleep(HEARTBEAT.saturating_sub(before.elapsed()).max(SWEEP)).await;
    }
}

/// Runs a session; a panic in it harms no other, and it begins anew after a pause.
async fn run_session(session: Session, stop: CancellationToken) {
    let mut panics = 0;
    loop {
        let began = Instant::now();
        let running = AssertUnwindSafe(session.run(panics)).catch_unwind();
        let outcome = tokio::select! {
            outcome = running => outcome,
            () = stop.cancelled() => return,
        };
        let account = session.lease.account;
        if let Ok(outcome) = outcome {
            tracing::debug!(%account, ?outcome, "the session is over");
            return;
        }
        panics = if began.elapsed() > FORGIVEN { 1 } else { panics + 1 };
        tracing::error!(%account, panics, "a session panicked");
    }
}
