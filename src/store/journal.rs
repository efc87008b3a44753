//! The counter row of a number, and the journal that it numbers.
//!
//! The row's lock puts all changes of an account in order: event numbers have no gaps and stored times never run
//! backwards, in commit order. It is locked after chat rows and before all other rows of an account (account, contact,
//! message, outbox, desired state).
//!
//! Statements that check a lease compare the owner with IS NOT DISTINCT FROM, which no index serves: otherwise
//! PostgreSQL would search all accounts of a process for one.

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;
use sqlx::postgres::PgConnection;

use super::{Store, Tx, topic};
use crate::db::DbError;
use crate::domain::{Account, CounterId, Event, Lease, PhoneNumber, UserId};
use crate::secrets;

/// The locked counter of a number, with the events to write when the transaction ends.
/// [`Tx::close_journal`] must be called before the commit.
#[must_use]
pub struct Journal {
    counter: CounterId,
    seq: i64,
    now: DateTime<Utc>,
    has_moved: bool,
    events: Vec<(DateTime<Utc>, Event)>,
}

/// An event with its number and time.
#[derive(Clone, Debug)]
pub struct JournalEntry {
    /// From 1 on, without gaps.
    pub seq: i64,
    /// The time at which it was stored.
    pub at: DateTime<Utc>,
    /// Such as `message.received`.
    pub kind: String,
    pub payload: Value,
}

impl Journal {
    /// The journal of a locked counter whose last event is `seq`, and whose last stored time is `now` or earlier.
    pub(super) fn new(counter: CounterId, seq: i64, now: DateTime<Utc>) -> Self {
        Self { counter, seq, now, has_moved: false, events: Vec::new() }
    }

    /// A stored time, later than any given out before for this number.
    pub fn next_time(&mut self) -> DateTime<Utc> {
        self.now += Duration::microseconds(1);
        self.has_moved = true;
        self.now
    }

    /// The number of the last event, with those that are not written yet.
    pub(super) fn last_seq(&self) -> i64 {
        self.seq + i64::try_from(self.events.len()).unwrap_or(i64::MAX)
    }

    /// Whether it has new events or gave out times since it was locked.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// Adds an event, which [`Tx::close_journal`] writes.
    pub fn record(&mut self, event: Event) {
        let at = self.next_time();
        self.events.push((at, event));
    }
}

impl Store {
    /// The entries after `after`, in order, at most `limit`.
    pub async fn journal_entries(
        &self,
        counter: CounterId,
        after: i64,
        limit: i64,
    ) -> Result<Vec<JournalEntry>, DbError> {
        Ok(sqlx::query_as!(
            JournalEntry,
            "SELECT seq, at, kind, payload FROM event
             WHERE counter_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            counter.0,
            after,
            limit
        )
        .fetch_all(self.db.pool())
        .await?)
    }
}

