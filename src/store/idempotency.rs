//! Idempotency keys: which request runs under a key, and the first answer, for a day.
//!
//! A claim is committed before anything else is done. What a request changes is then committed with what a repeat needs
//! to answer as the first request would have, should the process die: the answer ([`Tx::save_answer`]); the answer that
//! is expected, while something is done outside that no transaction covers ([`Tx::expect_answer`]); the command that was
//! asked ([`Store::ask`]). All of it is written under the claim, so of two processes that both believe to run a request
//! one changes nothing.
//!
//! A key belongs to the parameters that it was first used with, also while it has no answer.

use std::collections::HashSet;

use super::{LEASE_SECONDS, Store, Tx};
use crate::db::DbError;
use crate::domain::{CommandId, ProcessId, UserId};
use crate::secrets;

/// How long a key keeps its answer.
const KEPT_SECONDS: f64 = 24.0 * 3600.0;
/// A row that vanishes between two looks at it is looked for so many times.
const LOOKS: usize = 3;
/// Stands for the process of a request that has ended without an answer to keep.
const NOBODY: i64 = 0;

/// A request that wants to run under a key.
#[derive(Clone, Copy, Debug)]
pub struct IdempotentRequest<'a> {
    /// ProfileScope key it is.
    pub user: UserId,
    /// Method and pattern of the path.
    pub route: &'a str,
    /// As the caller chose it.
    pub key: &'a str,
    /// Of the parameters.
    pub fingerprint: &'a [u8; 32],
    /// Who would run it.
    pub process: ProcessId,
}

/// The right to run a request, of one process, until its heartbeat ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    user: UserId,
    route: String,
    key: String,
    /// Chosen before the claim is made, so that it can be ended by one who never heard whether it was.
    id: i64,
    fingerprint: [u8; 32],
    /// What an earlier claimant asked of a session, and left without an answer.
    pub command: Option<CommandId>,
}

/// An answer as it is given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedResponse {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// A claim and the answer that ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedResponse {
    /// Under which the request runs.
    pub claim: Claim,
    /// What will be answered if the request's transaction commits.
    pub answer: SavedResponse,
}

/// What a key is to a request.
#[derive(Clone, Debug)]
pub enum KeyState {
    /// Free until now: the request runs under this claim.
    Claimed(Claim),
    /// The first request still runs.
    Running,
    /// A request with other parameters has it.
    Reused,
    /// The first answer.
    Answered(SavedResponse),
    /// The connection broke before the answer: the key may be claimed by now, or soon. The claim has to be settled.
    InDoubt(Claim, DbError),
}

impl Store {
    /// Claims a key, or says what it is used for. A claim whose process has no heartbeat any more, and a row of more
    /// than a day, count as none.
    ///
    /// # Errors
    /// When a query fails; then nothing is claimed.
    pub async fn claim_key(&self, request: IdempotentRequest<'_>) -> Result<KeyState, DbError> {
        let claim = Claim {
            user: request.user,
            route: request.route.to_owned(),
            key: request.key.to_owned(),
            id: i64::from_be_bytes(secrets::random_bytes()),
            fingerprint: *request.fingerprint,
            command: None,
        };
        for _ in 0..LOOKS {
            if let Some(state) = self.try_to_claim(&claim, request.process).await? {
                return Ok(state);
            }
            if let Some(state) = self.look_at_key(request).await? {
                return Ok(state);
            }
        }
        Ok(KeyState::Running)
    }

