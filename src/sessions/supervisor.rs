//! The supervisor of this process: its heartbeat, its leases, and the tasks of its sessions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Sessions;
use super::lease::LeaseClock;
use super::liveness;
use super::session::Session;
use crate::db::DbError;
use crate::domain::{AccountId, Lease, ProcessId};
use crate::lifecycle::Lifecycle;
use crate::store::topic;
use crate::upstream::Connector;

/// The interval of the process's heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The interval of searches for accounts to claim and for work whose wake-up was lost.
const SWEEP: Duration = Duration::from_secs(1);
/// The interval of comparisons between running sessions and held leases.
const LEASE_CHECK: Duration = Duration::from_secs(5);
/// The most accounts that are claimed, or handed over, at once.
const BATCH: usize = 500;
/// After so long without a panic, earlier ones of a session no longer count: twice the longest pause.
const PANICS_FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Files that may be fetched at once.
const FETCHING: usize = 8;
/// Sessions that may be connecting at once.
const STARTING: usize = 64;

struct RunningSession {
    lease: Lease,
    network: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// One registration of this process in the database, from its start or the loss of its leases on.
struct Supervisor {
    sessions: Sessions,
    lifecycle: Lifecycle,
    process: ProcessId,
    clock: LeaseClock,
    starting: Arc<Semaphore>,
    fetching: Arc<Semaphore>,
    running: HashMap<AccountId, RunningSession>,
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
                    fetching: Arc::new(Semaphore::new(FETCHING)),
                    running: HashMap::new(),
                };
                sessions.process.send_replace(Some(process));
                supervisor.run().await;
                supervisor.stop_all().await;
                if let Err(error) = sessions.store.leave_process(process).await {
                    tracing::debug!(%error, "the leases were not given back; they expire");
                }
                sessions.store.notifications().wake(topic::accounts());
            }
            Err(error) => tracing::warn!(%error, "the process could not join; trying again"),
        }
        tokio::select! {
            () = sleep(SWEEP) => {}
            () = lifecycle.soft().cancelled() => {}
        }
    }
}

/// Registers this process in the database, and frees the leases of this machine's processes that have ended.
async fn join(sessions: &Sessions, name: &str) -> Result<ProcessId, DbError> {
    for other in sessions.store.process_names().await? {
        if liveness::is_dead(&other) {
            tracing::info!(process = other, "freeing the leases of a dead process");
            sessions.store.forget_process(&other).await?;
        }
    }
    sessions.store.join_process(name, &sessions.connectors.names()).await
}

