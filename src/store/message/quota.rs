//! The quota of the bytes in a user's messages: bytes are reserved before a file is stored, and counted when its message
//! is accepted, in one transaction with the end of the reservation.

use crate::db::DbError;
use crate::domain::UserId;
use crate::store::{Store, Tx};

/// How long a reservation counts whose request has not ended it, because its process was killed: longer than any request.
const LIFETIME_SECONDS: f64 = 300.0;

/// Bytes that are reserved for the file of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MediaReservation(i64);

/// The outcome of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The bytes count as the user's from now on.
    Done(MediaReservation),
    /// With these bytes of the user, stored or reserved, there would be too many.
    TooMany(u64),
}

/// A user's bytes at one moment.
struct Counted {
    bytes: u64,
    /// The number of the user's last reservation.
    turn: i64,
}

impl Store {
    /// Reserves bytes for a file of the user, who may have `most`. What others send to the user's accounts counts, and may
    /// exceed that.
    pub async fn reserve_media(&self, user: UserId, bytes: u64, most: u64) -> Result<Reserved, DbError> {
        loop {
            let counted = self.count_media(user).await?;
            if counted.bytes.saturating_add(bytes) > most {
                return Ok(Reserved::TooMany(counted.bytes));
            }
            // Each attempt that fails has let another one succeed.
            if let Some(reservation) = self.take_turn(user, counted.turn, bytes).await? {
                return Ok(Reserved::Done(reservation));
            }
        }
    }

    /// Ends a reservation whose file is not sent. Nothing happens when its message was accepted.
    pub async fn free_media(&self, reservation: MediaReservation) -> Result<(), DbError> {
        sqlx::query!("DELETE FROM media_reservation WHERE id = $1", reservation.0)
            .execute(self.db.pool())
            .await?;
        Ok(())
    }

    /// Deletes up to `batch` reservations that have expired. Returns how many.
    pub async fn prune_reservations(&self, batch: i64) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM media_reservation WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM media_reservation
                 WHERE expires_at < statement_timestamp() ORDER BY expires_at LIMIT $1))",
            batch
        )
        .execute(self.db.pool())
        .await?;
        Ok(deleted.rows_affected())
    }

    async fn count_media(&self, user: UserId) -> Result<Counted, DbError> {
        // One statement, so that a file that is accepted meanwhile counts once: as reserved or as stored.
        let counted = sqlx::query!(
            r#"SELECT (SELECT coalesce(sum(u.bytes), 0) FROM account a
                       CROSS JOIN LATERAL (SELECT bytes FROM media_usage WHERE account_id = a.id LIMIT 1) u
                       WHERE a.user_id = $1)::bigint AS "stored!",
                      (SELECT coalesce(sum(bytes), 0) FROM media_reservation
                       WHERE user_id = $1 AND expires_at >= statement_timestamp())::bigint AS "reserved!",
                      coalesce((SELECT turn FROM media_turn WHERE user_id = $1), 0) AS "turn!""#,
            user.0
        )
        .fetch_one(self.db.pool())
        .await?;
        let bytes = u64::try_from(counted.stored.saturating_add(counted.reserved)).unwrap_or(0);
        Ok(Counted { bytes, turn: counted.turn })
    }

    /// Reserves bytes, unless somebody else has done so for this user since the turn.
    async fn take_turn(
        &self,
        user: UserId,
        turn: i64,
        bytes: u64,
    ) -> Result<Option<MediaReservation>, DbError> {
        let reserved = sqlx::query_scalar!(
            "WITH taken AS (
                 INSERT INTO media_turn AS t (user_id, turn) VALUES ($1, $2::bigint + 1)
                 ON CONFLICT (user_id) DO UPDATE SET turn = excluded.turn WHERE t.turn = $2
                 RETURNING user_id)
             INSERT INTO media_reservation (user_id, bytes, expires_at)
             SELECT user_id, $3, statement_timestamp() + make_interval(secs => $4) FROM taken RETURNING id",
            user.0,
            turn,
            i64::try_from(bytes).unwrap_or(i64::MAX),
            LIFETIME_SECONDS
        )
        .fetch_optional(self.db.pool())
        .await?;
        Ok(reserved.map(MediaReservation))
    }
}

impl Tx {
    /// Ends the reservations of messages that are accepted in this transaction, which counts their files.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when one of them has ended already: the caller must not commit.
    pub(in crate::store) async fn use_reservations(
        &mut self,
        reservations: &[MediaReservation],
    ) -> Result<(), DbError> {
        if reservations.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = reservations.iter().map(|reservation| reservation.0).collect();
        let ended = sqlx::query!(
            "DELETE FROM media_reservation WHERE id = ANY($1) AND expires_at >= statement_timestamp()",
            &ids
        )
        .execute(&mut *self.inner)
        .await?;
        let all = usize::try_from(ended.rows_affected()).is_ok_and(|ended| ended == ids.len());
        if all { Ok(()) } else { Err(DbError::Fenced) }
    }
}
