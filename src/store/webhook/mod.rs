//! Webhooks: URLs that the events of a user are posted to.
//!
//! A webhook has a place in its user's sequence: what stands before it was accepted by the receiver or set aside, but for
//! accounts whose events wait, which have places of their own (`webhook_account`), and for events that are sent beside the
//! new ones (`webhook_redelivery`). One process sends at a time, under a lease.

pub mod history;
pub mod lease;
pub mod progress;
mod removal;
pub mod replay;
mod trouble;
mod waiting;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Store, Tx, topic};
use crate::db::DbError;
use crate::domain::{CounterId, Event, ProcessId, UserId, WebhookId};

pub use trouble::{TroubledWebhook, WebhookTrouble};
pub use waiting::Waiting;

/// Webhooks of a user at most.
pub const MOST_WEBHOOKS: i64 = 20;

/// A webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub id: WebhookId,
    pub public_id: String,
    pub user: UserId,
    pub url: String,
    /// `None`: all that are stored.
    pub types: Option<Vec<String>>,
    /// Numbers; `None`: all of the user.
    pub accounts: Option<Vec<String>>,
    pub description: String,
    pub active: bool,
    /// Why the server made it inactive.
    pub disabled: Option<String>,
    /// Since when it is in its state.
    pub since: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub secrets: SealedSecrets,
    pub version: i64,
    pub place: i64,
    pub skips: i64,
    pub health: Health,
    /// The process that sends, and the number of its claim.
    pub holder: Option<(ProcessId, i64)>,
}

/// The secrets that sign, sealed.
#[derive(Clone)]
pub struct SealedSecrets {
    pub present: Vec<u8>,
    /// The one before, and until when it signs.
    pub old: Option<(Vec<u8>, DateTime<Utc>)>,
}

impl std::fmt::Debug for SealedSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SealedSecrets(..)")
    }
}

/// How the receiver answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Since the first failed attempt after the last accepted one.
    pub failing_since: Option<DateTime<Utc>>,
    /// The error of the last failed attempt.
    pub failure: Option<String>,
    /// Of the attempts that failed because of the receiver.
    pub failures: i32,
    /// No event is sent before.
    pub retry_at: Option<DateTime<Utc>>,
    /// The event `webhook.failing` was written.
    pub is_reported: bool,
}

/// What a webhook is made of.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    pub public_id: String,
    pub url: String,
    pub types: Option<Vec<String>>,
    pub accounts: Option<Vec<String>>,
    pub description: String,
    pub active: bool,
    pub secret: Vec<u8>,
    /// The events after this place are sent.
    pub place: i64,
}

/// Types or accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    All,
    Only(Vec<String>),
}

impl Selection {
    /// As it is stored: `None`: all.
    #[must_use]
    pub fn stored(self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Only(words) => Some(words),
        }
    }
}

/// What changes; `None`: that stays.
#[derive(Clone, Debug, Default)]
pub struct WebhookChange {
    pub url: Option<String>,
    pub types: Option<Selection>,
    pub accounts: Option<Selection>,
    pub description: Option<String>,
    pub active: Option<bool>,
    /// What waits is skipped up to this place, or sent again from there.
    pub place: Option<i64>,
}

impl WebhookChange {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { url, types, accounts, description, active, place } = self;
        url.is_none()
            && types.is_none()
            && accounts.is_none()
            && description.is_none()
            && active.is_none()
            && place.is_none()
    }
}

struct WebhookRow {
    id: i64,
    public_id: String,
    user_id: i64,
    url: String,
    types: Option<Vec<String>>,
    accounts: Option<Vec<String>>,
    description: String,
    active: bool,
    disabled: Option<String>,
    since: DateTime<Utc>,
    created_at: DateTime<Utc>,
    secret: Vec<u8>,
    old_secret: Option<Vec<u8>>,
    old_until: Option<DateTime<Utc>>,
    version: i64,
    place: i64,
    skips: i64,
    failing_since: Option<DateTime<Utc>>,
    failure: Option<String>,
    failures: i32,
    retry_at: Option<DateTime<Utc>>,
    is_reported: bool,
    owner: Option<i64>,
    fence: i64,
}

