//! Notifications between tasks and between processes: wake-ups and hints, carried by PostgreSQL's NOTIFY.
//!
//! A wake-up says that something changed, and may come late, twice or not at all: a waiting task subscribes first, reads
//! the database then, and polls besides. It is sent after the commit, never within the transaction: NOTIFY serialises
//! commits.

mod carrier;
mod topic;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use self::carrier::{MAX_NOTE, Note};
use self::topic::{KeyedTopic, TopicKey};
use crate::lifecycle::Lifecycle;
use crate::secrets;

pub use self::topic::{Kind, Topic};

/// The interval of the beats, see [`Subscription::woken_on_beat`].
const BEAT_INTERVAL: Duration = Duration::from_millis(20);
/// Hints that wait for their receiver at most.
const HINTS: usize = 16;
/// Rows that a [`Collector`] remembers at most.
const COLLECTED_LIMIT: usize = 10_000;
/// Notes that may wait to be sent to other processes; more are dropped, and polling takes over.
const QUEUE_LIMIT: usize = 8_192;

/// The hub of one process; clones share it.
#[derive(Clone)]
pub struct Notifications {
    hub: Arc<Hub>,
}

struct Hub {
    /// The sender of payloads, so that a process ignores its own.
    name: String,
    began: Instant,
    subscribers: Mutex<HashMap<Topic, watch::Sender<()>>>,
    collectors: Mutex<HashMap<Kind, Vec<Arc<Collecting>>>>,
    hint_receivers: Mutex<HashMap<Topic, mpsc::Sender<String>>>,
    outbound: mpsc::Sender<Note>,
    queue: Mutex<Option<mpsc::Receiver<Note>>>,
}

/// The subscription to a topic; wake-ups between two waits count as one.
pub struct Subscription {
    topic: Topic,
    receiver: Option<watch::Receiver<()>>,
    hub: Arc<Hub>,
}

/// The subscription to all topics of a kind.
pub struct Collector {
    kind: Kind,
    collecting: Arc<Collecting>,
    hub: Arc<Hub>,
}

/// The rows whose topics were notified since the last call.
#[derive(Debug, Default)]
pub struct Collected {
    pub rows: HashSet<i64>,
    /// Notifications may have been missed, or were too many: any row may be among them.
    pub is_partial: bool,
}

#[derive(Default)]
struct Collecting {
    collected: Mutex<Collected>,
    notify: Notify,
}

/// The receiver of the hints for one topic, oldest first; hints that do not fit are dropped.
pub struct Hints {
    topic: Topic,
    receiver: mpsc::Receiver<String>,
    hub: Arc<Hub>,
}

impl Default for Notifications {
    fn default() -> Self {
        let (outbound, queue) = mpsc::channel(QUEUE_LIMIT);
        Self {
            hub: Arc::new(Hub {
                name: secrets::random_id(),
                began: Instant::now(),
                subscribers: Mutex::default(),
                collectors: Mutex::default(),
                hint_receivers: Mutex::default(),
                outbound,
                queue: Mutex::new(Some(queue)),
            }),
        }
    }
}

impl Notifications {
    /// Begins to listen to a topic. Subscribe first, read the database after.
    #[must_use]
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        let mut subscribers = self.hub.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = subscribers.entry(topic.clone()).or_insert_with(|| watch::channel(()).0).subscribe();
        Subscription { topic, receiver: Some(receiver), hub: self.hub.clone() }
    }

    /// Begins to listen to all topics of rows of a kind.
    #[must_use]
    pub fn collect(&self, kind: Kind) -> Collector {
        let collecting = Arc::new(Collecting::default());
        let mut collectors = self.hub.collectors.lock().unwrap_or_else(PoisonError::into_inner);
        collectors.entry(kind).or_default().push(collecting.clone());
        Collector { kind, collecting, hub: self.hub.clone() }
    }

    /// Wakes the subscribers of the topic, here and in the other processes.
    pub fn wake(&self, topic: Topic) {
        self.hub.wake_here(&topic);
        self.send(Note::Wake(topic));
    }

    /// Wakes the subscribers of the topic in this process only: each process finds its own work by polling.
    pub fn wake_here(&self, topic: &Topic) {
        self.hub.wake_here(topic);
    }

    /// Begins to receive the hints for a topic; an earlier receiver gets none from now on.
    #[must_use]
    pub fn hints(&self, topic: Topic) -> Hints {
        self.hints_up_to(topic, HINTS)
    }

    /// The same with room for so many hints.
    #[must_use]
    pub fn hints_up_to(&self, topic: Topic, room: usize) -> Hints {
        let (sender, receiver) = mpsc::channel(room);
        self.hub.hint_receivers.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), sender);
        Hints { topic, receiver, hub: self.hub.clone() }
    }

    /// Sends a hint, which is not stored anywhere (such as "is typing"), to the receiver of the topic's hints.
    pub fn hint(&self, topic: Topic, body: String) {
        if !self.hub.hint_here(&topic, &body) {
            self.send(Note::Hint(topic, body));
        }
    }

    /// Sends a hint to the receivers of the topic's hints in all processes, this one too. Such hints leave room for wake-ups.
    pub fn announce(&self, topic: Topic, body: String) {
        self.hub.hint_here(&topic, &body);
        if self.hub.outbound.capacity() > QUEUE_LIMIT / 2 && body.len() < MAX_NOTE / 2 {
            self.send(Note::Hint(topic, body));
        }
    }

    /// Starts the two tasks that carry wake-ups between processes.
    pub(crate) fn connect(&self, pool: &PgPool, lifecycle: &Lifecycle) {
        let queue = self.hub.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(queue) = queue else { return };
        lifecycle.spawn(carrier::notify(self.hub.clone(), queue, pool.clone(), lifecycle.clone()));
        lifecycle.spawn(carrier::listen(self.hub.clone(), pool.clone(), lifecycle.clone()));
    }

    fn send(&self, note: Note) {
        if let Err(error) = self.hub.outbound.try_send(note) {
            tracing::debug!(%error, "a wake-up for other processes was dropped; they find the work by polling");
        }
    }
}

