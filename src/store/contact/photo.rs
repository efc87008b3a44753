//! Profile photos: an account's own, and those of others that it sees.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{Account, AccountId, Aspect, Event, Lease, PeerId, Photo, PhotoReference, Visible};
use crate::store::{ProfileScope, Store, Tx, topic};

/// A person's photo as the account sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPhoto {
    /// The number or public id.
    pub public_id: String,
    /// `None`: they have none.
    pub photo: Visible<Option<SeenPhoto>>,
}

/// A photo that a person has or had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenPhoto {
    /// The id of its row in `photo_change`.
    pub change: i64,
    pub photo: Photo,
}

/// A change of a person's photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhotoChange {
    /// `None`: it was removed.
    pub photo: Option<SeenPhoto>,
    /// The time at which it was stored.
    pub updated: DateTime<Utc>,
}

/// A photo that the network reported and that is not fetched yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingPhoto {
    pub peer: PeerId,
    pub reference: PhotoReference,
    /// Failed attempts so far.
    pub attempts: u32,
}

impl Store {
    pub async fn own_photo(&self, account: AccountId) -> Result<Option<Photo>, DbError> {
        let row = sqlx::query!("SELECT photo, photo_preview FROM account WHERE id = $1", account.0)
            .fetch_optional(self.db.pool())
            .await?;
        row.map_or(Ok(None), |row| photo_of(row.photo, row.photo_preview))
    }

    /// Photos of others, in one query.
    pub async fn peer_photos(
        &self,
        account: &Account,
        scope: ProfileScope,
    ) -> Result<Vec<PeerPhoto>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT p.public_id AS "public_id!", f.photo_hidden AS "hidden?", c.id AS "change?", c.photo AS "photo?",
                      c.preview AS "preview?"
               FROM listed_people($1, $2) listed
               CROSS JOIN LATERAL (SELECT id, public_id FROM peer
                                   WHERE id = listed.peer_id AND kind = 'person' LIMIT 1) p
               LEFT JOIN LATERAL (SELECT * FROM peer_profile WHERE account_id = $1 AND peer_id = p.id LIMIT 1) f ON true
               LEFT JOIN LATERAL (SELECT * FROM photo_change WHERE id = f.photo_change_id LIMIT 1) c ON true
               ORDER BY listed.created_at, p.public_id"#,
            account.id.0,
            scope.peer()
        )
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|row| {
                let photo = if row.hidden == Some(true) {
                    Visible::Hidden
                } else {
                    Visible::Value(seen_photo(row.change, row.photo, row.preview)?)
                };
                Ok(PeerPhoto { public_id: row.public_id, photo })
            })
            .collect()
    }

    /// The photos of a person that the account saw, newest first; none while they are hidden.
    pub async fn photo_changes(
        &self,
        account: &Account,
        public_id: &str,
    ) -> Result<Vec<PhotoChange>, DbError> {
        let rows = sqlx::query!(
            "SELECT c.id, c.photo, c.preview, c.updated
             FROM (SELECT id FROM peer WHERE network = $2 AND public_id = $3 OFFSET 0) p
             CROSS JOIN LATERAL (SELECT id, photo, preview, updated FROM photo_change
                                 WHERE account_id = $1 AND peer_id = p.id OFFSET 0) c
             WHERE NOT EXISTS (SELECT 1 FROM peer_profile f
                               WHERE f.account_id = $1 AND f.peer_id = p.id AND f.photo_hidden OFFSET 0)
             ORDER BY c.id DESC",
            account.id.0,
            account.directory,
            public_id
        )
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|row| {
                let photo = seen_photo(Some(row.id), row.photo, row.preview)?;
                Ok(PhotoChange { photo, updated: row.updated })
            })
            .collect()
    }

    /// Photos of others that are due to be fetched, without those of the people in `under_way`.
    pub async fn pending_photos(
        &self,
        lease: &Lease,
        under_way: &[PeerId],
        limit: i64,
    ) -> Result<Vec<PendingPhoto>, DbError> {
        let under_way: Vec<i64> = under_way.iter().map(|peer| peer.0).collect();
        let rows = sqlx::query!(
            "SELECT peer_id, photo, preview, attempts FROM pending_photo
             WHERE account_id = $1 AND retry_at <= statement_timestamp() AND peer_id NOT IN (SELECT unnest($2::bigint[]))
             ORDER BY retry_at LIMIT $3",
            lease.account.0,
            &under_way,
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| PendingPhoto {
                peer: PeerId(row.peer_id),
                reference: PhotoReference { photo: row.photo, preview: row.preview },
                attempts: u32::try_from(row.attempts).unwrap_or(0),
            })
            .collect())
    }

    /// Stores a fetched photo as the person's current one, unless the network has reported another one meanwhile. The same
    /// photo again is no change.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn photo_fetched(
        &self,
        lease: &Lease,
        pending: &PendingPhoto,
        photo: Photo,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let mut journal = tx.open_journal_leased(lease).await?;
        if !tx.delete_pending(lease, pending).await? {
            return Ok(());
        }
        let (account, peer, updated) = (lease.account.0, pending.peer.0, journal.next_time());
        let contact = sqlx::query_scalar!(
            "WITH last_change AS (
                SELECT id, photo FROM photo_change WHERE account_id = $1 AND peer_id = $2 ORDER BY id DESC LIMIT 1
             ), new_change AS (
                INSERT INTO photo_change (account_id, peer_id, photo, preview, updated)
                SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM last_change WHERE photo = $3)
                RETURNING id
             ), updated_profile AS (
                INSERT INTO peer_profile (account_id, peer_id, photo_change_id, photo_reference)
                SELECT $1, $2, current.id, $6
                FROM (SELECT id FROM new_change UNION ALL SELECT id FROM last_change WHERE photo = $3) current
                ON CONFLICT (account_id, peer_id) DO UPDATE
                SET photo_change_id = excluded.photo_change_id, photo_reference = excluded.photo_reference)
             SELECT public_id FROM peer WHERE id = $2",
            account,
            peer,
            &photo.photo.0[..],
            &photo.preview.0[..],
            updated,
            pending.reference.photo
        )
        .fetch_one(&mut *tx.inner)
        .await?;
        journal.record(Event::ContactPhotoChanged { contact });
        tx.close_journal(journal).await?;
        tx.commit().await?;
        self.db.notifications().wake(topic::journal(lease.counter));
        Ok(())
    }

    /// Gives up a photo that the network does not have; the network reports the next one.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn photo_lost(&self, lease: &Lease, pending: &PendingPhoto) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        tx.delete_pending(lease, pending).await?;
        tx.commit().await
    }

    /// Postpones the next attempt to fetch a photo.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn photo_later(
        &self,
        lease: &Lease,
        pending: &PendingPhoto,
        pause: Duration,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "UPDATE pending_photo SET attempts = attempts + 1,
                    retry_at = clock_timestamp() + make_interval(secs => $4)
             WHERE account_id = $1 AND peer_id = $2 AND photo = $3",
            lease.account.0,
            pending.peer.0,
            pending.reference.photo,
            pause.as_secs_f64()
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }
}

