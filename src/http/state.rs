//! State that all handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::FromRef;

use crate::config::{CorsOrigins, QuotaSettings};
use crate::domain::UserId;
use crate::events::{Consumers, Events};
use crate::fair_share::FairShare;
use crate::fetch::Fetch;
use crate::http::api::health::SlowChecks;
use crate::http::extract::body_budget::BodyBudget;
use crate::http::rate_limit::RateLimits;
use crate::lifecycle::Lifecycle;
use crate::media::{Media, Spools};
use crate::oauth::OAuth;
use crate::sessions::Sessions;
use crate::store::Store;
use crate::verification::Verification;
use crate::webhooks::Webhooks;

/// A pointer, because each layer and each extractor of a request takes a clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

pub struct Shared {
    pub store: Store,
    pub oauth: Arc<OAuth>,
    pub sessions: Sessions,
    pub events: Events,
    pub consumers: Arc<Consumers>,
    pub webhooks: Webhooks,
    pub verification: Verification,
    pub fetch: Arc<Fetch>,
    pub media: Media,
    /// Tasks that outlive their request.
    pub lifecycle: Lifecycle,
    /// The network of a new account when its creator names none.
    pub default_network: Arc<str>,
    /// How long a message may wait for its network.
    pub send_ttl: Duration,
    pub quotas: QuotaSettings,
    /// The start of the server's own URLs, without a slash at the end.
    pub public_url: Arc<str>,
    pub cors_origins: Arc<CorsOrigins>,
    pub started: Started,
    pub bodies: BodyBudget,
    pub limits: RateLimits,
    pub slow_checks: SlowChecks,
    /// Requests in progress, so that those of one user that wait long leave room for the others.
    pub requests: FairShare<UserId>,
}

/// Whether the program has started: until then it answers 503.
#[derive(Clone, Debug, Default)]
pub struct Started(Arc<AtomicBool>);

impl Started {
    /// Requests are served from now on.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

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

impl FromRef<AppState> for FairShare<UserId> {
    fn from_ref(state: &AppState) -> Self {
        state.requests.clone()
    }
}

impl FromRef<AppState> for RateLimits {
    fn from_ref(state: &AppState) -> Self {
        state.limits.clone()
    }
}

impl FromRef<AppState> for BodyBudget {
    fn from_ref(state: &AppState) -> Self {
        state.bodies.clone()
    }
}
