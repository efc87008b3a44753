//! The tables of the network inside this program: subscribers, their profiles and lists, mailboxes, watches, groups.
//!
//! Only `upstream::local` uses this. Every query of a session names the subscriber's incarnation, so a session of
//! an earlier owner of the number reads and changes nothing.

mod columns;
mod group;
mod mailbox;
mod media;
mod profile;
mod view;
mod watches;

use chrono::{DateTime, Utc};
use moka::sync::Cache;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::db::{self, Db, DbError, Hints, Subscription, Topic};
use crate::domain::PhoneNumber;
use columns::number_of;
use group::GroupLines;
use mailbox::Lines;

pub use group::{
    Group, GroupDelivery, GroupEdit, GroupMember, GroupNews, GroupRefusal, LARGEST_GROUP, LocalChange,
    WriteNews, is_group,
};
pub use profile::{Change, Leaving, Words};
pub use view::News;

/// Stanzas per read of a mailbox.
pub const MAILBOX_BATCH: i64 = 100;
/// A mailbox of so many stanzas takes no more messages.
pub const MAILBOX_LIMIT: i64 = 100_000;
/// For how long a mailbox counts as full or not full: so much more may come in.
const LOOKED_AT: Duration = Duration::from_secs(5);

/// The local network, in its tables.
#[derive(Clone)]
pub struct LocalNet {
    db: Db,
    lines: Arc<Lines>,
    groups: Arc<GroupLines>,
    /// Mailboxes that were looked at lately, and whether they were full.
    full: Cache<PhoneNumber, bool>,
}

/// A subscriber's login: the number and the incarnation that its registration gave.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Who.
    pub number: PhoneNumber,
    /// Which registration.
    pub incarnation: String,
}

/// Something in a mailbox.
#[derive(Clone, Debug)]
pub struct Stanza {
    /// Its place in the mailbox.
    pub id: i64,
    /// Who sent it.
    pub sender: PhoneNumber,
    /// What it says, in the words of `upstream::local`.
    pub body: Value,
    /// When it was put there.
    pub sent_at: DateTime<Utc>,
}

/// Something to put into a mailbox.
#[derive(Clone, Debug)]
pub struct NewStanza {
    /// Whose mailbox.
    pub recipient: PhoneNumber,
    /// What it says.
    pub body: Value,
    /// A word from one person to another: whoever has blocked the sender does not get it.
    pub personal: bool,
}

impl LocalNet {
    /// The network kept in this database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        let full = Cache::builder().max_capacity(100_000).time_to_live(LOOKED_AT).build();
        let (lines, groups) = (Arc::new(Lines::new(&db)), Arc::new(GroupLines::new(&db)));
        Self { db, lines, groups, full }
    }

    /// Those of the numbers that are subscribers.
    pub async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, DbError> {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        sqlx::query_scalar!("SELECT number FROM localnet_subscriber WHERE number = ANY($1)", &numbers)
            .fetch_all(self.db.pool())
            .await?
            .iter()
            .map(|number| number_of(number))
            .collect()
    }

    /// Whether the login is still good.
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

    /// Those of the numbers whose mailboxes take no more.
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
            let answers = self.lines.full.submit(unknown.clone()).await?;
            for (number, is_full) in unknown.into_iter().zip(answers) {
                self.full.insert(number.clone(), is_full);
                if is_full {
                    full.insert(number);
                }
            }
        }
        Ok(full)
    }

    /// Puts stanzas into mailboxes, in order. Returns the recipients that exist; what was for others is dropped, and
    /// so is, without a word, what is personal and for somebody who has blocked the sender. `None`: the login is no longer good, nothing was put anywhere.
    pub async fn deliver(
        &self,
        from: &Subscriber,
        stanzas: &[NewStanza],
    ) -> Result<Option<Vec<PhoneNumber>>, DbError> {
        self.lines.deliver.submit((from.clone(), stanzas.to_vec())).await
    }

    /// The oldest stanzas of a mailbox, without those that were handed out already. `None`: the login is no longer
    /// good.
    pub async fn mailbox(
        &self,
        subscriber: &Subscriber,
        handed_out: &[i64],
    ) -> Result<Option<Vec<Stanza>>, DbError> {
        self.lines.mailbox.submit((subscriber.clone(), handed_out.to_vec())).await
    }

    /// Takes stanzas out of a mailbox and puts `receipts` into the mailboxes of their senders, in one step.
    pub async fn acknowledge(
        &self,
        subscriber: &Subscriber,
        ids: &[i64],
        receipts: &[(i64, Value)],
    ) -> Result<(), DbError> {
        self.lines.acknowledge.submit((subscriber.clone(), ids.to_vec(), receipts.to_vec())).await
    }

    /// Woken when something may lie in the mailbox.
    #[must_use]
    pub fn mailbox_wakes(&self, number: &PhoneNumber) -> Subscription {
        self.db.notifications().subscribe(mailbox_topic(number))
    }

    /// Lets this process's readers of the mailbox look again.
    pub fn wake_mailbox(&self, number: &PhoneNumber) {
        self.db.notifications().wake_here(&mailbox_topic(number));
    }

    /// What is shown to this number but not kept: typing.
    #[must_use]
    pub fn hints(&self, number: &PhoneNumber) -> Hints {
        self.db.notifications().hints(mailbox_topic(number))
    }

    /// Shows a number something that is not kept.
    pub fn hint(&self, to: &PhoneNumber, body: String) {
        self.db.notifications().hint(mailbox_topic(to), body);
    }

    /// Wakes the mailboxes among `numbers` in which something lies: the sweep behind the wake-ups.
    pub async fn sweep(&self, numbers: &[PhoneNumber]) -> Result<(), DbError> {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let waiting = sqlx::query_scalar!(
            r#"SELECT n.number AS "number!" FROM unnest($1::text[]) AS n (number)
               WHERE EXISTS (SELECT 1 FROM localnet_stanza s WHERE s.recipient = n.number)
                  OR NOT EXISTS (SELECT 1 FROM localnet_subscriber s WHERE s.number = n.number)"#,
            &numbers
        )
        .fetch_all(self.db.pool())
        .await?;
        for number in waiting {
            self.db.notifications().wake_here(&mailbox_topic(&number_of(&number)?));
        }
        Ok(())
    }
}

/// A transaction of the network; dropped without [`Tx::commit`] it changes nothing.
struct Tx {
    inner: db::Tx,
}

impl Tx {
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

/// Something lies in a mailbox.
fn mailbox_topic(number: &PhoneNumber) -> Topic {
    Topic::of_name('m', number.to_string())
}
