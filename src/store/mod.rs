//! The only SQL. [`Store`] holds the pool, [`Tx`] is one transaction; one file per entity adds the queries to both.
//!
//! No method here awaits anything but PostgreSQL, and no transaction is open while another layer awaits.

mod account;
mod auth;
pub mod cluster;
mod contact;
mod deployment;
mod error;
mod gather;
mod group;
mod idempotency;
mod journal;
mod kept;
pub mod localnet;
mod message;
mod schema;
mod session;
mod wake;
mod writer;

use moka::sync::Cache;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Account, Lease};
use crate::lifecycle::Lifecycle;
use crate::store::writer::Writers;
use gather::Gather;
use kept::Shelf;

pub use account::SessionAccount;
pub use account::desired_state::Desired;
pub use account::profile::{OwnProfile, PrivacyChange};
pub use account::registration::FormerAccount;
pub use auth::client::{ClientListing, ClientRecord};
pub use auth::login::LoginAttempt;
pub use auth::token::{
    BearerRecord, LiveToken, NewGrant, NewPair, RefreshRecord, SealedPair, TokenHash, UsedToken,
};
pub use auth::user::{UserListing, UserRecord};
pub use auth::verification::{CodeId, CodeLimits, Guess, NewCode, Reservation, TakenGuess};
pub use contact::import::{Imported, ImportedContact};
pub use contact::peer::{NewPeer, Peer};
pub use contact::peer_profile::{Presence, Seen, StatusChange, StatusMessage, Whose};
pub use contact::photo::{PeerPhoto, PendingPhoto, PhotoChange, SeenPhoto};
pub use contact::{Contact, Reachable};
pub use deployment::{KeyError, ServerVersion};
pub use error::StoreError;
pub use group::{Candidate, GroupInfo, GroupView, NewGroup, NewMember};
pub use idempotency::{Claim, KeptAnswer, KeyState, KeyedAnswer, KeyedRequest};
pub use journal::{Journal, JournalEntry};
pub use message::blobs::{LookedAt, ServedBlob};
pub use message::history::{ChatSummary, Message, Page, Receipted};
pub use message::inbound::{Inbound, InboundKind, ToldChange};
pub use message::outbox::{DUE_MESSAGES, Due, DueMessage, DueReceipt, Settled, Settlement};
pub use message::pending_media::PendingMedia;
pub use message::{Accepted, OUTBOX_LIMIT, Outgoing};
pub use schema::SchemaError;
pub use session::command::{CommandProgress, TakenCommand};
pub use session::lease::{LEASE_SECONDS, Share};
pub use wake::{Hints, Subscription, Topic, Wakes};

/// The database.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    wakes: Wakes,
    writers: Arc<Writers>,
    gathered: Arc<Gathered>,
    shelf: Arc<Shelf>,
}

/// The reads that every request or every session makes, each a line of calls that share a query.
struct Gathered {
    accounts: Gather<account::Wanted, Option<account::Addressed>>,
    /// Of those the ones who might be written to lately.
    reached: Cache<account::Wanted, (Account, Reachable)>,
    session_accounts: Gather<Lease, Option<SessionAccount>>,
    due: Gather<Lease, Option<Due>>,
    known_peers: Cache<(String, String), Peer>,
    learned: Gather<Arc<NewGroup>, ()>,
    /// The revisions of groups that were stored lately, by network and address.
    known_groups: Cache<(String, String), i64>,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            accounts: Gather::of(|store, wanted| Box::pin(account::addressed_of(store, wanted))),
            reached: lately(),
            session_accounts: Gather::of(|store, leases| {
                Box::pin(account::session_accounts_of(store, leases))
            }),
            due: Gather::of(|store, leases| Box::pin(message::outbox::due_of(store, leases))),
            known_peers: lately(),
            learned: Gather::of(|store, groups| Box::pin(group::learn_all(store, groups))),
            known_groups: lately(),
        }
    }
}

/// What may be remembered for a few seconds: other processes change it too.
fn lately<K: Eq + Hash + Send + Sync + 'static, V: Clone + Send + Sync + 'static>() -> Cache<K, V> {
    Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(5)).build()
}

/// One transaction; dropped without [`Tx::commit`] it changes nothing.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    wakes: Wakes,
    /// Whom the change concerns.
    concerned: Vec<Topic>,
}

/// How PostgreSQL treats our connections.
///
/// All our statements find few rows by an index, and their plans are kept. One made while a table was small would read
/// the whole table long after it has grown; one made for each call's own parameters takes longer than the call, and
/// compiling one to machine code longer still. A program that is stopped in the middle of a transaction keeps its locks
/// no longer than its leases.
const SETTINGS: [(&str, &str); 4] = [
    ("enable_seqscan", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("idle_in_transaction_session_timeout", "10s"),
];

impl Store {
    /// A pool of at most `connections` connections. Does not connect yet: a database that is away is found
    /// by the first query.
    #[must_use]
    pub fn new(options: PgConnectOptions, connections: u32) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            // A round trip per checkout for nothing: a dead connection is found by its first query.
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(Duration::from_mins(10))
            .connect_lazy_with(options.application_name("windu").options(SETTINGS));
        Self {
            pool,
            wakes: Wakes::default(),
            writers: Arc::default(),
            gathered: Arc::default(),
            shelf: Arc::default(),
        }
    }

    /// A pool on the database at `url`; `None` when that is no PostgreSQL URL.
    #[must_use]
    pub fn from_url(url: &str, connections: u32) -> Option<Self> {
        Some(Self::new(url.parse().ok()?, connections))
    }

    /// Starts carrying wake-ups to and from the other processes on this database.
    pub fn connect_wakes(&self, lifecycle: &Lifecycle) {
        self.wakes.connect(&self.pool, lifecycle);
    }

    /// The wake-ups of this process.
    #[must_use]
    pub fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let pool = self.pool.clone();
        // In a task of its own, which hears the answer even when the caller goes away before it: sqlx 0.9 forgets a
        // BEGIN that it did not see answered and puts the connection back into the pool with its transaction open.
        #[expect(clippy::disallowed_methods, reason = "it outlives the caller by one round trip, no more")]
        let begun = tokio::spawn(async move { pool.begin().await });
        match begun.await {
            Ok(Ok(begun)) => Ok(Tx { inner: begun, wakes: self.wakes.clone(), concerned: Vec::new() }),
            Ok(Err(error)) => {
                self.try_all();
                Err(error.into())
            }
            // The program ends.
            Err(_) => Err(StoreError::ended()),
        }
    }

    /// Closes the pool and waits until every connection is given back.
    pub async fn close(&self) {
        // Closed as soon as that is called; it waits for those that are kept, too.
        let closed = self.pool.close();
        self.clear_shelf();
        closed.await;
    }
}

impl Tx {
    /// Makes the changes durable, then wakes whom they concern.
    ///
    /// # Errors
    /// When the database went away: whether the changes were made is unknown then.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await?;
        for topic in self.concerned {
            self.wakes.wake(topic);
        }
        Ok(())
    }

    /// Has somebody woken after the commit.
    fn concerns(&mut self, topic: Topic) {
        self.concerned.push(topic);
    }
}

/// A number of seconds that PostgreSQL computed; what has passed already is zero.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