impl From<WebhookRow> for Webhook {
    fn from(row: WebhookRow) -> Self {
        Self {
            id: WebhookId(row.id),
            public_id: row.public_id,
            user: UserId(row.user_id),
            url: row.url,
            types: row.types,
            accounts: row.accounts,
            description: row.description,
            active: row.active,
            disabled: row.disabled,
            since: row.since,
            created_at: row.created_at,
            secrets: SealedSecrets { present: row.secret, old: row.old_secret.zip(row.old_until) },
            version: row.version,
            place: row.place,
            skips: row.skips,
            health: Health {
                failing_since: row.failing_since,
                failure: row.failure,
                failures: row.failures,
                retry_at: row.retry_at,
                is_reported: row.is_reported,
            },
            holder: row.owner.map(|owner| (ProcessId(owner), row.fence)),
        }
    }
}

/// The webhooks of a user, the oldest first, or the one with this public id.
async fn read(
    executor: impl PgExecutor<'_>,
    user: UserId,
    public_id: Option<&str>,
) -> Result<Vec<Webhook>, DbError> {
    let rows = sqlx::query_as!(
        WebhookRow,
        r#"SELECT id, public_id, user_id AS "user_id!", url, types, accounts, description, active, disabled, since,
                  created_at, secret, old_secret, old_until, version, place, skips, failing_since, failure, failures,
                  retry_at, is_reported, owner, fence
           FROM webhook WHERE user_id = $1 AND ($2::text IS NULL OR public_id = $2) ORDER BY user_id, id"#,
        user.0,
        public_id
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(Webhook::from).collect())
}

impl Store {
    /// The webhooks of a user, the oldest first.
    pub async fn webhooks(&self, user: UserId) -> Result<Vec<Webhook>, DbError> {
        read(self.db.pool(), user, None).await
    }

    /// A webhook of a user; `None` for another user's, too.
    pub async fn webhook(&self, user: UserId, public_id: &str) -> Result<Option<Webhook>, DbError> {
        Ok(read(self.db.pool(), user, Some(public_id)).await?.pop())
    }
}

impl Tx {
    /// Adds a webhook; `None`: the user has as many as one may have.
    pub async fn create_webhook(
        &mut self,
        user: UserId,
        new: NewWebhook,
    ) -> Result<Option<Webhook>, DbError> {
        // One after the other, so that the count is right.
        sqlx::query!("SELECT id FROM windu_user WHERE id = $1 FOR NO KEY UPDATE", user.0)
            .fetch_optional(&mut *self.inner)
            .await?;
        let count =
            sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM webhook WHERE user_id = $1"#, user.0)
                .fetch_one(&mut *self.inner)
                .await?;
        if count >= MOST_WEBHOOKS {
            return Ok(None);
        }
        sqlx::query!(
            "INSERT INTO webhook (public_id, user_id, url, types, accounts, description, active, secret, place)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            new.public_id,
            user.0,
            new.url,
            new.types.as_deref(),
            new.accounts.as_deref(),
            new.description,
            new.active,
            new.secret,
            new.place
        )
        .execute(&mut *self.inner)
        .await?;
        self.notify_on_commit(topic::webhooks());
        Ok(read(&mut *self.inner, user, Some(&new.public_id)).await?.pop())
    }

