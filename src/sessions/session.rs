//! The state that the tasks of one account's session share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::sleep;

use super::fault::Fault;
use super::lease::LeaseClock;
use super::timeouts::Timeouts;
use crate::db::DbError;
use crate::domain::{Lease, SessionState};
use crate::media::Media;
use crate::secrets::MasterKey;
use crate::store::Store;
use crate::upstream::{Connection, Connector};

/// The pause before a write is repeated that the database did not take.
const STORE_AGAIN: Duration = Duration::from_millis(500);

/// One account's session.
pub(super) struct Session {
    pub store: Store,
    pub connector: Arc<dyn Connector>,
    pub keys: MasterKey,
    pub timeouts: Timeouts,
    pub lease: Lease,
    pub clock: LeaseClock,
    /// Permits for the sessions of this process that may be connecting at one time.
    pub starting: Arc<Semaphore>,
    pub media: Media,
    /// Permits for the files that this process fetches at one time.
    pub fetching: Arc<Semaphore>,
    /// The open connection. While there is one its dispatcher lets messages expire, so that none does while it is sent.
    pub connection: watch::Sender<Option<Arc<dyn Connection>>>,
    /// Notified when messages of the account are held back, see [`super::remote_ids`].
    pub held: Notify,
    /// True while the number leaves its network: that the network then ends the connection is no news.
    pub unregistering: watch::Sender<bool>,
}

impl Session {
    /// Publishes the session's state.
    pub async fn publish(&self, state: SessionState, reason: Option<&str>) -> Result<(), Fault> {
        tracing::debug!(account = %self.lease.account, state = state.name(), reason, "session");
        Ok(self.store.publish_session(&self.lease, state, reason).await?)
    }

    /// Repeats a write as long as the database is unavailable: what the network did is done, and the asker must not
    /// believe otherwise.
    pub async fn until_stored<T, F>(&self, write: impl Fn() -> F) -> Result<T, DbError>
    where
        F: Future<Output = Result<T, DbError>>,
    {
        loop {
            match write().await {
                Err(DbError::Unavailable(error)) => {
                    tracing::debug!(account = %self.lease.account, %error, "an answer waits to be stored");
                    sleep(STORE_AGAIN).await;
                }
                stored => return stored,
            }
        }
    }
}
