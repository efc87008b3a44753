//! How events get their places in the sequences of users, and what is still without.

use chrono::{DateTime, Utc};

use super::SequenceEnds;
use crate::db::DbError;
use crate::domain::{CounterId, UserId};
use crate::store::Store;

/// How far a sequence is numbered.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub user: UserId,
    pub ends: SequenceEnds,
    /// A journal has events without a place.
    pub is_behind: bool,
}

impl Store {
    /// Gives all events of a user their places that were committed before this call, or those in some of the user's journals.
    /// Returns the place of the last one; `None`: there is no such user.
    pub async fn number_events(
        &self,
        user: UserId,
        counters: Option<&[CounterId]>,
    ) -> Result<Option<i64>, DbError> {
        let counters = counters.map(|counters| counters.iter().map(|counter| counter.0).collect::<Vec<_>>());
        loop {
            let numbered = sqlx::query!(
                r#"SELECT place AS "place!", more AS "more!" FROM number_events_1($1, $2)"#,
                user.0,
                counters.as_deref()
            )
            .fetch_optional(self.db.pool())
            .await?;
            match numbered {
                Some(numbered) if numbered.more => {}
                numbered => return Ok(numbered.map(|numbered| numbered.place)),
            }
        }
    }

    /// Gives the events of these journals their places, those of several users in one transaction; returns the place of the
    /// last event of each user.
    pub async fn number_journals(
        &self,
        journals: &[(CounterId, UserId)],
    ) -> Result<Vec<(UserId, i64)>, DbError> {
        let (counters, users): (Vec<i64>, Vec<i64>) =
            journals.iter().map(|(counter, user)| (counter.0, user.0)).unzip();
        // In the order of the users, so that no two of these calls wait for each other.
        let rows = sqlx::query!(
            r#"SELECT grown.user_id AS "user!", n.place AS "place!", n.more AS "more!"
               FROM (
                   SELECT user_id, array_agg(counter_id) AS counters
                   FROM unnest($1::bigint[], $2::bigint[]) AS k (counter_id, user_id)
                   GROUP BY user_id ORDER BY user_id OFFSET 0) grown
               CROSS JOIN LATERAL number_events_1(grown.user_id, grown.counters) n"#,
            &counters,
            &users
        )
        .fetch_all(self.db.pool())
        .await?;
        let mut numbered = Vec::with_capacity(rows.len());
        for row in rows {
            let user = UserId(row.user);
            let last = if row.more { self.number_events(user, None).await? } else { Some(row.place) };
            numbered.extend(last.map(|last| (user, last)));
        }
        Ok(numbered)
    }

    /// How far the sequences of these users are numbered, in one query that writes nothing.
    pub async fn progress(&self, users: &[UserId]) -> Result<Vec<Progress>, DbError> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            r#"SELECT u.id AS "id!", s.pruned, s.place, EXISTS (
                   SELECT 1 FROM (
                       SELECT id, seq, pruned_seq, removed_seq FROM account_counter
                       WHERE -user_id = -u.id AND recent_at > greatest(s.checked_at - interval '5 minutes', 'epoch') OFFSET 0) c
                   LEFT JOIN LATERAL (
                       SELECT last_seq FROM event_span WHERE counter_id = c.id
                       ORDER BY last_seq DESC LIMIT 1) numbered ON true
                   WHERE c.seq > greatest(numbered.last_seq, c.pruned_seq, c.removed_seq)) AS "behind!"
               FROM unnest($1::bigint[]) AS u (id)
               CROSS JOIN LATERAL (SELECT * FROM event_sequence WHERE user_id = u.id LIMIT 1) s"#,
            &users
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Progress {
                user: UserId(row.id),
                ends: SequenceEnds { pruned: row.pruned, last: row.place },
                is_behind: row.behind,
            })
            .collect())
    }

    /// The users of journals that have grown after a place, by the time to which half a minute may be missing, at most
    /// `limit` journals; and the place of the last of them.
    pub async fn grown_after(
        &self,
        (since, counter): (DateTime<Utc>, CounterId),
        limit: i64,
    ) -> Result<Vec<(DateTime<Utc>, CounterId, UserId)>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT recent_at, id, user_id AS "user!" FROM account_counter
               WHERE (recent_at AT TIME ZONE 'UTC', id) > ($1::timestamptz AT TIME ZONE 'UTC', $2::bigint)
                 AND user_id IS NOT NULL
               ORDER BY recent_at AT TIME ZONE 'UTC', id LIMIT $3"#,
            since,
            counter.0,
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows.into_iter().map(|row| (row.recent_at, CounterId(row.id), UserId(row.user))).collect())
    }

    /// The users of journals; those of deleted users are left out.
    pub async fn users_of_journals(
        &self,
        counters: &[CounterId],
    ) -> Result<Vec<(CounterId, UserId)>, DbError> {
        let ids: Vec<i64> = counters.iter().map(|counter| counter.0).collect();
        let rows = sqlx::query!(
            r#"SELECT c.id, c.user_id AS "user!" FROM unnest($1::bigint[]) AS named (id)
               CROSS JOIN LATERAL (SELECT id, user_id FROM account_counter WHERE id = named.id LIMIT 1) c
               WHERE c.user_id IS NOT NULL"#,
            &ids
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows.into_iter().map(|row| (CounterId(row.id), UserId(row.user))).collect())
    }
}
