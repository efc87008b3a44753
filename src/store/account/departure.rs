//! Departures: accounts and logins that are still to leave their network, see the table `departure`.

use chrono::{DateTime, Utc};

use super::registration::StoredLogin;
use crate::db::DbError;
use crate::domain::{AccountId, PhoneNumber};
use crate::store::{Store, Tx};

/// Who asks a network for a departure has so many seconds; and so long a registration of the number holds them.
const HELD: f64 = 120.0;
/// The pause before the second attempt, in seconds. It doubles.
const PAUSE: f64 = 10.0;
/// The longest pause, in seconds.
const LONGEST_PAUSE: f64 = 3_600.0;

/// A departure that its caller holds.
#[derive(Clone)]
pub struct Departure {
    pub id: i64,
    pub network: String,
    pub number: PhoneNumber,
    pub account: AccountId,
    /// `None`: the account of the number is to be deleted.
    pub login: Option<StoredLogin>,
    pub noted_at: DateTime<Utc>,
}

/// What is to leave a network.
#[derive(Clone, Copy)]
pub struct NewDeparture<'a> {
    pub network: &'a str,
    pub number: &'a PhoneNumber,
    pub account: AccountId,
    /// `None`: the account of the number is to be deleted.
    pub login: Option<&'a StoredLogin>,
}

impl Store {
    /// Notes a departure and holds it.
    pub async fn note_departure(&self, new: NewDeparture<'_>) -> Result<i64, DbError> {
        let mut tx = self.begin().await?;
        let id = tx.note_departure(new).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Takes the departure from one of these networks that has waited longest, and holds it. A number that is registered on
    /// its network again does not leave it.
    pub async fn take_departure(&self, networks: &[String]) -> Result<Option<Departure>, DbError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query!(
            "SELECT id, network, number, account_id, credentials, resume_point, keys, values, noted_at FROM departure
             WHERE due_at < statement_timestamp() AND network = ANY($1)
               AND (held_until IS NULL OR held_until < statement_timestamp())
             ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED",
            networks
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(row) = row else { return Ok(None) };
        sqlx::query!(
            "UPDATE departure SET attempts = attempts + 1,
                    held_until = clock_timestamp() + make_interval(secs => $2) WHERE id = $1",
            row.id,
            HELD
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        let number = PhoneNumber::from_stored(&row.number)
            .ok_or_else(|| DbError::Corrupt("a departure of no number".to_owned()))?;
        let state = row.keys.into_iter().zip(row.values).collect();
        let login = row.credentials.map(|credentials| StoredLogin {
            credentials,
            resume_point: row.resume_point,
            state,
        });
        Ok(Some(Departure {
            id: row.id,
            network: row.network,
            number,
            account: AccountId(row.account_id),
            login,
            noted_at: row.noted_at,
        }))
    }

    /// It has left, or is given up.
    pub async fn forget_departure(&self, departure: i64) -> Result<(), DbError> {
        sqlx::query!("DELETE FROM departure WHERE id = $1", departure).execute(self.db.pool()).await?;
        Ok(())
    }

    /// Lets a departure be tried again, after a pause.
    pub async fn release_departure(&self, departure: i64) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE departure SET held_until = NULL, due_at = clock_timestamp()
                    + make_interval(secs => least($3, $2 * power(2, least(attempts, 20)))) WHERE id = $1",
            departure,
            PAUSE,
            LONGEST_PAUSE
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Releases what [`Self::hold_departures`] holds, and what was noted since, after the registration has failed.
    pub async fn release_departures(&self, network: &str, number: &PhoneNumber) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE departure SET held_until = NULL, due_at = clock_timestamp() + make_interval(secs => $3)
             WHERE network = $1 AND number = $2 AND credentials IS NULL",
            network,
            number.as_str(),
            PAUSE
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Holds the departures of accounts with a number, because it is registered on the network again. False: one of them is
    /// just being deleted there.
    pub async fn hold_departures(&self, network: &str, number: &PhoneNumber) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            r#"SELECT id, coalesce(held_until > clock_timestamp(), false) AS "busy!" FROM departure
               WHERE network = $1 AND number = $2 AND credentials IS NULL ORDER BY id FOR UPDATE"#,
            network,
            number.as_str()
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        if rows.iter().any(|row| row.busy) {
            return Ok(false);
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        sqlx::query!(
            "UPDATE departure SET held_until = clock_timestamp() + make_interval(secs => $2) WHERE id = ANY($1)",
            &ids,
            HELD
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok(true)
    }
}

impl Tx {
    /// Notes a departure, held by the caller.
    pub async fn note_departure(&mut self, new: NewDeparture<'_>) -> Result<i64, DbError> {
        let (keys, values): (Vec<String>, Vec<Vec<u8>>) =
            new.login.into_iter().flat_map(|login| login.state.iter().cloned()).unzip();
        let id = sqlx::query_scalar!(
            "INSERT INTO departure (network, number, account_id, credentials, resume_point, keys, values, held_until)
             VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + make_interval(secs => $8)) RETURNING id",
            new.network,
            new.number.as_str(),
            new.account.0,
            new.login.map(|login| login.credentials.as_slice()),
            new.login.and_then(|login| login.resume_point.as_deref()),
            &keys,
            &values,
            HELD
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(id)
    }

    /// The number has a new account on the network, so there is no other one to delete any more.
    pub(super) async fn forget_departures_of(
        &mut self,
        network: &str,
        number: &PhoneNumber,
    ) -> Result<(), DbError> {
        sqlx::query!(
            "DELETE FROM departure WHERE network = $1 AND number = $2 AND credentials IS NULL",
            network,
            number.as_str()
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
