//! The two tasks that carry notifications to and from the other processes, in payloads of NOTIFY.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::mpsc;

use super::{Hub, Topic};
use crate::lifecycle::Lifecycle;

const CHANNEL: &str = "windu";
/// In bytes; PostgreSQL takes payloads below 8,000.
const PAYLOAD_LIMIT: usize = 7_500;
/// In bytes, more than any note takes: the longest is a typing hint with two addresses.
pub(super) const MAX_NOTE: usize = 1_024;
/// The least time between two NOTIFY statements; notes that come meanwhile share the next.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(20);

/// A notification for the other processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Note {
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

/// Sends the queued notes, as one NOTIFY per payload; notes that come meanwhile form the next payload.
pub(super) async fn notify(
    hub: Arc<Hub>,
    mut queue: mpsc::Receiver<Note>,
    pool: PgPool,
    lifecycle: Lifecycle,
) {
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

/// Wakes the subscribers of this process for those notes of others that PostgreSQL passes on.
pub(super) async fn listen(hub: Arc<Hub>, pool: PgPool, lifecycle: Lifecycle) {
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

/// The bytes that a note takes in a payload.
fn encoded_len(note: &Note) -> usize {
    serde_json::to_string(note).map_or(0, |text| text.len() + 1)
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
