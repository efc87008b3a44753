//! Codes that wait to be entered, and the logs of codes sent and guesses made that the limits are counted from.
//!
//! Every time here is PostgreSQL's. Reservations of the whole deployment happen one after the other (an advisory
//! lock), guesses of one user likewise (the user's row), so each count includes all that came before.

use std::time::Duration;

use crate::db::DbError;
use crate::domain::{AccountId, PhoneNumber, UserId};
use crate::store::{Store, Tx};

/// What is counted over the 24 hours before a code is sent, and the pause between two codes.
#[derive(Clone, Copy, Debug)]
pub struct CodeLimits {
    /// Between two codes for one number, whoever asks.
    pub pause: Duration,
    /// Codes a day for one number, asked for by one user.
    pub per_user_and_number: i64,
    /// Codes a day for one number, whoever asks.
    pub per_number: i64,
    /// Codes a day asked for by one user.
    pub per_user: i64,
    /// Codes a day in all.
    pub per_deployment: i64,
}

/// A code that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct NewCode<'a> {
    /// Who asks.
    pub user: UserId,
    /// The account whose number it proves.
    pub account: AccountId,
    /// That number.
    pub number: &'a PhoneNumber,
    /// `sms` or `voice`.
    pub method: &'static str,
    /// What is kept of the code.
    pub mac: &'a [u8],
    /// How long it can be entered.
    pub lifetime: Duration,
}

/// A code's row and its entry in the log.
#[derive(Clone, Copy, Debug)]
pub struct CodeId {
    code: i64,
    sent: i64,
}

/// Whether a code may be sent. Waits are whole seconds, rounded up, at least 1.
#[derive(Clone, Copy, Debug)]
pub enum Reservation {
    /// It may, and can be entered from now on; [`Store::code_accepted`] or [`Store::code_refused`] must follow.
    Reserved(CodeId),
    /// The number had a code a moment ago.
    TooSoon {
        /// Seconds until it may have the next.
        retry_after: u64,
    },
    /// A limit per day is reached.
    DailyLimit {
        /// Seconds until all of them leave room for one more.
        retry_after: u64,
    },
    /// The user has no such account, or it has another number.
    NoAccount,
}

/// Whether a guess may be compared.
#[derive(Debug)]
pub enum Guess {
    /// It may, and is counted already.
    Taken(TakenGuess),
    /// No code waits.
    NoneAsked,
    /// The code was not entered in time.
    Expired,
    /// The code's guesses are used up, or the user's of the day.
    TooMany {
        /// Seconds until a new code may be asked for, or a guess leaves the day; at least 1.
        retry_after: u64,
    },
}

/// A guess that is counted and not yet compared.
#[derive(Debug)]
pub struct TakenGuess {
    /// What the code's MAC must be.
    pub mac: Vec<u8>,
    code: i64,
    guess: i64,
}

impl Store {
    /// The code went out, or may have: older ones of its account are void.
    ///
    /// # Errors
    /// Nothing is lost then: the newest code counts anyway.
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

    /// The code surely did not go out: it is void, the one before it counts again, and the number need not wait.
    ///
    /// # Errors
    /// When the database is away: the number has to wait for the usual pause then.
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
                   SELECT max(sent_at) FROM code_sent WHERE number = $3 AND NOT refused
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
        // Not in one transaction with sending: the row may be gone, replaced by a newer code.
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

    /// The guess was right: it is not counted after all, so that the same code can be entered again.
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

