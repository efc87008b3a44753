//! The network inside this program: the accounts of one deployment reach each other through PostgreSQL.
//!
//! It behaves as a network of its own: mailboxes that store and forward while nobody is connected, receipts, profiles,
//! groups, and logins that end when the number is registered again. Only typing is not stored.

mod connection;
mod failure;
mod group;
mod in_flight;
pub mod network;
mod open_numbers;
mod photo;
mod profile;
mod reader;
mod send;
mod stanza;
mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    AdapterState, Address, BlobStorage, Capabilities, Connector, Credentials, End, Failure, Feature, Login,
    Opened, RegistrationKind, Support,
};
use crate::db::DbError;
use crate::domain::{Content, NeedsUser, PhoneNumber};
use crate::lifecycle::Lifecycle;
use crate::secrets;
use crate::telemetry::chain;
use failure::{end, failure};
use network::{LARGEST_GROUP, LocalNet, Subscriber, is_group};
use open_numbers::OpenNumbers;

/// Each process looks this often for stanzas that no wake-up announced.
const SWEEP_PERIOD: Duration = Duration::from_secs(2);
/// The shortest time between two prunings by one process.
const PRUNE_PERIOD: Duration = Duration::from_mins(1);
/// Rows that one statement prunes.
const PRUNE_BATCH: i64 = 1_000;

/// The connector of the network `local`.
pub struct Local {
    net: LocalNet,
    blobs: Arc<dyn BlobStorage>,
    lifecycle: Lifecycle,
    open: OpenNumbers,
}

impl Local {
    /// Starts the network's sweep and pruning. Connections run as tasks of `lifecycle`. The network stores no files of
    /// its own: it refers to those in `blobs`.
    #[must_use]
    pub fn new(net: LocalNet, blobs: Arc<dyn BlobStorage>, lifecycle: Lifecycle) -> Self {
        let open = OpenNumbers::default();
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
        Capabilities {
            supported: &[(Feature::Groups, Support::Full)],
            text_bytes: None,
            file_bytes: None,
            kinds: &Content::LETTERS,
            reply_seconds: None,
            group_size: LARGEST_GROUP,
            edit_seconds: None,
            delete_seconds: None,
            poll_options: 0,
            tells_again: true,
            remote_ids: false,
        }
    }

    fn registration(&self) -> RegistrationKind {
        RegistrationKind::OurCode
    }

    fn address_of(&self, number: &PhoneNumber) -> Address {
        Address(number.to_string())
    }

    fn number_of(&self, address: &Address) -> Option<PhoneNumber> {
        PhoneNumber::from_stored(&address.0)
    }

    fn is_group(&self, address: &Address) -> bool {
        is_group(&address.0)
    }

    async fn register(&self, number: &PhoneNumber) -> Result<Credentials, Failure> {
        let registered = self.net.register(number).await;
        let subscriber = registered.map_err(|error| failure(&error))?;
        Ok(Credentials(subscriber.incarnation.into_bytes()))
    }

    async fn unregister(&self, number: &PhoneNumber) -> Result<(), Failure> {
        self.net.unregister(number).await.map_err(|error| failure(&error))
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
                Ok(connection::open(&self.net, self.blobs.clone(), subscriber, &self.lifecycle, &self.open))
            }
            Ok(false) => Err(End::NeedsUser(NeedsUser::LoggedOut)),
            Err(error) => Err(end(&error)),
        }
    }
}

/// Deletes files and operations that have expired.
async fn prune(net: LocalNet, lifecycle: Lifecycle) {
    loop {
        // Jitter, so that several processes do not prune at the same moment.
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

async fn sweep(net: LocalNet, open: OpenNumbers, lifecycle: Lifecycle) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_PERIOD) => {}
            () = lifecycle.soft().cancelled() => return,
        }
        let mailboxes = open.mailboxes();
        if !mailboxes.is_empty()
            && let Err(error) = net.sweep(&mailboxes).await
        {
            tracing::debug!(%error, "the sweep of the local network failed; it is repeated");
        }
    }
}
