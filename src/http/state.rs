//! What handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::FromRef;

use crate::config::CorsOrigins;
use crate::oauth::OAuth;
use crate::store::Store;

/// Shared by all handlers; clones are cheap.
#[derive(Clone)]
pub struct AppState {
    /// The database.
    pub store: Store,
    /// Tokens.
    pub oauth: Arc<OAuth>,
    /// The start of every URL that is given out, without a slash at its end.
    pub public_url: Arc<str>,
    /// Which pages may call the API.
    pub cors_origins: Arc<CorsOrigins>,
    started: Arc<AtomicBool>,
}

impl AppState {
    /// State of a program that has not started yet: it answers 503 until [`AppState::set_started`].
    #[must_use]
    pub fn new(store: Store, oauth: Arc<OAuth>, public_url: &str, cors_origins: CorsOrigins) -> Self {
        Self {
            store,
            oauth,
            public_url: public_url.into(),
            cors_origins: Arc::new(cors_origins),
            started: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The tables are at this version and everything runs: requests are served from now on.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether requests are served.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
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
