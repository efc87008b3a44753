//! Photos of others: fetched from the network beside everything else that a session does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::backoff::pause_after;
use super::fault::Fault;
use super::fetch::Missing;
use super::session::Session;
use crate::db::DbError;
use crate::domain::{BlobHash, PeerId, Photo};
use crate::media::Spooled;
use crate::store::{PendingPhoto, topic};
use crate::upstream::Connection;

/// Photos that one account fetches at one time.
const PER_ACCOUNT: usize = 3;
/// The pause after the first attempt, doubled with each further one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// After so many attempts, which take about two days, a photo is given up: the next one is told of anyway.
const MOST_ATTEMPTS: u32 = 56;

impl Session {
    /// Fetches the photos that the network told of, as long as the connection lasts.
    pub(super) async fn fetch_photos(
        &self,
        connection: &Arc<dyn Connection>,
    ) -> Result<std::convert::Infallible, Fault> {
        let mut news = self.store.notifications().subscribe(topic::files(self.lease.account));
        let (mut fetching, mut under_way) = (FuturesUnordered::new(), Vec::<PeerId>::new());
        loop {
            let room = i64::try_from(PER_ACCOUNT - under_way.len()).unwrap_or_default();
            if room > 0 {
                for photo in self.store.pending_photos(&self.lease, &under_way, room).await? {
                    under_way.push(photo.peer);
                    fetching.push(self.fetch_photo(connection, photo));
                }
            }
            tokio::select! {
                Some((peer, outcome)) = fetching.next() => {
                    under_way.retain(|other| *other != peer);
                    outcome?;
                }
                () = news.woken_on_beat(), if under_way.len() < PER_ACCOUNT => {}
            }
        }
    }

    async fn fetch_photo(
        &self,
        connection: &Arc<dyn Connection>,
        pending: PendingPhoto,
    ) -> (PeerId, Result<(), DbError>) {
        // The semaphore is never closed.
        let _permit = self.fetching.acquire().await;
        let fetched = self.keep_photo(connection, &pending).await;
        (pending.peer, self.note_photo(&pending, fetched).await)
    }

    async fn note_photo(
        &self,
        pending: &PendingPhoto,
        fetched: Result<Photo, Missing>,
    ) -> Result<(), DbError> {
        let (account, peer) = (self.lease.account, pending.peer);
        let pause = match fetched {
            Ok(photo) => return self.store.photo_fetched(&self.lease, pending, photo).await,
            Err(Missing::Lost(reason)) => {
                tracing::info!(%account, %peer, reason, "a photo is not to be had");
                return self.store.photo_lost(&self.lease, pending).await;
            }
            Err(Missing::Later(reason)) if pending.attempts >= MOST_ATTEMPTS => {
                tracing::warn!(%account, %peer, reason, "a photo is given up");
                return self.store.photo_lost(&self.lease, pending).await;
            }
            Err(Missing::Later(reason)) => {
                tracing::debug!(%account, %peer, reason, "a photo did not come");
                pause_after(pending.attempts, SHORTEST_PAUSE, LONGEST_PAUSE)
            }
            Err(Missing::NotBefore(pause)) => pause,
        };
        self.store.photo_later(&self.lease, pending, pause).await
    }

    /// Stores the photo and its preview as the network has them, or makes both of what it has.
    async fn keep_photo(
        &self,
        connection: &Arc<dyn Connection>,
        pending: &PendingPhoto,
    ) -> Result<Photo, Missing> {
        let photo = self.spool(connection, &pending.reference.photo).await?;
        let Some(preview) = &pending.reference.preview else {
            return self.media.store_photo(&photo).await.map_err(|error| self.missing(&error));
        };
        let preview = self.spool(connection, preview).await?;
        Ok(Photo { photo: self.keep_jpeg(&photo).await?, preview: self.keep_jpeg(&preview).await? })
    }

    async fn keep_jpeg(&self, spooled: &Spooled) -> Result<BlobHash, Missing> {
        // What counts is what it is, not what it is called.
        let kept = self.media.ingest(spooled, "application/octet-stream").await;
        let kept = kept.map_err(|error| self.missing(&error))?;
        if kept.mimetype == "image/jpeg" {
            Ok(kept.hash)
        } else {
            Err(Missing::Lost("it is no JPEG file".to_owned()))
        }
    }
}
