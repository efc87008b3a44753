//! How far a webhook got, as its process stores it.

use chrono::{DateTime, Utc};

use super::history::{Attempt, DeadEvent};
use super::lease::WebhookLease;
use super::{Health, Webhook};
use crate::db::DbError;
use crate::domain::{CounterId, Event};
use crate::store::{Store, Tx, topic};

/// Redeliveries that are read at once.
const READ: i64 = 64;

/// An account whose events wait behind the place of their webhook.
#[derive(Clone, Copy, Debug)]
pub struct WaitingAccount {
    pub counter: CounterId,
    pub progress: AccountProgress,
}

/// How far the events of an account got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountProgress {
    /// Everything up to this place, and up to this number of the journal, is done.
    pub place: i64,
    pub seq: i64,
    /// Of the event after that.
    pub attempts: i32,
    /// The attempts that the receiver refused because of the event.
    pub refusals: i32,
    pub retry_at: Option<DateTime<Utc>>,
}

/// An event that is sent beside the new ones.
#[derive(Clone, Debug)]
pub struct Redelivery {
    pub id: i64,
    pub counter: CounterId,
    pub place: i64,
    pub is_replay: bool,
    /// No other event waits for it.
    pub is_alone: bool,
    /// The webhook's owner does not want it any more.
    pub is_skipped: bool,
    pub attempts: i32,
    pub refusals: i32,
    pub retry_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// An event that is set aside.
#[derive(Clone, Copy, Debug)]
pub struct NewRedelivery {
    pub counter: CounterId,
    pub place: i64,
    pub attempts: i32,
    pub refusals: i32,
    pub retry_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// A failed attempt of a redelivery.
#[derive(Clone, Copy, Debug)]
pub struct RedeliveryProgress {
    pub id: i64,
    pub is_alone: bool,
    pub attempts: i32,
    pub refusals: i32,
    pub retry_at: DateTime<Utc>,
}

/// What happened since the last one was stored.
#[derive(Clone, Debug, Default)]
pub struct WebhookProgress {
    /// Of the webhook when its work began: what happened does not count for another URL.
    pub version: i64,
    pub skips: i64,
    pub place: i64,
    pub health: Health,
    /// Accounts that are behind the place.
    pub waiting: Vec<WaitingAccount>,
    /// Accounts that are not any more.
    pub caught_up: Vec<CounterId>,
    pub set_aside: Vec<NewRedelivery>,
    pub redelivered: Vec<i64>,
    pub retried: Vec<RedeliveryProgress>,
    pub attempts: Vec<Attempt>,
    pub dead: Vec<DeadEvent>,
}

impl Store {
    /// The accounts that are behind.
    pub async fn waiting_accounts(&self, webhook: &Webhook) -> Result<Vec<WaitingAccount>, DbError> {
        let rows = sqlx::query!(
            "SELECT counter_id, place, seq, attempts, refusals, retry_at FROM webhook_account
             WHERE webhook_id = $1 AND skips = $2 ORDER BY webhook_id, counter_id",
            webhook.id.0,
            webhook.skips
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| WaitingAccount {
                counter: CounterId(row.counter_id),
                progress: AccountProgress {
                    place: row.place,
                    seq: row.seq,
                    attempts: row.attempts,
                    refusals: row.refusals,
                    retry_at: row.retry_at,
                },
            })
            .collect())
    }

