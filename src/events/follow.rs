//! The users whose sequences somebody follows in this process.

use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::watch;

use super::Events;
use crate::domain::UserId;

/// A sequence that is numbered as its journals grow, as long as somebody holds this.
pub struct Followed {
    pub user: UserId,
    /// The place of the last event.
    last: watch::Sender<i64>,
}

impl Events {
    /// Follows a user's sequence. Follow first, and read after.
    #[must_use]
    pub fn follow(&self, user: UserId) -> Arc<Followed> {
        let mut followed = self.inner.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = followed.get(&user).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(Followed { user, last: watch::channel(0).0 });
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

    /// Events up to this place can be read.
    pub(super) fn reached(&self, place: i64) {
        self.last.send_if_modified(|last| {
            let is_new = place > *last;
            *last = place.max(*last);
            is_new
        });
    }
}