impl Tx {
    /// Changes or removes the account's own photo; the session applies that on the network.
    pub async fn set_photo(&mut self, account: &Account, photo: Option<Photo>) -> Result<(), DbError> {
        let mut journal = self.open_journal(account.counter).await?;
        let (photo, preview) = Photo::hashes(photo);
        let changed = sqlx::query!(
            "UPDATE account SET photo = $3, photo_preview = $4
             WHERE user_id = $1 AND id = $2 AND (photo, photo_preview) IS DISTINCT FROM ($3::bytea, $4::bytea)",
            account.user.0,
            account.id.0,
            photo,
            preview
        )
        .execute(&mut *self.inner)
        .await?;
        if changed.rows_affected() == 1 {
            self.set_desired(account.id, Aspect::Photo, &serde_json::Value::Null).await?;
            journal.record(Event::PhotoChanged);
        }
        self.close_journal_for_session(account, journal).await
    }

    /// False: the network has reported another photo meanwhile, or that there is none.
    async fn delete_pending(&mut self, lease: &Lease, pending: &PendingPhoto) -> Result<bool, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM pending_photo WHERE account_id = $1 AND peer_id = $2 AND photo = $3",
            lease.account.0,
            pending.peer.0,
            pending.reference.photo
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(deleted.rows_affected() == 1)
    }
}

/// The photo of two columns.
pub(in crate::store) fn photo_of(
    photo: Option<Vec<u8>>,
    preview: Option<Vec<u8>>,
) -> Result<Option<Photo>, DbError> {
    Photo::from_hashes(photo, preview)
        .map_err(|_| DbError::Corrupt("the hash of a photo is not 32 bytes long".to_owned()))
}

/// The photo of a change and its two columns.
pub(in crate::store) fn seen_photo(
    change: Option<i64>,
    photo: Option<Vec<u8>>,
    preview: Option<Vec<u8>>,
) -> Result<Option<SeenPhoto>, DbError> {
    let photo = photo_of(photo, preview)?;
    Ok(change.zip(photo).map(|(change, photo)| SeenPhoto { change, photo }))
}