    /// Keeps the answer of a request that has ended, or without one frees its key. Nothing happens when the claim is
    /// over: another process took it, or the answer was kept together with what the request changed. A claim that was
    /// not made yet never will be.
    pub async fn settle_key(&self, claim: &Claim, answer: Option<&SavedResponse>) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let settled = match answer {
            Some(answer) => tx.write_answer(claim, answer, false).await,
            None => tx.free_key(claim).await,
        };
        match settled {
            Ok(()) => tx.commit().await,
            Err(DbError::Fenced) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Forgets up to `batch` keys of more than a day. Returns how many there were.
    pub async fn prune_keys(&self, batch: i64) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM idempotency_key WHERE (user_id, route, key) IN (
                SELECT user_id, route, key FROM idempotency_key
                WHERE created_at < clock_timestamp() - make_interval(secs => $2) LIMIT $1)
             AND created_at < clock_timestamp() - make_interval(secs => $2)",
            batch,
            KEPT_SECONDS
        )
        .execute(self.db.pool())
        .await?;
        Ok(deleted.rows_affected())
    }

    /// Claims a key that is new, or that this very request has without anybody who runs it. What the last claimant
    /// expected to answer is the answer then. A claim that was settled already is not made.
    async fn try_to_claim(&self, claim: &Claim, process: ProcessId) -> Result<Option<KeyState>, DbError> {
        // Without a connection there is no doubt.
        let mut connection = self.db.pool().acquire().await?;
        let claimed = sqlx::query!(
            "INSERT INTO idempotency_key AS k (user_id, route, key, fingerprint, process_id, claim)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (user_id, route, key) DO UPDATE
             SET claim = excluded.claim, process_id = excluded.process_id, provisional = false,
                 created_at = clock_timestamp()
             WHERE k.fingerprint = excluded.fingerprint AND (k.status IS NULL OR k.provisional)
               AND k.claim <> excluded.claim
               AND k.created_at >= clock_timestamp() - make_interval(secs => $7)
               AND NOT EXISTS (SELECT 1 FROM process p WHERE p.id = k.process_id
                               AND p.heartbeat_at > clock_timestamp() - make_interval(secs => $8))
             RETURNING command_id, status, content_type, body",
            claim.user.0,
            claim.route,
            claim.key,
            &claim.fingerprint[..],
            process.0,
            claim.id,
            KEPT_SECONDS,
            LEASE_SECONDS
        )
        .fetch_optional(&mut *connection)
        .await
        .map_err(DbError::from);
        let row = match claimed {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(None),
            Err(error @ DbError::Unavailable(_)) => {
                return Ok(Some(KeyState::InDoubt(claim.clone(), error)));
            }
            Err(error) => return Err(error),
        };
        if let Some(answer) = kept(row.status, row.content_type, row.body)? {
            return Ok(Some(KeyState::Answered(answer)));
        }
        Ok(Some(KeyState::Claimed(Claim { command: row.command_id.map(CommandId), ..claim.clone() })))
    }

    /// What the key is that could not be claimed; `None` when it is free by now.
    async fn look_at_key(&self, request: IdempotentRequest<'_>) -> Result<Option<KeyState>, DbError> {
        let row = sqlx::query!(
            r#"WITH expired AS (
                DELETE FROM idempotency_key WHERE user_id = $1 AND route = $2 AND key = $3
                  AND created_at < clock_timestamp() - make_interval(secs => $4) RETURNING key)
             SELECT fingerprint, provisional, status, content_type, body FROM idempotency_key
             WHERE user_id = $1 AND route = $2 AND key = $3 AND NOT EXISTS (SELECT 1 FROM expired)"#,
            request.user.0,
            request.route,
            request.key,
            KEPT_SECONDS
        )
        .fetch_optional(self.db.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.fingerprint != request.fingerprint {
            return Ok(Some(KeyState::Reused));
        }
        match kept(row.status, row.content_type, row.body)? {
            Some(answer) if !row.provisional => Ok(Some(KeyState::Answered(answer))),
            Some(_) | None => Ok(Some(KeyState::Running)),
        }
    }
}

impl Tx {
    /// Keeps the answer of a request, if it has a key, beside what it changes. The last statement before the commit,
    /// so that whoever asks for the key meanwhile waits for no more than that.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the claim is over: the caller must not commit.
    pub async fn save_answer(&mut self, keyed: Option<&ClaimedResponse>) -> Result<(), DbError> {
        match keyed {
            Some(ClaimedResponse { claim, answer }) => self.write_answer(claim, answer, false).await,
            None => Ok(()),
        }
    }

    /// Like [`Tx::save_answer`], for a request that is not over with the transaction: should its process die, a repeat
    /// gets this answer and does nothing. Otherwise the request ends as any other does.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the claim is over: the caller must not commit.
    pub async fn expect_answer(&mut self, keyed: Option<&ClaimedResponse>) -> Result<(), DbError> {
        match keyed {
            Some(ClaimedResponse { claim, answer }) => self.write_answer(claim, answer, true).await,
            None => Ok(()),
        }
    }

    /// Notes what the request asks of a session.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the claim is over: the caller must not commit.
    pub(super) async fn note_command(&mut self, claim: &Claim, command: CommandId) -> Result<(), DbError> {
        let noted = sqlx::query!(
            "UPDATE idempotency_key SET command_id = $5
             WHERE user_id = $1 AND route = $2 AND key = $3 AND claim = $4 AND (status IS NULL OR provisional)",
            claim.user.0,
            claim.route,
            claim.key,
            claim.id,
            command.0
        )
        .execute(&mut *self.inner)
        .await?;
        if noted.rows_affected() == 1 { Ok(()) } else { Err(DbError::Fenced) }
    }

