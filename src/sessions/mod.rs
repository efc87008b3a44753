//! One supervised task per registered account, each keeping a connection to its network.
//!
//! The supervisor of a process claims accounts (a lease each) and runs a session for every one. A session connects,
//! catches up, stores what comes in, sends what waits in the outbox, applies desired state and answers commands. The
//! rest of the program talks to it through the store: rows first, then a wake-up, so the session may run in any
//! process.

mod attend;
mod backoff;
mod command;
pub mod contact_import;
mod dispatch;
mod fetch;
mod files;
pub mod group_creation;
mod groups;
mod ingest;
mod liveness;
mod photos;
mod registration;
pub mod roster;
mod session;
mod state;
mod supervisor;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::db::DbError;
use crate::domain::{Account, AccountId, ProcessId, SessionState, Typing};
use crate::lifecycle::Lifecycle;
use crate::media::Media;
use crate::secrets::MasterKey;
use crate::store::{Store, topic};
use crate::upstream::{Address, Connector};

pub use command::{AskError, CommandAnswer, CommandRequest};
pub use groups::{GroupRefusal, GroupRequest};
pub use liveness::own_name;
pub use registration::RegisterError;

/// The networks of this program, by name.
#[derive(Clone, Default)]
pub struct Connectors(BTreeMap<&'static str, Arc<dyn Connector>>);

impl Connectors {
    /// Adds a network.
    pub fn add(&mut self, connector: Arc<dyn Connector>) {
        self.0.insert(connector.network(), connector);
    }

    /// The network of this name.
    #[must_use]
    pub fn get(&self, network: &str) -> Option<&Arc<dyn Connector>> {
        self.0.get(network)
    }

    /// The names of all.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| (*name).to_owned()).collect()
    }
}

/// How long a session waits for its network before the connection counts as dead.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection to open.
    pub connect: Duration,
    /// For one thing asked of a connection.
    pub step: Duration,
    /// For the next signal; adapters show life every 20 s.
    pub silence: Duration,
    /// Online for so long, a connection counts as good: the backoff begins anew.
    pub stable: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            step: Duration::from_secs(30),
            silence: Duration::from_secs(50),
            stable: Duration::from_secs(30),
        }
    }
}

/// What the API needs of the sessions, wherever they run. Clones share it.
#[derive(Clone)]
pub struct Sessions {
    store: Store,
    connectors: Connectors,
    keys: MasterKey,
    media: Media,
    patience: Timeouts,
    process: watch::Sender<Option<ProcessId>>,
}

impl Sessions {
    /// The handle alone. [`Sessions::run`] makes this process run sessions too.
    #[must_use]
    pub fn new(store: Store, connectors: Connectors, keys: MasterKey, media: Media) -> Self {
        let patience = Timeouts::default();
        Self { store, connectors, keys, media, patience, process: watch::Sender::new(None) }
    }

    /// The same with other limits of time.
    #[must_use]
    pub fn with_timeouts(self, patience: Timeouts) -> Self {
        Self { patience, ..self }
    }

    /// Starts the supervisor. It ends, and gives its leases back, when the lifecycle's soft token is cancelled.
    pub fn run(&self, process_name: String, lifecycle: &Lifecycle) {
        supervisor::start(self.clone(), process_name, lifecycle);
    }

    /// This process, as the others know it: another one each time that it lost its leases. It stays what it was last while
    /// the process joins anew, and when it has left to stop. `None` when it has not joined within `patience`.
    pub async fn process(&self, patience: Duration) -> Option<ProcessId> {
        let mut process = self.process.subscribe();
        *timeout(patience, process.wait_for(Option::is_some)).await.ok()?.ok()?
    }

    /// The network of an account; an account of a network that this program was not given is an error of its
    /// settings.
    #[must_use]
    pub fn connector(&self, network: &str) -> Option<&Arc<dyn Connector>> {
        self.connectors.get(network)
    }

    /// Waits until the account's session is online, at most `patience`. Returns whether it is.
    pub async fn wait_online(&self, account: &Account, patience: Duration) -> Result<bool, DbError> {
        let deadline = Instant::now() + patience;
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
                // A wake-up may be lost; half a second later the row still tells.
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                () = tokio::time::sleep_until(deadline) => return Ok(false),
            }
        }
    }

    /// Shows somebody that the account writes, if its session is online. Not kept.
    pub fn typing(&self, account: AccountId, to: &Address, typing: Typing) {
        let hint = session::TypingRequest { to: to.0.clone(), composing: typing == Typing::Composing };
        if let Ok(body) = serde_json::to_string(&hint) {
            self.store.notifications().hint(topic::work(account), body);
        }
    }
}
