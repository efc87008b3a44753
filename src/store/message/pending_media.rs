//! Files of received messages that are still to be fetched from the network, and the outcome.

use std::collections::HashSet;
use std::time::Duration;

use super::content::{card_details, stored_details};
use crate::db::DbError;
use crate::domain::{
    AccountId, BlobHash, Card, Content, Event, Lease, MediaFile, MediaKind, MessageId, StoredMedia,
};
use crate::store::message::blobs::blob_hash;
use crate::store::{Store, Tx, topic};

/// What a message shows in the place of a file that was fetched.
#[derive(Clone, Debug, PartialEq)]
pub enum FetchedMedia {
    /// The file, and its kind; `None` for another file.
    File(StoredMedia, Option<MediaKind>),
    /// The file was a contact card.
    Card(Card),
}

/// A file that is to be fetched.
#[derive(Clone, Debug)]
pub struct PendingMedia {
    pub message: MessageId,
    /// Its place on the network, in the network's encoding.
    pub reference: String,
    /// As far as it is known; `None` for another file.
    pub kind: Option<MediaKind>,
    /// As the sender declared it.
    pub mimetype: Option<String>,
    /// As the sender declared it.
    pub hash: Option<BlobHash>,
    /// Failed attempts so far.
    pub attempts: u32,
}

impl Store {
    /// The files that have been due for longest, at most `limit`, without those of the messages in `under_way`, and of messages
    /// that only a newer version of this program knows; none when the lease has passed on.
    pub async fn pending_media(
        &self,
        lease: &Lease,
        under_way: &HashSet<MessageId>,
        limit: usize,
    ) -> Result<Vec<PendingMedia>, DbError> {
        let letters: Vec<&str> =
            MediaKind::ALL.into_iter().map(MediaKind::letter).chain([Content::OTHER]).collect();
        let under_way: Vec<i64> = under_way.iter().map(|message| message.0).collect();
        let rows = sqlx::query!(
            r#"SELECT m.message_id, m.attempts, m.details->>'reference' AS "reference!",
                      m.details->>'mimetype' AS mimetype, decode(m.details->>'hash', 'hex') AS hash,
                      m.type AS "letter!"
               FROM (SELECT f.message_id, f.attempts, message.type, message.details
                     FROM message_media f
                     CROSS JOIN LATERAL (SELECT type, details FROM message WHERE id = f.message_id LIMIT 1) message
                     WHERE f.account_id = $1 AND f.retry_at <= statement_timestamp()
                       AND f.message_id NOT IN (SELECT unnest($6::bigint[])) AND message.type = ANY($7)
                       AND message.details->>'reference' IS NOT NULL
                     ORDER BY f.retry_at LIMIT $5) m
               WHERE EXISTS (SELECT 1 FROM account_counter c
                             WHERE c.id = $2 AND c.owner IS NOT DISTINCT FROM $3 AND c.fence = $4)
               ORDER BY m.message_id"#,
            lease.account.0,
            lease.counter.0,
            lease.process.0,
            lease.fence,
            i64::try_from(limit).unwrap_or(i64::MAX),
            &under_way,
            &letters as &[&str]
        )
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(PendingMedia {
                    message: MessageId(row.message_id),
                    reference: row.reference,
                    kind: MediaKind::from_letter(&row.letter),
                    mimetype: row.mimetype,
                    hash: row.hash.as_deref().map(blob_hash).transpose()?,
                    attempts: u32::try_from(row.attempts).unwrap_or(0),
                })
            })
            .collect()
    }

    /// Makes the message show its fetched file, with an event.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on.
    pub async fn media_stored(
        &self,
        lease: &Lease,
        message: MessageId,
        fetched: &FetchedMedia,
    ) -> Result<(), DbError> {
        self.end_pending(lease, message, Some(fetched)).await
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
        fetched: Option<&FetchedMedia>,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let mut journal = tx.open_journal_leased(lease).await?;
        let (hash, letter, text, details) = match fetched {
            None => (None, None, None, None),
            Some(FetchedMedia::File(stored, kind)) => {
                let letter = kind.map_or(Content::OTHER, MediaKind::letter);
                (Some(stored.hash.0.to_vec()), Some(letter), None, Some(stored_details(stored)))
            }
            // The text of a card is its name, and nothing else.
            Some(FetchedMedia::Card(card)) => {
                (None, Some("c"), Some(card.name.as_deref()), Some(card_details(card)))
            }
        };
        let row = sqlx::query!(
            r#"WITH ended AS (
                UPDATE message_media SET hash = $3, retry_at = NULL
                WHERE message_id = $1 AND account_id = $2 AND retry_at IS NOT NULL RETURNING message_id)
             UPDATE message m SET
                 details = coalesce(CASE WHEN m.details ? 'reply_to'
                                         THEN $4 || jsonb_build_object('reply_to', m.details->'reply_to') ELSE $4 END,
                                    m.details),
                 type = coalesce($5, m.type),
                                  text = CASE WHEN $6 THEN $7 ELSE m.text END
             FROM ended
             CROSS JOIN LATERAL (SELECT ctid AS place, chat_id FROM message WHERE id = ended.message_id LIMIT 1) old
             CROSS JOIN LATERAL (SELECT peer_id FROM chat WHERE id = old.chat_id LIMIT 1) h
             CROSS JOIN LATERAL (SELECT public_id FROM peer WHERE id = h.peer_id LIMIT 1) p
             WHERE m.ctid = old.place RETURNING m.network_id, p.public_id"#,
            message.0,
            lease.account.0,
            hash,
            details,
            letter,
            text.is_some(),
            text.flatten()
        )
        .fetch_optional(&mut *tx.inner)
        .await?;
        let Some(row) = row else { return Ok(()) };
        journal.record(Event::MessageMedia {
            chat: row.public_id,
            id: row.network_id,
            stored: fetched.is_some(),
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
