//! One supervised task per registered account, each keeping a connection to its network.
//!
//! The supervisor of a process claims accounts (a lease each) and runs a session for every one. A session connects,
//! catches up, stores what comes in, sends what waits in the outbox, applies desired state and answers commands. The
//! rest of the program talks to it through the store: rows first, then a wake-up, so the session may run in any
//! process.

mod adapter_state;
mod backoff;
mod command;
mod connection;
pub mod contact_import;
mod departures;
mod dispatch;
mod fault;
mod fetch;
pub mod group_creation;
mod ingest;
mod lease;
mod live;
mod liveness;
mod message_files;
mod network_registration;
mod network_state;
mod peer_photos;
mod peers;
mod registration;
mod remote_ids;
pub mod roster;
mod run;
mod session;
mod supervisor;
mod timeouts;
mod typing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::db::DbError;
use crate::domain::{Account, ProcessId, SessionState};
use crate::lifecycle::Lifecycle;
use crate::media::Media;
use crate::secrets::MasterKey;
use crate::store::{Store, topic};
use crate::upstream::{Capabilities, Connector};

pub use command::{AskError, CommandAnswer, CommandRequest, GroupRefusal, GroupRequest};
pub use liveness::own_name;
pub use network_registration::{CodeRequestError, Entered, SubmitError};
pub use network_state::StoredNetworkState;
pub use registration::RegisterError;
pub use timeouts::Timeouts;

/// The networks of this program, by name.
#[derive(Clone, Default)]
pub struct Connectors(BTreeMap<&'static str, Arc<dyn Connector>>);

impl Connectors {
    pub fn add(&mut self, connector: Arc<dyn Connector>) {
        self.0.insert(connector.network(), connector);
    }

    #[must_use]
    pub fn get(&self, network: &str) -> Option<&Arc<dyn Connector>> {
        self.0.get(network)
    }

    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| (*name).to_owned()).collect()
    }
}

/// The program was started without this network, which an account uses.
#[derive(Debug, thiserror::Error)]
#[error("the network {0} is not among WINDU_NETWORKS")]
pub struct NoSuchNetwork(pub String);

/// The API's access to the sessions, wherever they run. Clones share it.
#[derive(Clone)]
pub struct Sessions {
    store: Store,
    connectors: Connectors,
    keys: MasterKey,
    media: Media,
    timeouts: Timeouts,
    process: watch::Sender<Option<ProcessId>>,
}

impl Sessions {
    /// The handle only. [`Sessions::run`] makes this process run sessions too.
    #[must_use]
    pub fn new(store: Store, connectors: Connectors, keys: MasterKey, media: Media) -> Self {
        let timeouts = Timeouts::default();
        Self { store, connectors, keys, media, timeouts, process: watch::Sender::new(None) }
    }

    /// The stored files.
    #[must_use]
    pub fn media(&self) -> &Media {
        &self.media
    }

    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// Starts the supervisor, and the work with departures. The supervisor ends, and gives its leases back, when the
    /// lifecycle's soft token is cancelled.
    pub fn run(&self, process_name: String, lifecycle: &Lifecycle) {
        supervisor::start(self.clone(), process_name, lifecycle);
        departures::start(self.clone(), lifecycle);
    }

    /// This process's id in the database, as it changes.
    #[must_use]
    pub fn watch_process(&self) -> watch::Receiver<Option<ProcessId>> {
        self.process.subscribe()
    }

    /// This process's id in the database. It joins under a new id each time that it lost its leases; meanwhile, and after
    /// it has left to stop, this is the last one. `None` when it has not joined within `limit`.
    pub async fn process(&self, limit: Duration) -> Option<ProcessId> {
        let mut process = self.process.subscribe();
        *timeout(limit, process.wait_for(Option::is_some)).await.ok()?.ok()?
    }

    /// The network of this name; `None` when it is not among WINDU_NETWORKS.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        self.connectors.names()
    }

    #[must_use]
    pub fn connector(&self, network: &str) -> Option<&Arc<dyn Connector>> {
        self.connectors.get(network)
    }

    /// What the account's network can.
    pub fn capabilities(&self, account: &Account) -> Result<Capabilities, NoSuchNetwork> {
        let connector = self.connectors.get(&account.network);
        let connector = connector.ok_or_else(|| NoSuchNetwork(account.network.clone()))?;
        Ok(connector.capabilities())
    }

    /// Waits until the account's session is online, at most `limit`. Returns whether it is.
    pub async fn wait_online(&self, account: &Account, limit: Duration) -> Result<bool, DbError> {
        let deadline = Instant::now() + limit;
        let mut changes = self.store.notifications().subscribe(topic::session(account.id));
        loop {
            let now = self.store.account(account.user, Some(&account.number)).await?;
            match now.map(|account| account.session.state) {
                Some(SessionState::Online) => return Ok(true),
                None => return Ok(false),
                Some(_) => {}
            }
            tokio::select! {
                () = changes.woken() => {}
                // A wake-up may be lost; the row is read again after half a second.
                () = sleep(Duration::from_millis(500)) => {}
                () = sleep_until(deadline) => return Ok(false),
            }
        }
    }
}
