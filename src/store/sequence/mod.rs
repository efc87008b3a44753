//! The events of all accounts of a user as one sequence.
//!
//! A journal numbers its events when they are written; their places in the sequence of the user are given after the commit
//! (`number_events_1`), by whichever process follows the sequence, under the lock on its row, which no other write takes.
//! An event has its place for good, and each journal's events stand in the sequence by their numbers.
//!
//! Places are stored as spans: consecutive events of one journal. What has grown is found by `account_counter.recent_at`, which
//! follows the last event within half a minute: an index over the number itself would learn of every event.

mod numbering;
mod pruning;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Store;
use crate::db::batcher::{at_position, column, items};
use crate::db::{Db, DbError};
use crate::domain::{AccountId, CounterId, PhoneNumber, UserId};

pub use numbering::Progress;

/// Events of a span at most, as in `number_events_1`.
const LONGEST_SPAN: i64 = 1_000;

/// The two ends of a user's sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceEnds {
    /// The events up to this place were deleted because of their age.
    pub pruned: i64,
    /// The place of the last event.
    pub last: i64,
}

/// An event in the sequence of a user.
#[derive(Clone, Debug)]
pub struct SequencedEvent {
    pub place: i64,
    pub counter: CounterId,
    /// The number in its journal.
    pub seq: i64,
    /// The id of the epoch in which it was written, see [`Store::epochs`].
    pub epoch: i16,
    /// The time at which it was stored.
    pub at: DateTime<Utc>,
    /// Such as `message.received`.
    pub kind: String,
    pub payload: Value,
}

/// Which events of a sequence are read; `None`: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub counters: Option<Vec<CounterId>>,
    pub kinds: Option<KindFilter>,
}

/// The kinds of events that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindFilter {
    /// Such as `message.received`.
    pub names: Vec<String>,
    /// The part before the dot of all kinds of a group, such as `message`.
    pub groups: Vec<String>,
}

impl KindFilter {
    #[must_use]
    pub fn takes(&self, kind: &str) -> bool {
        let group = kind.split_once('.').map_or(kind, |(group, _)| group);
        self.names.iter().any(|name| name == kind) || self.groups.iter().any(|name| name == group)
    }
}

impl EventFilter {
    #[must_use]
    pub fn takes(&self, counter: CounterId, kind: &str) -> bool {
        self.counters.as_ref().is_none_or(|counters| counters.contains(&counter))
            && self.kinds.as_ref().is_none_or(|kinds| kinds.takes(kind))
    }
}

/// The number and the account that a journal is about.
#[derive(Clone, Debug)]
pub struct JournalOwner {
    pub counter: CounterId,
    /// `None`: the journal is about the user.
    pub number: Option<PhoneNumber>,
    /// The events up to this number are about an account that was removed.
    pub former_seq: i64,
    /// `None`: the account was removed.
    pub account: Option<(AccountId, String)>,
}

/// The place of an event that was named by its account and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceOfSeq {
    At(i64),
    /// An event after it was deleted because of its age.
    Pruned,
    /// The account has no event with this number yet.
    NotReached,
}

