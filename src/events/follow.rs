//! The users whose sequences somebody follows in this process.

use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::{Mutex, broadcast, watch};

use super::pages::Pages;
use super::{Events, LiveEvent};
use crate::domain::UserId;

/// Live events that a client may be behind; more are lost to it.
const LIVE: usize = 64;

/// A sequence that is numbered as its journals grow, as long as somebody holds this.
pub struct Followed {
    pub user: UserId,
    /// The place of the last event.
    last: watch::Sender<i64>,
    live: broadcast::Sender<Arc<LiveEvent>>,
    pub(super) pages: Mutex<Pages>,
}

impl Events {
    /// Follows a user's sequence. Follow first, and read after.
    #[must_use]
    pub fn follow(&self, user: UserId) -> Arc<Followed> {
        let mut followed = self.inner.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = followed.get(&user).and_then(Weak::upgrade) {
            return known;
        }
        let (last, live) = (watch::channel(0).0, broadcast::channel(LIVE).0);
        let new = Arc::new(Followed { user, last, live, pages: Mutex::default() });
        followed.insert(user, Arc::downgrade(&new));
        new
    }

    /// All sequences that somebody follows.
    pub(super) fn followed(&self) -> Vec<Arc<Followed>> {
        let mut followed = self.inner.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, known| known.strong_count() > 0);
        followed.values().filter_map(Weak::upgrade).collect()
    }
}

impl Followed {
    /// The place of the last event, as it is now and will be.
    #[must_use]
    pub fn places(&self) -> watch::Receiver<i64> {
        self.last.subscribe()
    }

    /// The live events from now on.
    #[must_use]
    pub fn live(&self) -> broadcast::Receiver<Arc<LiveEvent>> {
        self.live.subscribe()
    }

    pub(super) fn give(&self, event: LiveEvent) {
        // Without a receiver it is lost.
        let _ = self.live.send(Arc::new(event));
    }

    /// Events up to this place can be read.
    pub fn reached(&self, place: i64) {
        self.last.send_if_modified(|last| {
            let is_new = place > *last;
            *last = place.max(*last);
            is_new
        });
    }
}
