//! Access tokens whose end somebody waits for: they are looked up together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::OAuth;
use crate::lifecycle::Lifecycle;
use crate::store::{TokenHash, topic};
use crate::telemetry::chain;

/// How often all watched tokens are looked up, if none is revoked before.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a refreshed token is good for what began with it.
const GRACE: Duration = Duration::from_secs(10);

/// The tokens that are watched in this process.
#[derive(Default)]
pub(super) struct WatchedTokens(Mutex<HashMap<TokenHash, Weak<Watched>>>);

/// Watches a token as long as somebody holds this.
pub struct Watched {
    ended: CancellationToken,
}

impl Watched {
    /// Waits until the token has expired or was revoked; a refreshed one ends ten seconds later.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}

impl OAuth {
    /// Begins to watch an access token.
    #[must_use]
    pub fn watch(&self, token: &TokenHash) -> Arc<Watched> {
        let mut watched = self.watched.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = watched.get(token).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(Watched { ended: CancellationToken::new() });
        watched.insert(*token, Arc::downgrade(&new));
        new
    }

    /// Starts the task that looks the watched tokens up. It ends with the lifecycle's soft token.
    pub fn watch_tokens(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let mut revocations = self.store.notifications().subscribe(topic::tokens());
        let (oauth, soft) = (Arc::clone(self), lifecycle.soft().clone());
        lifecycle.spawn(soft.run_until_cancelled_owned(async move {
            loop {
                let _ = tokio::time::timeout(INTERVAL, revocations.woken()).await;
                oauth.look_up_watched().await;
            }
        }));
    }

    async fn look_up_watched(&self) {
        let watched: Vec<(TokenHash, Arc<Watched>)> = {
            let mut watched = self.watched.0.lock().unwrap_or_else(PoisonError::into_inner);
            watched.retain(|_, token| token.strong_count() > 0);
            watched.iter().filter_map(|(hash, token)| Some((*hash, token.upgrade()?))).collect()
        };
        if watched.is_empty() {
            return;
        }
        let hashes: Vec<TokenHash> = watched.iter().map(|(hash, _)| *hash).collect();
        match self.store.live_access_tokens(&hashes, GRACE).await {
            Ok(live) => {
                for (_, token) in watched.iter().filter(|(hash, _)| !live.contains(hash)) {
                    token.ended.cancel();
                }
            }
            // They are looked up again soon.
            Err(error) => tracing::debug!(error = chain(&error), "watched tokens were not looked up"),
        }
    }
}
