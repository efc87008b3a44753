//! Prosody and ejabberd in the conformance suite.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use windu::config::{XmppHost, XmppSettings, XmppTls};
use windu::db::Db;
use windu::domain::{PhoneNumber, StoredMedia, UserId};
use windu::fetch::UntrustedRules;
use windu::lifecycle::Lifecycle;
use windu::media::{Media, Uploader};
use windu::store::Store;
use windu::upstream::xmpp::Xmpp;
use windu::upstream::{Connector, Failure, NetworkState, NetworkWrite};

use crate::network::Network;
use crate::support::media;
use crate::support::postgres::Database;
use crate::support::xmpp::{Software, XmppServer};

pub type OnProsody = XmppNetwork<false>;
pub type OnEjabberd = XmppNetwork<true>;

/// The numbers of all cases of this process, which share its servers.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// A part of a server that all cases share.
pub struct XmppNetwork<const EJABBERD: bool> {
    server: &'static XmppServer,
    database: Database,
    /// All processes of a case share it.
    state: Arc<MemoryNetworkState>,
    lifecycle: Lifecycle,
    folder: TempDir,
}

#[async_trait]
impl<const EJABBERD: bool> Network for XmppNetwork<EJABBERD> {
    const UNACKNOWLEDGED: usize = 400;
    // The archive is read from before the last messages whose receipts the server certainly has.
    const REPEATS: bool = true;
    const STATES: bool = true;
    const DELETED: &'static str = "disconnected";
    const LOSSY: &[(&str, &str)] = &[
        ("backlog::unacknowledged_messages_are_delivered_again", "acknowledged messages may come again"),
        (
            "backpressure::events_of_a_dropped_connection_are_delivered_again",
            "acknowledged messages may come again",
        ),
        (
            "block_list::a_discarded_message_is_not_delivered_again_and_makes_no_receipt",
            "acknowledged messages may come again",
        ),
        ("text::texts_arrive_unchanged", "XML has one end of lines and no control characters"),
        (
            "visibility::setting_the_same_state_again_sends_no_event",
            "a state that is set again is sent again",
        ),
    ];

    fn missing() -> Option<String> {
        XmppServer::missing()
    }

    async fn start() -> Self {
        let software = if EJABBERD { Software::Ejabberd } else { Software::Prosody };
        let server = tokio::task::spawn_blocking(move || XmppServer::shared(software)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (state, lifecycle) = (Arc::default(), Lifecycle::default());
        Self { server, database: Database::create(), state, lifecycle, folder }
    }

    async fn connector(&self) -> Arc<dyn Connector> {
        let address = self.server.address();
        let settings = XmppSettings {
            domain: self.server.domain().to_owned(),
            host: XmppHost::At { host: address.ip().to_string(), port: address.port() },
            tls: XmppTls::StartTls,
            ca_file: Some(self.server.ca_file().to_owned()),
            admin_jid: self.server.admin_jid(),
            admin_password: self.server.admin_password().to_owned(),
            encryption_note: None,
            room_ping: Duration::from_mins(10),
        };
        let (blobs, rules) = (Arc::new(self.media()), UntrustedRules::default());
        Arc::new(Xmpp::new(settings, blobs, rules, self.state.clone(), self.lifecycle.clone()).unwrap())
    }

    async fn store(&self, bytes: &[u8], mimetype: &str) -> StoredMedia {
        let media = self.media();
        let mut spool = media.spool(Uploader::User(UserId(1)));
        spool.write(bytes).await.unwrap();
        media.ingest(&spool.finish().await.unwrap(), mimetype).await.unwrap()
    }

    /// XML has one end of lines, and no control characters but it and the tabulator.
    fn carried(text: &str) -> String {
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        lines.replace(
            |sign: char| sign.is_ascii_control() && !matches!(sign, '\n' | '\t' | '\u{7f}'),
            "\u{fffd}",
        )
    }

    fn number(&self) -> PhoneNumber {
        let number = 15_550_100_000 + NUMBERS.fetch_add(1, Ordering::Relaxed);
        number.to_string().parse().unwrap()
    }
}

impl<const EJABBERD: bool> XmppNetwork<EJABBERD> {
    fn media(&self) -> Media {
        let store = Store::new(Db::from_url(&self.database.url(), 1).unwrap());
        media::in_folder(&store, self.folder.path())
    }
}

impl<const EJABBERD: bool> Drop for XmppNetwork<EJABBERD> {
    fn drop(&mut self) {
        self.lifecycle.soft().cancel();
    }
}

/// The state of a network, in memory.
#[derive(Default)]
struct MemoryNetworkState(Mutex<BTreeMap<String, Vec<u8>>>);

#[async_trait]
impl NetworkState for MemoryNetworkState {
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let state = self.0.lock().unwrap();
        Ok(keys.iter().map(|key| state.get(*key).cloned()).collect())
    }

    async fn replace(
        &self,
        key: &str,
        before: Option<&[u8]>,
        after: &[u8],
        others: &[NetworkWrite],
    ) -> Result<bool, Failure> {
        let mut state = self.0.lock().unwrap();
        if state.get(key).map(Vec::as_slice) != before {
            return Ok(false);
        }
        state.insert(key.to_owned(), after.to_vec());
        for (key, value) in others {
            match value {
                Some(value) => state.insert(key.clone(), value.clone()),
                None => state.remove(key),
            };
        }
        Ok(true)
    }

    async fn remove(&self, key: &str, before: &[u8], others: &[String]) -> Result<bool, Failure> {
        let mut state = self.0.lock().unwrap();
        let is_same = state.get(key).is_some_and(|value| value == before);
        if is_same {
            state.remove(key);
            state.retain(|key, _| !others.contains(key));
        }
        Ok(is_same)
    }

    async fn page(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let state = self.0.lock().unwrap();
        let found = state.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).take(limit).collect())
    }
}

/// A request for ten thousand numbers may be cut short; a repeated one goes on behind what is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_of_numbers_is_answered_from_what_is_known() {
    if OnProsody::missing().is_some() {
        return;
    }
    let network = OnProsody::start().await;
    let (ours, other) = (network.connector().await, network.connector().await);
    let number = network.number();
    ours.register(&number).await.unwrap();
    let many: Vec<PhoneNumber> =
        (0..1_000).map(|index| (15_559_900_000_u64 + index).to_string().parse().unwrap()).collect();
    let long: Vec<PhoneNumber> = many.into_iter().chain([number.clone()]).collect();
    let found = std::slice::from_ref(&number);
    assert_eq!(ours.existing(&long).await.unwrap(), found);
    // Another process deletes it: only a long list is answered from memory.
    other.unregister(&number).await.unwrap();
    assert_eq!(ours.existing(&long).await.unwrap(), found);
    assert_eq!(ours.existing(found).await.unwrap(), []);
    ours.unregister(&number).await.unwrap();
    assert_eq!(ours.existing(&long).await.unwrap(), []);
}
