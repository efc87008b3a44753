//! Live events: typing and presence. They are not stored, have no place in a sequence, and are lost to a client that is
//! behind.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::view::PresenceInfo;
use super::{Events, Followed, kinds};
use crate::clock;
use crate::db::Hints;
use crate::domain::{CounterId, LiveNews, Timestamp, UncutTimestamp};
use crate::lifecycle::Lifecycle;
use crate::store::{NamedNews, Presence, topic};
use crate::telemetry::chain;

/// News that are looked up together.
const BATCH: usize = 100;
/// News that wait in this process; more are lost.
const ROOM: usize = 1_000;

/// An event without a place.
#[derive(Debug)]
pub struct LiveEvent {
    pub counter: CounterId,
    pub kind: &'static str,
    /// The object, on one line.
    pub json: String,
}

#[derive(Serialize)]
struct LiveObject<'a> {
    r#type: &'a str,
    account: &'a str,
    time: Timestamp,
    timestamp: UncutTimestamp,
    data: Value,
}

/// Starts the task that gives news to those who follow. It ends with the lifecycle's soft token.
pub(super) fn start(events: &Events, lifecycle: &Lifecycle) {
    let hints = events.store().notifications().hints_up_to(topic::live(), ROOM);
    let work = give_out(events.clone(), hints);
    lifecycle.spawn(lifecycle.soft().clone().run_until_cancelled_owned(work));
}

async fn give_out(events: Events, mut hints: Hints) {
    loop {
        let mut batch = vec![hints.next().await];
        while batch.len() < BATCH
            && let Some(hint) = hints.next_now()
        {
            batch.push(hint);
        }
        let followed = events.followed();
        if followed.is_empty() {
            continue;
        }
        let news: Vec<LiveNews> = batch.iter().filter_map(|hint| serde_json::from_str(hint).ok()).collect();
        match events.store().named_news(&news).await {
            Ok(mut named) => {
                // In the order in which they came.
                named.sort_unstable_by_key(|(position, _)| *position);
                for (position, named) in named {
                    if let Some(news) = news.get(position) {
                        give(&followed, news, named);
                    }
                }
            }
            Err(error) => tracing::debug!(error = chain(&error), "live events were lost"),
        }
    }
}

fn give(followed: &[Arc<Followed>], news: &LiveNews, named: NamedNews) {
    let Some(followed) = followed.iter().find(|followed| followed.user == named.user) else { return };
    let (kind, data) = match (news.what.typing_state(), &named.group) {
        (Some(state), None) => (kinds::CHAT_TYPING, json!({"chat": named.from, "state": state})),
        (Some(state), Some(group)) => {
            (kinds::CHAT_TYPING, json!({"chat": group, "participant": named.from, "state": state}))
        }
        (None, _) => {
            let presence = Presence { public_id: named.from, seen: named.seen };
            (kinds::CONTACT_CONNECTED_STATUS, json!(PresenceInfo::from(presence)))
        }
    };
    let now = clock::now();
    let object = LiveObject {
        r#type: kind,
        account: &named.number,
        time: Timestamp(now),
        timestamp: UncutTimestamp(now),
        data,
    };
    if let Ok(json) = serde_json::to_string(&object) {
        followed.give(LiveEvent { counter: named.counter, kind, json });
    }
}
