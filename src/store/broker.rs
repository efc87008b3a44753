//! What is published to a message broker: the place in each user's sequence, and the lease of the one process that
//! publishes.

use std::time::Duration;

use super::Store;
use super::session::lease::LEASE_SECONDS;
use crate::db::DbError;
use crate::domain::{ProcessId, UserId};
use crate::metrics::BrokerLag;

/// The right of one process to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerLease {
    pub process: ProcessId,
    /// Grows by one with each claim.
    pub fence: i64,
}

/// How far a user's events are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerPosition {
    /// The user's name.
    pub user_name: String,
    /// The broker has acknowledged all events up to this place; `None`: nothing was published yet.
    pub place: Option<i64>,
}

impl Store {
    /// Claims the right to publish; `None`: a living process has it, or this one is not alive.
    pub async fn claim_broker(&self, process: ProcessId) -> Result<Option<BrokerLease>, DbError> {
        let fence = sqlx::query_scalar!(
            "WITH living_process AS (
                SELECT id FROM process WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $2)
             )
             UPDATE broker_lease SET owner = $1, fence = fence + 1
             WHERE single AND $1 IN (SELECT id FROM living_process)
               AND (owner IS NULL OR owner = $1 OR owner NOT IN (SELECT id FROM living_process))
             RETURNING fence",
            process.0,
            LEASE_SECONDS
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(fence.map(|fence| BrokerLease { process, fence }))
    }

    /// Whether no other process has claimed the right since.
    pub async fn holds_broker(&self, lease: BrokerLease) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM broker_lease WHERE single AND owner = $1 AND fence = $2) AS "holds!""#,
            lease.process.0,
            lease.fence
        )
        .fetch_one(self.db.pool())
        .await?)
    }

    /// Gives the right back, if this process still has it.
    pub async fn release_broker(&self, lease: BrokerLease) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE broker_lease SET owner = NULL WHERE single AND owner = $1 AND fence = $2",
            lease.process.0,
            lease.fence
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// How far a user's events are published; `None`: there is no such user.
    pub async fn broker_position(&self, user: UserId) -> Result<Option<BrokerPosition>, DbError> {
        Ok(sqlx::query_as!(
            BrokerPosition,
            r#"SELECT u.name AS user_name, p.place AS "place?" FROM windu_user u
               LEFT JOIN broker_position p ON p.user_id = u.id WHERE u.id = $1"#,
            user.0
        )
        .fetch_optional(self.db.pool())
        .await?)
    }

    /// Notes that all events of a user up to a place are published. False: another process publishes by now, or the user
    /// was deleted.
    pub async fn advance_broker(
        &self,
        lease: BrokerLease,
        user: UserId,
        place: i64,
    ) -> Result<bool, DbError> {
        let advanced = sqlx::query!(
            "WITH held AS (SELECT 1 FROM broker_lease WHERE single AND owner = $1 AND fence = $2 FOR SHARE),
                  living_user AS (SELECT id FROM windu_user WHERE id = $3 FOR KEY SHARE)
             INSERT INTO broker_position (user_id, place)
             SELECT living_user.id, $4 FROM held CROSS JOIN living_user
             ON CONFLICT (user_id) DO UPDATE SET place = excluded.place",
            lease.process.0,
            lease.fence,
            user.0,
            place
        )
        .execute(self.db.pool())
        .await?;
        Ok(advanced.rows_affected() == 1)
    }

    /// What waits for the broker; also events without a place, which nobody gives them while the broker is away.
    pub async fn broker_lag(&self) -> Result<BrokerLag, DbError> {
        let lag = sqlx::query!(
            r#"WITH sequence AS (
                   SELECT u.id AS user_id, q.place, greatest(p.place, q.pruned) AS published,
                          coalesce(q.place > greatest(p.place, q.pruned), false) AS is_behind,
                          -- The same as in the function that numbers events.
                          greatest(q.checked_at - interval '5 minutes', 'epoch') AS checked_at
                   FROM windu_user u
                   LEFT JOIN event_sequence q ON q.user_id = u.id
                   LEFT JOIN broker_position p ON p.user_id = u.id
               ), placed AS (
                   SELECT sum(s.place - s.published) AS events, min(first.numbered_at) AS oldest
                   FROM sequence s
                   LEFT JOIN LATERAL (
                       SELECT numbered_at FROM event_span WHERE user_id = s.user_id AND place > s.published
                       ORDER BY user_id, place LIMIT 1) first ON true
                   WHERE s.is_behind
               ), journal AS (
                   SELECT sum(greatest(c.seq - c.placed, 0)) AS unplaced, count(*) AS accounts, min(first.at) AS oldest
                   FROM (SELECT c.id, c.seq, greatest(numbered.last_seq, c.pruned_seq, c.removed_seq) AS placed,
                                numbered.place > s.published AS is_behind
                         FROM sequence s
                         CROSS JOIN LATERAL (
                             SELECT * FROM account_counter WHERE s.is_behind AND user_id = s.user_id
                             UNION ALL
                             SELECT * FROM account_counter
                             WHERE NOT s.is_behind AND -user_id = -s.user_id AND recent_at > s.checked_at) c
                         LEFT JOIN LATERAL (
                             SELECT place, last_seq FROM event_span WHERE counter_id = c.id
                             ORDER BY last_seq DESC LIMIT 1) numbered ON true) c
                   LEFT JOIN LATERAL (
                       SELECT at FROM event WHERE counter_id = c.id AND seq > c.placed ORDER BY seq LIMIT 1) first ON true
                   WHERE c.seq > c.placed OR c.is_behind)
               SELECT (coalesce(placed.events, 0) + coalesce(journal.unplaced, 0))::bigint AS "events!",
                      journal.accounts AS "accounts!",
                      extract(epoch FROM clock_timestamp() - least(placed.oldest, journal.oldest))::float8 AS oldest
               FROM placed CROSS JOIN journal"#
        )
        .fetch_one(self.db.pool())
        .await?;
        Ok(BrokerLag {
            events: lag.events,
            accounts: lag.accounts,
            oldest: Duration::from_secs_f64(lag.oldest.unwrap_or_default().max(0.0)),
        })
    }

    /// Up to `limit` users with sequences, those after `after`, in order, each with whether it has events that are not
    /// published.
    pub async fn unpublished(
        &self,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Vec<(UserId, bool)>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT s.user_id, s.place > coalesce(p.place, s.pruned) AS "is_behind!"
               FROM (SELECT * FROM event_sequence WHERE user_id > $1 ORDER BY user_id LIMIT $2) s
               LEFT JOIN LATERAL (SELECT place FROM broker_position WHERE user_id = s.user_id LIMIT 1) p ON true
               ORDER BY s.user_id"#,
            after.map_or(0, |user| user.0),
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows.into_iter().map(|row| (UserId(row.user_id), row.is_behind)).collect())
    }
}
