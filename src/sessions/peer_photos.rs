//! The queue of other people's profile photos. A photo that is given up is no loss for long: the network reports the
//! next one anyway.

use std::time::Duration;

use super::fetch::{FetchFailure, FetchQueue, Fetcher};
use crate::db::DbError;
use crate::domain::{BlobHash, Lease, PeerId, Photo};
use crate::media::Spooled;
use crate::store::{PendingPhoto, Store};

/// The photos that the network reported to an account.
pub(super) struct PeerPhotos<'a> {
    pub store: &'a Store,
    pub lease: &'a Lease,
}

impl FetchQueue for PeerPhotos<'_> {
    type Item = PendingPhoto;
    type Key = PeerId;
    type File = Photo;

    const NAME: &'static str = "photo";
    const SHORTEST_PAUSE: Duration = Duration::from_secs(2);

    fn key(item: &PendingPhoto) -> PeerId {
        item.peer
    }

    fn attempts(item: &PendingPhoto) -> u32 {
        item.attempts
    }

    async fn due(&self, under_way: Vec<PeerId>, limit: usize) -> Result<Vec<PendingPhoto>, DbError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.store.pending_photos(self.lease, &under_way, limit).await
    }

    /// Stores the network's photo and preview, or makes both from its photo when it has no preview.
    async fn fetch(&self, fetcher: &Fetcher<'_>, item: &PendingPhoto) -> Result<Photo, FetchFailure> {
        let photo = fetcher.spool(&item.reference.photo).await?;
        let Some(preview) = &item.reference.preview else {
            return fetcher.media().store_photo(&photo).await.map_err(|error| fetcher.failure(&error));
        };
        let preview = fetcher.spool(preview).await?;
        Ok(Photo {
            photo: ingest_jpeg(fetcher, &photo).await?,
            preview: ingest_jpeg(fetcher, &preview).await?,
        })
    }

    async fn note_stored(&self, item: &PendingPhoto, file: Photo) -> Result<(), DbError> {
        self.store.photo_fetched(self.lease, item, file).await
    }

    async fn note_lost(&self, item: &PendingPhoto) -> Result<(), DbError> {
        self.store.photo_lost(self.lease, item).await
    }

    async fn note_later(&self, item: &PendingPhoto, pause: Duration) -> Result<(), DbError> {
        self.store.photo_later(self.lease, item, pause).await
    }
}

async fn ingest_jpeg(fetcher: &Fetcher<'_>, spooled: &Spooled) -> Result<BlobHash, FetchFailure> {
    // The content decides the type, not the claim.
    let stored = fetcher.media().ingest(spooled, "application/octet-stream").await;
    let stored = stored.map_err(|error| fetcher.failure(&error))?;
    if stored.mimetype == "image/jpeg" {
        Ok(stored.hash)
    } else {
        Err(FetchFailure::Lost("it is no JPEG file".to_owned()))
    }
}
