//! Verification codes, and the logs of sent codes and of guesses, from which the limits are counted.
//!
//! All times are PostgreSQL's. The reservations of the whole deployment happen one after the other (an advisory lock),
//! and the guesses of one user too (the lock of the user's row), so each count includes all earlier ones.

use std::time::Duration;

use crate::db::DbError;
use crate::domain::{AccountId, PhoneNumber, UserId};
use crate::store::{Store, Tx};

/// Limits on the codes of the last 24 hours, and the pause between two codes. For the user who has the number registered
/// here, the codes of others do not count: nobody can use up the owner's codes.
#[derive(Clone, Copy, Debug)]
pub struct CodeLimits {
    /// Between two codes for one number, of any user.
    pub pause: Duration,
    pub per_user_and_number: i64,
    /// Of all users who have not registered it.
    pub per_number: i64,
    pub per_user: i64,
    pub per_deployment: i64,
}

/// A code that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct NewCode<'a> {
    pub user: UserId,
    /// The account whose number it proves.
    pub account: AccountId,
    pub number: &'a PhoneNumber,
    /// `sms` or `voice`.
    pub method: &'static str,
    /// A MAC of the code, which is not stored itself; empty for a code of the network's, which we do not know.
    pub mac: &'a [u8],
    /// How long the code can be entered.
    pub lifetime: Duration,
}

/// The ids of a code and of its entry in the log.
#[derive(Clone, Copy, Debug)]
pub struct CodeId {
    code: i64,
    sent: i64,
}

/// The decision whether a code may be sent. Waits are whole seconds, rounded up, at least 1.
#[derive(Clone, Copy, Debug)]
pub enum Reservation {
    /// It may be sent, and can be entered from now on; [`Store::code_accepted`] or [`Store::code_refused`] must follow.
    Reserved(CodeId),
    /// The pause since the last code of the number is not over, ours or the network's.
    TooSoon {
        /// Seconds until the end of the pause.
        retry_after: u64,
    },
    /// A limit per day is reached.
    DailyLimit {
        /// Seconds until all limits allow one more code.
        retry_after: u64,
    },
    /// The user has no such account, or it has another number.
    NoAccount,
}

/// The decision whether a guess may be compared.
#[derive(Debug)]
pub enum Guess {
    /// It may be compared, and is counted already.
    Taken(TakenGuess),
    /// The account has no code.
    NoneAsked,
    /// The code was not entered in time.
    Expired,
    /// The guesses for the code, or those of the user in 24 hours, are used up.
    TooMany {
        /// Seconds until a new code may be requested, or until the user may guess again; at least 1.
        retry_after: u64,
    },
}

/// A guess that is counted and not yet compared.
#[derive(Debug)]
pub struct TakenGuess {
    /// The MAC of the right code.
    pub mac: Vec<u8>,
    code: i64,
    guess: i64,
}

