//! The events of a user from a place on, as they come: what a stream and a socket give out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::sleep;

use super::{EventPage, Events, Followed, LiveEvent, PageLimit, PositionError};
use crate::db::DbError;
use crate::domain::UserId;
use crate::store::EventFilter;
use crate::telemetry::chain;

/// A client that takes nothing holds no more than a page.
const PAGE: PageLimit = PageLimit { events: 100, bytes: 128 * 1024 };
/// Clients that are behind by more places do not share what they read.
const RECENT: i64 = 200;
/// The pause before the next attempt when the database does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// A client's way through a sequence. It reads on only when it is asked for the next.
pub struct Feed {
    events: Events,
    user: UserId,
    filter: EventFilter,
    followed: Arc<Followed>,
    places: watch::Receiver<i64>,
    live: broadcast::Receiver<Arc<LiveEvent>>,
    at: i64,
}

/// What comes next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Events, of which those after a place are new.
    Page(Arc<EventPage>, i64),
    Live(Arc<LiveEvent>),
}

impl Events {
    /// The events of a user after a place. `followed` began before the place was found.
    #[must_use]
    pub fn feed(&self, followed: Arc<Followed>, filter: EventFilter, after: i64) -> Feed {
        let (places, live) = (followed.places(), followed.live());
        Feed { events: self.clone(), user: followed.user, filter, followed, places, live, at: after }
    }
}

impl Feed {
    /// The place up to which everything was given out, or left out by the filter.
    #[must_use]
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Waits for what comes next. Dropped before that, nothing is lost.
    ///
    /// # Errors
    /// [`PositionError::Gone`] when the client was so slow that events were deleted; a database that does not answer is waited
    /// for.
    pub async fn next(&mut self) -> Result<Next, PositionError> {
        loop {
            let last = *self.places.borrow_and_update();
            if last > self.at {
                // In memory of its own: most of the time a feed waits, and many do.
                match Box::pin(self.read(last)).await {
                    Ok(page) => {
                        let before = self.at;
                        self.at = page.until;
                        if page.events.iter().any(|event| event.place > before) {
                            return Ok(Next::Page(page, before));
                        }
                    }
                    Err(PositionError::Store(error @ DbError::Unavailable(_))) => {
                        tracing::debug!(error = chain(&error), "events were not read; trying again");
                        sleep(RETRY).await;
                    }
                    Err(error) => return Err(error),
                }
                continue;
            }
            tokio::select! {
                changed = self.places.changed() => {
                    if changed.is_err() {
                        // It is held here, so that does not happen.
                        std::future::pending::<()>().await;
                    }
                }
                live = self.live.recv() => {
                    // What was missed is lost.
                    if let Ok(live) = live && self.filter.takes(live.counter, live.kind) {
                        return Ok(Next::Live(live));
                    }
                }
            }
        }
    }

    async fn read(&self, last: i64) -> Result<Arc<EventPage>, PositionError> {
        let mut pages = self.followed.pages.lock().await;
        if let Some(page) = pages.find(&self.filter, self.at) {
            return Ok(page);
        }
        if last - self.at > RECENT {
            // What one client alone reads is not kept for others.
            drop(pages);
            let page = self.events.read(self.user, (self.at, last), &self.filter, PAGE).await?;
            return Ok(Arc::new(page));
        }
        let page = Arc::new(self.events.read(self.user, (self.at, last), &self.filter, PAGE).await?);
        pages.add(self.filter.clone(), self.at, Arc::clone(&page));
        Ok(page)
    }
}
