//! The attempts of webhooks, and the events that were given up.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{CounterId, WebhookId};
use crate::store::{ListError, Page, Store, Tx};

/// An attempt to give an event to a webhook.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub event_id: String,
    pub kind: String,
    /// The number; `None`: the event is about the user.
    pub account: Option<String>,
    pub seq: i64,
    /// From 1 on.
    pub attempt: i32,
    pub at: DateTime<Utc>,
    pub milliseconds: i32,
    /// `None`: there was no response.
    pub status: Option<i16>,
    /// `None`: it was accepted.
    pub error: Option<String>,
    pub detail: Option<String>,
    /// The beginning of the body.
    pub response: Option<String>,
    /// The time of the next attempt; `None`: there is none.
    pub next: Option<DateTime<Utc>>,
    pub is_replay: bool,
}

/// Which attempts are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptsOf<'a> {
    All,
    Event(&'a str),
    Failed,
    FailedOf(&'a str),
}

/// An event that was given up.
#[derive(Clone, Debug)]
pub struct DeadEvent {
    pub counter: CounterId,
    pub place: i64,
    pub event_id: String,
    pub kind: String,
    pub account: Option<String>,
    pub seq: i64,
    pub stored: DateTime<Utc>,
    pub died: DateTime<Utc>,
    pub attempts: i32,
    /// Of the last attempt.
    pub status: Option<i16>,
    pub error: Option<String>,
}

impl Store {
    /// The newest attempts of a webhook, the oldest first.
    pub async fn attempts(
        &self,
        webhook: WebhookId,
        of: AttemptsOf<'_>,
        page: &Page,
    ) -> Result<Vec<Attempt>, ListError> {
        let (limit, offset) = page.bounds();
        let (event, failed) = match of {
            AttemptsOf::All => (None, false),
            AttemptsOf::Event(event) => (Some(event), false),
            AttemptsOf::Failed => (None, true),
            AttemptsOf::FailedOf(event) => (Some(event), true),
        };
        // One part of three gives rows, each by its own index.
        let mut attempts = sqlx::query_as!(
            Attempt,
            r#"SELECT event_id AS "event_id!", kind AS "kind!", account, seq AS "seq!", attempt AS "attempt!", at AS "at!",
                      milliseconds AS "milliseconds!", status, error, detail, response, next_at AS next,
                      is_replay AS "is_replay!"
               FROM (
                   (SELECT * FROM webhook_attempt WHERE webhook_id = $1 AND at > $4 AND $2::text IS NULL AND NOT $3
                    ORDER BY webhook_id DESC, id DESC LIMIT $5 OFFSET $6)
                   UNION ALL
                   (SELECT * FROM webhook_attempt WHERE webhook_id = $1 AND at > $4 AND $2::text IS NULL AND $3
                      AND error IS NOT NULL ORDER BY webhook_id DESC, id DESC LIMIT $5 OFFSET $6)
                   UNION ALL
                   (SELECT * FROM webhook_attempt WHERE webhook_id = $1 AND event_id = $2 AND at > $4
                      AND (NOT $3 OR error IS NOT NULL)
                    ORDER BY webhook_id DESC, event_id DESC, id DESC LIMIT $5 OFFSET $6)) attempt
               ORDER BY id DESC"#,
            webhook.0,
            event,
            failed,
            page.after,
            limit,
            offset
        )
        .fetch_all(self.db.pool())
        .await
        .map_err(DbError::from)?;
        attempts.reverse();
        page.checked(attempts)
    }

    /// The newest events of a webhook that were given up, the oldest first.
    pub async fn dead_events(&self, webhook: WebhookId, page: &Page) -> Result<Vec<DeadEvent>, ListError> {
        let (limit, offset) = page.bounds();
        let rows = sqlx::query!(
            "SELECT counter_id, place, event_id, kind, account, seq, stored_at, died_at, attempts, status, error
             FROM webhook_dead WHERE webhook_id = $1 AND died_at > $2
             ORDER BY webhook_id DESC, id DESC LIMIT $3 OFFSET $4",
            webhook.0,
            page.after,
            limit,
            offset
        )
        .fetch_all(self.db.pool())
        .await
        .map_err(DbError::from)?;
        let mut dead: Vec<DeadEvent> = rows
            .into_iter()
            .map(|row| DeadEvent {
                counter: CounterId(row.counter_id),
                place: row.place,
                event_id: row.event_id,
                kind: row.kind,
                account: row.account,
                seq: row.seq,
                stored: row.stored_at,
                died: row.died_at,
                attempts: row.attempts,
                status: row.status,
                error: row.error,
            })
            .collect();
        dead.reverse();
        page.checked(dead)
    }

    /// Deletes attempts that are older than `age`, at most `limit`; returns how many.
    pub async fn prune_attempts(&self, age: Duration, limit: i64) -> Result<u64, DbError> {
        let done = sqlx::query!(
            "DELETE FROM webhook_attempt WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM webhook_attempt WHERE at < statement_timestamp() - make_interval(secs => $1)
                 ORDER BY at LIMIT $2))",
            age.as_secs_f64(),
            limit
        )
        .execute(self.db.pool())
        .await?;
        Ok(done.rows_affected())
    }

    /// Deletes the dead events whose events are older than `age`, at most `limit`; returns how many.
    pub async fn prune_dead(&self, age: Duration, limit: i64) -> Result<u64, DbError> {
        let done = sqlx::query!(
            "DELETE FROM webhook_dead WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM webhook_dead WHERE stored_at < statement_timestamp() - make_interval(secs => $1)
                 ORDER BY stored_at LIMIT $2))",
            age.as_secs_f64(),
            limit
        )
        .execute(self.db.pool())
        .await?;
        Ok(done.rows_affected())
    }

    /// Stores an attempt outside the order of events: a test.
    pub async fn add_attempt(&self, webhook: WebhookId, attempt: Attempt) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.add_attempts(webhook, &[attempt]).await?;
        tx.commit().await
    }
}