impl Store {
    /// Deletes the older codes of the account, after a code was sent or may have been sent. An error does no harm: only
    /// the newest code counts anyway.
    pub async fn code_accepted(&self, id: CodeId) -> Result<(), DbError> {
        sqlx::query!(
            "DELETE FROM verification_code older USING verification_code newer
             WHERE newer.id = $1 AND older.account_id = newer.account_id AND older.id < newer.id",
            id.code,
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Deletes a code that was certainly not sent: the code before it counts again, and the number need not wait. After an
    /// error the number has to wait for the usual pause.
    pub async fn code_refused(&self, id: CodeId) -> Result<(), DbError> {
        sqlx::query!(
            "WITH void AS (DELETE FROM verification_code WHERE id = $1)
             UPDATE code_sent SET refused = true WHERE id = $2",
            id.code,
            id.sent,
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Counts a guess at the account's newest code, before it is compared. `pause` as in [`CodeLimits`].
    pub async fn take_guess(
        &self,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
        per_code: i32,
        per_user: i64,
        pause: Duration,
    ) -> Result<Guess, DbError> {
        let mut tx = self.begin().await?.inner;
        sqlx::query!("SELECT id FROM windu_user WHERE id = $1 FOR NO KEY UPDATE", user.0)
            .fetch_optional(&mut *tx)
            .await?;
        let code = sqlx::query!(
            r#"SELECT code.id, code.mac, code.guesses, code.expires_at <= clock_timestamp() AS "expired!",
                 ceil(extract(epoch FROM (
                   SELECT max(sent_at) FROM code_sent
                   WHERE number = $3 AND NOT refused AND (user_id = $1 OR account.registered_at IS NULL)
                 ) + make_interval(secs => $4) - clock_timestamp()))::bigint AS pause,
                 ceil(extract(epoch FROM (
                   SELECT guessed_at FROM code_guess WHERE user_id = $1
                   ORDER BY guessed_at DESC OFFSET $5 LIMIT 1
                 ) + interval '24 hours' - clock_timestamp()))::bigint AS day
               FROM verification_code code JOIN account ON account.id = code.account_id
               WHERE account.user_id = $1 AND account.id = $2 AND account.number = $3
               ORDER BY code.id DESC LIMIT 1"#,
            user.0,
            account.0,
            number.as_str(),
            pause.as_secs_f64(),
            per_user - 1,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(code) = code else { return Ok(Guess::NoneAsked) };
        if code.expired {
            return Ok(Guess::Expired);
        }
        if let Some(retry_after) = seconds(code.day) {
            return Ok(Guess::TooMany { retry_after });
        }
        if code.guesses >= per_code {
            return Ok(Guess::TooMany { retry_after: seconds(code.pause).unwrap_or(1) });
        }
        // Sending does not lock the user's row: the code may have been replaced by a newer one.
        let counted =
            sqlx::query!("UPDATE verification_code SET guesses = guesses + 1 WHERE id = $1", code.id)
                .execute(&mut *tx)
                .await?;
        if counted.rows_affected() == 0 {
            return Ok(Guess::NoneAsked);
        }
        let guess = sqlx::query_scalar!(
            "INSERT INTO code_guess (user_id, guessed_at) VALUES ($1, clock_timestamp()) RETURNING id",
            user.0,
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Guess::Taken(TakenGuess { mac: code.mac, code: code.id, guess }))
    }

    /// Takes back the count of a right guess, so that the same code can be entered again.
    pub async fn give_guess_back(&self, taken: &TakenGuess) -> Result<(), DbError> {
        sqlx::query!(
            "WITH back AS (DELETE FROM code_guess WHERE id = $2)
             UPDATE verification_code SET guesses = guesses - 1 WHERE id = $1 AND guesses > 0",
            taken.code,
            taken.guess,
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Deletes codes that expired and log entries that were made more than a day ago, at most `batch` of each kind.
    /// Returns how many; fewer than `batch` means that none are left.
    pub async fn prune_verification(&self, batch: i64) -> Result<u64, DbError> {
        let codes = sqlx::query!(
            "DELETE FROM verification_code WHERE ctid = ANY(ARRAY(
               SELECT ctid FROM verification_code WHERE expires_at < statement_timestamp() - interval '24 hours'
               ORDER BY expires_at LIMIT $1))",
            batch,
        )
        .execute(self.db.pool())
        .await?;
        let sent = sqlx::query!(
            "DELETE FROM code_sent WHERE ctid = ANY(ARRAY(
               SELECT ctid FROM code_sent WHERE sent_at < statement_timestamp() - interval '25 hours'
               ORDER BY sent_at LIMIT $1))",
            batch,
        )
        .execute(self.db.pool())
        .await?;
        let guesses = sqlx::query!(
            "DELETE FROM code_guess WHERE ctid = ANY(ARRAY(
               SELECT ctid FROM code_guess WHERE guessed_at < statement_timestamp() - interval '25 hours'
               ORDER BY guessed_at LIMIT $1))",
            batch,
        )
        .execute(self.db.pool())
        .await?;
        Ok(codes.rows_affected() + sent.rows_affected() + guesses.rows_affected())
    }
}

impl Tx {
    /// Counts a code and makes it the account's newest, if no limit forbids it. All other reservations wait until the
    /// commit: only the saved response of the request may follow in the transaction.
    pub async fn reserve_code(
        &mut self,
        new: NewCode<'_>,
        limits: CodeLimits,
    ) -> Result<Reservation, DbError> {
        let NewCode { user, account, number, method, mac, lifetime } = new;
        // Rows first, in the order in which a user is deleted; the advisory lock last, so that its holder never waits.
        let found = sqlx::query_scalar!(
            r#"SELECT account.registered_at IS NOT NULL AS "owner!"
               FROM windu_user JOIN account ON account.user_id = windu_user.id
               WHERE windu_user.id = $1 AND account.id = $2 AND account.number = $3 FOR KEY SHARE"#,
            user.0,
            account.0,
            number.as_str(),
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(owner) = found else { return Ok(Reservation::NoAccount) };
        // "codes" in ASCII. A statement of its own: the next one must see what the lock's last holder committed.
        sqlx::query!("SELECT pg_advisory_xact_lock(x'636f646573'::bigint)").execute(&mut *self.inner).await?;
        // With a limit n, the n-th newest code must leave its window before the next may be sent.
        let wait = sqlx::query!(
            r#"SELECT
                 ceil(extract(epoch FROM (
                   SELECT max(sent_at) FROM code_sent
                   WHERE number = $2 AND NOT refused AND (user_id = $1 OR NOT $8)
                 ) + make_interval(secs => $3) - clock_timestamp()))::bigint AS pause,
                 ceil(extract(epoch FROM (
                   SELECT again_at FROM registration WHERE account_id = $9
                 ) - clock_timestamp()))::bigint AS network,
                 ceil(extract(epoch FROM greatest(
                   (SELECT sent_at FROM code_sent WHERE number = $2 AND user_id = $1
                    ORDER BY sent_at DESC OFFSET $4 LIMIT 1),
                   (SELECT sent_at FROM code_sent WHERE number = $2 AND NOT $8
                    ORDER BY sent_at DESC OFFSET $5 LIMIT 1),
                   (SELECT sent_at FROM code_sent WHERE user_id = $1 ORDER BY sent_at DESC OFFSET $6 LIMIT 1),
                   (SELECT sent_at FROM code_sent ORDER BY sent_at DESC OFFSET $7 LIMIT 1)
                 ) + interval '24 hours' - clock_timestamp()))::bigint AS day"#,
            user.0,
            number.as_str(),
            limits.pause.as_secs_f64(),
            limits.per_user_and_number - 1,
            limits.per_number - 1,
            limits.per_user - 1,
            limits.per_deployment - 1,
            owner,
            account.0,
        )
        .fetch_one(&mut *self.inner)
        .await?;
        if let Some(retry_after) = seconds(wait.day) {
            return Ok(Reservation::DailyLimit { retry_after });
        }
        if let Some(retry_after) = seconds(wait.pause.max(wait.network)) {
            return Ok(Reservation::TooSoon { retry_after });
        }
        let sent = sqlx::query_scalar!(
            "INSERT INTO code_sent (user_id, number, sent_at) VALUES ($1, $2, clock_timestamp()) RETURNING id",
            user.0,
            number.as_str(),
        )
        .fetch_one(&mut *self.inner)
        .await?;
        let code = sqlx::query_scalar!(
            "INSERT INTO verification_code (account_id, mac, method, expires_at)
             VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4)) RETURNING id",
            account.0,
            mac,
            method,
            lifetime.as_secs_f64(),
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(Reservation::Reserved(CodeId { code, sent }))
    }