    /// Removes what no limit counts any more: codes that expired and entries that were made over a day ago, at
    /// most `batch` of each kind. Returns how many rows went; fewer than `batch` means that nothing is left.
    pub async fn prune_verification(&self, batch: i64) -> Result<u64, DbError> {
        let codes = sqlx::query!(
            "DELETE FROM verification_code WHERE id IN (
               SELECT id FROM verification_code WHERE expires_at < clock_timestamp() - interval '24 hours'
               ORDER BY expires_at LIMIT $1)",
            batch,
        )
        .execute(self.db.pool())
        .await?;
        let sent = sqlx::query!(
            "DELETE FROM code_sent WHERE id IN (
               SELECT id FROM code_sent WHERE sent_at < clock_timestamp() - interval '25 hours'
               ORDER BY sent_at LIMIT $1)",
            batch,
        )
        .execute(self.db.pool())
        .await?;
        let guesses = sqlx::query!(
            "DELETE FROM code_guess WHERE id IN (
               SELECT id FROM code_guess WHERE guessed_at < clock_timestamp() - interval '25 hours'
               ORDER BY guessed_at LIMIT $1)",
            batch,
        )
        .execute(self.db.pool())
        .await?;
        Ok(codes.rows_affected() + sent.rows_affected() + guesses.rows_affected())
    }
}

impl Tx {
    /// Counts a code and makes it the account's newest, if no limit forbids it. Others who want a code wait until the
    /// commit: nothing may follow but a request's answer.
    pub async fn reserve_code(
        &mut self,
        new: NewCode<'_>,
        limits: CodeLimits,
    ) -> Result<Reservation, DbError> {
        let NewCode { user, account, number, method, mac, lifetime } = new;
        // Rows first, in the order in which a user is removed; then the lock, which nobody holds while waiting.
        let found = sqlx::query_scalar!(
            "SELECT account.id FROM windu_user JOIN account ON account.user_id = windu_user.id
             WHERE windu_user.id = $1 AND account.id = $2 AND account.number = $3 FOR KEY SHARE",
            user.0,
            account.0,
            number.as_str(),
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        if found.is_none() {
            return Ok(Reservation::NoAccount);
        }
        // "codes" in ASCII. A statement of its own: the next one must see what the one before us committed.
        sqlx::query!("SELECT pg_advisory_xact_lock(x'636f646573'::bigint)").execute(&mut *self.inner).await?;
        // Of a limit n, the n-th newest code must leave its window before the next may be sent.
        let wait = sqlx::query!(
            r#"SELECT
                 ceil(extract(epoch FROM (
                   SELECT max(sent_at) FROM code_sent WHERE number = $2 AND NOT refused
                 ) + make_interval(secs => $3) - clock_timestamp()))::bigint AS pause,
                 ceil(extract(epoch FROM greatest(
                   (SELECT sent_at FROM code_sent WHERE number = $2 AND user_id = $1
                    ORDER BY sent_at DESC OFFSET $4 LIMIT 1),
                   (SELECT sent_at FROM code_sent WHERE number = $2 ORDER BY sent_at DESC OFFSET $5 LIMIT 1),
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
        )
        .fetch_one(&mut *self.inner)
        .await?;
        if let Some(retry_after) = seconds(wait.day) {
            return Ok(Reservation::DailyLimit { retry_after });
        }
        if let Some(retry_after) = seconds(wait.pause) {
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

    /// Whether a user with at most `limit` accounts that were never proved has room for one more. Holds the
    /// user's row until the end of the transaction, which should also make the account: then the answer stays true.
    pub async fn has_room_for_account(&mut self, user: UserId, limit: i64) -> Result<bool, DbError> {
        // A statement of its own: the count must see what the one before us committed.
        sqlx::query!("SELECT id FROM windu_user WHERE id = $1 FOR NO KEY UPDATE", user.0)
            .fetch_optional(&mut *self.inner)
            .await?;
        let unproved = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM account
               WHERE user_id = $1 AND registered_at IS NULL AND proved_at IS NULL"#,
            user.0,
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(unproved < limit)
    }

    /// Uses up the account's code and notes that its number was proved. False: there was no code any more (two
    /// requests entered it at once, and the other was first), so nothing may follow from it.
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

/// A wait that is not over yet.
fn seconds(wait: Option<i64>) -> Option<u64> {
    wait.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0)
}