impl Tx {
    pub(super) async fn add_attempts(
        &mut self,
        webhook: WebhookId,
        attempts: &[Attempt],
    ) -> Result<(), DbError> {
        if attempts.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO webhook_attempt (webhook_id, event_id, kind, account, seq, attempt, at, milliseconds, status, error,
                 detail, response, next_at, is_replay)
             SELECT $1, a.* FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::integer[], $7::timestamptz[],
                 $8::integer[], $9::smallint[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::boolean[]) AS a",
            webhook.0,
            &column(attempts, |attempt| attempt.event_id.clone()),
            &column(attempts, |attempt| attempt.kind.clone()),
            &column(attempts, |attempt| attempt.account.clone()) as &[Option<String>],
            &column(attempts, |attempt| attempt.seq),
            &column(attempts, |attempt| attempt.attempt),
            &column(attempts, |attempt| attempt.at),
            &column(attempts, |attempt| attempt.milliseconds),
            &column(attempts, |attempt| attempt.status) as &[Option<i16>],
            &column(attempts, |attempt| attempt.error.clone()) as &[Option<String>],
            &column(attempts, |attempt| attempt.detail.clone()) as &[Option<String>],
            &column(attempts, |attempt| attempt.response.clone()) as &[Option<String>],
            &column(attempts, |attempt| attempt.next) as &[Option<DateTime<Utc>>],
            &column(attempts, |attempt| attempt.is_replay)
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    pub(super) async fn add_dead(&mut self, webhook: WebhookId, dead: &[DeadEvent]) -> Result<(), DbError> {
        for event in dead {
            sqlx::query!(
                "INSERT INTO webhook_dead (webhook_id, counter_id, place, event_id, kind, account, seq, stored_at, died_at,
                     attempts, status, error)
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, last.status, last.error
                 FROM (SELECT 1) one LEFT JOIN LATERAL (
                     SELECT status, error FROM webhook_attempt WHERE webhook_id = $1 AND event_id = $4
                     ORDER BY webhook_id DESC, event_id DESC, id DESC LIMIT 1) last ON true
                 ON CONFLICT (webhook_id, place) DO UPDATE SET died_at = excluded.died_at, attempts = excluded.attempts,
                     status = excluded.status, error = excluded.error",
                webhook.0,
                event.counter.0,
                event.place,
                event.event_id,
                event.kind,
                event.account,
                event.seq,
                event.stored,
                event.died,
                event.attempts
            )
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }
}

fn column<T>(attempts: &[Attempt], of: impl Fn(&Attempt) -> T) -> Vec<T> {
    attempts.iter().map(of).collect()
}
