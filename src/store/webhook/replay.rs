//! Events that are sent again by request.

use chrono::{DateTime, Utc};

use super::Webhook;
use crate::db::DbError;
use crate::domain::{CounterId, UserId};
use crate::store::{Store, Tx, topic};

/// Hours for which a replayed event is tried.
const HOURS: i32 = 75;

impl Store {
    /// The dead events of a webhook, in order, at most `limit`.
    pub async fn dead_places(&self, webhook: &Webhook, limit: i64) -> Result<Vec<(CounterId, i64)>, DbError> {
        let rows = sqlx::query!(
            "SELECT counter_id, place FROM webhook_dead WHERE webhook_id = $1 ORDER BY webhook_id, place LIMIT $2",
            webhook.id.0,
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows.into_iter().map(|row| (CounterId(row.counter_id), row.place)).collect())
    }

    /// The place after which a user's sequence has all events that were stored after a time; earlier ones may follow, too.
    pub async fn place_before(&self, user: UserId, time: DateTime<Utc>) -> Result<i64, DbError> {
        let ends = self.sequence_ends(user).await?;
        // An event is stored before it gets its place, and the times of the spans grow with their places.
        let (mut low, mut high) = (ends.pruned, ends.last);
        while low < high {
            let middle = low + (high - low) / 2;
            let span = sqlx::query!(
                r#"SELECT place, place - (last_seq - first_seq + 1) AS "before!", numbered_at > $3 AS "is_later!"
                   FROM event_span WHERE user_id = $1 AND place > $2 ORDER BY user_id, place LIMIT 1"#,
                user.0,
                middle,
                time
            )
            .fetch_optional(self.db.pool())
            .await?;
            match span {
                Some(span) if !span.is_later => low = span.place,
                Some(span) => high = span.before.max(low),
                None => high = middle,
            }
        }
        Ok(low)
    }
}

impl Tx {
    /// Sends events again, in this order, beside the new ones. They are no longer dead. False: with those that wait already
    /// there would be more than `most`, and nothing is done.
    pub async fn replay(
        &mut self,
        webhook: &Webhook,
        events: &[(CounterId, i64)],
        most: usize,
    ) -> Result<bool, DbError> {
        // One after the other, so that the count is right.
        sqlx::query!("SELECT id FROM webhook WHERE id = $1 FOR NO KEY UPDATE", webhook.id.0)
            .fetch_optional(&mut *self.inner)
            .await?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let waiting = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (
                   SELECT 1 FROM webhook_redelivery WHERE webhook_id = $1 AND skips = $2
                   ORDER BY webhook_id, place LIMIT $3) waiting"#,
            webhook.id.0,
            webhook.skips,
            most
        )
        .fetch_one(&mut *self.inner)
        .await?;
        if waiting + i64::try_from(events.len()).unwrap_or(i64::MAX) > most {
            return Ok(false);
        }
        let (counters, places): (Vec<i64>, Vec<i64>) =
            events.iter().map(|(counter, place)| (counter.0, *place)).unzip();
        sqlx::query!(
            "INSERT INTO webhook_redelivery (webhook_id, counter_id, skips, place, is_replay, is_alone, expires_at)
             SELECT $1, e.counter_id, $2, e.place, true, false, clock_timestamp() + make_interval(hours => $5)
             FROM unnest($3::bigint[], $4::bigint[]) WITH ORDINALITY AS e (counter_id, place, nth) ORDER BY e.nth",
            webhook.id.0,
            webhook.skips,
            &counters,
            &places,
            HOURS
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!(
            "DELETE FROM webhook_dead WHERE webhook_id = $1 AND place = ANY($2)",
            webhook.id.0,
            &places
        )
        .execute(&mut *self.inner)
        .await?;
        self.notify_on_commit(topic::webhook(webhook.id));
        Ok(true)
    }
}
