//! Files of received messages: fetched from the network beside everything else that a session does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::session::{Fault, Session};
use crate::domain::{MessageId, StoredMedia};
use crate::media::MediaError;
use crate::secrets;
use crate::store::{PendingMedia, StoreError, Topic};
use crate::telemetry::chain;
use crate::upstream::{Connection, Failure, FileStream};

/// Files that one account fetches at one time, so that a slow one does not hold up the others.
const PER_ACCOUNT: usize = 3;
/// The pause after the first attempt, doubled with each further one.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// After so many attempts, which take about two days, a file is lost.
const MOST_ATTEMPTS: u32 = 56;

/// What came of one attempt.
enum Fetched {
    Stored(StoredMedia),
    /// Something in between did not work.
    Failed(&'static str),
    /// The network said when to come again.
    NotBefore(Duration),
    /// It will never come.
    Lost(String),
}

impl Session {
    /// Fetches what received messages carry, as long as the connection lasts.
    pub(super) async fn fetch_files(
        &self,
        connection: &Arc<dyn Connection>,
    ) -> Result<std::convert::Infallible, Fault> {
        let mut news = self.store.wakes().subscribe(Topic::files(self.lease.account));
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
    ) -> (MessageId, Result<(), StoreError>) {
        // The semaphore is never closed.
        let _permit = self.fetching.acquire().await;
        let fetched = self.attempt(connection, &file).await;
        (file.message, self.note(&file, fetched).await)
    }

    async fn note(&self, file: &PendingMedia, fetched: Fetched) -> Result<(), StoreError> {
        let (message, account) = (file.message, self.lease.account);
        let pause = match fetched {
            Fetched::Stored(stored) => return self.store.media_stored(&self.lease, message, &stored).await,
            Fetched::Lost(reason) => {
                tracing::warn!(%account, %message, reason, "the file of a message is lost");
                return self.store.media_lost(&self.lease, message).await;
            }
            Fetched::Failed(reason) if file.attempts >= MOST_ATTEMPTS => {
                tracing::warn!(%account, %message, reason, "the file of a message is given up");
                return self.store.media_lost(&self.lease, message).await;
            }
            Fetched::Failed(reason) => {
                tracing::debug!(%account, %message, reason, "the file of a message did not come");
                pause_after(file.attempts)
            }
            Fetched::NotBefore(pause) => pause,
        };
        self.store.media_later(&self.lease, message, pause).await
    }

    async fn attempt(&self, connection: &Arc<dyn Connection>, file: &PendingMedia) -> Fetched {
        let stream = match timeout(self.patience.step, connection.fetch(&file.reference)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(failure)) => return failed(failure),
            Err(_) => return Fetched::Failed("no_answer"),
        };
        match self.store_file(stream, file).await {
            Ok(fetched) => fetched,
            Err(MediaError::TooLarge { limit }) => Fetched::Lost(format!("it is larger than {limit} bytes")),
            Err(error) => {
                tracing::warn!(account = %self.lease.account, error = chain(&error), "a file was not stored");
                Fetched::Failed("storage")
            }
        }
    }

    async fn store_file(&self, mut stream: FileStream, file: &PendingMedia) -> Result<Fetched, MediaError> {
        let mut spool = self.media.spool();
        loop {
            match timeout(self.patience.step, stream.next()).await {
                Ok(Some(Ok(bytes))) => spool.write(&bytes).await?,
                Ok(Some(Err(failure))) => return Ok(failed(failure)),
                Ok(None) => break,
                Err(_) => return Ok(Fetched::Failed("no_answer")),
            }
        }
        let spooled = spool.finish().await?;
        if file.hash.is_some_and(|hash| hash != spooled.hash()) {
            return Ok(Fetched::Failed("other_content"));
        }
        Ok(Fetched::Stored(self.media.keep_inbound(&spooled, &file.mimetype).await?))
    }
}

fn failed(failure: Failure) -> Fetched {
    match failure {
        Failure::Retry(reason) => Fetched::Failed(reason),
        Failure::OutcomeUnknown => Fetched::Failed("no_answer"),
        Failure::RateLimited(pause) => Fetched::NotBefore(pause),
        Failure::Refused(reason) => Fetched::Lost(reason),
        Failure::Unsupported(what) => Fetched::Lost(format!("this network cannot {what}")),
    }
}

/// Doubled with each attempt, less a random half.
fn pause_after(attempts: u32) -> Duration {
    let whole = SHORTEST_PAUSE.saturating_mul(1 << attempts.min(10)).min(LONGEST_PAUSE);
    let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
    Duration::from_millis(half + secrets::random_below(half + 1))
}