    /// Ends a claim without an answer: the same request may claim the key anew, and go on with what was asked. Of a
    /// claim that PostgreSQL has not come to yet it leaves the row that the claim then finds, with its own id.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the claim is over: the caller must not commit.
    pub(super) async fn free_key(&mut self, claim: &Claim) -> Result<(), DbError> {
        let freed = sqlx::query!(
            "INSERT INTO idempotency_key AS k (user_id, route, key, fingerprint, process_id, claim)
             SELECT id, $2, $3, $4, $5, $6 FROM windu_user WHERE id = $1
             ON CONFLICT (user_id, route, key) DO UPDATE
             SET process_id = excluded.process_id, status = NULL, content_type = NULL, body = NULL, provisional = false
             WHERE k.claim = excluded.claim AND (k.status IS NULL OR k.provisional)",
            claim.user.0,
            claim.route,
            claim.key,
            &claim.fingerprint[..],
            NOBODY,
            claim.id
        )
        .execute(&mut *self.inner)
        .await?;
        if freed.rows_affected() == 1 { Ok(()) } else { Err(DbError::Fenced) }
    }

    /// [`Tx::save_answer`] for several requests at once; returns the claims that are not over.
    pub(super) async fn save_answers<'a>(
        &mut self,
        answers: impl Iterator<Item = &'a ClaimedResponse> + Clone,
    ) -> Result<HashSet<Claim>, DbError> {
        let users: Vec<i64> = answers.clone().map(|keyed| keyed.claim.user.0).collect();
        let routes: Vec<&str> = answers.clone().map(|keyed| keyed.claim.route.as_str()).collect();
        let keys: Vec<&str> = answers.clone().map(|keyed| keyed.claim.key.as_str()).collect();
        let claims: Vec<i64> = answers.clone().map(|keyed| keyed.claim.id).collect();
        let statuses: Vec<i32> = answers.clone().map(|keyed| keyed.answer.status.into()).collect();
        let types: Vec<Option<&str>> =
            answers.clone().map(|keyed| keyed.answer.content_type.as_deref()).collect();
        let bodies: Vec<Vec<u8>> = answers.clone().map(|keyed| keyed.answer.body.clone()).collect();
        let kept = sqlx::query_scalar!(
            "UPDATE idempotency_key k SET status = a.status, content_type = a.content_type, body = a.body
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::text[], $7::bytea[])
                  AS a (user_id, route, key, claim, status, content_type, body)
             WHERE k.user_id = a.user_id AND k.route = a.route AND k.key = a.key AND k.claim = a.claim
               AND k.status IS NULL RETURNING k.claim",
            &users,
            &routes as &[&str],
            &keys as &[&str],
            &claims,
            &statuses,
            &types as &[Option<&str>],
            &bodies
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let kept: HashSet<i64> = kept.into_iter().collect();
        Ok(answers.map(|keyed| keyed.claim.clone()).filter(|claim| kept.contains(&claim.id)).collect())
    }

    async fn write_answer(
        &mut self,
        claim: &Claim,
        answer: &SavedResponse,
        provisional: bool,
    ) -> Result<(), DbError> {
        let status = i16::try_from(answer.status)
            .map_err(|_| DbError::Corrupt(format!("an answer has the status {}", answer.status)))?;
        let kept = sqlx::query!(
            "UPDATE idempotency_key
             SET status = $5, content_type = $6, body = $7, provisional = $8, command_id = NULL
             WHERE user_id = $1 AND route = $2 AND key = $3 AND claim = $4 AND (status IS NULL OR provisional)",
            claim.user.0,
            claim.route,
            claim.key,
            claim.id,
            status,
            answer.content_type,
            answer.body,
            provisional
        )
        .execute(&mut *self.inner)
        .await?;
        if kept.rows_affected() == 1 { Ok(()) } else { Err(DbError::Fenced) }
    }
}

fn kept(
    status: Option<i16>,
    content_type: Option<String>,
    body: Option<Vec<u8>>,
) -> Result<Option<SavedResponse>, DbError> {
    let (Some(status), Some(body)) = (status, body) else { return Ok(None) };
    let status = u16::try_from(status)
        .map_err(|_| DbError::Corrupt(format!("a kept answer has the status {status}")))?;
    Ok(Some(SavedResponse { status, content_type, body }))
}
