//! The files of messages, stored until their receivers have fetched them.

use super::LocalNet;
use crate::db::DbError;
use crate::domain::BlobHash;

/// A file is stored this long; a receiver that was offline for longer does not get it.
const RETENTION_DAYS: i32 = 30;

impl LocalNet {
    /// Stores files, each under its reference. One that is already stored does not change: a message is sent again
    /// under its id.
    pub async fn upload(&self, files: &[(String, BlobHash)]) -> Result<(), DbError> {
        let (references, hashes): (Vec<String>, Vec<Vec<u8>>) =
            files.iter().map(|(reference, hash)| (reference.clone(), hash.0.to_vec())).unzip();
        sqlx::query!(
            "INSERT INTO localnet_media (reference, hash)
             SELECT reference, hash FROM unnest($1::text[], $2::bytea[]) AS f (reference, hash)
             ORDER BY reference ON CONFLICT DO NOTHING",
            &references,
            &hashes
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// The file under a reference; `None` when it is not stored any more.
    pub async fn uploaded(&self, reference: &str) -> Result<Option<BlobHash>, DbError> {
        let hash = sqlx::query_scalar!("SELECT hash FROM localnet_media WHERE reference = $1", reference)
            .fetch_optional(self.db.pool())
            .await?;
        hash.map(|hash| hash.as_slice().try_into())
            .transpose()
            .map_err(|_| DbError::Corrupt("a file's hash of another length".to_owned()))
    }

    /// Deletes at most `limit` expired files. Returns their count.
    pub async fn prune_media(&self, limit: i64) -> Result<u64, DbError> {
        let pruned = sqlx::query!(
            "DELETE FROM localnet_media WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM localnet_media WHERE uploaded_at < now() - make_interval(days => $1)
                 ORDER BY uploaded_at LIMIT $2))",
            RETENTION_DAYS,
            limit
        )
        .execute(self.db.pool())
        .await?;
        Ok(pruned.rows_affected())
    }
}
