//! Messages that are tried again later, in one transaction.

use std::time::Duration;

use super::SessionWrite;
use crate::db::DbError;
use crate::domain::{Lease, MessageId};
use crate::store::{Settlement, Tx};

/// One that waits.
pub(super) struct Postponed {
    lease: Lease,
    message: MessageId,
    pause: Duration,
}

impl Postponed {
    /// Those of a write.
    pub fn of<'a>(lease: &'a Lease, what: &'a SessionWrite) -> impl Iterator<Item = Self> + 'a {
        let settled = match what {
            SessionWrite::Settle(settled) => settled.as_slice(),
            SessionWrite::Ingest { .. } | SessionWrite::PublishState { .. } => &[],
        };
        settled.iter().filter_map(|one| match one.how {
            Settlement::Later(pause) => Some(Self { lease: *lease, message: one.message, pause }),
            Settlement::Sent | Settlement::Failed(_) => None,
        })
    }
}

impl Tx {
    /// Has them wait in the outbox.
    pub(super) async fn postpone(&mut self, postponed: &[Postponed]) -> Result<(), DbError> {
        if postponed.is_empty() {
            return Ok(());
        }
        let accounts: Vec<i64> = postponed.iter().map(|one| one.lease.account.0).collect();
        let messages: Vec<i64> = postponed.iter().map(|one| one.message.0).collect();
        let seconds: Vec<f64> = postponed.iter().map(|one| one.pause.as_secs_f64()).collect();
        sqlx::query!(
            "UPDATE outbox o SET attempts = attempts + 1,
                    retry_at = clock_timestamp() + make_interval(secs => l.seconds)
             FROM unnest($1::bigint[], $2::bigint[], $3::float8[]) AS l (account_id, message_id, seconds)
             WHERE o.message_id = l.message_id AND o.account_id = l.account_id",
            &accounts,
            &messages,
            &seconds
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
