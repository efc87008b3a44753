//! The network inside this program: the accounts of one deployment reach each other, through PostgreSQL.
//!
//! It behaves as a network of its own: mailboxes that store and forward while nobody is connected, receipts,
//! profiles, groups, and logins that end when the number is registered anew. Nothing of it lives in memory only, except
//! typing, which is worth nothing a second later.

mod connection;
mod group;
pub mod network;
mod profile;
mod reader;
mod stanza;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    AdapterState, Address, BlobSource, Capabilities, Connector, Credentials, End, Failure, Login, Opened,
    RegistrationKind,
};
use crate::db::DbError;
use crate::domain::{NeedsUser, PhoneNumber};
use crate::lifecycle::Lifecycle;
use crate::secrets;
use crate::telemetry::chain;
use crate::upstream::local::network::{LARGEST_GROUP, Leaving, LocalNet, Subscriber, is_group};
use stanza::Stanza;

/// How often each process looks for mail that no wake-up announced.
const SWEEP: Duration = Duration::from_secs(2);
/// How often each process prunes the network's tables, at the most.
const PRUNE_PERIOD: Duration = Duration::from_mins(1);
/// Rows that one statement prunes.
const PRUNE_BATCH: i64 = 1_000;

/// The connector of the network `local`.
pub struct Local {
    net: LocalNet,
    blobs: Arc<dyn BlobSource>,
    lifecycle: Lifecycle,
    open: Arc<Mutex<HashMap<PhoneNumber, usize>>>,
}

impl Local {
    /// Starts the network's sweep. Connections run as tasks of `lifecycle`. The files that it keeps are those of this
    /// deployment, in `blobs`.
    #[must_use]
    pub fn new(net: LocalNet, blobs: Arc<dyn BlobSource>, lifecycle: Lifecycle) -> Self {
        let open: Arc<Mutex<HashMap<PhoneNumber, usize>>> = Arc::default();
        lifecycle.spawn(sweep(net.clone(), open.clone(), lifecycle.clone()));
        lifecycle.spawn(prune(net.clone(), lifecycle.clone()));
        Self { net, blobs, lifecycle, open }
    }
}

#[async_trait]
impl Connector for Local {
    fn network(&self) -> &'static str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { largest_group: LARGEST_GROUP, tells_again: true }
    }

    fn registration(&self) -> RegistrationKind {
        RegistrationKind::OurCode
    }

    fn address_of(&self, number: &PhoneNumber) -> Address {
        Address(number.to_string())
    }

    fn number_of(&self, address: &Address) -> Option<PhoneNumber> {
        address.0.parse().ok()
    }

    fn is_group(&self, address: &Address) -> bool {
        is_group(&address.0)
    }

    async fn register(&self, number: &PhoneNumber) -> Result<Credentials, Failure> {
        let registered = self.net.register(number, &leaving()).await;
        let subscriber = registered.map_err(|error| failure(&error))?;
        Ok(Credentials(subscriber.incarnation.into_bytes()))
    }

    async fn unregister(&self, number: &PhoneNumber) -> Result<(), Failure> {
        self.net.unregister(number, &leaving()).await.map_err(|error| failure(&error))
    }

    async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, Failure> {
        self.net.existing(numbers).await.map_err(|error| failure(&error))
    }

    async fn open(&self, login: Login, _state: Arc<dyn AdapterState>) -> Result<Opened, End> {
        let incarnation =
            String::from_utf8(login.credentials.0).map_err(|_| End::NeedsUser(NeedsUser::LoggedOut))?;
        let subscriber = Subscriber { number: login.number, incarnation };
        match self.net.is_current(&subscriber).await {
            Ok(true) => {
                let (blobs, open) = (self.blobs.clone(), self.open.clone());
                Ok(connection::open(&self.net, blobs, subscriber, &self.lifecycle, open))
            }
            Ok(false) => Err(End::NeedsUser(NeedsUser::LoggedOut)),
            Err(error) => Err(end(&error)),
        }
    }
}

/// What others hear of a number that leaves.
fn leaving() -> Leaving {
    Leaving { gone: Stanza::Gone.to_json(), write: group::write_news }
}

/// What a failed query means to whoever asked something of the network.
fn failure(error: &DbError) -> Failure {
    Failure::Retry(reason(error))
}

/// What a failed query means to a connection.
fn end(error: &DbError) -> End {
    End::Retry(reason(error))
}

/// The word for programs on a failed query. Our own mistakes are logged.
fn reason(error: &DbError) -> &'static str {
    match error {
        DbError::Unavailable(_) => "network_unreachable",
        DbError::Fenced | DbError::Corrupt(_) | DbError::Refused(_) => {
            tracing::error!(error = %error, cause = ?error, "the local network failed");
            "network_failed"
        }
    }
}

/// Forgets files and operations that nobody asks for any more.
async fn prune(net: LocalNet, lifecycle: Lifecycle) {
    loop {
        // Of several processes the first one that comes finds the most.
        let pause = PRUNE_PERIOD + Duration::from_secs(secrets::random_below(PRUNE_PERIOD.as_secs() / 2));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = lifecycle.soft().cancelled() => return,
        }
        let pruned = async {
            while net.prune_media(PRUNE_BATCH).await? > 0 {}
            while net.prune_operations(PRUNE_BATCH).await? > 0 {}
            Ok::<(), DbError>(())
        };
        tokio::select! {
            pruned = pruned => if let Err(error) = pruned {
                tracing::warn!(error = chain(&error), "pruning the local network failed; it is repeated");
            },
            () = lifecycle.soft().cancelled() => return,
        }
    }
}

async fn sweep(net: LocalNet, open: Arc<Mutex<HashMap<PhoneNumber, usize>>>, lifecycle: Lifecycle) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = lifecycle.soft().cancelled() => return,
        }
        let numbers: Vec<PhoneNumber> =
            open.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        if !numbers.is_empty()
            && let Err(error) = net.sweep(&numbers).await
        {
            tracing::debug!(%error, "the sweep of the local network failed; it is repeated");
        }
    }
}
