//! Commands of the API to the process that holds an account's lease, and their answers.

use std::time::Duration;

use serde_json::Value;

use crate::db::DbError;
use crate::domain::{AccountId, CommandId, Lease};
use crate::store::{Claim, Store, Tx, topic};

/// A command that a session has taken.
#[derive(Clone, Debug)]
pub struct TakenCommand {
    pub id: CommandId,
    /// In the encoding of the sessions' layer.
    pub request: Value,
    /// The time until the caller stops waiting.
    pub remaining: Duration,
}

/// The state of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandProgress {
    /// No session has taken it yet.
    Waiting,
    /// A session works on it.
    Taken,
    /// It has an answer.
    Done(Value),
}

impl Store {
    /// Writes a command and wakes the account's session. If an earlier claimant of the request's key wrote the same
    /// command, that one is used again: one that is answered, or that a session works on, stays as it is; an abandoned or
    /// expired one waits for a session again.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the request's claim is over; then nothing is written.
    pub async fn ask(
        &self,
        account: AccountId,
        request: &Value,
        timeout: Duration,
        claim: Option<&Claim>,
    ) -> Result<CommandId, DbError> {
        let mut tx = self.begin().await?;
        let earlier = claim.and_then(|claim| claim.command);
        let resumed = match earlier {
            Some(earlier) => tx.resume(earlier, account, request, timeout).await?,
            None => None,
        };
        let id = match resumed {
            Some(command) => command,
            None => tx.write_command(account, request, timeout).await?,
        };
        if let Some(claim) = claim {
            tx.note_command(claim, id).await?;
        }
        tx.notify_on_commit(topic::commands(account));
        tx.commit().await?;
        Ok(id)
    }

    /// The state of a command.
    pub async fn command_progress(&self, command: CommandId) -> Result<CommandProgress, DbError> {
        let row = sqlx::query!("SELECT state, answer FROM command WHERE id = $1", command.0)
            .fetch_one(self.db.pool())
            .await?;
        Ok(match (row.state.as_str(), row.answer) {
            ("done", Some(answer)) => CommandProgress::Done(answer),
            ("waiting" | "abandoned", _) => CommandProgress::Waiting,
            // `taken`, or a state that only a newer version of this program knows: a session has it in any case.
            _ => CommandProgress::Taken,
        })
    }

    /// Abandons a command that no session has taken. False: a session has taken it.
    pub async fn abandon(&self, command: CommandId) -> Result<bool, DbError> {
        let updated = sqlx::query!(
            "UPDATE command SET state = 'abandoned' WHERE id = $1 AND state = 'waiting'",
            command.0
        )
        .execute(self.db.pool())
        .await?;
        Ok(updated.rows_affected() == 1)
    }

    /// Takes the account's oldest command that waits, or that an earlier holder of the lease has not answered. Commands
    /// past their deadline are not taken.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn take_command(&self, lease: &Lease) -> Result<Option<TakenCommand>, DbError> {
        let row = sqlx::query!(
            r#"WITH locked_lease AS (
                SELECT id FROM account_counter WHERE id = $3 AND owner IS NOT DISTINCT FROM $4 AND fence = $2
                FOR NO KEY UPDATE
             ), taken_command AS (
                UPDATE command SET state = 'taken', fence = $2
                WHERE EXISTS (SELECT 1 FROM locked_lease) AND id = (
                   SELECT id FROM command WHERE id = ANY(ARRAY(
                       SELECT id FROM command WHERE account_id = $1 AND state IN ('waiting', 'taken')))
                     AND deadline > clock_timestamp()
                     AND (state = 'waiting' OR (state = 'taken' AND fence <> $2))
                   ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
                RETURNING id, request, extract(epoch FROM deadline - clock_timestamp())::float8 AS remaining)
             SELECT taken.id AS "id?", taken.request AS "request?", taken.remaining AS "remaining?"
             FROM locked_lease LEFT JOIN taken_command taken ON true"#,
            lease.account.0,
            lease.fence,
            lease.counter.0,
            lease.process.0
        )
        .fetch_optional(self.db.pool())
        .await?
        .ok_or(DbError::Fenced)?;
        let (Some(id), Some(request)) = (row.id, row.request) else { return Ok(None) };
        let remaining = Duration::from_secs_f64(row.remaining.unwrap_or(0.0).max(0.0));
        Ok(Some(TakenCommand { id: CommandId(id), request, remaining }))
    }

    /// Stores the answer and wakes the caller that waits for it.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn answer(&self, lease: &Lease, command: CommandId, answer: &Value) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        tx.store_answer(command, answer).await?;
        tx.commit().await?;
        self.db.notifications().wake(topic::answer(command));
        Ok(())
    }

    /// Deletes up to `batch` commands that are an hour old and belong to no idempotency key: no request waits for them any
    /// more. Returns how many.
    pub async fn prune_commands(&self, batch: i64) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM command WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM command c WHERE created_at < statement_timestamp() - interval '1 hour'
                  AND NOT EXISTS (SELECT 1 FROM idempotency_key k WHERE k.command_id = c.id OFFSET 0)
                ORDER BY created_at LIMIT $1))",
            batch
        )
        .execute(self.db.pool())
        .await?;
        Ok(deleted.rows_affected())
    }
}

impl Tx {
    /// Stores the answer as a part of a larger transaction.
    pub async fn store_answer(&mut self, command: CommandId, answer: &Value) -> Result<(), DbError> {
        sqlx::query!("UPDATE command SET state = 'done', answer = $2 WHERE id = $1", command.0, answer)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Locks the lease until the transaction ends.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when it has passed on.
    pub async fn assert_lease(&mut self, lease: &Lease) -> Result<(), DbError> {
        sqlx::query_scalar!(
            "SELECT id FROM account_counter WHERE id = $1 AND owner IS NOT DISTINCT FROM $2 AND fence = $3
             FOR NO KEY UPDATE",
            lease.counter.0,
            lease.process.0,
            lease.fence
        )
        .fetch_optional(&mut *self.inner)
        .await?
        .map(|_| ())
        .ok_or(DbError::Fenced)
    }

    async fn write_command(
        &mut self,
        account: AccountId,
        request: &Value,
        timeout: Duration,
    ) -> Result<CommandId, DbError> {
        let id = sqlx::query_scalar!(
            "INSERT INTO command (account_id, request, deadline)
             VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3)) RETURNING id",
            account.0,
            request,
            timeout.as_secs_f64()
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(CommandId(id))
    }

    /// Uses a command again, if its request is the same.
    async fn resume(
        &mut self,
        command: CommandId,
        account: AccountId,
        request: &Value,
        timeout: Duration,
    ) -> Result<Option<CommandId>, DbError> {
        let id = sqlx::query_scalar!(
            "UPDATE command
             SET state = CASE WHEN state = 'done' OR (state = 'taken' AND deadline > clock_timestamp())
                         THEN state ELSE 'waiting' END,
                 deadline = greatest(deadline, clock_timestamp() + make_interval(secs => $4))
             WHERE id = $1 AND account_id = $2 AND request = $3 RETURNING id",
            command.0,
            account.0,
            request,
            timeout.as_secs_f64()
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(id.map(CommandId))
    }
}
