//! The webhooks that somebody should look at.

use std::time::Duration;

use crate::db::DbError;
use crate::store::Store;

/// A webhook whose events wait for longer than they should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubledWebhook {
    pub public_id: String,
    pub user_name: String,
    pub trouble: WebhookTrouble,
    /// Events that its receiver has not accepted, with those that it leaves out and has not passed yet.
    pub waiting: i64,
    /// How long the oldest of them waits.
    pub oldest: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookTrouble {
    /// The server has made it inactive.
    Disabled { since: Duration, reason: String },
    /// No attempt was accepted for this time; the error of the last one.
    Failing { since: Duration, error: String },
    /// Its receiver accepts events, but not as many as there are.
    Slow,
}

impl Store {
    /// At most `limit` webhooks that the server has disabled, that have failed for longer than `age`, or whose oldest event
    /// waits for longer than that or whose waiting events are more than `many`.
    pub async fn troubled_webhooks(
        &self,
        age: Duration,
        many: i64,
        limit: i64,
    ) -> Result<Vec<TroubledWebhook>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT w.public_id, u.name AS user_name, w.disabled, w.failure,
                      extract(epoch FROM clock_timestamp() - w.since)::float8 AS "since!",
                      extract(epoch FROM clock_timestamp() - w.failing_since)::float8 AS failing,
                      coalesce(b.waiting, 0) AS "waiting!",
                      extract(epoch FROM clock_timestamp() - b.oldest)::float8 AS oldest
               FROM webhook w
               JOIN windu_user u ON u.id = w.user_id
               LEFT JOIN LATERAL (
                   SELECT (greatest(s.place - w.place, 0)
                           + (SELECT coalesce(sum(greatest(c.seq - a.seq, 0)), 0) FROM webhook_account a
                              CROSS JOIN LATERAL (SELECT seq FROM account_counter WHERE id = a.counter_id LIMIT 1) c
                              WHERE a.webhook_id = w.id AND a.skips = w.skips)
                           + (SELECT count(*) FROM webhook_redelivery WHERE webhook_id = w.id))::bigint AS waiting,
                          least((SELECT numbered_at FROM event_span WHERE user_id = w.user_id AND place > w.place
                                 ORDER BY user_id, place LIMIT 1),
                                (SELECT min(e.at) FROM webhook_account a CROSS JOIN LATERAL (
                                     SELECT at FROM event WHERE counter_id = a.counter_id AND seq > a.seq
                                     ORDER BY seq LIMIT 1) e
                                 WHERE a.webhook_id = w.id AND a.skips = w.skips)) AS oldest
                   FROM (SELECT place FROM event_sequence WHERE user_id = w.user_id LIMIT 1) s) b ON true
               WHERE u.disabled_at IS NULL
                 AND (w.disabled IS NOT NULL
                      OR w.active AND (w.failing_since < clock_timestamp() - make_interval(secs => $1)
                                       OR b.oldest < clock_timestamp() - make_interval(secs => $1)
                                       OR b.waiting > $2))
               ORDER BY w.user_id, w.id LIMIT $3"#,
            age.as_secs_f64(),
            many,
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        let duration = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
        Ok(rows
            .into_iter()
            .map(|row| TroubledWebhook {
                public_id: row.public_id,
                user_name: row.user_name,
                trouble: match (row.disabled, row.failing) {
                    (Some(reason), _) => WebhookTrouble::Disabled { since: duration(row.since), reason },
                    (None, Some(failing)) => WebhookTrouble::Failing {
                        since: duration(failing),
                        error: row.failure.unwrap_or_default(),
                    },
                    (None, None) => WebhookTrouble::Slow,
                },
                waiting: row.waiting,
                oldest: row.oldest.map(duration),
            })
            .collect())
    }
}
