//! The queue of files that received messages carry.

use std::time::Duration;

use super::fetch::{FetchFailure, FetchQueue, Fetcher};
use crate::db::DbError;
use crate::domain::{Lease, MediaKind, MessageId};
use crate::store::{FetchedMedia, PendingMedia, Store};

/// The files of an account's messages.
pub(super) struct MessageFiles<'a> {
    pub store: &'a Store,
    pub lease: &'a Lease,
}

impl FetchQueue for MessageFiles<'_> {
    type Item = PendingMedia;
    type Key = MessageId;
    type File = FetchedMedia;

    const NAME: &'static str = "message";
    const SHORTEST_PAUSE: Duration = Duration::from_secs(5);

    fn key(item: &PendingMedia) -> MessageId {
        item.message
    }

    fn attempts(item: &PendingMedia) -> u32 {
        item.attempts
    }

    async fn due(&self, under_way: Vec<MessageId>, limit: usize) -> Result<Vec<PendingMedia>, DbError> {
        self.store.pending_media(self.lease, &under_way.into_iter().collect(), limit).await
    }

    async fn fetch(&self, fetcher: &Fetcher<'_>, item: &PendingMedia) -> Result<FetchedMedia, FetchFailure> {
        let spooled = fetcher.spool(&item.reference).await?;
        if item.hash.is_some_and(|hash| hash != spooled.hash()) {
            return Err(FetchFailure::Later("other_content"));
        }
        let claimed = item.mimetype.as_deref().unwrap_or_default();
        let stored = async {
            // Only what is of no kind yet: a sender who calls a card a picture does not get it shown as a card.
            if item.kind.is_none()
                && let Some(card) = fetcher.media().card(&spooled, claimed).await?
            {
                return Ok(FetchedMedia::Card(card));
            }
            let stored = fetcher.media().ingest(&spooled, claimed).await?;
            let kind = MediaKind::of_fetched(item.kind, &stored.mimetype);
            Ok(FetchedMedia::File(stored, kind))
        };
        stored.await.map_err(|error| fetcher.failure(&error))
    }

    async fn note_stored(&self, item: &PendingMedia, file: FetchedMedia) -> Result<(), DbError> {
        self.store.media_stored(self.lease, item.message, &file).await
    }

    async fn note_lost(&self, item: &PendingMedia) -> Result<(), DbError> {
        self.store.media_lost(self.lease, item.message).await
    }

    async fn note_later(&self, item: &PendingMedia, pause: Duration) -> Result<(), DbError> {
        self.store.media_later(self.lease, item.message, pause).await
    }
}