impl Subscription {
    /// Waits for the next wake-up since the last call, or since the subscription.
    pub async fn woken(&mut self) {
        // The sender lives as long as a receiver does, so `changed` does not fail.
        if let Some(receiver) = &mut self.receiver
            && receiver.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    /// Waits like [`Subscription::woken`], but when that takes less than 20 ms, until the next beat: wake-ups between two
    /// beats count as one, and all subscribers query the database at the same moment, so that they share a batch.
    pub async fn woken_on_beat(&mut self) {
        let began = Instant::now();
        self.woken().await;
        if began.elapsed() < BEAT_INTERVAL {
            self.hub.beat().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver = None;
        let mut subscribers = self.hub.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if subscribers.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            subscribers.remove(&self.topic);
        }
    }
}

impl Collector {
    /// Waits until there is something, and takes it.
    pub async fn next(&self) -> Collected {
        loop {
            let notified = self.collecting.notify.notified();
            let collected = std::mem::take(&mut *self.collecting.lock());
            if collected.is_partial || !collected.rows.is_empty() {
                return collected;
            }
            notified.await;
        }
    }
}

impl Collecting {
    fn add(&self, row: i64) {
        let mut collected = self.lock();
        if collected.rows.len() < COLLECTED_LIMIT {
            collected.rows.insert(row);
        } else {
            collected.is_partial = true;
        }
        drop(collected);
        self.notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let mut collectors = self.hub.collectors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_kind) = collectors.get_mut(&self.kind) {
            of_kind.retain(|other| !Arc::ptr_eq(other, &self.collecting));
        }
    }
}

impl Hints {
    /// The next hint.
    pub async fn next(&mut self) -> String {
        match self.receiver.recv().await {
            Some(hint) => hint,
            None => std::future::pending().await,
        }
    }

    /// The next hint, if there is one already.
    pub fn next_now(&mut self) -> Option<String> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.receiver.close();
        let mut receivers = self.hub.hint_receivers.lock().unwrap_or_else(PoisonError::into_inner);
        if receivers.get(&self.topic).is_some_and(mpsc::Sender::is_closed) {
            receivers.remove(&self.topic);
        }
    }
}

impl Hub {
    /// Waits for the next beat.
    async fn beat(&self) {
        let beats = self.began.elapsed().as_millis() / BEAT_INTERVAL.as_millis() + 1;
        let next = BEAT_INTERVAL.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
        tokio::time::sleep_until(self.began + next).await;
    }

    fn wake_here(&self, topic: &Topic) {
        if let Some(sender) = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).get(topic) {
            sender.send_replace(());
        }
        if let Topic::Of(KeyedTopic { kind, key: TopicKey::Number(row) }) = topic {
            let collectors = self.collectors.lock().unwrap_or_else(PoisonError::into_inner);
            for collecting in collectors.get(kind).into_iter().flatten() {
                collecting.add(*row);
            }
        }
    }

    fn wake_all_here(&self) {
        for collecting in self.collectors.lock().unwrap_or_else(PoisonError::into_inner).values().flatten() {
            collecting.lock().is_partial = true;
            collecting.notify.notify_one();
        }
        for sender in self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).values() {
            sender.send_replace(());
        }
    }

    /// True when this process has a receiver of the topic's hints, whether or not this hint fitted.
    fn hint_here(&self, topic: &Topic, body: &str) -> bool {
        let receivers = self.hint_receivers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = receivers.get(topic) else { return false };
        if sender.try_send(body.to_owned()).is_err() {
            tracing::debug!("a hint was dropped: its receiver is behind");
        }
        true
    }
}
