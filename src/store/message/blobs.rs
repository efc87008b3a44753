//! Stored files by their content, and the references to them.
//!
//! Every table that refers to a file is part of the view `media_reference`; [`Store::referred_blob`] checks the row that a
//! URL is bound to.

use crate::db::DbError;
use crate::domain::{BlobHash, Reference};
use crate::store::{Store, Tx};

/// A stored file that a row refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBlob {
    /// In bytes.
    pub size: u64,
    /// Such as `image/jpeg`.
    pub mimetype: String,
}

/// The unreferred files in one page of all stored files.
#[derive(Debug)]
pub struct UnreferredBlobs {
    /// Files without a reference that were last put more than an hour ago.
    pub unreferred: Vec<BlobHash>,
    /// The last file of the page; `None`: there are no more pages.
    pub last: Option<BlobHash>,
}

impl Store {
    /// Registers a file that is about to be put: it stays for an hour without a reference. Waits while the clean-up
    /// deletes the same file.
    pub async fn put_blob(&self, hash: &BlobHash, size: u64, mimetype: &str) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO media_blob (hash, size, mimetype) VALUES ($1, $2, $3)
             ON CONFLICT (hash) DO UPDATE SET put_at = now()",
            &hash.0[..],
            i64::try_from(size).unwrap_or(i64::MAX),
            mimetype
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// The file, if the row still refers to it and its owner may see it.
    pub async fn referred_blob(
        &self,
        reference: Reference,
        hash: &BlobHash,
    ) -> Result<Option<ServedBlob>, DbError> {
        let refers = match reference {
            Reference::Message(account) => sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM message_media WHERE account_id = $1 AND hash = $2)
                          AND EXISTS (SELECT 1 FROM account WHERE id = $1 AND user_id IS NOT NULL) AS "refers!""#,
                account.0,
                &hash.0[..]
            )
            .fetch_one(self.db.pool())
            .await?,
            Reference::OwnPhoto(account) => sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM account
                                  WHERE id = $1 AND user_id IS NOT NULL
                                    AND (photo = $2 OR photo_preview = $2)) AS "refers!""#,
                account.0,
                &hash.0[..]
            )
            .fetch_one(self.db.pool())
            .await?,
            Reference::PeerPhoto(change) => sqlx::query_scalar!(
                r#"SELECT EXISTS (
                       SELECT 1 FROM photo_change c
                       JOIN account a ON a.id = c.account_id AND a.user_id IS NOT NULL
                       LEFT JOIN peer_profile f ON f.account_id = c.account_id AND f.peer_id = c.peer_id
                       WHERE c.id = $1 AND (c.photo = $2 OR c.preview = $2)
                         AND f.photo_hidden IS NOT TRUE) AS "refers!""#,
                change,
                &hash.0[..]
            )
            .fetch_one(self.db.pool())
            .await?,
            // Only while the account is in the group.
            Reference::GroupPhoto(chat) => sqlx::query_scalar!(
                r#"SELECT EXISTS (
                       SELECT 1 FROM chat h JOIN account a ON a.id = h.account_id AND a.registered_at IS NOT NULL
                       JOIN account_group me ON me.account_id = h.account_id AND me.group_peer_id = h.peer_id
                       JOIN chat_group g ON g.peer_id = h.peer_id
                       WHERE h.id = $1 AND (g.photo = $2 OR g.photo_preview = $2)) AS "refers!""#,
                chat.0,
                &hash.0[..]
            )
            .fetch_one(self.db.pool())
            .await?,
        };
        if !refers {
            return Ok(None);
        }
        let blob = sqlx::query!("SELECT size, mimetype FROM media_blob WHERE hash = $1", &hash.0[..])
            .fetch_optional(self.db.pool())
            .await?;
        Ok(blob.map(|blob| ServedBlob {
            size: u64::try_from(blob.size).unwrap_or_default(),
            mimetype: blob.mimetype,
        }))
    }

    /// The files after `after` that something refers to, at most `limit`, in the order of their hashes.
    pub async fn referred_blobs(
        &self,
        after: Option<BlobHash>,
        limit: i64,
    ) -> Result<Vec<BlobHash>, DbError> {
        let after = after.map(|hash| hash.0.to_vec()).unwrap_or_default();
        let hashes = sqlx::query_scalar!(
            // LATERAL: otherwise PostgreSQL would collect all references first.
            "SELECT b.hash FROM media_blob b
             CROSS JOIN LATERAL (SELECT hash FROM media_reference r WHERE r.hash = b.hash LIMIT 1) r
             WHERE b.hash > $1 ORDER BY b.hash LIMIT $2",
            after,
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        Ok(hashes.into_iter().filter_map(|hash| hash.try_into().ok().map(BlobHash)).collect())
    }

    /// The unreferred ones of the `limit` files after `after`, in the order of their hashes.
    pub async fn unreferred_blobs(
        &self,
        after: Option<BlobHash>,
        limit: i64,
    ) -> Result<UnreferredBlobs, DbError> {
        let after = after.map(|hash| hash.0.to_vec()).unwrap_or_default();
        let rows = sqlx::query!(
            // LATERAL: otherwise PostgreSQL would collect all references first.
            r#"SELECT b.hash, b.put_at < now() - interval '1 hour' AND r.hash IS NULL AS "unreferred!"
               FROM (SELECT hash, put_at FROM media_blob WHERE hash > $1 ORDER BY hash LIMIT $2) b
               LEFT JOIN LATERAL (SELECT hash FROM media_reference r WHERE r.hash = b.hash LIMIT 1) r ON true
               ORDER BY b.hash"#,
            after,
            limit
        )
        .fetch_all(self.db.pool())
        .await?;
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) == limit;
        let mut page = UnreferredBlobs { unreferred: Vec::new(), last: None };
        for row in rows {
            let hash = blob_hash(&row.hash)?;
            if row.unreferred {
                page.unreferred.push(hash);
            }
            page.last = full.then_some(hash);
        }
        Ok(page)
    }
}

impl Tx {
    /// Locks a file's row, unless it is locked already; true when nothing refers to the file and it was last put more than
    /// an hour ago. Until the end of the transaction nothing can refer to it or put it again.
    pub async fn lock_unreferred_blob(&mut self, hash: &BlobHash) -> Result<bool, DbError> {
        let locked =
            sqlx::query!("SELECT FROM media_blob WHERE hash = $1 FOR UPDATE SKIP LOCKED", &hash.0[..])
                .fetch_optional(&mut *self.inner)
                .await?;
        if locked.is_none() {
            return Ok(false);
        }
        // A second statement, because the first one does not see what was committed while it took the lock.
        let unreferred = sqlx::query_scalar!(
            r#"SELECT put_at < now() - interval '1 hour'
                      AND NOT EXISTS (SELECT 1 FROM media_reference r WHERE r.hash = b.hash) AS "unreferred!"
               FROM media_blob b WHERE hash = $1"#,
            &hash.0[..]
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(unreferred)
    }

    /// Deletes a file's row. Fails when something refers to the file.
    pub async fn delete_blob(&mut self, hash: &BlobHash) -> Result<(), DbError> {
        sqlx::query!("DELETE FROM media_blob WHERE hash = $1", &hash.0[..]).execute(&mut *self.inner).await?;
        Ok(())
    }
}

/// The hash of a column.
pub(in crate::store) fn blob_hash(bytes: &[u8]) -> Result<BlobHash, DbError> {
    bytes.try_into().map_err(|_| DbError::Corrupt("the hash of a file is not 32 bytes long".to_owned()))
}
