//! The deletion of old events, with their places.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::UserId;
use crate::store::{Store, Tx};

impl Store {
    /// Deletes the events of up to `limit` users, those after `after`, that have their places for longer than `retention`.
    /// Returns the last user that was looked at; `None` at the end.
    pub async fn prune_events(
        &self,
        retention: Duration,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Option<UserId>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT s.user_id, oldest.numbered_at < now.past AS "old?", now.past AS "past!"
               FROM (SELECT clock_timestamp() - make_interval(secs => $2) AS past) now
               CROSS JOIN LATERAL (
                   SELECT user_id FROM event_sequence WHERE user_id > $1 ORDER BY user_id LIMIT $3) s
               LEFT JOIN LATERAL (
                   SELECT numbered_at FROM event_span WHERE user_id = s.user_id ORDER BY place LIMIT 1) oldest ON true
               ORDER BY s.user_id"#,
            after.map_or(0, |user| user.0),
            retention.as_secs_f64(),
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        let last = rows.last().map(|row| UserId(row.user_id));
        for row in rows.iter().filter(|row| row.old == Some(true)) {
            while self.prune_sequence(UserId(row.user_id), row.past).await? {}
        }
        Ok(last)
    }

    /// Two transactions, since a journal must be locked before a sequence.
    async fn prune_sequence(&self, user: UserId, older_than: DateTime<Utc>) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        tx.mark_pruned(user, older_than).await?;
        tx.commit().await?;
        let pruned = sqlx::query_scalar!(r#"SELECT prune_events_1($1, $2) AS "pruned!""#, user.0, older_than)
            .fetch_one(self.db.pool())
            .await?;
        Ok(pruned)
    }
}

impl Tx {
    /// Notes in the journals which of their events the oldest spans of a sequence will take along.
    async fn mark_pruned(&mut self, user: UserId, older_than: DateTime<Utc>) -> Result<(), DbError> {
        sqlx::query!(
            "WITH oldest AS (
                SELECT counter_id, max(last_seq) AS seq FROM (
                    SELECT counter_id, last_seq, numbered_at FROM event_span WHERE user_id = $1
                    ORDER BY place LIMIT 1000) span
                WHERE numbered_at < $2 GROUP BY counter_id
             ), locked AS (
                SELECT c.id, c.place, ordered.seq FROM (SELECT * FROM oldest ORDER BY counter_id OFFSET 0) ordered
                CROSS JOIN LATERAL (
                    SELECT id, ctid AS place, pruned_seq FROM account_counter
                    WHERE id = ordered.counter_id FOR NO KEY UPDATE) c
                WHERE c.pruned_seq < ordered.seq
             )
             UPDATE account_counter c SET pruned_seq = locked.seq FROM locked WHERE c.ctid = locked.place",
            user.0,
            older_than
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
