//! The server of the network `local`, in PostgreSQL: subscribers, their profiles and lists, mailboxes, watches, groups.
//!
//! It is the reference network for the tests, the conformance suite and a first run without another network. Its batches
//! are not the product's and must not be tuned to make the benchmark's numbers better.
//!
//! Every query of a session names the subscriber's incarnation, so the session of an earlier owner of the number reads
//! and changes nothing.

mod columns;
mod group;
mod mailbox;
mod media;
mod profile;
mod registration;
mod view;
mod watches;

use chrono::{DateTime, Utc};
use moka::sync::Cache;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::stanza::Stanza;
use crate::db::{self, Db, DbError, Hints, Subscription, Topic};
use crate::domain::PhoneNumber;
use columns::number_of;
use group::GroupBatchers;
use mailbox::{MailboxBatchers, ReadRequest};

pub use group::{GroupDelivery, LARGEST_GROUP, is_group};
pub use profile::SubscriberChange;

/// Stanzas per read of a mailbox.
pub const MAILBOX_BATCH: i64 = 100;
/// Stanzas in a mailbox; at the limit it takes no more messages.
const MAILBOX_LIMIT: i64 = 100_000;
/// The fill state of a mailbox is cached this long; stanzas that arrive meanwhile may exceed the limit.
const FULL_CACHE_TTL: Duration = Duration::from_secs(5);
/// A stanza is settled after this time: none with a smaller id becomes visible any more, because no transaction that
/// writes one takes so long.
pub const SETTLE_TIME: Duration = Duration::from_mins(1);
/// Rows of a subscriber that is removed are deleted so many at once.
const SLICE: i64 = 1_000;
/// Attempts at a transaction that conflicts with others.
const ATTEMPTS: usize = 4;

/// The local network, in its tables.
#[derive(Clone)]
pub struct LocalNet {
    db: Db,
    mailboxes: Arc<MailboxBatchers>,
    groups: Arc<GroupBatchers>,
    /// Whether a mailbox was full when it was last checked.
    full: Cache<PhoneNumber, bool>,
}

/// A subscriber's login.
#[derive(Clone, Debug)]
pub struct Subscriber {
    pub number: PhoneNumber,
    /// Identifies the registration: each one of a number gets another.
    pub incarnation: String,
}

/// A stanza in a mailbox.
#[derive(Clone, Debug)]
pub struct StoredStanza {
    /// Grows within each mailbox, in the order of the writes, which may commit in another one.
    pub id: i64,
    /// The number of a subscriber, or something that another version put there.
    pub sender: String,
    /// The JSON of a [`Stanza`], perhaps one of another version.
    pub body: Value,
    pub sent_at: DateTime<Utc>,
    /// See [`SETTLE_TIME`].
    pub is_settled: bool,
}

/// A stanza to put into a mailbox.
#[derive(Clone, Debug)]
pub struct NewStanza {
    pub recipient: PhoneNumber,
    pub stanza: Stanza,
    /// Dropped if the recipient has blocked the sender.
    pub personal: bool,
}

impl LocalNet {
    #[must_use]
    pub fn new(db: Db) -> Self {
        let full = Cache::builder().max_capacity(100_000).time_to_live(FULL_CACHE_TTL).build();
        let (mailboxes, groups) = (Arc::new(MailboxBatchers::new(&db)), Arc::new(GroupBatchers::new(&db)));
        Self { db, mailboxes, groups, full }
    }

    /// The numbers that are subscribers, of these.
    pub async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, DbError> {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        sqlx::query_scalar!("SELECT number FROM localnet_subscriber WHERE number = ANY($1)", &numbers)
            .fetch_all(self.db.pool())
            .await?
            .iter()
            .map(|number| number_of(number))
            .collect()
    }

