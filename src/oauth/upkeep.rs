//! What runs beside the requests: hearing of revocations elsewhere, and deleting what has expired.

use std::sync::Arc;
use std::time::Duration;

use super::OAuth;
use crate::lifecycle::Lifecycle;
use crate::secrets;
use crate::store::StoreError;

/// Between two attempts to listen.
const RECONNECT: Duration = Duration::from_secs(1);
/// Between two rounds of deleting, plus up to as much again, so that processes do not go in step.
const ROUND: Duration = Duration::from_secs(10);
/// Rows of each kind that one statement deletes.
const BATCH: i64 = 1_000;

impl OAuth {
    /// Starts both tasks; they end with the soft token.
    pub fn start(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let (oauth, soft) = (Arc::clone(self), lifecycle.soft().clone());
        lifecycle.spawn(async move { soft.run_until_cancelled(oauth.follow()).await });
        let (oauth, soft) = (Arc::clone(self), lifecycle.soft().clone());
        lifecycle.spawn(async move { soft.run_until_cancelled(oauth.tidy()).await });
    }

    /// Deletes one batch of what has expired; gives how many rows changed.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn prune(&self) -> Result<u64, StoreError> {
        Ok(self.store.prune_tokens(BATCH).await? + self.store.prune_logins(BATCH).await?)
    }

    async fn follow(&self) {
        loop {
            if let Err(error) = self.listen().await {
                tracing::debug!(%error, "not hearing of revoked tokens; the cache forgets them within 5 s");
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn listen(&self) -> Result<(), StoreError> {
        let mut revocations = self.store.revocations().await?;
        // What was said before is not heard again.
        self.forget_all();
        loop {
            let revoked = revocations.next().await?;
            self.apply(&revoked);
        }
    }

    async fn tidy(&self) {
        loop {
            let jitter = secrets::random_below(ROUND.as_secs() * 1_000);
            tokio::time::sleep(ROUND + Duration::from_millis(jitter)).await;
            loop {
                match self.prune().await {
                    Ok(rows) if rows >= BATCH.unsigned_abs() => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "expired tokens were not deleted; trying again later");
                        break;
                    }
                }
            }
        }
    }
}
