//! Profile photos: an account's own, and those that it sees of others.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{Account, AccountId, Aspect, Event, Lease, PeerId, Photo, PhotoReference, Visible};
use crate::store::{ProfileScope, Store, Tx, topic};

/// Somebody's photo as the account sees it; `None`: they have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPhoto {
    /// The number or public id.
    pub public_id: String,
    /// The photo.
    pub photo: Visible<Option<SeenPhoto>>,
}

/// A photo that somebody has or had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenPhoto {
    /// The row by which it was learnt of.
    pub change: i64,
    /// The files.
    pub photo: Photo,
}

/// A photo that somebody had, or that they had none, and when the account learnt of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhotoChange {
    /// The photo; `None`: it was taken away.
    pub photo: Option<SeenPhoto>,
    /// When it was learnt.
    pub updated: DateTime<Utc>,
}

/// A photo that the network told of and that is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingPhoto {
    /// ProfileScope.
    pub peer: PeerId,
    /// What the network calls it.
    pub reference: PhotoReference,
    /// How often it was tried.
    pub attempts: u32,
}

impl Store {
    /// The account's own photo.
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
        whose: ProfileScope,
    ) -> Result<Vec<PeerPhoto>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT p.public_id AS "public_id!", f.photo_hidden AS "hidden?", c.id AS "change?", c.photo AS "photo?",
                      c.preview AS "preview?"
               FROM (SELECT $2::bigint AS peer_id, NULL::timestamptz AS created_at WHERE $2 IS NOT NULL
                     UNION ALL SELECT peer_id, created_at FROM contact
                     WHERE account_id = $1 AND exists_there AND $2::bigint IS NULL) w
               JOIN peer p ON p.id = w.peer_id
               LEFT JOIN peer_profile f ON f.account_id = $1 AND f.peer_id = p.id
               LEFT JOIN photo_change c ON c.id = f.photo_change_id
               ORDER BY w.created_at, p.public_id"#,
            account.id.0,
            whose.peer()
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

    /// The photos that the account saw of somebody, newest first; none while they are hidden.
    pub async fn photo_changes(
        &self,
        account: &Account,
        public_id: &str,
    ) -> Result<Vec<PhotoChange>, DbError> {
        let rows = sqlx::query!(
            "SELECT c.id, c.photo, c.preview, c.updated FROM photo_change c JOIN peer p ON p.id = c.peer_id
             WHERE c.account_id = $1 AND p.network = $2 AND p.public_id = $3
               AND NOT EXISTS (SELECT 1 FROM peer_profile f
                               WHERE f.account_id = c.account_id AND f.peer_id = c.peer_id AND f.photo_hidden)
             ORDER BY c.id DESC",
            account.id.0,
            account.network,
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

    /// Photos of others that are to be fetched now, without those of `under_way`.
    pub async fn pending_photos(
        &self,
        lease: &Lease,
        under_way: &[PeerId],
        limit: i64,
    ) -> Result<Vec<PendingPhoto>, DbError> {
        let under_way: Vec<i64> = under_way.iter().map(|peer| peer.0).collect();
        let rows = sqlx::query!(
            "SELECT peer_id, photo, preview, attempts FROM pending_photo
             WHERE account_id = $1 AND retry_at <= clock_timestamp() AND NOT peer_id = ANY($2)
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

    /// Shows a photo that was fetched, unless the network has told of another one meanwhile. The same one again is no
    /// change.
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
        if !tx.forget_pending(lease, pending).await? {
            return Ok(());
        }
        let (account, peer, learnt) = (lease.account.0, pending.peer.0, journal.next_time());
        let contact = sqlx::query_scalar!(
            "WITH last AS (
                SELECT id, photo FROM photo_change WHERE account_id = $1 AND peer_id = $2 ORDER BY id DESC LIMIT 1
             ), new AS (
                INSERT INTO photo_change (account_id, peer_id, photo, preview, updated)
                SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM last WHERE photo = $3)
                RETURNING id
             ), shown AS (
                INSERT INTO peer_profile (account_id, peer_id, photo_change_id, photo_reference)
                SELECT $1, $2, c.id, $6 FROM (SELECT id FROM new UNION ALL SELECT id FROM last WHERE photo = $3) c
                ON CONFLICT (account_id, peer_id) DO UPDATE
                SET photo_change_id = excluded.photo_change_id, photo_reference = excluded.photo_reference)
             SELECT public_id FROM peer WHERE id = $2",
            account,
            peer,
            &photo.photo.0[..],
            &photo.preview.0[..],
            learnt,
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

    /// Gives up on a photo: the network does not have it, and will tell of another one if there is one.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn photo_lost(&self, lease: &Lease, pending: &PendingPhoto) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        tx.forget_pending(lease, pending).await?;
        tx.commit().await
    }

    /// Tries a photo again after so long.
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
    /// Changes or removes the account's own photo, and asks the session to tell the network.
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
        self.close_journal(journal).await?;
        self.notify_on_commit(topic::work(account.id));
        self.notify_on_commit(topic::journal(account.counter));
        Ok(())
    }

    /// False: the network has told of another one, or of none.
    async fn forget_pending(&mut self, lease: &Lease, pending: &PendingPhoto) -> Result<bool, DbError> {
        let forgotten = sqlx::query!(
            "DELETE FROM pending_photo WHERE account_id = $1 AND peer_id = $2 AND photo = $3",
            lease.account.0,
            pending.peer.0,
            pending.reference.photo
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(forgotten.rows_affected() == 1)
    }
}

/// The photo in two columns.
pub(in crate::store) fn photo_of(
    photo: Option<Vec<u8>>,
    preview: Option<Vec<u8>>,
) -> Result<Option<Photo>, DbError> {
    Photo::from_hashes(photo, preview).map_err(|_| DbError::Corrupt("a hash of another length".to_owned()))
}

fn seen_photo(
    change: Option<i64>,
    photo: Option<Vec<u8>>,
    preview: Option<Vec<u8>>,
) -> Result<Option<SeenPhoto>, DbError> {
    let photo = photo_of(photo, preview)?;
    Ok(change.zip(photo).map(|(change, photo)| SeenPhoto { change, photo }))
}
