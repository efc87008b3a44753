//! Files of received messages that are still to be fetched from the network, and the outcome.

use std::collections::HashSet;
use std::time::Duration;

use super::content::stored_details;
use crate::db::DbError;
use crate::domain::{AccountId, BlobHash, Event, Lease, MediaFile, MediaKind, MessageId, StoredMedia};
use crate::store::message::blobs::blob_hash;
use crate::store::{Store, Tx, topic};

/// A file that is to be fetched.
#[derive(Clone, Debug)]
pub struct PendingMedia {
    pub message: MessageId,
    /// Its place on the network, in the network's encoding.
    pub reference: String,
    /// As the sender declared it.
    pub mimetype: String,
    /// As the sender declared it.
    pub hash: Option<BlobHash>,
    /// Failed attempts so far.
    pub attempts: u32,
}

impl Store {
    /// The oldest files that are due, at most `limit`, without those of the messages in `under_way`, and of messages that only
    /// a newer version of this program knows; none when the lease has passed on.
    pub async fn pending_media(
        &self,
        lease: &Lease,
        under_way: &HashSet<MessageId>,
        limit: usize,
    ) -> Result<Vec<PendingMedia>, DbError> {
        let under_way: Vec<i64> = under_way.iter().map(|message| message.0).collect();
        let rows = sqlx::query!(
            r#"SELECT f.message_id, f.attempts, m.details->>'reference' AS "reference!",
                      m.details->>'mimetype' AS "mimetype!", decode(m.details->>'hash', 'hex') AS hash
               FROM message_media f JOIN message m ON m.id = f.message_id
               WHERE f.account_id = $1 AND f.retry_at <= clock_timestamp()
                 AND f.message_id NOT IN (SELECT unnest($6::bigint[]))
                 AND m.type = ANY($7) AND m.details->>'reference' IS NOT NULL AND m.details->>'mimetype' IS NOT NULL
                 AND EXISTS (SELECT 1 FROM account_counter c
                             WHERE c.id = $2 AND c.owner IS NOT DISTINCT FROM $3 AND c.fence = $4)
               ORDER BY f.message_id LIMIT $5"#,
            lease.account.0,
            lease.counter.0,
            lease.process.0,
            lease.fence,
            i64::try_from(limit).unwrap_or(i64::MAX),
            &under_way,
            &MediaKind::ALL.map(MediaKind::letter) as &[&str]
        )
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(PendingMedia {
                    message: MessageId(row.message_id),
                    reference: row.reference,
                    mimetype: row.mimetype,
                    hash: row.hash.as_deref().map(blob_hash).transpose()?,
                    attempts: u32::try_from(row.attempts).unwrap_or(0),
                })
            })
            .collect()
    }

    /// Makes the message refer to its fetched file, with an event.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn media_stored(
        &self,
        lease: &Lease,
        message: MessageId,
        stored: &StoredMedia,
    ) -> Result<(), DbError> {
        self.end_pending(lease, message, Some(stored)).await
    }

    /// Gives up the file of a message, with an event.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn media_lost(&self, lease: &Lease, message: MessageId) -> Result<(), DbError> {
        self.end_pending(lease, message, None).await
    }

    /// Postpones the next attempt to fetch a file.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn media_later(
        &self,
        lease: &Lease,
        message: MessageId,
        pause: Duration,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        tx.assert_lease(lease).await?;
        sqlx::query!(
            "UPDATE message_media SET attempts = attempts + 1,
                    retry_at = clock_timestamp() + make_interval(secs => $3)
             WHERE message_id = $1 AND account_id = $2 AND retry_at IS NOT NULL",
            message.0,
            lease.account.0,
            pause.as_secs_f64()
        )
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    async fn end_pending(
        &self,
        lease: &Lease,
        message: MessageId,
        stored: Option<&StoredMedia>,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let mut journal = tx.open_journal_leased(lease).await?;
        let row = sqlx::query!(
            r#"WITH ended AS (
                UPDATE message_media SET hash = $3, retry_at = NULL
                WHERE message_id = $1 AND account_id = $2 AND retry_at IS NOT NULL RETURNING message_id)
             UPDATE message m SET details = coalesce($4, m.details) FROM ended, chat h, peer p
             WHERE m.id = ended.message_id AND h.id = m.chat_id AND p.id = h.peer_id
             RETURNING m.network_id, p.public_id"#,
            message.0,
            lease.account.0,
            stored.map(|stored| stored.hash.0.to_vec()),
            stored.map(stored_details)
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(row) = row else { return Ok(()) };
        journal.record(Event::MessageMedia {
            chat: row.public_id,
            id: row.network_id,
            stored: stored.is_some(),
        });
        tx.close_journal(journal).await?;
        tx.notify_on_commit(topic::journal(lease.counter));
        tx.commit().await
    }
}

impl Tx {
    /// Writes the references of messages that were just inserted to their files: stored ones, and those to be fetched.
    pub(in crate::store) async fn refer_to_files(
        &mut self,
        files: &[(MessageId, AccountId, &MediaFile)],
    ) -> Result<(), DbError> {
        if files.is_empty() {
            return Ok(());
        }
        let messages: Vec<i64> = files.iter().map(|(message, ..)| message.0).collect();
        let accounts: Vec<i64> = files.iter().map(|(_, account, _)| account.0).collect();
        let hashes: Vec<Option<Vec<u8>>> = files
            .iter()
            .map(|(.., file)| match file {
                MediaFile::Stored(stored) => Some(stored.hash.0.to_vec()),
                MediaFile::Remote(_) => None,
            })
            .collect();
        sqlx::query!(
            "INSERT INTO message_media (message_id, account_id, hash, retry_at)
             SELECT message_id, account_id, hash, CASE WHEN hash IS NULL THEN clock_timestamp() END
             FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS f (message_id, account_id, hash)
             ORDER BY hash",
            &messages,
            &accounts,
            &hashes as &[Option<Vec<u8>>]
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