    /// Changes a webhook; `None`: the user has no such one. With `active`, or another URL, it is tried at once.
    pub async fn change_webhook(
        &mut self,
        user: UserId,
        public_id: &str,
        change: WebhookChange,
    ) -> Result<Option<Webhook>, DbError> {
        let is_tried = change.active == Some(true) || change.url.is_some();
        let (sets_types, sets_accounts) = (change.types.is_some(), change.accounts.is_some());
        let (types, accounts) =
            (change.types.and_then(Selection::stored), change.accounts.and_then(Selection::stored));
        sqlx::query!(
            "UPDATE webhook SET
                   url = coalesce($3, url), types = CASE WHEN $4 THEN $5 ELSE types END,
                   accounts = CASE WHEN $6 THEN $7 ELSE accounts END, description = coalesce($8, description),
                   active = coalesce($9, active),
                   disabled = CASE WHEN $9 THEN NULL ELSE disabled END,
                   since = CASE WHEN $9 <> active OR (NOT $9 AND disabled IS NOT NULL) THEN clock_timestamp() ELSE since END,
                   failing_since = CASE WHEN $9 OR $3 <> url THEN NULL ELSE failing_since END,
                   failure = CASE WHEN $9 OR $3 <> url THEN NULL ELSE failure END,
                   failures = CASE WHEN $9 OR $3 <> url THEN 0 ELSE failures END,
                   retry_at = CASE WHEN $9 OR $3 <> url THEN NULL ELSE retry_at END,
                   is_reported = is_reported AND NOT ($9 IS TRUE OR coalesce($3 <> url, false)),
                   place = coalesce($10, place), skips = CASE WHEN $10::bigint IS NULL THEN skips ELSE skips + 1 END,
                   version = version + 1
               WHERE user_id = $1 AND public_id = $2",
            user.0,
            public_id,
            change.url,
            sets_types,
            types.as_deref(),
            sets_accounts,
            accounts.as_deref(),
            change.description,
            change.active,
            change.place
        )
        .execute(&mut *self.inner)
        .await?;
        let changed = self.changed(user, public_id).await?;
        if let Some(webhook) = changed.as_ref().filter(|_| is_tried) {
            sqlx::query!("UPDATE webhook_account SET retry_at = NULL WHERE webhook_id = $1", webhook.id.0)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(changed)
    }

    /// Sets another secret; the one before signs, too, for `keep_old` seconds. `None`: the user has no such webhook.
    pub async fn rotate_secret(
        &mut self,
        user: UserId,
        public_id: &str,
        secret: &[u8],
        keep_old: f64,
    ) -> Result<Option<Webhook>, DbError> {
        sqlx::query!(
            "UPDATE webhook SET secret = $3, old_secret = CASE WHEN $4::double precision > 0 THEN secret END,
                   old_until = CASE WHEN $4 > 0 THEN clock_timestamp() + make_interval(secs => $4) END, version = version + 1
               WHERE user_id = $1 AND public_id = $2",
            user.0,
            public_id,
            secret,
            keep_old
        )
        .execute(&mut *self.inner)
        .await?;
        self.changed(user, public_id).await
    }

    async fn changed(&mut self, user: UserId, public_id: &str) -> Result<Option<Webhook>, DbError> {
        let webhook = read(&mut *self.inner, user, Some(public_id)).await?.pop();
        if let Some(webhook) = &webhook {
            self.notify_on_commit(topic::webhook(webhook.id));
            self.notify_on_commit(topic::webhooks());
        }
        Ok(webhook)
    }

    /// Deletes a webhook; what it has left goes in slices. False: the user has no such one.
    pub async fn delete_webhook(&mut self, user: UserId, public_id: &str) -> Result<bool, DbError> {
        let deleted = sqlx::query_scalar!(
            "UPDATE webhook SET user_id = NULL, version = version + 1 WHERE user_id = $1 AND public_id = $2 RETURNING id",
            user.0,
            public_id
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(id) = deleted else { return Ok(false) };
        self.notify_on_commit(topic::webhook(WebhookId(id)));
        self.notify_on_commit(topic::slices());
        Ok(true)
    }

    /// Writes an event about the user, in the journal of the user that belongs to no account. Returns the journal, and the
    /// number of the event in it.
    pub async fn record_user_event(
        &mut self,
        user: UserId,
        event: Event,
    ) -> Result<(CounterId, i64), DbError> {
        let counter = self.counter_of_user(user).await?;
        let mut journal = self.open_journal(counter).await?;
        journal.record(event);
        let seq = journal.last_seq();
        self.close_journal(journal).await?;
        Ok((counter, seq))
    }
}
