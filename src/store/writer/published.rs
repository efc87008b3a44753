//! What sessions do, in one transaction.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::locks::Locked;
use crate::db::DbError;
use crate::domain::{Event, Lease, SessionState};
use crate::store::Tx;

/// What one does now.
pub(super) struct Published<'a> {
    pub lease: &'a Lease,
    pub state: SessionState,
    pub reason: Option<&'a str>,
}

impl Tx {
    /// Shows it; what is news goes to the journal.
    pub(super) async fn store_published(
        &mut self,
        published: &[Published<'_>],
        locked: &mut Locked,
    ) -> Result<(), DbError> {
        // The last one of an account counts.
        let mut last: BTreeMap<i64, &Published> = BTreeMap::new();
        for one in published {
            last.insert(one.lease.account.0, one);
            if one.state.is_event()
                && let Some(journal) = locked.journal(one.lease.counter)
            {
                let reason = one.reason.map(str::to_owned);
                journal.record(Event::SessionChanged { state: one.state, reason });
            }
        }
        if last.is_empty() {
            return Ok(());
        }
        let accounts: Vec<i64> = last.keys().copied().collect();
        let states: Vec<&str> = last.values().map(|one| one.state.name()).collect();
        let reasons: Vec<Option<&str>> = last.values().map(|one| one.reason).collect();
        let attempts: Vec<Option<i32>> = last
            .values()
            .map(|one| one.state.attempt().and_then(|attempt| i32::try_from(attempt).ok()))
            .collect();
        let until: Vec<Option<DateTime<Utc>>> = last.values().map(|one| one.state.until()).collect();
        sqlx::query!(
            "UPDATE account a SET session_state = p.state, session_since = clock_timestamp(),
                    session_reason = p.reason, session_attempt = p.attempt, session_until = p.until
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[])
                  AS p (id, state, reason, attempt, until)
             WHERE a.id = p.id",
            &accounts,
            &states as &[&str],
            &reasons as &[Option<&str>],
            &attempts as &[Option<i32>],
            &until as &[Option<DateTime<Utc>>]
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