    /// Whether the login is still valid.
    pub async fn is_current(&self, subscriber: &Subscriber) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM localnet_subscriber
                              WHERE number = $1 AND incarnation = $2) AS "current!""#,
            subscriber.number.as_str(),
            subscriber.incarnation
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// The numbers whose mailboxes are full, of these.
    pub async fn full<'a>(
        &self,
        numbers: impl Iterator<Item = &'a PhoneNumber>,
    ) -> Result<HashSet<PhoneNumber>, DbError> {
        let numbers: HashSet<&PhoneNumber> = numbers.collect();
        let unknown: Vec<PhoneNumber> =
            numbers.iter().filter(|number| !self.full.contains_key(**number)).copied().cloned().collect();
        let mut full: HashSet<PhoneNumber> =
            numbers.into_iter().filter(|number| self.full.get(*number) == Some(true)).cloned().collect();
        if !unknown.is_empty() {
            let answers = self.mailboxes.full.submit(unknown.clone()).await?;
            for (number, is_full) in unknown.into_iter().zip(answers) {
                self.full.insert(number.clone(), is_full);
                if is_full {
                    full.insert(number);
                }
            }
        }
        Ok(full)
    }

    /// Puts stanzas into mailboxes, in order. Returns the recipients that exist: stanzas for others are dropped, and so
    /// are, without the sender's knowledge, personal ones for recipients who have blocked the sender. `None`: the login
    /// is no longer valid, and nothing was delivered.
    pub async fn deliver(
        &self,
        from: &Subscriber,
        stanzas: &[NewStanza],
    ) -> Result<Option<Vec<PhoneNumber>>, DbError> {
        self.mailboxes.deliver.submit((from.clone(), stanzas.to_vec())).await
    }

    /// The oldest stanzas of a mailbox after the stanza `after`, without some. `None`: the login is no longer valid.
    pub async fn mailbox(
        &self,
        subscriber: &Subscriber,
        after: i64,
        without: Vec<i64>,
    ) -> Result<Option<Vec<StoredStanza>>, DbError> {
        self.mailboxes.read.submit(ReadRequest { owner: subscriber.clone(), after, without }).await
    }

    /// Deletes stanzas of a mailbox and puts `receipts` into the mailboxes of their senders, in one step.
    pub async fn acknowledge(
        &self,
        subscriber: &Subscriber,
        ids: &[i64],
        receipts: &[(i64, Stanza)],
    ) -> Result<(), DbError> {
        self.mailboxes.acknowledge.submit((subscriber.clone(), ids.to_vec(), receipts.to_vec())).await
    }

    /// Wakes when the mailbox may have new stanzas.
    #[must_use]
    pub fn mailbox_wakes(&self, number: &PhoneNumber) -> Subscription {
        self.db.notifications().subscribe(mailbox_topic(number))
    }

    /// Wakes this process's readers of the mailbox.
    pub fn wake_mailbox(&self, number: &PhoneNumber) {
        self.db.notifications().wake_here(&mailbox_topic(number));
    }

    /// The typing hints for a number.
    #[must_use]
    pub fn hints(&self, number: &PhoneNumber) -> Hints {
        self.db.notifications().hints(mailbox_topic(number))
    }

    /// Sends a typing hint to a number's open connections.
    pub fn hint(&self, to: &PhoneNumber, body: String) {
        self.db.notifications().hint(mailbox_topic(to), body);
    }

    /// Wakes the readers of those mailboxes that have stanzas after the given ones, or no subscriber any more, in case a
    /// wake-up was lost.
    pub async fn sweep(&self, mailboxes: &[(PhoneNumber, i64)]) -> Result<(), DbError> {
        let (numbers, after): (Vec<String>, Vec<i64>) =
            mailboxes.iter().map(|(number, after)| (number.to_string(), *after)).unzip();
        let waiting = sqlx::query_scalar!(
            r#"SELECT n.number AS "number!" FROM unnest($1::text[], $2::bigint[]) AS n (number, after)
               WHERE EXISTS (SELECT 1 FROM localnet_stanza s WHERE s.recipient = n.number AND s.id > n.after
                             OFFSET 0 LIMIT 1)
                  OR NOT EXISTS (SELECT 1 FROM localnet_subscriber s WHERE s.number = n.number OFFSET 0 LIMIT 1)"#,
            &numbers,
            &after
        )
        .fetch_all(self.db.pool())
        .await?;
        for number in waiting {
            self.db.notifications().wake_here(&mailbox_topic(&number_of(&number)?));
        }
        Ok(())
    }
}

/// A transaction of the network; it is rolled back when it is dropped without [`NetTx::commit`].
struct NetTx {
    inner: db::Tx,
}

impl NetTx {
    async fn begin(db: &Db) -> Result<Self, DbError> {
        Ok(Self { inner: db.begin().await? })
    }

    async fn commit(self) -> Result<(), DbError> {
        self.inner.commit().await
    }

    fn notify_on_commit(&mut self, topic: Topic) {
        self.inner.notify_on_commit(topic);
    }
}

/// The wake-ups of a mailbox.
fn mailbox_topic(number: &PhoneNumber) -> Topic {
    Topic::of_name('m', number.to_string())
}