impl Supervisor {
    /// Runs until the program stops, or until the leases are lost.
    async fn run(&mut self) {
        let soft = self.lifecycle.soft().clone();
        let heartbeat = heartbeat(self.sessions.clone(), self.process, self.clock.clone());
        tokio::pin!(heartbeat);
        let mut changes = self.sessions.store.notifications().subscribe(topic::accounts());
        let mut checked = Instant::now();
        loop {
            tokio::select! {
                () = soft.cancelled() => return,
                () = &mut heartbeat => {
                    tracing::warn!(process = %self.process, "the leases are lost; joining anew");
                    return;
                }
                more = self.round(&mut checked) => match more {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a round of the supervisor failed; trying again");
                    }
                },
            }
            tokio::select! {
                () = soft.cancelled() => return,
                () = &mut heartbeat => {
                    tracing::warn!(process = %self.process, "the leases are lost; joining anew");
                    return;
                }
                () = changes.woken() => {}
                () = sleep(SWEEP) => {}
            }
        }
    }

    /// Claims or hands over sessions up to the process's share, and wakes sessions that have work. Returns whether there is
    /// more to claim or to hand over.
    async fn round(&mut self, checked: &mut Instant) -> Result<bool, DbError> {
        self.running.retain(|_, running| !running.task.is_finished());
        if checked.elapsed() >= LEASE_CHECK {
            *checked = Instant::now();
            self.stop_lost().await?;
        }
        let mut more = false;
        for (network, share) in self.sessions.store.shares(&self.sessions.connectors.names()).await? {
            let share = share.per_process();
            let running = self.running.values().filter(|running| running.network == network).count();
            if running < share {
                more |= self.claim(&network, (share - running).min(BATCH)).await? == BATCH;
            } else if running > share {
                more |= self.hand_over(&network, (running - share).min(BATCH)).await? == BATCH;
            }
        }
        for topic in self.sessions.store.accounts_with_work(self.process).await? {
            self.sessions.store.notifications().wake_here(&topic);
        }
        Ok(more)
    }

    /// Claims accounts of a network that no process runs, and starts their sessions. Returns their number.
    async fn claim(&mut self, network: &str, limit: usize) -> Result<usize, DbError> {
        let Some(connector) = self.sessions.connectors.get(network).cloned() else { return Ok(0) };
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let leases = self.sessions.store.claim_leases(self.process, &[network.to_owned()], rows).await?;
        for lease in &leases {
            let running = self.start_session(*lease, connector.clone());
            if let Some(earlier) = self.running.insert(lease.account, running) {
                // Its lease was taken away, so it writes nothing any more.
                earlier.stop.cancel();
            }
        }
        Ok(leases.len())
    }

    fn start_session(&self, lease: Lease, connector: Arc<dyn Connector>) -> RunningSession {
        let network = connector.network();
        let session = Session {
            store: self.sessions.store.clone(),
            connector,
            keys: self.sessions.keys.clone(),
            timeouts: self.sessions.timeouts,
            lease,
            clock: self.clock.clone(),
            starting: self.starting.clone(),
            media: self.sessions.media.clone(),
            fetching: self.fetching.clone(),
            connection: watch::channel(None).0,
            held: Notify::new(),
            unregistering: watch::channel(false).0,
        };
        let stop = CancellationToken::new();
        let task = self.lifecycle.spawn(run_session(session, stop.clone()));
        RunningSession { lease, network, stop, task }
    }

    /// Stops sessions whose lease is no longer this process's (moved, removed, registered anew), and frees leases
    /// whose session has ended.
    async fn stop_lost(&mut self) -> Result<(), DbError> {
        let held: HashMap<_, _> = self.sessions.store.held_leases(self.process).await?.into_iter().collect();
        self.running.retain(|_, running| {
            let is_held = held.get(&running.lease.counter) == Some(&running.lease.fence);
            if !is_held {
                running.stop.cancel();
            }
            is_held
        });
        let running: HashSet<_> = self.running.values().map(|running| running.lease.counter).collect();
        let idle: Vec<_> = held.into_iter().filter(|(counter, _)| !running.contains(counter)).collect();
        self.sessions.store.release_leases(self.process, &idle).await?;
        let mut counts = BTreeMap::new();
        for running in self.running.values() {
            *counts.entry(running.network).or_default() += 1;
        }
        self.sessions.store.report_held(self.process, &counts).await
    }

    /// Gives leases back, for processes that hold less than their share. Returns their number.
    async fn hand_over(&mut self, network: &str, count: usize) -> Result<usize, DbError> {
        let accounts: Vec<AccountId> = self
            .running
            .iter()
            .filter(|(_, running)| running.network == network)
            .map(|(account, _)| *account)
            .take(count)
            .collect();
        let stopping: Vec<_> =
            accounts.into_iter().filter_map(|account| self.running.remove_entry(&account)).collect();
        for (_, running) in &stopping {
            running.stop.cancel();
        }
        let mut leases = Vec::with_capacity(stopping.len());
        for (account, running) in stopping {
            if let Err(error) = running.task.await {
                tracing::error!(%error, %account, "a session did not stop in order");
            }
            leases.push((running.lease.counter, running.lease.fence));
        }
        self.sessions.store.release_leases(self.process, &leases).await?;
        tracing::info!(network, count, "sessions handed over");
        self.sessions.store.notifications().wake(topic::accounts());
        Ok(leases.len())
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

/// Renews the process's leases until they are lost.
async fn heartbeat(sessions: Sessions, process: ProcessId, clock: LeaseClock) {
    loop {
        let before = Instant::now();
        match sessions.store.heartbeat(process).await {
            Ok(true) => clock.renewed(before),
            Ok(false) => return,
            Err(error) => tracing::warn!(%error, "the heartbeat failed; trying again"),
        }
        if !clock.is_valid() {
            return;
        }
        sleep(HEARTBEAT.saturating_sub(before.elapsed()).max(SWEEP)).await;
    }
}

/// Runs a session. After a panic, which affects no other session, it begins anew after a pause.
async fn run_session(session: Session, stop: CancellationToken) {
    let mut panics = 0;
    loop {
        let began = Instant::now();
        let running = AssertUnwindSafe(session.run(panics)).catch_unwind();
        let end = tokio::select! {
            end = running => end,
            () = stop.cancelled() => return,
        };
        let account = session.lease.account;
        if let Ok(end) = end {
            tracing::debug!(%account, ?end, "the session is over");
            return;
        }
        panics = if began.elapsed() > PANICS_FORGOTTEN_AFTER { 1 } else { panics + 1 };
        tracing::error!(%account, panics, "a session panicked");
    }
}
