//! The files that the local network keeps for receivers that have not fetched them yet.

use super::LocalNet;
use crate::db::DbError;
use crate::domain::BlobHash;

/// How long a file is kept, in days; who was away for longer does not get it.
pub const KEPT_DAYS: i32 = 30;

impl LocalNet {
    /// Keeps files for their receivers, each under its reference. One that is there already is left as it is: a
    /// message is sent again under its id.
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

    /// The file under a reference; `None` when it is not kept any more.
    pub async fn uploaded(&self, reference: &str) -> Result<Option<BlobHash>, DbError> {
        let hash = sqlx::query_scalar!("SELECT hash FROM localnet_media WHERE reference = $1", reference)
            .fetch_optional(self.db.pool())
            .await?;
        hash.map(|hash| hash.as_slice().try_into())
            .transpose()
            .map_err(|_| DbError::Corrupt("a file's hash of another length".to_owned()))
    }
}

impl LocalNet {
    /// Forgets files that the local network has kept long enough, at most `limit`. Returns how many.
    pub async fn prune_media(&self, limit: i64) -> Result<u64, DbError> {
        let pruned = sqlx::query!(
            "DELETE FROM localnet_media WHERE reference = ANY(ARRAY(
                 SELECT reference FROM localnet_media WHERE uploaded_at < now() - make_interval(days => $1)
                 ORDER BY uploaded_at LIMIT $2))",
            KEPT_DAYS,
            limit
        )
        .execute(self.db.pool())
        .await?;
        Ok(pruned.rows_affected())
    }
}
