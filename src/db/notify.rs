//! Notifications between tasks and between processes: wake-ups and hints, carried by PostgreSQL's NOTIFY.
//!
//! A wake-up says "look again" and may come late, twice or not at all: who waits registers first, reads the database
//! then, and polls besides. It is sent after the commit, never within the transaction: NOTIFY serialises commits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::lifecycle::Lifecycle;
use crate::secrets;

const CHANNEL: &str = "windu";
/// PostgreSQL takes payloads below 8,000 bytes.
const PAYLOAD_LIMIT: usize = 7_500;
/// More than any note takes: the longest is a typing hint with two addresses.
const LONGEST_NOTE: usize = 1_024;
/// The least time between two notifications: what comes meanwhile shares the next.
const PACE: Duration = Duration::from_millis(20);
/// The rhythm of those who have just looked and are woken again: what comes between two beats is done together, and all
/// of them ask the database at the same moment, so that their questions share a query.
const BEAT: Duration = Duration::from_millis(20);
/// Notes that wait to be sent to other processes; beyond it they are dropped and polling takes over.
const QUEUE: usize = 8_192;

/// What a notification is about. The layers above give each kind a letter of its own; to this one they are words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Topic {
    /// The only one of its kind.
    Single(Kind),
    /// The one with this number or name.
    Of(Keyed),
}

/// The kind of a topic.
pub type Kind = char;

/// A topic among many of its kind: `{"kind": key}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keyed {
    kind: Kind,
    key: Key,
}

/// Which topic of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
enum Key {
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
        Self::Of(Keyed { kind, key: Key::Number(id) })
    }

    /// The topic of a name.
    #[must_use]
    pub fn of_name(kind: Kind, name: impl Into<String>) -> Self {
        Self::Of(Keyed { kind, key: Key::Name(name.into()) })
    }
}

impl Serialize for Keyed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.kind, &self.key)])
    }
}

impl<'de> Deserialize<'de> for Keyed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = BTreeMap::<Kind, Key>::deserialize(deserializer)?;
        let mut members = members.into_iter();
        match (members.next(), members.next()) {
            (Some((kind, key)), None) => Ok(Self { kind, key }),
            _ => Err(D::Error::custom("one member is expected")),
        }
    }
}

/// What goes to the other processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Note {
    #[serde(rename = "w")]
    Wake(Topic),
    #[serde(rename = "h")]
    Hint(Topic, String),
}

#[derive(Serialize, Deserialize)]
struct Payload {
    from: String,
    notes: Vec<Note>,
}

/// The hub of one process; clones share it.
#[derive(Clone)]
pub struct Notifications {
    hub: Arc<Hub>,
}

struct Hub {
    name: String,
    began: Instant,
    waiting: Mutex<HashMap<Topic, watch::Sender<()>>>,
    hinted: Mutex<HashMap<Topic, mpsc::Sender<String>>>,
    outbound: mpsc::Sender<Note>,
    queue: Mutex<Option<mpsc::Receiver<Note>>>,
}

/// Woken whenever its topic is; wake-ups between two waits count as one.
pub struct Subscription {
    topic: Topic,
    receiver: Option<watch::Receiver<()>>,
    hub: Arc<Hub>,
}

/// The hints for one topic, oldest first; what does not fit is dropped.
pub struct Hints {
    topic: Topic,
    receiver: mpsc::Receiver<String>,
    hub: Arc<Hub>,
}

