//! The product's queries, in folders by entity. [`Store`] is the handle on the database, [`Tx`] is one transaction; each
//! file adds its queries to both.
//!
//! No method here awaits anything but PostgreSQL, and no transaction is open while another layer awaits.

mod account;
mod audit;
mod auth;
mod broker;
mod contact;
mod deployment;
mod event_data;
mod export;
mod group;
mod idempotency;
mod journal;
mod message;
mod network_state;
mod sequence;
mod session;
pub mod topic;
mod webhook;
mod writer;

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::db::batcher::Batcher;
use crate::db::{self, Db, DbError, Notifications, Topic};
use crate::domain::{Account, CounterId, Lease};
use writer::Writer;

pub use account::SessionAccount;
pub use account::departure::{Departure, NewDeparture};
pub use account::desired_state::Desired;
pub use account::network_registration::{PendingRegistration, RegistrationLease};
pub use account::profile::{OwnProfile, PrivacyChange};
pub use account::registration::{FormerAccount, StoredLogin};
pub use auth::client::{ClientListing, ClientRecord};
pub use auth::login::LoginAttempt;
pub use auth::token::{
    BearerRecord, LiveToken, NewGrant, NewPair, RefreshRecord, SealedPair, TokenHash, UsedToken,
};
pub use auth::user::{UserListing, UserRecord};
pub use auth::verification::{CodeId, CodeLimits, Guess, NewCode, Reservation, TakenGuess};
pub use broker::{BrokerLease, BrokerPosition};
pub use contact::directory::{Directory, ResolvedNumber};
pub use contact::import::{Imported, ImportedContact};
pub use contact::peer::{NewPeer, Peer};
pub use contact::peer_profile::{LastSeen, PeerStatusMessage, Presence, ProfileScope, StatusChange};
pub use contact::photo::{PeerPhoto, PendingPhoto, PhotoChange, SeenPhoto};
pub use contact::{Contact, LIST_LIMIT, ListAddition, Reachable};
pub use deployment::{KEY_FINGERPRINT, KeyError, ServerVersion};
pub use event_data::{
    EventGroup, EventMessage, EventPerson, EventProfile, NamedEventMessage, NamedNews, NamedPeer,
};
pub use export::Exported;
pub use group::{Candidate, GroupInfo, GroupReport, GroupView, ReportedMember};
pub use idempotency::{Claim, ClaimedResponse, IdempotentRequest, KeyState, SavedResponse};
pub use journal::{Journal, JournalEntry};
pub use message::blobs::{ServedBlob, UnreferredBlobs};
pub use message::chats::{ChatPhoto, ChatSummary, LastMessage};
pub use message::content::{StoredContent, UnknownContent};
pub use message::earlier::{NamedMessage, ReceiptUpTo, Stretch};
pub use message::early::{EarlyEvent, EarlyEvents, EarlyKind, KnownMessage, QueuedSince, StoredEarlyEvent};
pub use message::history::{LARGEST_OFFSET, ListError, Message, Page, Receipted};
pub use message::inbound::{ChatNews, Inbound, InboundGroupChange, InboundKind, InboundMessage};
pub use message::outbox::{DUE_MESSAGES, Due, DueMessage, DueReceipt, Settled, Settlement};
pub use message::pending_media::{FetchedMedia, PendingMedia};
pub use message::quota::{MediaReservation, Reserved};
pub use message::read::MarkedRead;
pub use message::{Accepted, NewMessage, OUTBOX_LIMIT};
pub use sequence::{
    EventFilter, JournalOwner, KindFilter, PlaceOfSeq, Progress, SequenceEnds, SequencedEvent,
};
pub use session::command::{CommandProgress, TakenCommand};
pub use session::lease::{LEASE_SECONDS, LeaseShare};
pub use webhook::history::{Attempt, AttemptsOf, DeadEvent};
pub use webhook::lease::WebhookLease;
pub use webhook::progress::{
    AccountProgress, NewRedelivery, Redelivery, RedeliveryProgress, WaitingAccount, WebhookProgress,
};
pub use webhook::{
    Health, MOST_WEBHOOKS, NewWebhook, Selection, TroubledWebhook, Waiting, Webhook, WebhookChange,
    WebhookTrouble,
};

/// The product's data; clones share it.
#[derive(Clone)]
pub struct Store {
    db: Db,
    writer: Arc<Writer>,
    batchers: Arc<Batchers>,
    caches: Arc<Caches>,
}

/// Rows of one account that a transaction changes or deletes at most; what has more is done in several, one after the
/// other, so that nobody waits long for the account.
const SLICE: i64 = 1_000;

/// Whether a slice had rows, so that there may be more.
pub type More = bool;

/// The reads that every request, every session or every page of events makes.
struct Batchers {
    accounts: Batcher<account::AccountLookup, Option<account::AccountMatch>>,
    session_accounts: Batcher<Lease, Option<SessionAccount>>,
    due: Batcher<Lease, Option<Due>>,
    group_reports: Batcher<(Store, Arc<GroupReport>), ()>,
    journal_owners: Batcher<Vec<CounterId>, Vec<JournalOwner>>,
    event_messages: Batcher<Vec<NamedEventMessage>, Vec<(usize, EventMessage)>>,
}

/// Entries live for 5 s: other processes change the same data.
struct Caches {
    /// Accounts with chats that they may write to.
    sendable: Cache<account::AccountLookup, (Account, Reachable)>,
    /// By network and address.
    peers: Cache<(String, String), Peer>,
    /// The revisions of groups, by network and address.
    groups: Cache<(String, String), i64>,
}

fn cache<K: Eq + Hash + Send + Sync + 'static, V: Clone + Send + Sync + 'static>() -> Cache<K, V> {
    Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(5)).build()
}

/// One transaction; dropped without [`Tx::commit`] it changes nothing.
pub struct Tx {
    inner: db::Tx,
}

impl Store {
    #[must_use]
    pub fn new(db: Db) -> Self {
        let batchers = Batchers {
            accounts: Batcher::new(&db, |db, lookups| {
                Box::pin(account::accounts_with_recipients(db, lookups))
            }),
            session_accounts: Batcher::new(&db, |db, leases| {
                Box::pin(account::session_accounts_of(db, leases))
            }),
            due: Batcher::new(&db, |db, leases| Box::pin(message::outbox::due_of(db, leases))),
            group_reports: Batcher::new(&db, |_, groups| Box::pin(group::save_groups(groups))),
            journal_owners: Batcher::new(&db, |db, lists| Box::pin(sequence::journal_owners_of(db, lists))),
            event_messages: Batcher::new(&db, |db, lists| Box::pin(event_data::event_messages_of(db, lists))),
        };
        let caches = Caches { sendable: cache(), peers: cache(), groups: cache() };
        let writer = Arc::new(Writer::new(&db));
        Self { db, writer, batchers: Arc::new(batchers), caches: Arc::new(caches) }
    }

    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The notifications of this process.
    #[must_use]
    pub fn notifications(&self) -> &Notifications {
        self.db.notifications()
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        Tx::begin(&self.db).await
    }
}

impl Tx {
    async fn begin(db: &Db) -> Result<Self, DbError> {
        Ok(Self { inner: db.begin().await? })
    }

    /// Makes the changes durable, then notifies the topics. An error leaves unknown whether the changes were made.
    pub async fn commit(self) -> Result<(), DbError> {
        self.inner.commit().await
    }

    fn notify_on_commit(&mut self, topic: Topic) {
        self.inner.notify_on_commit(topic);
    }
}

/// A number of seconds that PostgreSQL computed; a negative one is zero.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
