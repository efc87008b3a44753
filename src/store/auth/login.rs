//! The throttle of logins: failures are counted per user name and address, and for strangers, which are addresses that have
//! not signed in as that user for 30 days, per user name and per address, too.

use std::time::Duration;

use sqlx::postgres::PgQueryResult;

use crate::db::DbError;
use crate::domain::UserId;
use crate::store::{Store, Tx, seconds};

/// Failures of one user name and address after which the next attempt has to wait.
const QUICK_FAILURES: i32 = 5;
/// Failures of strangers per hour and user name.
const STRANGER_FAILURES: i32 = 100;
/// Failures of a stranger's address per hour, over all user names.
const ADDRESS_FAILURES: i32 = 100;
/// The wait after the last of the quick failures, in seconds; each further one doubles it.
const FIRST_WAIT: f64 = 5.0;
/// The longest wait after a failure, in seconds. An hour without one resets the count.
const LONGEST_WAIT: f64 = 900.0;

/// An attempt to sign in.
#[derive(Clone)]
pub struct LoginAttempt {
    /// SHA-256 of the entered user name.
    pub name_hash: [u8; 32],
    /// The address, or the network that counts as one address.
    pub address: String,
    /// `None`: there is no user of that name.
    pub user: Option<UserId>,
}

impl Store {
    /// The time until the attempt may be made; `None`: it may be made now.
    pub async fn login_wait(&self, attempt: &LoginAttempt) -> Result<Option<Duration>, DbError> {
        let wait = sqlx::query_scalar!(
            r#"SELECT extract(epoch FROM greatest(
                   (SELECT blocked_until FROM login_failure WHERE name_hash = $1 AND address = $2),
                   CASE WHEN NOT EXISTS (SELECT FROM login_address
                                         WHERE user_id = $3 AND address = $2
                                           AND signed_in_at > now() - interval '30 days')
                   THEN greatest(
                       (SELECT hour_began_at + interval '1 hour' FROM login_stranger
                        WHERE name_hash = $1 AND failures >= $4),
                       (SELECT hour_began_at + interval '1 hour' FROM login_address_failure
                        WHERE address = $2 AND failures >= $5)
                   ) END
               ) - now())::float8 AS wait"#,
            attempt.name_hash.as_slice(),
            attempt.address,
            attempt.user.map(|user| user.0),
            STRANGER_FAILURES,
            ADDRESS_FAILURES
        )
        .fetch_one(self.db.pool())
        .await?;
        Ok(wait.map(seconds).filter(|wait| !wait.is_zero()))
    }

    /// Counts a failure. The fifth one makes the next attempt wait 5 s, and each further one twice as long.
    pub async fn record_login_failure(&self, attempt: &LoginAttempt) -> Result<(), DbError> {
        sqlx::query!(
            "WITH counted_failure AS (
                 INSERT INTO login_failure AS old (name_hash, address, failures, failed_at, blocked_until)
                 VALUES ($1, $2, 1, now(), now())
                 ON CONFLICT (name_hash, address) DO UPDATE SET
                     failures = CASE WHEN old.failed_at < now() - interval '1 hour' THEN 1
                                     ELSE old.failures + 1 END,
                     failed_at = now(),
                     blocked_until = CASE
                         WHEN old.failed_at < now() - interval '1 hour' OR old.failures + 1 < $4 THEN now()
                         ELSE now() + make_interval(
                             secs => least($6::float8, $7 * power(2, least(old.failures + 1 - $4, 30))))
                     END
             ), stranger AS (
                 SELECT WHERE NOT EXISTS (SELECT FROM login_address
                                          WHERE user_id = $3 AND address = $2
                                            AND signed_in_at > now() - interval '30 days')
             ), counted_name AS (
                 INSERT INTO login_stranger AS old (name_hash, failures, hour_began_at)
                 SELECT $1, 1, now() FROM stranger
                 ON CONFLICT (name_hash) DO UPDATE SET
                     failures = CASE WHEN old.hour_began_at < now() - interval '1 hour' THEN 1
                                     ELSE least(old.failures + 1, $5) END,
                     hour_began_at = CASE WHEN old.hour_began_at < now() - interval '1 hour' THEN now()
                                          ELSE old.hour_began_at END
             )
             INSERT INTO login_address_failure AS old (address, failures, hour_began_at)
             SELECT $2, 1, now() FROM stranger
             ON CONFLICT (address) DO UPDATE SET
                 failures = CASE WHEN old.hour_began_at < now() - interval '1 hour' THEN 1
                                 ELSE least(old.failures + 1, $8) END,
                 hour_began_at = CASE WHEN old.hour_began_at < now() - interval '1 hour' THEN now()
                                      ELSE old.hour_began_at END",
            attempt.name_hash.as_slice(),
            attempt.address,
            attempt.user.map(|user| user.0),
            QUICK_FAILURES,
            STRANGER_FAILURES,
            LONGEST_WAIT,
            FIRST_WAIT,
            ADDRESS_FAILURES
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Deletes at most `limit` expired counts of each kind; returns how many.
    pub async fn prune_logins(&self, limit: i64) -> Result<u64, DbError> {
        let failures = sqlx::query!(
            "DELETE FROM login_failure WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM login_failure WHERE failed_at < now() - interval '1 hour'
                 ORDER BY failed_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
            limit
        )
        .execute(self.db.pool())
        .await?;
        let strangers = sqlx::query!(
            "DELETE FROM login_stranger WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM login_stranger WHERE hour_began_at < now() - interval '1 hour'
                 ORDER BY hour_began_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
            limit
        )
        .execute(self.db.pool())
        .await?;
        let networks = sqlx::query!(
            "DELETE FROM login_address_failure WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM login_address_failure WHERE hour_began_at < now() - interval '1 hour'
                 ORDER BY hour_began_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
            limit
        )
        .execute(self.db.pool())
        .await?;
        let addresses = sqlx::query!(
            "DELETE FROM login_address WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM login_address WHERE signed_in_at < now() - interval '30 days'
                 ORDER BY signed_in_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
            limit
        )
        .execute(self.db.pool())
        .await?;
        let pruned = [failures, strangers, networks, addresses];
        Ok(pruned.iter().map(PgQueryResult::rows_affected).sum())
    }
}

impl Tx {
    /// Deletes the failures of this user name and address, and stores the address.
    pub async fn record_login(&mut self, user: UserId, attempt: &LoginAttempt) -> Result<(), DbError> {
        sqlx::query!(
            "WITH forgiven AS (DELETE FROM login_failure WHERE name_hash = $1 AND address = $2)
             INSERT INTO login_address (user_id, address, signed_in_at) VALUES ($3, $2, now())
             ON CONFLICT (user_id, address) DO UPDATE SET signed_in_at = excluded.signed_in_at",
            attempt.name_hash.as_slice(),
            attempt.address,
            user.0
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
