//! Events for clients: the sequence of each user, and what is given out of it.
//!
//! A [`Cursor`] is a place in a user's sequence. [`Events`] numbers the sequences that somebody follows as soon as a journal
//! grows, and all others once a minute, so that they are in the order of time when somebody comes.

pub mod broker;
mod consumers;
mod cursor;
mod feed;
mod follow;
pub mod kinds;
mod live;
mod numbering;
mod pages;
mod position;
mod render;
pub mod view;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::sync::Semaphore;

use crate::clock;
use crate::db::DbError;
use crate::domain::UserId;
use crate::lifecycle::Lifecycle;
use crate::media::Media;
use crate::metrics::METRICS;
use crate::store::{SequenceEnds, Store};

pub use consumers::{Consumer, Consumers, Way};
pub use cursor::{Cursor, CursorError};
pub use feed::{Feed, Next};
pub use follow::Followed;
pub use live::LiveEvent;
pub use position::{After, EventPage, Gone, GoneReason, PageLimit, PositionError};
pub use render::RenderedEvent;

/// Renderings at the same time; more wait.
const RENDERINGS: usize = 4;

/// The sequences of all users; clones share it.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    media: Media,
    renderings: Semaphore,
    /// The words of the epochs by id, as they were at the first use: a restoration needs an empty database.
    epochs: OnceLock<Epochs>,
    followed: Mutex<HashMap<UserId, Weak<Followed>>>,
}

/// The words of the epochs.
#[derive(Clone, Debug)]
pub struct Epochs {
    words: HashMap<i16, String>,
    present: String,
}

impl Epochs {
    /// The present one.
    #[must_use]
    pub fn present(&self) -> &str {
        &self.present
    }

    /// The word of an epoch by its id.
    ///
    /// # Errors
    /// [`DbError::Corrupt`] when it has none.
    pub fn word(&self, id: i16) -> Result<&str, DbError> {
        self.words
            .get(&id)
            .map(String::as_str)
            .ok_or_else(|| DbError::Corrupt(format!("the epoch {id} of an event is unknown")))
    }
}

impl Events {
    #[must_use]
    pub fn new(store: Store, media: Media) -> Self {
        let renderings = Semaphore::new(RENDERINGS);
        let (epochs, followed) = (OnceLock::new(), Mutex::default());
        Self { inner: Arc::new(Inner { store, media, renderings, epochs, followed }) }
    }

    /// Starts the tasks that number the sequences and give out live events. They end with the lifecycle's soft token.
    pub fn start(&self, lifecycle: &Lifecycle) {
        live::start(self, lifecycle);
        numbering::start(self, lifecycle);
    }

    /// The words of the epochs.
    pub async fn epochs(&self) -> Result<&Epochs, DbError> {
        if let Some(epochs) = self.inner.epochs.get() {
            return Ok(epochs);
        }
        let words = self.inner.store.epochs().await?;
        let present = words.last().map(|(_, word)| word.clone());
        let present = present.ok_or_else(|| DbError::Corrupt("there is no epoch".to_owned()))?;
        Ok(self.inner.epochs.get_or_init(|| Epochs { words: words.into_iter().collect(), present }))
    }

    /// The two ends of a user's sequence, with everything that was committed before this call.
    pub async fn ends(&self, user: UserId) -> Result<SequenceEnds, DbError> {
        let progress = self.inner.store.progress(&[user]).await?;
        if let Some(progress) = progress.first().filter(|progress| !progress.is_behind) {
            return Ok(progress.ends);
        }
        self.inner.store.number_events(user, None).await?;
        self.inner.store.sequence_ends(user).await
    }

    /// Counts events that were given out; `is_live`: as soon as they could be.
    pub fn count(&self, way: Way, events: &[RenderedEvent], is_live: bool) {
        METRICS.events(way.name(), events.len());
        if is_live {
            let now = clock::now();
            for event in events {
                METRICS.event_delay((now - event.at).to_std().unwrap_or_default());
            }
        }
    }

    fn media(&self) -> &Media {
        &self.inner.media
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }
}