    /// Whether there are redeliveries, due or not.
    pub async fn has_redeliveries(&self, webhook: &Webhook) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM webhook_redelivery WHERE webhook_id = $1) AS "has!""#,
            webhook.id.0
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// The redeliveries that are next: of each account the first in order if it is due, and the first of those that wait alone.
    pub async fn next_redeliveries(&self, webhook: &Webhook) -> Result<Vec<Redelivery>, DbError> {
        let rows = sqlx::query!(
            r#"WITH RECURSIVE first AS (
                (SELECT * FROM webhook_redelivery WHERE webhook_id = $1 AND NOT is_alone
                 ORDER BY webhook_id, counter_id, id LIMIT 1)
                UNION ALL
                SELECT next.* FROM first last CROSS JOIN LATERAL (
                    SELECT * FROM webhook_redelivery
                    WHERE webhook_id = $1 AND NOT is_alone AND counter_id > last.counter_id
                    ORDER BY webhook_id, counter_id, id LIMIT 1) next
             )
             SELECT id AS "id!", counter_id AS "counter_id!", skips AS "skips!", place AS "place!",
                    is_replay AS "is_replay!", is_alone AS "is_alone!", attempts AS "attempts!", refusals AS "refusals!",
                    retry_at AS "retry_at!", expires_at AS "expires_at!"
             FROM (
                 (SELECT * FROM first WHERE retry_at <= clock_timestamp() LIMIT $2)
                 UNION ALL
                 (SELECT * FROM webhook_redelivery WHERE webhook_id = $1 AND is_alone
                  ORDER BY webhook_id, retry_at LIMIT $2)) next"#,
            webhook.id.0,
            READ
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Redelivery {
                id: row.id,
                counter: CounterId(row.counter_id),
                place: row.place,
                is_replay: row.is_replay,
                is_alone: row.is_alone,
                attempts: row.attempts,
                refusals: row.refusals,
                is_skipped: row.skips < webhook.skips,
                retry_at: row.retry_at,
                expires_at: row.expires_at,
            })
            .collect())
    }

    /// Stores what happened. Returns the version of the webhook; `None`: the lease has ended, and nothing was stored.
    pub async fn store_progress(
        &self,
        lease: &WebhookLease,
        progress: &WebhookProgress,
    ) -> Result<Option<i64>, DbError> {
        let mut tx = self.begin().await?;
        let health = &progress.health;
        // That it fails is not said of a webhook that was changed meanwhile. That it works always is: nothing else would say so
        // before the next event.
        let stored = sqlx::query!(
            "UPDATE webhook SET place = CASE WHEN skips = $4 THEN $5 ELSE place END,
                 since = CASE WHEN (version = $10 OR $6::timestamptz IS NULL) AND (failing_since IS NULL) <> ($6::timestamptz IS NULL)
                         THEN clock_timestamp() ELSE since END,
                 failing_since = CASE WHEN version = $10 OR $6 IS NULL THEN $6 ELSE failing_since END,
                 failure = CASE WHEN version = $10 OR $6 IS NULL THEN $7 ELSE failure END,
                 failures = CASE WHEN version = $10 OR $6 IS NULL THEN $8 ELSE failures END,
                 retry_at = CASE WHEN version = $10 OR $6 IS NULL THEN $9 ELSE retry_at END,
                 is_reported = is_reported AND $6 IS NOT NULL
             WHERE id = $1 AND owner IS NOT DISTINCT FROM $2 AND fence = $3 AND user_id IS NOT NULL
             RETURNING version",
            lease.webhook.0,
            lease.process.0,
            lease.fence,
            progress.skips,
            progress.place,
            health.failing_since,
            health.failure,
            health.failures,
            health.retry_at,
            progress.version
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(stored) = stored else { return Ok(None) };
        tx.store_accounts(lease.webhook.0, progress, stored.version == progress.version).await?;
        tx.store_redeliveries(lease.webhook.0, progress).await?;
        tx.add_attempts(lease.webhook, &progress.attempts).await?;
        tx.add_dead(lease.webhook, &progress.dead).await?;
        tx.commit().await?;
        Ok(Some(stored.version))
    }

    /// Writes `webhook.failing`, once in a row of failures.
    pub async fn report_failing(&self, lease: &WebhookLease) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let counter = tx.counter_of_user(lease.user).await?;
        let mut journal = tx.open_journal(counter).await?;
        let row = sqlx::query!(
            r#"UPDATE webhook SET is_reported = true
               WHERE id = $1 AND owner IS NOT DISTINCT FROM $2 AND fence = $3 AND user_id IS NOT NULL AND NOT is_reported
                 AND failing_since IS NOT NULL
               RETURNING failure, failing_since AS "failing_since!""#,
            lease.webhook.0,
            lease.process.0,
            lease.fence
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(row) = row else { return Ok(()) };
        journal.record(Event::WebhookFailing {
            webhook: lease.public_id.clone(),
            reason: row.failure.unwrap_or_default(),
            since: row.failing_since,
        });
        tx.close_journal(journal).await?;
        tx.notify_on_commit(topic::journal(counter));
        tx.commit().await
    }

    /// Makes a webhook inactive, and writes `webhook.disabled`. `reason` is gone or failing.
    /// Not if its owner has changed it since this version.
    pub async fn disable_webhook(
        &self,
        lease: &WebhookLease,
        version: i64,
        reason: &'static str,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let counter = tx.counter_of_user(lease.user).await?;
        let mut journal = tx.open_journal(counter).await?;
        let row = sqlx::query!(
            "UPDATE webhook SET active = false, disabled = $4, since = clock_timestamp(), owner = NULL, version = version + 1
             WHERE id = $1 AND owner IS NOT DISTINCT FROM $2 AND fence = $3 AND user_id IS NOT NULL AND active
               AND version = $5
             RETURNING since",
            lease.webhook.0,
            lease.process.0,
            lease.fence,
            reason,
            version
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(row) = row else { return Ok(()) };
        let (webhook, since) = (lease.public_id.clone(), row.since);
        journal.record(Event::WebhookDisabled { webhook, reason, since });
        tx.close_journal(journal).await?;
        tx.notify_on_commit(topic::journal(counter));
        tx.commit().await
    }
}

impl Tx {
    /// Retries are those of the webhook as it was; one that was changed is tried at once.
    async fn store_accounts(
        &mut self,
        webhook: i64,
        progress: &WebhookProgress,
        keeps_retries: bool,
    ) -> Result<(), DbError> {
        if !progress.waiting.is_empty() {
            let column = |of: fn(&AccountProgress) -> i64| -> Vec<i64> {
                progress.waiting.iter().map(|account| of(&account.progress)).collect()
            };
            let counters: Vec<i64> = progress.waiting.iter().map(|account| account.counter.0).collect();
            let retries: Vec<Option<DateTime<Utc>>> = progress
                .waiting
                .iter()
                .map(|account| account.progress.retry_at.filter(|_| keeps_retries))
                .collect();
            sqlx::query!(
                "INSERT INTO webhook_account (webhook_id, counter_id, skips, place, seq, attempts, refusals, retry_at)
                 SELECT $1, a.counter_id, $2, a.place, a.seq, a.attempts, a.refusals, a.retry_at
                 FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::timestamptz[])
                     AS a (counter_id, place, seq, attempts, refusals, retry_at)
                 ON CONFLICT (webhook_id, counter_id) DO UPDATE SET skips = excluded.skips, place = excluded.place,
                     seq = excluded.seq, attempts = excluded.attempts, refusals = excluded.refusals,
                     retry_at = excluded.retry_at",
                webhook,
                progress.skips,
                &counters,
                &column(|account| account.place),
                &column(|account| account.seq),
                &column(|account| account.attempts.into()),
                &column(|account| account.refusals.into()),
                &retries as &[Option<DateTime<Utc>>]
            )
            .execute(&mut *self.inner)
            .await?;
        }
        if !progress.caught_up.is_empty() {
            let counters: Vec<i64> = progress.caught_up.iter().map(|counter| counter.0).collect();
            sqlx::query!(
                "DELETE FROM webhook_account WHERE webhook_id = $1 AND counter_id = ANY($2)",
                webhook,
                &counters
            )
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }

    async fn store_redeliveries(&mut self, webhook: i64, progress: &WebhookProgress) -> Result<(), DbError> {
        if !progress.redelivered.is_empty() {
            sqlx::query!("DELETE FROM webhook_redelivery WHERE id = ANY($1)", &progress.redelivered)
                .execute(&mut *self.inner)
                .await?;
        }
        for retried in &progress.retried {
            sqlx::query!(
                "UPDATE webhook_redelivery SET is_alone = $2, attempts = $3, refusals = $4, retry_at = $5 WHERE id = $1",
                retried.id,
                retried.is_alone,
                retried.attempts,
                retried.refusals,
                retried.retry_at
            )
            .execute(&mut *self.inner)
            .await?;
        }
        for aside in &progress.set_aside {
            sqlx::query!(
                "INSERT INTO webhook_redelivery (webhook_id, counter_id, skips, place, is_replay, is_alone, attempts, refusals,
                     retry_at, expires_at)
                 VALUES ($1, $2, $3, $4, false, true, $5, $6, $7, $8)",
                webhook,
                aside.counter.0,
                progress.skips,
                aside.place,
                aside.attempts,
                aside.refusals,
                aside.retry_at,
                aside.expires_at
            )
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }
}