    /// Whether the user has fewer than `limit` accounts that were never proved. Locks the user's row until the end of the
    /// transaction; the answer stays true if the same transaction makes the account.
    pub async fn has_room_for_account(&mut self, user: UserId, limit: i64) -> Result<bool, DbError> {
        // A statement of its own: the count must see what the lock's last holder committed.
        sqlx::query!("SELECT id FROM windu_user WHERE id = $1 FOR NO KEY UPDATE", user.0)
            .fetch_optional(&mut *self.inner)
            .await?;
        let unproved = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM account
               WHERE user_id + 0 = $1 AND registered_at IS NULL AND proved_at IS NULL"#,
            user.0,
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(unproved < limit)
    }

    /// Whether the user has `limit` accounts or more. Under the lock of [`Tx::has_room_for_account`].
    pub async fn has_accounts(&mut self, user: UserId, limit: u32) -> Result<bool, DbError> {
        let found = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (SELECT 1 FROM account WHERE user_id = $1 LIMIT $2) found"#,
            user.0,
            i64::from(limit)
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(found >= i64::from(limit))
    }

    /// Uses up the account's code and marks its number as proved. False: there was no code any more, because another
    /// request entered it first; the caller must go no further.
    pub async fn consume_code(&mut self, account: AccountId) -> Result<bool, DbError> {
        let codes = sqlx::query!("DELETE FROM verification_code WHERE account_id = $1", account.0)
            .execute(&mut *self.inner)
            .await?;
        if codes.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("UPDATE account SET proved_at = clock_timestamp() WHERE id = $1", account.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(true)
    }
}

/// A wait that is not over yet, in seconds.
fn seconds(wait: Option<i64>) -> Option<u64> {
    wait.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0)
}
