//! A real, federated network: the accounts of one XMPP server, such as Prosody or ejabberd.
//!
//! An account is `number@domain` with a random password, made and deleted by the server's administrator (XEP-0133). Its
//! connection is one stream with a fixed resource, which is never resumed. The server gets the acknowledgement of a stanza
//! (XEP-0198) after the commit, and gives what was not acknowledged to the next connection.

mod address;
mod admin;
mod apps;
mod archive;
mod check;
mod connection;
mod dial;
mod failure;
mod file_types;
mod group;
mod in_flight;
mod inbound;
mod invitations;
mod iq;
mod ledger;
mod link;
mod login;
mod memberships;
mod note;
mod outbound;
mod pep;
mod picture;
mod profile;
mod reader;
mod rooms;
mod said;
mod seen;
mod sender;
mod services;
mod sharing;
mod srv;
mod upload;
mod uploads;
mod view;
mod watching;
mod xml;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    AdapterState, Address, BlobStorage, Capabilities, Connector, Credentials, End, Failure, Feature, Finding,
    Login, NetworkState, Opened, RegistrationKind, Support,
};
use crate::config::{ConfigError, XmppSettings, XmppTls};
use crate::domain::{Content, NeedsUser, PhoneNumber};
use crate::fetch::{Fetch, UntrustedRules};
use crate::lifecycle::Lifecycle;
use crate::secrets;
use admin::Admin;
use dial::Dialer;
use rooms::{LARGEST_GROUP, Rooms};
use upload::FileService;

/// A connection that was replaced twice within this time is not opened again: another program has the account.
const REPLACED_AGAIN: Duration = Duration::from_mins(1);

/// The connector of the network `xmpp`.
pub struct Xmpp {
    server: Arc<Server>,
    rooms: Arc<Rooms>,
}

/// One XMPP server, as all connections of this process see it.
struct Server {
    settings: XmppSettings,
    dialer: Dialer,
    files: FileService,
    blobs: Arc<dyn BlobStorage>,
    lifecycle: Lifecycle,
    /// When connections were last replaced, by address.
    replaced: Mutex<HashMap<String, Instant>>,
}

/// What an account needs for its login, as JSON.
#[derive(Serialize, Deserialize)]
struct Secret {
    password: String,
}

impl Xmpp {
    /// Connects to nothing yet. Connections run as tasks of `lifecycle`, read the files that they send from `blobs`, where
    /// pictures of rooms are stored, and fetch the files that others send within `rules`. What is kept of groups is in `state`.
    ///
    /// # Errors
    /// When the certificates of the settings cannot be read.
    pub fn new(
        settings: XmppSettings,
        blobs: Arc<dyn BlobStorage>,
        rules: UntrustedRules,
        state: Arc<dyn NetworkState>,
        lifecycle: Lifecycle,
    ) -> Result<Self, ConfigError> {
        let dialer = Dialer::new(&settings)?;
        // The operator trusts these certificates in whatever belongs to the network, also in other servers of it.
        let fetch = Fetch::trusting(rules, &dial::private_certificates(settings.ca_file.as_deref())?);
        let files = FileService::new(fetch, settings.domain.clone(), settings.tls == XmppTls::Off);
        let server =
            Arc::new(Server { settings, dialer, files, blobs, lifecycle, replaced: Mutex::default() });
        let admin = Arc::new(Admin::new(server.clone()));
        let rooms = Rooms::new(server.clone(), admin, state);
        rooms.forget_ended_groups(&server.lifecycle);
        Ok(Self { server, rooms })
    }
}

impl Server {
    /// The end of a connection whose resource another connection has taken.
    fn replaced(&self, own: &str) -> End {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|_, since| since.elapsed() < REPLACED_AGAIN);
        if replaced.insert(own.to_owned(), Instant::now()).is_some() {
            End::NeedsUser(NeedsUser::Replaced)
        } else {
            End::Retry("replaced")
        }
    }
}

#[async_trait]
impl Connector for Xmpp {
    fn network(&self) -> &'static str {
        "xmpp"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Of members with other apps it is not known what they have received.
            supported: &[(Feature::Groups, Support::Lossy)],
            text_bytes: Some(outbound::LARGEST_TEXT),
            // Known once a connection has asked the server.
            file_bytes: self.server.files.largest(),
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
        address::of_number(number, &self.server.settings.domain)
    }

    fn number_of(&self, address: &Address) -> Option<PhoneNumber> {
        address::number(&address.0, &self.server.settings.domain)
    }

    fn text_bytes(&self, text: &str) -> usize {
        outbound::escaped_bytes(text)
    }

    fn is_group(&self, address: &Address) -> bool {
        address::room(address).is_some()
    }

    async fn register(&self, number: &PhoneNumber) -> Result<Credentials, Failure> {
        self.rooms.leave_all(&self.address_of(number)).await?;
        let password = secrets::random_token();
        self.rooms.admin.delete_user(&self.address_of(number).0).await?;
        self.rooms.admin.add_user(&self.address_of(number).0, &password).await?;
        let secret = serde_json::to_vec(&Secret { password });
        secret.map(Credentials).map_err(|error| Failure::Refused(error.to_string()))
    }

    async fn unregister(&self, number: &PhoneNumber) -> Result<(), Failure> {
        self.rooms.leave_all(&self.address_of(number)).await?;
        self.rooms.admin.delete_user(&self.address_of(number).0).await
    }

    async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, Failure> {
        self.rooms.admin.existing(numbers).await
    }

    async fn check(&self) -> Vec<Finding> {
        self.rooms.admin.check().await
    }

    async fn open(&self, login: Login, state: Arc<dyn AdapterState>) -> Result<Opened, End> {
        let secret: Secret =
            serde_json::from_slice(&login.credentials.0).map_err(|_| End::NeedsUser(NeedsUser::LoggedOut))?;
        connection::open(&self.server, &self.rooms, login, secret.password, state).await
    }
}
