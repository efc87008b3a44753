//! Publishes the events of all users to a NATS JetStream stream.
//!
//! One process publishes at a time: the one that holds the lease (`store::broker`), which it claims as soon as no living
//! process does. For each user it reads the sequence from the stored position on and publishes each account's events one
//! after the other, the next when JetStream has acknowledged this one; then it stores the new position, under the fence of
//! its lease. So each account's events are in order in the stream, and none is missing. What was acknowledged before its
//! position was stored is remembered (`memory`). Another process publishes it again under the same `Nats-Msg-Id`, and
//! JetStream drops it.
//!
//! A user whose events are refused waits alone. When the connection or the stream is the trouble, all wait.
//!
//! A user of whom nothing was published begins with the oldest event that is kept. Whatever is wrong with the broker, events
//! wait in the sequence and nothing else waits for them.

mod error;
mod fitness;
mod memory;
mod message;
mod nats;
mod publisher;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::fitness::full;
use self::memory::{Memory, Trouble};
use self::nats::Nats;
use self::publisher::Publisher;
use super::{Events, Way};
use crate::config::BrokerSettings;
use crate::domain::ProcessId;
use crate::lifecycle::Lifecycle;
use crate::metrics::METRICS;
use crate::store::{BrokerLease, LEASE_SECONDS};
use crate::telemetry::chain;

pub use self::error::BrokerError;

/// How often the lease is claimed, and checked by its holder.
const CHECK: Duration = Duration::from_secs(1);
/// The longest wait for giving the lease back.
const RELEASE: Duration = Duration::from_secs(2);
/// So long without a failure, and what was wrong is over.
const CALM: Duration = Duration::from_secs(2);

/// A broker of the settings.
#[derive(Clone)]
pub struct Broker {
    events: Events,
    settings: Arc<BrokerSettings>,
    /// How long a stream that is created keeps events.
    retention: Duration,
    process: watch::Receiver<Option<ProcessId>>,
}

impl Broker {
    /// `process`: the id of this process, as long as it is alive.
    #[must_use]
    pub fn new(
        events: Events,
        settings: BrokerSettings,
        retention: Duration,
        process: watch::Receiver<Option<ProcessId>>,
    ) -> Self {
        Self { events, settings: Arc::new(settings), retention, process }
    }

    /// Starts to publish, as a task that ends with the lifecycle's soft token.
    pub fn start(self, lifecycle: &Lifecycle) {
        let soft = lifecycle.soft().clone();
        lifecycle.spawn(async move {
            let held = Mutex::new(None);
            soft.run_until_cancelled(Box::pin(self.run(&held))).await;
            let lease = held.into_inner().unwrap_or_else(PoisonError::into_inner);
            if let Some(lease) = lease {
                // If it fails, the lease ends with the process.
                let _ = timeout(RELEASE, self.events.store().release_broker(lease)).await;
            }
        });
    }

    async fn run(&self, held: &Mutex<Option<BrokerLease>>) {
        loop {
            let process = *self.process.borrow();
            if let Some(process) = process {
                let asked = Instant::now();
                match self.events.store().claim_broker(process).await {
                    Ok(Some(lease)) => {
                        *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
                        Box::pin(self.publish_while_held(lease, LeaseClock::new(asked))).await;
                        *held.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(error = chain(&error), "the broker's lease was not claimed");
                    }
                }
            }
            sleep(CHECK).await;
        }
    }

    async fn publish_while_held(&self, lease: BrokerLease, clock: LeaseClock) {
        tracing::info!(process = %lease.process, "publishing events to the broker");
        tokio::select! {
            () = self.check(lease, &clock) => {
                tracing::warn!("another process publishes events to the broker by now");
            }
            () = self.publish(lease, &clock) => {}
        }
    }

    /// Returns when another process has claimed the lease.
    async fn check(&self, lease: BrokerLease, clock: &LeaseClock) {
        loop {
            let asked = Instant::now();
            match self.events.store().holds_broker(lease).await {
                Ok(true) => clock.renewed(asked),
                Ok(false) => return,
                Err(error) => tracing::debug!(error = chain(&error), "the broker's lease was not checked"),
            }
            sleep(CHECK).await;
        }
    }

    /// Publishes, over one connection after the other. Never returns.
    async fn publish(&self, lease: BrokerLease, clock: &LeaseClock) {
        let (mut trouble, memory) = (Trouble::default(), Memory::default());
        loop {
            let error = match self.connect().await {
                Ok(nats) => {
                    let _counted = Counted::new();
                    let publisher = Publisher::new(&self.events, &nats, lease, clock, &memory);
                    let mut running = std::pin::pin!(publisher.run());
                    loop {
                        tokio::select! {
                            error = &mut running => break error,
                            () = sleep(CALM) => if publisher.has_published() && trouble.is_over() {
                                tracing::info!("events are published to the broker again");
                            }
                        }
                    }
                }
                Err(error) => error,
            };
            if trouble.is_new(&error) {
                tracing::warn!(%error, "no events are published to the broker; they wait for it");
            } else {
                tracing::debug!(%error, "no events are published");
            }
            sleep(trouble.pause()).await;
        }
    }

    async fn connect(&self) -> Result<Nats, BrokerError> {
        let nats = Nats::connect(&self.settings).await?;
        if nats.unless_ended(nats.stream()).await?.is_none() {
            nats.unless_ended(nats.create_stream(self.retention)).await?;
            tracing::info!(stream = self.settings.stream, "the broker's stream was created");
        }
        Ok(nats)
    }
}

/// Whether the broker of the settings could take events now, in words. Changes nothing, so not every permission is checked.
pub async fn check(settings: &BrokerSettings) -> Result<String, BrokerError> {
    let (place, stream) = (settings.servers.join(","), &settings.stream);
    let nats = Nats::connect(settings).await?;
    if let Some(info) = nats.unless_ended(nats.stream()).await? {
        if let Some(problem) = full(&info) {
            return Err(BrokerError::Full { stream: stream.clone(), problem });
        }
        return Ok(format!(
            "the stream {stream} of {place} has room for events; not checked: the permission to publish"
        ));
    }
    let more = match nats.unless_ended(nats.would_create()).await {
        Ok(()) => "",
        Err(BrokerError::Denied { .. }) => ", and whether another stream has its subjects",
        Err(error) => return Err(error),
    };
    Ok(format!(
        "{place} answers; the stream {stream} will be created; not checked: the permissions to create it and to \
         publish{more}"
    ))
}

/// When the lease was last known to be held, by this process's monotonic clock, counted from before the question.
struct LeaseClock(Mutex<Instant>);

impl LeaseClock {
    fn new(at: Instant) -> Self {
        Self(Mutex::new(at))
    }

    fn renewed(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Waits while another process may hold the lease, as after a pause of this one.
    async fn is_valid(&self) {
        while self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed().as_secs_f64() >= LEASE_SECONDS {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The connection as a consumer of events, counted until it is dropped.
struct Counted;

impl Counted {
    fn new() -> Self {
        METRICS.event_consumers(Way::Broker.name(), 1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        METRICS.event_consumers(Way::Broker.name(), -1);
    }
}