impl Store {
    /// The words of all epochs, by id; the last one is the present epoch.
    pub async fn epochs(&self) -> Result<Vec<(i16, String)>, DbError> {
        let rows =
            sqlx::query!("SELECT id, word FROM event_epoch ORDER BY id").fetch_all(self.db.pool()).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.word)).collect())
    }

    /// The two ends of a user's sequence, as far as it is numbered.
    pub async fn sequence_ends(&self, user: UserId) -> Result<SequenceEnds, DbError> {
        let ends = sqlx::query_as!(
            SequenceEnds,
            "SELECT pruned, place AS last FROM event_sequence WHERE user_id = $1",
            user.0
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(ends.unwrap_or_default())
    }

    /// The events of a user at the places after `after` up to `until`, in order, at most `limit`.
    pub async fn sequence(
        &self,
        user: UserId,
        (after, until): (i64, i64),
        filter: &EventFilter,
        limit: i64,
    ) -> Result<Vec<SequencedEvent>, DbError> {
        let counters = filter
            .counters
            .as_ref()
            .map(|counters| counters.iter().map(|counter| counter.0).collect::<Vec<_>>());
        let names = filter.kinds.as_ref().map(|kinds| kinds.names.as_slice());
        let groups = filter.kinds.as_ref().map_or(&[][..], |kinds| kinds.groups.as_slice());
        let rows = sqlx::query!(
            r#"SELECT s.place - (s.last_seq - e.seq) AS "place!", e.counter_id AS "counter_id!", e.seq AS "seq!",
                      e.epoch AS "epoch!", e.at AS "at!", e.kind AS "kind!", e.payload AS "payload!"
               FROM (
                   SELECT * FROM event_span
                   WHERE user_id = $1 AND place > $2 AND place < $3::bigint + $4::bigint
                     AND ($5::bigint[] IS NULL OR counter_id = ANY($5))
                   ORDER BY place OFFSET 0) s
               CROSS JOIN LATERAL (
                   SELECT * FROM event
                   WHERE counter_id = s.counter_id
                     AND seq BETWEEN greatest(s.first_seq, s.last_seq - (s.place - $2) + 1)
                                 AND least(s.last_seq, s.last_seq - (s.place - $3))
                   ORDER BY seq OFFSET 0) e
               WHERE $6::text[] IS NULL OR e.kind = ANY($6) OR split_part(e.kind, '.', 1) = ANY($7::text[])
               ORDER BY s.place, e.seq LIMIT $8"#,
            user.0,
            after,
            until,
            LONGEST_SPAN,
            counters.as_deref(),
            names,
            groups,
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| SequencedEvent {
                place: row.place,
                counter: CounterId(row.counter_id),
                seq: row.seq,
                epoch: row.epoch,
                at: row.at,
                kind: row.kind,
                payload: row.payload,
            })
            .collect())
    }

    /// The event at a place; `None`: it was deleted, or there is none yet.
    pub async fn event_at(&self, user: UserId, place: i64) -> Result<Option<SequencedEvent>, DbError> {
        Ok(self.sequence(user, (place - 1, place), &EventFilter::default(), 1).await?.pop())
    }

    /// The place of an event of a journal; of number 0 the place before its first event. The sequence must be numbered.
    pub async fn place_of_seq(
        &self,
        user: UserId,
        counter: CounterId,
        seq: i64,
    ) -> Result<PlaceOfSeq, DbError> {
        let row = sqlx::query!(
            r#"SELECT c.seq, greatest(c.pruned_seq, c.removed_seq) AS "pruned!",
                      -- In the span of the next event, or after the last one.
                      (SELECT place - (last_seq - $3) FROM event_span
                       WHERE counter_id = $2 AND last_seq > $3 AND first_seq <= $3 + 1 ORDER BY last_seq LIMIT 1) AS next,
                      (SELECT place FROM event_span WHERE counter_id = $2 AND last_seq = $3) AS exact,
                      coalesce((SELECT pruned FROM event_sequence WHERE user_id = $1), 0) AS "oldest!"
               FROM (SELECT * FROM account_counter WHERE id = $2 LIMIT 1) c WHERE c.user_id = $1"#,
            user.0,
            counter.0,
            seq
        )
        .fetch_optional(self.db.pool())
        .await?;
        let Some(row) = row else { return Ok(PlaceOfSeq::NotReached) };
        Ok(match (row.next, row.exact) {
            _ if seq > row.seq => PlaceOfSeq::NotReached,
            _ if seq < row.pruned => PlaceOfSeq::Pruned,
            (_, Some(place)) | (Some(place), None) => PlaceOfSeq::At(place.max(row.oldest)),
            // The last event, which was deleted: whatever comes is after it.
            (None, None) => PlaceOfSeq::At(row.oldest),
        })
    }

    /// The journals of a user's numbers, those of removed accounts too; of an unknown number there is none.
    pub async fn journals(
        &self,
        user: UserId,
        numbers: &[PhoneNumber],
    ) -> Result<Vec<(CounterId, PhoneNumber)>, DbError> {
        let texts: Vec<String> = numbers.iter().map(|number| number.as_str().to_owned()).collect();
        let rows = sqlx::query!(
            r#"SELECT c.id, named.position AS "position!" FROM unnest($2::text[]) WITH ORDINALITY AS named (number, position)
               CROSS JOIN LATERAL (
                   SELECT id FROM account_counter WHERE user_id = $1 AND number = named.number LIMIT 1) c"#,
            user.0,
            &texts
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let number = numbers.get(usize::try_from(row.position - 1).ok()?)?;
                Some((CounterId(row.id), number.clone()))
            })
            .collect())
    }

    /// What these journals are about.
    pub async fn journal_owners(&self, counters: Vec<CounterId>) -> Result<Vec<JournalOwner>, DbError> {
        self.batchers.journal_owners.submit(counters).await
    }
}

/// What each of these lists of journals is about.
pub(super) async fn journal_owners_of(
    db: &Db,
    lists: &[&Vec<CounterId>],
) -> Result<Vec<Vec<JournalOwner>>, DbError> {
    let mut named = items(lists);
    let ids = column(&named, |(.., counter)| counter.0);
    let rows = sqlx::query!(
        r#"SELECT named.position AS "position!", c.id, c.number, c.former_seq, a.id AS "account?",
                  a.directory AS "directory?"
           FROM unnest($1::bigint[]) WITH ORDINALITY AS named (id, position)
           CROSS JOIN LATERAL (SELECT id, number, former_seq FROM account_counter WHERE id = named.id LIMIT 1) c
           LEFT JOIN LATERAL (
               SELECT id, coalesce(directory, network) AS directory FROM account
               WHERE counter_id = c.id AND user_id IS NOT NULL LIMIT 1) a ON true"#,
        &ids
    )
    .fetch_all(db.pool())
    .await?;
    let mut found = vec![Vec::new(); lists.len()];
    for row in rows {
        let Some((list, ..)) = at_position(&mut named, row.position) else { continue };
        let number = if row.number.is_empty() { None } else { Some(super::account::number_of(&row.number)?) };
        found[*list].push(JournalOwner {
            counter: CounterId(row.id),
            number,
            former_seq: row.former_seq,
            account: row.account.map(AccountId).zip(row.directory),
        });
    }
    Ok(found)
}
