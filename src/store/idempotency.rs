//! Idempotency keys: the request that runs under a key, and its saved response, for a day.
//!
//! A claim is committed before anything else is done. The changes of a request are then committed together with what a
//! repeat needs to give the same answer, in case the process dies: the response ([`Tx::save_answer`]); the expected
//! response, while something outside is done that no transaction covers ([`Tx::expect_answer`]); the command
//! ([`Store::ask`]). All of it is written under the claim: if two processes both believe that they run a request, one of
//! them changes nothing.
//!
//! A key belongs to the parameters that it was first used with, also while it has no response.

use std::collections::HashSet;

use super::{LEASE_SECONDS, Store, Tx};
use crate::db::DbError;
use crate::domain::{CommandId, ProcessId, UserId};
use crate::secrets;

/// How long a key and its response are stored.
const RETENTION_SECONDS: f64 = 24.0 * 3600.0;
/// Attempts to claim or read a key whose row is deleted between the two statements.
const CLAIM_ATTEMPTS: usize = 3;
/// The process id of a key whose request ended without a response to save.
const NO_PROCESS: i64 = 0;

/// A request with an idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct IdempotentRequest<'a> {
    pub user: UserId,
    /// Method and pattern of the path.
    pub route: &'a str,
    /// As the caller chose it.
    pub key: &'a str,
    /// A hash of the parameters.
    pub fingerprint: &'a [u8; 32],
    /// The process that would run it.
    pub process: ProcessId,
}

/// The right of one process to run a request, as long as the process has a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    user: UserId,
    route: String,
    key: String,
    /// Chosen before the claim is made, so that a caller can end a claim without knowing whether it was made.
    id: i64,
    fingerprint: [u8; 32],
    /// The command that an earlier claimant wrote and left without an answer.
    pub command: Option<CommandId>,
}

/// A response that is sent again when its request is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedResponse {
    /// The HTTP status.
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// A claim and the response that ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedResponse {
    pub claim: Claim,
    /// The response in case that the request's transaction commits.
    pub answer: SavedResponse,
}

/// The state of a key for a request.
#[derive(Clone, Debug)]
pub enum KeyState {
    /// The key was free: the request runs under this claim.
    Claimed(Claim),
    /// The first request still runs.
    Running,
    /// The key belongs to a request with other parameters.
    Reused,
    /// The response of the first request.
    Answered(SavedResponse),
    /// The connection broke before PostgreSQL answered: the key may be claimed, now or soon. The claim has to be settled.
    InDoubt(Claim, DbError),
}

impl Store {
    /// Claims a key, or returns its state. A claim whose process has no heartbeat any more, and a key older than a day,
    /// do not count. After an error nothing is claimed.
    pub async fn claim_key(&self, request: IdempotentRequest<'_>) -> Result<KeyState, DbError> {
        let claim = Claim {
            user: request.user,
            route: request.route.to_owned(),
            key: request.key.to_owned(),
            id: i64::from_be_bytes(secrets::random_bytes()),
            fingerprint: *request.fingerprint,
            command: None,
        };
        for _ in 0..CLAIM_ATTEMPTS {
            if let Some(state) = self.try_to_claim(&claim, request.process).await? {
                return Ok(state);
            }
            if let Some(state) = self.key_state(request).await? {
                return Ok(state);
            }
        }
        Ok(KeyState::Running)
    }

    /// Saves the response of a request that has ended, or frees its key when there is none. Nothing happens when the claim
    /// is over: another process took it, or the response was saved together with the request's changes. A claim that
    /// PostgreSQL has not executed yet is refused when it does.
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

    /// Deletes up to `batch` keys that are older than a day. Returns how many.
    pub async fn prune_keys(&self, batch: i64) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM idempotency_key WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM idempotency_key
                WHERE created_at < statement_timestamp() - make_interval(secs => $2) ORDER BY created_at LIMIT $1))
             AND created_at < statement_timestamp() - make_interval(secs => $2)",
            batch,
            RETENTION_SECONDS
        )
        .execute(self.db.pool())
        .await?;
        Ok(deleted.rows_affected())
    }

    /// Claims a key that is new, or that the same request had before in a process that is dead. If that process had
    /// written an expected response, that is the response. A claim that was settled already is not made.
    async fn try_to_claim(&self, claim: &Claim, process: ProcessId) -> Result<Option<KeyState>, DbError> {
        // An error before the statement is sent leaves no doubt: nothing is claimed.
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
            RETENTION_SECONDS,
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
        if let Some(answer) = saved_response(row.status, row.content_type, row.body)? {
            return Ok(Some(KeyState::Answered(answer)));
        }
        Ok(Some(KeyState::Claimed(Claim { command: row.command_id.map(CommandId), ..claim.clone() })))
    }

    /// The state of a key that could not be claimed; `None` when it is free by now.
    async fn key_state(&self, request: IdempotentRequest<'_>) -> Result<Option<KeyState>, DbError> {
        let row = sqlx::query!(
            r#"WITH expired AS (
                DELETE FROM idempotency_key WHERE user_id = $1 AND route = $2 AND key = $3
                  AND created_at < clock_timestamp() - make_interval(secs => $4) RETURNING key)
             SELECT fingerprint, provisional, status, content_type, body FROM idempotency_key
             WHERE user_id = $1 AND route = $2 AND key = $3 AND NOT EXISTS (SELECT 1 FROM expired)"#,
            request.user.0,
            request.route,
            request.key,
            RETENTION_SECONDS
        )
        .fetch_optional(self.db.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.fingerprint != request.fingerprint {
            return Ok(Some(KeyState::Reused));
        }
        match saved_response(row.status, row.content_type, row.body)? {
            Some(answer) if !row.provisional => Ok(Some(KeyState::Answered(answer))),
            Some(_) | None => Ok(Some(KeyState::Running)),
        }
    }
}

