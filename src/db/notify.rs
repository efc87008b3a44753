//! Notifications between tasks and between processes: wake-ups and hints, carried by PostgreSQL's NOTIFY.
//!
//! A wake-up says that something changed, and may come late, twice or not at all: a waiting task subscribes first, reads
//! the database then, and polls besides. It is sent after the commit, never within the transaction: NOTIFY serialises
//! commits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::lifecycle::Lifecycle;
use crate::secrets;

const CHANNEL: &str = "windu";
/// In bytes; PostgreSQL takes payloads below 8,000.
const PAYLOAD_LIMIT: usize = 7_500;
/// In bytes, more than any note takes: the longest is a typing hint with two addresses.
const MAX_NOTE: usize = 1_024;
/// The least time between two NOTIFY statements; notes that come meanwhile share the next.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(20);
/// The interval of the beats, see [`Subscription::woken_on_beat`].
const BEAT_INTERVAL: Duration = Duration::from_millis(20);
/// Hints that wait for their receiver at most.
const HINTS: usize = 16;
/// Rows that a [`Collector`] remembers at most.
const COLLECTED_LIMIT: usize = 10_000;
/// Notes that may wait to be sent to other processes; more are dropped, and polling takes over.
const QUEUE_LIMIT: usize = 8_192;

/// The subject of a notification. The layers above give each kind a letter of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Topic {
    /// The only topic of its kind.
    Single(Kind),
    /// One of many topics of its kind.
    Of(KeyedTopic),
}

/// The kind of a topic: a letter.
pub type Kind = char;

/// A topic among many of its kind: `{"kind": key}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyedTopic {
    kind: Kind,
    key: TopicKey,
}

/// The id of a row, or a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
enum TopicKey {
    Number(i64),
    Name(String),
}

impl Topic {
    /// The only topic of a kind.
    #[must_use]
    pub fn single(kind: Kind) -> Self {
        Self::Single(kind)
    }

    /// The topic of a row, by its id.
    #[must_use]
    pub fn of_row(kind: Kind, id: i64) -> Self {
        Self::Of(KeyedTopic { kind, key: TopicKey::Number(id) })
    }

    /// The topic of a name.
    #[must_use]
    pub fn of_name(kind: Kind, name: impl Into<String>) -> Self {
        Self::Of(KeyedTopic { kind, key: TopicKey::Name(name.into()) })
    }
}

impl Serialize for KeyedTopic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.kind, &self.key)])
    }
}

impl<'de> Deserialize<'de> for KeyedTopic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = BTreeMap::<Kind, TopicKey>::deserialize(deserializer)?;
        let mut members = members.into_iter();
        match (members.next(), members.next()) {
            (Some((kind, key)), None) => Ok(Self { kind, key }),
            _ => Err(D::Error::custom("one member is expected")),
        }
    }
}

/// A notification for the other processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Note {
    #[serde(rename = "w")]
    Wake(Topic),
    #[serde(rename = "h")]
    Hint(Topic, String),
}

#[derive(Serialize, Deserialize)]
struct NotifyPayload {
    from: String,
    notes: Vec<Note>,
}

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
    collectors: Mutex<HashMap<Kind, Arc<Collecting>>>,
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

    /// Begins to listen to all topics of rows of a kind; an earlier collector of the kind gets none from now on.
    #[must_use]
    pub fn collect(&self, kind: Kind) -> Collector {
        let collecting = Arc::new(Collecting::default());
        let mut collectors = self.hub.collectors.lock().unwrap_or_else(PoisonError::into_inner);
        collectors.insert(kind, collecting.clone());
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
        lifecycle.spawn(notify(self.hub.clone(), queue, pool.clone(), lifecycle.clone()));
        lifecycle.spawn(listen(self.hub.clone(), pool.clone(), lifecycle.clone()));
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
        if collectors.get(&self.kind).is_some_and(|current| Arc::ptr_eq(current, &self.collecting)) {
            collectors.remove(&self.kind);
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
}

impl Hints {
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
        if let Topic::Of(KeyedTopic { kind, key: TopicKey::Number(row) }) = topic
            && let Some(collecting) = self.collectors.lock().unwrap_or_else(PoisonError::into_inner).get(kind)
        {
            collecting.add(*row);
        }
    }

    fn wake_all_here(&self) {
        for collecting in self.collectors.lock().unwrap_or_else(PoisonError::into_inner).values() {
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

/// Sends the queued notes, as one NOTIFY per payload; notes that come meanwhile form the next payload.
async fn notify(hub: Arc<Hub>, mut queue: mpsc::Receiver<Note>, pool: PgPool, lifecycle: Lifecycle) {
    loop {
        let first = tokio::select! {
            // The queue first: a stop that comes together with a last wake-up must not lose it.
            biased;
            () = lifecycle.hard().cancelled() => None,
            note = queue.recv() => note,
            () = lifecycle.soft().cancelled() => None,
        };
        let Some(first) = first else { return };
        let mut size = encoded_len(&first);
        let mut notes = HashSet::from([first]);
        // The next note may be as long as a typing hint; it must still fit.
        while size < PAYLOAD_LIMIT - MAX_NOTE {
            let Ok(note) = queue.try_recv() else { break };
            size += encoded_len(&note);
            notes.insert(note);
        }
        let payload = NotifyPayload { from: hub.name.clone(), notes: notes.into_iter().collect() };
        let Ok(text) = serde_json::to_string(&payload) else { continue };
        if text.len() > PAYLOAD_LIMIT {
            tracing::warn!(bytes = text.len(), "wake-ups for other processes were too long to send");
            continue;
        }
        let sent = sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, text).execute(&pool).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "wake-ups for other processes were lost; they find the work by polling");
        }
        tokio::select! {
            () = tokio::time::sleep(NOTIFY_INTERVAL) => {}
            () = lifecycle.soft().cancelled() => {}
        }
    }
}

/// The bytes that a note takes in a payload.
fn encoded_len(note: &Note) -> usize {
    serde_json::to_string(note).map_or(0, |text| text.len() + 1)
}

async fn listen(hub: Arc<Hub>, pool: PgPool, lifecycle: Lifecycle) {
    let stop = lifecycle.soft();
    while !stop.is_cancelled() {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            // Wake-ups that came before this were missed: all subscribers read the database again.
            hub.wake_all_here();
            while let Some(notification) = listener.try_recv().await? {
                dispatch(&hub, notification.payload());
            }
            Ok::<(), sqlx::Error>(())
        };
        tokio::select! {
            result = listening => if let Err(error) = result {
                tracing::debug!(%error, "the listener for wake-ups failed; it is started again");
            },
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn dispatch(hub: &Hub, text: &str) {
    let Ok(payload) = serde_json::from_str::<NotifyPayload>(text) else {
        tracing::debug!("a wake-up of another version was ignored");
        return;
    };
    if payload.from == hub.name {
        return;
    }
    for note in payload.notes {
        match note {
            Note::Wake(topic) => hub.wake_here(&topic),
            Note::Hint(topic, body) => {
                hub.hint_here(&topic, &body);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes of the previous version run beside this one and read the same notifications.
    #[test]
    fn the_encoding_of_topics_is_stable() {
        for (topic, encoded) in [
            (Topic::single('r'), r#""r""#),
            (Topic::of_row('w', 5), r#"{"w":5}"#),
            (Topic::of_name('m', "15550100001"), r#"{"m":"15550100001"}"#),
        ] {
            assert_eq!(serde_json::to_string(&topic).expect("JSON"), encoded);
            assert_eq!(serde_json::from_str::<Topic>(encoded).expect("a topic"), topic);
        }
    }
}
