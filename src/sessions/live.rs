//! What a network reports and nobody stores: it goes to those who follow the account's events, in any process, or is lost.

use crate::domain::{AccountId, LiveKind, LiveNews, ProfileNews, Typing};
use crate::store::{Store, topic};
use crate::upstream::{Incoming, UpstreamEvent};

/// The news in a batch of events.
pub(super) fn live_news(account: AccountId, events: &[Incoming]) -> Vec<LiveNews> {
    let news = events.iter().filter_map(|incoming| {
        let (from, group, what) = match &incoming.event {
            UpstreamEvent::Typing { from, typing, group } => {
                let what = match typing {
                    Typing::Composing => LiveKind::Typing,
                    Typing::Paused => LiveKind::Paused,
                };
                (from, group.as_ref(), what)
            }
            UpstreamEvent::Profile { of, news: ProfileNews::Presence(_) } => (of, None, LiveKind::Presence),
            _ => return None,
        };
        let group = group.map(|group| group.0.clone());
        Some(LiveNews { account: account.0, from: from.0.clone(), group, what })
    });
    news.collect()
}

/// To be called when the events are stored.
pub(super) fn announce(store: &Store, news: &[LiveNews]) {
    for news in news {
        if let Ok(body) = serde_json::to_string(news) {
            store.notifications().announce(topic::live(), body);
        }
    }
}
