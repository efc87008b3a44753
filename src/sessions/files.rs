//! Files of received messages: fetched from the network beside everything else that a session does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::backoff::pause_after;
use super::fault::Fault;
use super::fetch::Missing;
use super::session::Session;
use crate::db::DbError;
use crate::domain::{MessageId, StoredMedia};
use crate::store::{PendingMedia, topic};
use crate::upstream::Connection;

/// Files that one account fetches at one time, so that a slow one does not hold up the others.
const PER_ACCOUNT: usize = 3;
/// The pause after the first attempt, doubled with each further one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// After so many attempts, which take about two days, a file is lost.
const MOST_ATTEMPTS: u32 = 56;

impl Session {
    /// Fetches what received messages carry, as long as the connection lasts.
    pub(super) async fn fetch_files(
        &self,
        connection: &Arc<dyn Connection>,
    ) -> Result<std::convert::Infallible, Fault> {
        let mut news = self.store.notifications().subscribe(topic::files(self.lease.account));
        let (mut fetching, mut under_way) = (FuturesUnordered::new(), HashSet::new());
        loop {
            let room = PER_ACCOUNT - under_way.len();
            if room > 0 {
                for file in self.store.pending_media(&self.lease, &under_way, room).await? {
                    under_way.insert(file.message);
                    fetching.push(self.fetch_file(connection, file));
                }
            }
            tokio::select! {
                Some((message, outcome)) = fetching.next() => {
                    under_way.remove(&message);
                    outcome?;
                }
                () = news.woken_on_beat(), if under_way.len() < PER_ACCOUNT => {}
            }
        }
    }

    async fn fetch_file(
        &self,
        connection: &Arc<dyn Connection>,
        file: PendingMedia,
    ) -> (MessageId, Result<(), DbError>) {
        // The semaphore is never closed.
        let _permit = self.fetching.acquire().await;
        let fetched = self.keep_file(connection, &file).await;
        (file.message, self.note(&file, fetched).await)
    }

    async fn note(&self, file: &PendingMedia, fetched: Result<StoredMedia, Missing>) -> Result<(), DbError> {
        let (message, account) = (file.message, self.lease.account);
        let pause = match fetched {
            Ok(stored) => return self.store.media_stored(&self.lease, message, &stored).await,
            Err(Missing::Lost(reason)) => {
                tracing::warn!(%account, %message, reason, "the file of a message is lost");
                return self.store.media_lost(&self.lease, message).await;
            }
            Err(Missing::Later(reason)) if file.attempts >= MOST_ATTEMPTS => {
                tracing::warn!(%account, %message, reason, "the file of a message is given up");
                return self.store.media_lost(&self.lease, message).await;
            }
            Err(Missing::Later(reason)) => {
                tracing::debug!(%account, %message, reason, "the file of a message did not come");
                pause_after(file.attempts, SHORTEST_PAUSE, LONGEST_PAUSE)
            }
            Err(Missing::NotBefore(pause)) => pause,
        };
        self.store.media_later(&self.lease, message, pause).await
    }

    async fn keep_file(
        &self,
        connection: &Arc<dyn Connection>,
        file: &PendingMedia,
    ) -> Result<StoredMedia, Missing> {
        let spooled = self.spool(connection, &file.reference).await?;
        if file.hash.is_some_and(|hash| hash != spooled.hash()) {
            return Err(Missing::Later("other_content"));
        }
        let kept = self.media.ingest(&spooled, &file.mimetype).await;
        kept.map_err(|error| self.missing(&error))
    }
}
