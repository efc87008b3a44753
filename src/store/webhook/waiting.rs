//! How much waits for a webhook.

use chrono::{DateTime, Utc};

use super::Webhook;
use crate::db::DbError;
use crate::store::{EventFilter, Store};

/// Waiting events that are counted at most.
const COUNTED: i64 = 10_000;
/// Accounts that are behind and whose events are counted.
const BEHIND: i64 = 1_000;

/// The events that a webhook has not accepted yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waiting {
    /// At most [`COUNTED`].
    pub events: i64,
    pub oldest: Option<DateTime<Utc>>,
}

impl Store {
    /// How many events wait up to a place, and the time of the oldest. The filter is the webhook's.
    pub async fn waiting(
        &self,
        webhook: &Webhook,
        filter: &EventFilter,
        last: i64,
    ) -> Result<Waiting, DbError> {
        let counters =
            filter.counters.as_ref().map(|all| all.iter().map(|counter| counter.0).collect::<Vec<_>>());
        let names = filter.kinds.as_ref().map(|kinds| kinds.names.as_slice());
        let groups = filter.kinds.as_ref().map_or(&[][..], |kinds| kinds.groups.as_slice());
        let behind = sqlx::query!(
            "SELECT counter_id, seq FROM webhook_account WHERE webhook_id = $1 AND skips = $2
             ORDER BY webhook_id, counter_id LIMIT $3",
            webhook.id.0,
            webhook.skips,
            BEHIND
        )
        .fetch_all(self.db.pool())
        .await?;
        let (ids, seqs): (Vec<i64>, Vec<i64>) =
            behind.into_iter().map(|row| (row.counter_id, row.seq)).unzip();
        let row = sqlx::query!(
            r#"WITH found AS (
                   SELECT e.at FROM (
                       SELECT * FROM event_span WHERE user_id = $2 AND place > $3 AND place < $4::bigint + 1000
                       ORDER BY user_id, place LIMIT $9) s
                   CROSS JOIN LATERAL (
                       SELECT at, kind FROM event WHERE counter_id = s.counter_id
                         AND seq BETWEEN greatest(s.first_seq, s.last_seq - (s.place - $3) + 1)
                                     AND least(s.last_seq, s.last_seq - (s.place - $4))
                       ORDER BY seq OFFSET 0) e
                   WHERE ($5::bigint[] IS NULL OR s.counter_id = ANY($5)) AND s.counter_id <> ALL($10)
                     AND e.kind <> 'webhook.test'
                     AND ($6::text[] IS NULL OR e.kind = ANY($6) OR split_part(e.kind, '.', 1) = ANY($7::text[]))
                   LIMIT $9
               ), behind AS (
                   SELECT e.at FROM unnest($10::bigint[], $11::bigint[]) AS a (counter_id, seq)
                   CROSS JOIN LATERAL (
                       SELECT at, kind FROM event WHERE counter_id = a.counter_id AND seq > a.seq
                       ORDER BY seq LIMIT $9) e
                   WHERE ($5::bigint[] IS NULL OR a.counter_id = ANY($5)) AND e.kind <> 'webhook.test'
                     AND ($6::text[] IS NULL OR e.kind = ANY($6) OR split_part(e.kind, '.', 1) = ANY($7::text[]))
                   LIMIT $9
               ), beside AS (
                   SELECT place FROM webhook_redelivery WHERE webhook_id = $1 AND skips = $8
                   ORDER BY webhook_id, place LIMIT $9)
               SELECT (SELECT count(*) FROM found) + (SELECT count(*) FROM behind) + (SELECT count(*) FROM beside)
                          AS "events!",
                      least((SELECT min(at) FROM found), (SELECT min(at) FROM behind)) AS oldest,
                      (SELECT min(place) FROM beside) AS beside"#,
            webhook.id.0,
            webhook.user.0,
            webhook.place,
            last,
            counters.as_deref(),
            names,
            groups,
            webhook.skips,
            COUNTED,
            &ids,
            &seqs
        )
        .fetch_one(self.db.pool())
        .await?;
        let mut oldest = row.oldest;
        if let Some(place) = row.beside {
            let beside = self.event_at(webhook.user, place).await?.map(|event| event.at);
            oldest = [oldest, beside].into_iter().flatten().min();
        }
        Ok(Waiting { events: row.events.min(COUNTED), oldest })
    }
}