impl Tx {
    /// Saves the response of a request that has a key, together with the request's changes. To be called last before the
    /// commit, because requests for the same key wait from here on.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the claim is over: the caller must not commit.
    pub async fn save_answer(&mut self, response: Option<&ClaimedResponse>) -> Result<(), DbError> {
        match response {
            Some(ClaimedResponse { claim, answer }) => self.write_answer(claim, answer, false).await,
            None => Ok(()),
        }
    }

    /// Like [`Tx::save_answer`], for a request that goes on after the transaction: if its process dies, a repeat gets this
    /// response and does nothing. Otherwise the request ends like any other.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the claim is over: the caller must not commit.
    pub async fn expect_answer(&mut self, response: Option<&ClaimedResponse>) -> Result<(), DbError> {
        match response {
            Some(ClaimedResponse { claim, answer }) => self.write_answer(claim, answer, true).await,
            None => Ok(()),
        }
    }

    /// Stores the command that the request waits for.
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

    /// Ends a claim without a response: a repeat of the request may claim the key again, and go on with its command. If
    /// PostgreSQL has not executed the claim yet, this writes a row with the claim's id, so that the claim fails.
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
            NO_PROCESS,
            claim.id
        )
        .execute(&mut *self.inner)
        .await?;
        if freed.rows_affected() == 1 { Ok(()) } else { Err(DbError::Fenced) }
    }

    /// [`Tx::save_answer`] for several requests; returns the claims that are not over.
    pub(super) async fn save_answers<'a>(
        &mut self,
        responses: impl Iterator<Item = &'a ClaimedResponse> + Clone,
    ) -> Result<HashSet<Claim>, DbError> {
        let users: Vec<i64> = responses.clone().map(|response| response.claim.user.0).collect();
        let routes: Vec<&str> = responses.clone().map(|response| response.claim.route.as_str()).collect();
        let keys: Vec<&str> = responses.clone().map(|response| response.claim.key.as_str()).collect();
        let claims: Vec<i64> = responses.clone().map(|response| response.claim.id).collect();
        let statuses: Vec<i32> = responses.clone().map(|response| response.answer.status.into()).collect();
        let types: Vec<Option<&str>> =
            responses.clone().map(|response| response.answer.content_type.as_deref()).collect();
        let bodies: Vec<Vec<u8>> = responses.clone().map(|response| response.answer.body.clone()).collect();
        let saved = sqlx::query_scalar!(
            "UPDATE idempotency_key k SET status = a.status, content_type = a.content_type, body = a.body
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::text[], $7::bytea[])
                  AS a (user_id, route, key, claim, status, content_type, body)
             CROSS JOIN LATERAL (
                 SELECT ctid AS place FROM idempotency_key
                 WHERE user_id = a.user_id AND route = a.route AND key = a.key LIMIT 1) old
             WHERE k.ctid = old.place AND k.claim = a.claim AND k.status IS NULL RETURNING k.claim",
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
        let saved: HashSet<i64> = saved.into_iter().collect();
        Ok(responses
            .map(|response| response.claim.clone())
            .filter(|claim| saved.contains(&claim.id))
            .collect())
    }

    async fn write_answer(
        &mut self,
        claim: &Claim,
        answer: &SavedResponse,
        provisional: bool,
    ) -> Result<(), DbError> {
        let status = i16::try_from(answer.status)
            .map_err(|_| DbError::Corrupt(format!("a response has the status {}", answer.status)))?;
        let saved = sqlx::query!(
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
        if saved.rows_affected() == 1 { Ok(()) } else { Err(DbError::Fenced) }
    }
}

fn saved_response(
    status: Option<i16>,
    content_type: Option<String>,
    body: Option<Vec<u8>>,
) -> Result<Option<SavedResponse>, DbError> {
    let (Some(status), Some(body)) = (status, body) else { return Ok(None) };
    let status = u16::try_from(status)
        .map_err(|_| DbError::Corrupt(format!("a saved response has the status {status}")))?;
    Ok(Some(SavedResponse { status, content_type, body }))
}
