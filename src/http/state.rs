//! What handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::FromRef;

use crate::config::CorsOrigins;
use crate::fetch::Fetch;
use crate::lifecycle::Lifecycle;
use crate::media::{Media, Spools};
use crate::oauth::OAuth;
use crate::sessions::Sessions;
use crate::store::Store;
use crate::verification::Verification;

/// What all handlers share. Each layer and each extractor of a request takes a clone: it is a pointer.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What is shared.
pub struct Shared {
    /// The database.
    pub store: Store,
    /// Tokens.
    pub oauth: Arc<OAuth>,
    /// The sessions, wherever they run.
    pub sessions: Sessions,
    /// Codes that prove numbers.
    pub verification: Verification,
    /// The one HTTP client.
    pub fetch: Arc<Fetch>,
    /// Stored files.
    pub media: Media,
    /// Tasks that outlive their request.
    pub lifecycle: Lifecycle,
    /// The network of an account whose creator names none.
    pub default_network: Arc<str>,
    /// How long a message may wait for the network.
    pub send_ttl: Duration,
    /// The start of every URL that is given out, without a slash at its end.
    pub public_url: Arc<str>,
    /// Which pages may call the API.
    pub cors_origins: Arc<CorsOrigins>,
    /// Whether requests are served yet.
    pub started: Started,
}

/// Whether the program has started: until then it answers 503.
#[derive(Clone, Debug, Default)]
pub struct Started(Arc<AtomicBool>);

impl Started {
    /// The tables are at this version and everything runs: requests are served from now on.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether requests are served.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl From<Shared> for AppState {
    fn from(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl FromRef<AppState> for Store {
    fn from_ref(state: &AppState) -> Self {
        state.store.clone()
    }
}

impl FromRef<AppState> for Arc<OAuth> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.oauth)
    }
}

impl FromRef<AppState> for Spools {
    fn from_ref(state: &AppState) -> Self {
        state.media.spools().clone()
    }
}