impl Default for Notifications {
    fn default() -> Self {
        let (outbound, queue) = mpsc::channel(QUEUE);
        Self {
            hub: Arc::new(Hub {
                name: secrets::random_id(),
                began: Instant::now(),
                waiting: Mutex::default(),
                hinted: Mutex::default(),
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
        let mut waiting = self.hub.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = waiting.entry(topic.clone()).or_insert_with(|| watch::channel(()).0).subscribe();
        Subscription { topic, receiver: Some(receiver), hub: self.hub.clone() }
    }

    /// Notifications those who wait for the topic, here and in the other processes.
    pub fn wake(&self, topic: Topic) {
        self.hub.wake_here(&topic);
        self.send(Note::Wake(topic));
    }

    /// Notifications those who wait for the topic in this process only: the sweep of each process finds its own.
    pub fn wake_here(&self, topic: &Topic) {
        self.hub.wake_here(topic);
    }

    /// Begins to receive the hints for a topic; an earlier receiver gets no more.
    #[must_use]
    pub fn hints(&self, topic: Topic) -> Hints {
        let (sender, receiver) = mpsc::channel(16);
        self.hub.hinted.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), sender);
        Hints { topic, receiver, hub: self.hub.clone() }
    }

    /// Sends something that is not worth keeping, such as "is typing", to whoever receives the topic's hints.
    pub fn hint(&self, topic: Topic, body: String) {
        if !self.hub.hint_here(&topic, &body) {
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
            tracing::debug!(%error, "a wake-up for other processes was dropped; their sweep finds the work");
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

    /// Waits like [`Subscription::woken`]; when that is soon, until the next beat at the least.
    pub async fn woken_on_beat(&mut self) {
        let began = Instant::now();
        self.woken().await;
        if began.elapsed() < BEAT {
            self.hub.beat().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver = None;
        let mut waiting = self.hub.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            waiting.remove(&self.topic);
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

impl Drop for Hints {
    fn drop(&mut self) {
        self.receiver.close();
        let mut hinted = self.hub.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        if hinted.get(&self.topic).is_some_and(mpsc::Sender::is_closed) {
            hinted.remove(&self.topic);
        }
    }
}

impl Hub {
    /// Waits for the next beat.
    async fn beat(&self) {
        let beats = self.began.elapsed().as_millis() / BEAT.as_millis() + 1;
        let next = BEAT.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
        tokio::time::sleep_until(self.began + next).await;
    }

    fn wake_here(&self, topic: &Topic) {
        if let Some(sender) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(topic) {
            sender.send_replace(());
        }
    }

    fn wake_all_here(&self) {
        for sender in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values() {
            sender.send_replace(());
        }
    }

    /// True when somebody here receives the topic's hints, whether or not this one fitted.
    fn hint_here(&self, topic: &Topic, body: &str) -> bool {
        let hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = hinted.get(topic) else { return false };
        if sender.try_send(body.to_owned()).is_err() {
            tracing::debug!("a hint was dropped: its receiver is behind");
        }
        true
    }
}

/// Sends what has gathered, as one NOTIFY per payload; while one is on its way the next gathers.
async fn notify(hub: Arc<Hub>, mut queue: mpsc::Receiver<Note>, pool: PgPool, lifecycle: Lifecycle) {
    loop {
        let first = tokio::select! {
            // The queue first: a stop that comes together with a last wake-up must not swallow it.
            biased;
            () = lifecycle.hard().cancelled() => None,
            note = queue.recv() => note,
            () = lifecycle.soft().cancelled() => None,
        };
        let Some(first) = first else { return };
        let mut size = written(&first);
        let mut notes = HashSet::from([first]);
        // The next note may be as long as a typing hint; it must still fit.
        while size < PAYLOAD_LIMIT - LONGEST_NOTE {
            let Ok(note) = queue.try_recv() else { break };
            size += written(&note);
            notes.insert(note);
        }
        let payload = Payload { from: hub.name.clone(), notes: notes.into_iter().collect() };
        let Ok(text) = serde_json::to_string(&payload) else { continue };
        if text.len() > PAYLOAD_LIMIT {
            tracing::warn!(bytes = text.len(), "wake-ups for other processes were too long to send");
            continue;
        }
        let sent = sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, text).execute(&pool).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "wake-ups for other processes were lost; their sweep finds the work");
        }
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            () = lifecycle.soft().cancelled() => {}
        }
    }
}

/// How many bytes a note takes in a payload.
fn written(note: &Note) -> usize {
    serde_json::to_string(note).map_or(0, |text| text.len() + 1)
}

async fn listen(hub: Arc<Hub>, pool: PgPool, lifecycle: Lifecycle) {
    let stop = lifecycle.soft();
    while !stop.is_cancelled() {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            // What came while nobody listened is unknown: everybody looks again.
            hub.wake_all_here();
            while let Some(notification) = listener.try_recv().await? {
                take(&hub, notification.payload());
            }
            Ok::<(), sqlx::Error>(())
        };
        tokio::select! {
            result = listening => if let Err(error) = result {
                tracing::debug!(%error, "not listening for wake-ups; trying again");
            },
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn take(hub: &Hub, text: &str) {
    let Ok(payload) = serde_json::from_str::<Payload>(text) else {
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
    fn topics_are_written_as_they_always_were() {
        for (topic, written) in [
            (Topic::single('r'), r#""r""#),
            (Topic::of_row('w', 5), r#"{"w":5}"#),
            (Topic::of_name('m', "15550100001"), r#"{"m":"15550100001"}"#),
        ] {
            assert_eq!(serde_json::to_string(&topic).expect("JSON"), written);
            assert_eq!(serde_json::from_str::<Topic>(written).expect("a topic"), topic);
        }
    }
}
