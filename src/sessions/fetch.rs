//! The fetcher of files that the network has: it runs beside everything else that a session does with a connection.
//!
//! A [`FetchQueue`] is one kind of such files, with its rows in the store.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::backoff::pause_after;
use super::fault::Fault;
use super::session::Session;
use crate::db::DbError;
use crate::media::{Media, MediaError, Spooled, Uploader};
use crate::store::topic;
use crate::telemetry::chain;
use crate::upstream::{Connection, Failure};

/// Files of one queue that an account fetches at one time, so that a slow one does not hold up the others.
const PER_ACCOUNT: usize = 3;
/// The longest pause between two attempts for one file.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// After so many attempts, which take about two days, a file is given up.
const MOST_ATTEMPTS: u32 = 56;

/// One kind of files to fetch.
pub(super) trait FetchQueue {
    /// A file that is due.
    type Item;
    /// Identifies an item.
    type Key: Copy + Display + Eq + Hash;
    /// The file once it is stored.
    type File;

    /// For logs.
    const NAME: &'static str;
    /// The pause after the first attempt, doubled with each further one.
    const SHORTEST_PAUSE: Duration;

    fn key(item: &Self::Item) -> Self::Key;

    /// Earlier attempts.
    fn attempts(item: &Self::Item) -> u32;

    /// The items that are due, without those that are `under_way`.
    async fn due(&self, under_way: Vec<Self::Key>, limit: usize) -> Result<Vec<Self::Item>, DbError>;

    /// Fetches the file and puts it into the storage.
    async fn fetch(&self, fetcher: &Fetcher<'_>, item: &Self::Item) -> Result<Self::File, FetchFailure>;

    /// Notes that the file is stored.
    async fn note_stored(&self, item: &Self::Item, file: Self::File) -> Result<(), DbError>;

    /// Notes that the file will never be stored.
    async fn note_lost(&self, item: &Self::Item) -> Result<(), DbError>;

    /// Notes that the file is to be tried again after a pause.
    async fn note_later(&self, item: &Self::Item, pause: Duration) -> Result<(), DbError>;
}

/// Why a file was not stored.
pub(super) enum FetchFailure {
    /// A temporary failure.
    Later(&'static str),
    /// The network asked for a pause.
    NotBefore(Duration),
    /// The file will never come.
    Lost(String),
}

/// Fetches files over one connection.
pub(super) struct Fetcher<'a> {
    pub session: &'a Session,
    pub connection: &'a Arc<dyn Connection>,
}

impl Fetcher<'_> {
    /// Fetches the files of a queue as long as the connection lasts.
    pub async fn run<Q: FetchQueue>(&self, queue: Q) -> Result<Infallible, Fault> {
        let topic = topic::files(self.session.lease.account);
        let mut changes = self.session.store.notifications().subscribe(topic);
        let (mut fetching, mut under_way) = (FuturesUnordered::new(), HashSet::<Q::Key>::new());
        loop {
            let free = PER_ACCOUNT - under_way.len();
            if free > 0 {
                for item in queue.due(under_way.iter().copied().collect(), free).await? {
                    under_way.insert(Q::key(&item));
                    fetching.push(Box::pin(self.attempt(&queue, item)));
                }
            }
            tokio::select! {
                Some((key, noted)) = fetching.next() => {
                    under_way.remove(&key);
                    noted?;
                }
                () = changes.woken_on_beat(), if under_way.len() < PER_ACCOUNT => {}
            }
        }
    }

    async fn attempt<Q: FetchQueue>(&self, queue: &Q, item: Q::Item) -> (Q::Key, Result<(), DbError>) {
        // The semaphore is never closed.
        let _permit = self.session.fetching.acquire().await;
        let fetched = queue.fetch(self, &item).await;
        (Q::key(&item), self.note(queue, &item, fetched).await)
    }

    async fn note<Q: FetchQueue>(
        &self,
        queue: &Q,
        item: &Q::Item,
        fetched: Result<Q::File, FetchFailure>,
    ) -> Result<(), DbError> {
        let (account, file, key, attempts) =
            (self.session.lease.account, Q::NAME, Q::key(item), Q::attempts(item));
        let pause = match fetched {
            Ok(file) => return queue.note_stored(item, file).await,
            Err(FetchFailure::Lost(reason)) => {
                tracing::warn!(%account, file, %key, reason, "a file cannot be fetched");
                return queue.note_lost(item).await;
            }
            Err(FetchFailure::Later(reason)) if attempts >= MOST_ATTEMPTS => {
                tracing::warn!(%account, file, %key, reason, "a file is given up after {attempts} attempts");
                return queue.note_lost(item).await;
            }
            Err(FetchFailure::Later(reason)) => {
                tracing::debug!(%account, file, %key, reason, "a file will be tried again");
                pause_after(attempts, Q::SHORTEST_PAUSE, LONGEST_PAUSE)
            }
            Err(FetchFailure::NotBefore(pause)) => pause,
        };
        queue.note_later(item, pause).await
    }

    /// Writes the bytes behind a reference to the spool. A network that is silent for a step is given up.
    pub async fn spool(&self, reference: &str) -> Result<Spooled, FetchFailure> {
        let silent = |_| FetchFailure::Later("no_answer");
        let step = self.session.timeouts.step;
        let mut stream = timeout(step, self.connection.fetch(reference)).await.map_err(silent)??;
        let mut spool = self.media().spool(Uploader::Account(self.session.lease.account));
        while let Some(bytes) = timeout(step, stream.next()).await.map_err(silent)? {
            spool.write(&bytes?).await.map_err(|error| self.failure(&error))?;
        }
        spool.finish().await.map_err(|error| self.failure(&error))
    }

    pub fn media(&self) -> &Media {
        &self.session.media
    }

    /// Classifies a failure to store the file.
    pub fn failure(&self, error: &MediaError) -> FetchFailure {
        match error {
            MediaError::TooLarge { .. }
            | MediaError::UnknownType { .. }
            | MediaError::WrongFileType(_)
            | MediaError::Picture(_) => FetchFailure::Lost(chain(error)),
            MediaError::Busy | MediaError::TooSlow => FetchFailure::Later("busy"),
            MediaError::Unavailable { .. } | MediaError::Missing(_) | MediaError::Store(_) => {
                let account = self.session.lease.account;
                tracing::warn!(%account, error = chain(error), "a file was not stored");
                FetchFailure::Later("storage")
            }
        }
    }
}

impl From<Failure> for FetchFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry(reason) => Self::Later(reason),
            Failure::OutcomeUnknown => Self::Later("no_answer"),
            Failure::RateLimited(pause) => Self::NotBefore(pause),
            Failure::Refused(reason) => Self::Lost(reason),
            Failure::Unsupported(what) => Self::Lost(format!("this network cannot {what}")),
        }
    }
}