impl Store {
    /// Begins a new epoch after a restoration: numbers that were given since the backup are given again. No process of the
    /// old deployment holds a lease.
    pub async fn begin_epoch(&self, filled: &mut PgConnection) -> Result<(), DbError> {
        sqlx::query!("UPDATE account_counter SET owner = NULL, fence = fence + 1")
            .execute(&mut *filled)
            .await?;
        // In the tables of an older version no epoch has begun: the migration that makes one comes after.
        let has_epochs = sqlx::query_scalar!(r#"SELECT to_regclass('event_epoch') IS NOT NULL AS "has!""#)
            .fetch_one(&mut *filled)
            .await?;
        let has_webhooks = sqlx::query_scalar!(r#"SELECT to_regclass('webhook') IS NOT NULL AS "has!""#)
            .fetch_one(&mut *filled)
            .await?;
        if has_webhooks {
            sqlx::query!("UPDATE webhook SET owner = NULL, fence = fence + 1").execute(&mut *filled).await?;
        }
        if has_epochs {
            sqlx::query!("SELECT begin_epoch_1($1)", secrets::random_word()).execute(filled).await?;
        }
        Ok(())
    }

    /// The word of the present epoch.
    pub async fn epoch(&self) -> Result<String, DbError> {
        Ok(sqlx::query_scalar!("SELECT word FROM event_epoch ORDER BY id DESC LIMIT 1")
            .fetch_one(self.db.pool())
            .await?)
    }
}

impl Tx {
    /// The counter of a user's number, made if there is none.
    pub async fn counter(&mut self, user: UserId, number: &PhoneNumber) -> Result<CounterId, DbError> {
        self.counter_named(user, number.as_str()).await
    }

    /// The counter of what is about the user and no account.
    pub(super) async fn counter_of_user(&mut self, user: UserId) -> Result<CounterId, DbError> {
        self.counter_named(user, "").await
    }

    async fn counter_named(&mut self, user: UserId, number: &str) -> Result<CounterId, DbError> {
        let id = sqlx::query_scalar!(
            "INSERT INTO account_counter (user_id, number) VALUES ($1, $2)
             ON CONFLICT ON CONSTRAINT account_counter_user_number_key DO UPDATE SET number = excluded.number
             RETURNING id",
            user.0,
            number
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(CounterId(id))
    }

    /// Locks the counter for a change that the API makes.
    pub async fn open_journal(&mut self, counter: CounterId) -> Result<Journal, DbError> {
        let row = sqlx::query!(
            r#"SELECT seq, greatest(clock_timestamp(), stored_at) AS "now!" FROM account_counter
               WHERE id = $1 FOR NO KEY UPDATE"#,
            counter.0
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(Journal::new(counter, row.seq, row.now))
    }

    /// Locks the counter for a change that a session makes, if the session still holds the lease.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when it does not.
    pub async fn open_journal_leased(&mut self, lease: &Lease) -> Result<Journal, DbError> {
        let row = sqlx::query!(
            r#"SELECT seq, greatest(clock_timestamp(), stored_at) AS "now!" FROM account_counter
               WHERE id = $1 AND owner IS NOT DISTINCT FROM $2 AND fence = $3 FOR NO KEY UPDATE"#,
            lease.counter.0,
            lease.process.0,
            lease.fence
        )
        .fetch_optional(&mut *self.inner)
        .await?
        .ok_or(DbError::Fenced)?;
        Ok(Journal::new(lease.counter, row.seq, row.now))
    }

    /// Writes the entries and moves the counter on.
    pub async fn close_journal(&mut self, journal: Journal) -> Result<(), DbError> {
        self.close_journals(vec![journal]).await
    }

    /// Writes the entries of a change that the account's session has to apply; the commit notifies the session and the
    /// readers of the journal.
    pub(super) async fn close_journal_for_session(
        &mut self,
        account: &Account,
        journal: Journal,
    ) -> Result<(), DbError> {
        self.close_journal(journal).await?;
        self.notify_on_commit(topic::work(account.id));
        self.notify_on_commit(topic::journal(account.counter));
        Ok(())
    }

    /// Writes the entries of several numbers and moves their counters on.
    pub(super) async fn close_journals(&mut self, journals: Vec<Journal>) -> Result<(), DbError> {
        let mut counters = (Vec::new(), Vec::new(), Vec::new());
        let (mut counter_ids, mut numbers, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let (mut kinds, mut payloads) = (Vec::new(), Vec::new());
        for journal in journals {
            let mut seq = journal.seq;
            for (at, event) in journal.events {
                seq += 1;
                counter_ids.push(journal.counter.0);
                numbers.push(seq);
                times.push(at);
                kinds.push(event.kind());
                payloads.push(event.payload());
            }
            counters.0.push(journal.counter.0);
            counters.1.push(seq);
            counters.2.push(journal.now);
        }
        sqlx::query!(
            "WITH entry AS (
                INSERT INTO event (counter_id, seq, at, kind, payload)
                SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::jsonb[])
             )
             UPDATE account_counter c SET seq = n.seq, stored_at = n.at
             FROM unnest($6::bigint[], $7::bigint[], $8::timestamptz[]) AS n (id, seq, at)
             CROSS JOIN LATERAL (SELECT ctid AS place FROM account_counter WHERE id = n.id LIMIT 1) old
             WHERE c.ctid = old.place",
            &counter_ids,
            &numbers,
            &times,
            &kinds as &[&str],
            &payloads,
            &counters.0,
            &counters.1,
            &counters.2
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
