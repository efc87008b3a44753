//! The uploads of one connection, which go on beside its messages.
//!
//! A file may take longer than a message may be on its way. So its message waits outside, and is sent once the file has a URL.
//! The URL is kept until the message was taken: after a crash the file is not uploaded again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Server;
use super::link::Link;
use super::sharing::SharedFile;
use crate::clock;
use crate::upstream::{AdapterState, Failure, SendFailure};

/// Files of one account that are uploaded at one time.
const AT_ONCE: usize = 3;
/// Files that are uploaded or wait for it. The messages of others are tried again later.
const WAITING: usize = 50;
/// A URL is kept for so long: longer than any message waits, and not longer than servers keep files.
const KEPT: TimeDelta = TimeDelta::days(2);
/// The beginning of the keys, before the message's id.
const KEY: &str = "upload.";

/// Clones share it.
#[derive(Clone)]
pub(super) struct Uploads(Arc<Inner>);

struct Inner {
    server: Arc<Server>,
    link: Link,
    state: Arc<dyn AdapterState>,
    /// Ends the tasks with the connection.
    stop: CancellationToken,
    permits: Semaphore,
    loaded: OnceCell<()>,
    /// By the message's id.
    files: Mutex<HashMap<String, Upload>>,
    /// An upload has ended.
    ended: Notify,
}

#[derive(Clone)]
enum Upload {
    UnderWay,
    /// The URL, which is kept.
    Done(String),
    Failed(SendFailure),
}

/// A kept URL, as JSON.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    at: DateTime<Utc>,
}

/// What [`Uploads::start`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// The upload begins with this call.
    New,
    /// It had begun before, or may not begin now.
    Before,
}

impl Uploads {
    pub fn new(
        server: Arc<Server>,
        link: Link,
        state: Arc<dyn AdapterState>,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            server,
            link,
            state,
            stop,
            permits: Semaphore::new(AT_ONCE),
            loaded: OnceCell::new(),
            files: Mutex::default(),
            ended: Notify::new(),
        }))
    }

    /// Begins to upload the file of a message, unless that has happened before.
    pub async fn start(&self, id: &str, file: &SharedFile) -> Started {
        if let Err(failure) = self.load().await {
            tracing::debug!(%failure, "the kept uploads cannot be read");
            return Started::Before;
        }
        {
            let mut files = self.files();
            let under_way = files.values().filter(|upload| matches!(upload, Upload::UnderWay)).count();
            if files.contains_key(id) || under_way >= WAITING {
                return Started::Before;
            }
            files.insert(id.to_owned(), Upload::UnderWay);
        }
        let (uploads, id, file) = (self.clone(), id.to_owned(), file.clone());
        self.0.server.lifecycle.spawn(async move {
            tokio::select! {
                outcome = uploads.upload(&id, &file) => {
                    let upload = outcome.map_or_else(Upload::Failed, Upload::Done);
                    uploads.files().insert(id, upload);
                    uploads.0.ended.notify_waiters();
                }
                () = uploads.0.stop.cancelled() => {}
            }
        });
        Started::New
    }

    /// The URL of a message's file. [`SendFailure::Retry`] while it is uploaded; an error of it is returned once.
    pub fn url(&self, id: &str) -> Result<String, SendFailure> {
        let mut files = self.files();
        match files.get(id).cloned() {
            Some(Upload::Done(url)) => Ok(url),
            Some(Upload::UnderWay) | None => Err(SendFailure::Retry),
            Some(Upload::Failed(failure)) => {
                files.remove(id);
                Err(failure)
            }
        }
    }

    /// Returns when none of these uploads is under way.
    pub async fn finished(&self, ids: &[String]) {
        loop {
            let ended = self.0.ended.notified();
            tokio::pin!(ended);
            // From here on no end is missed.
            ended.as_mut().enable();
            if !ids.iter().any(|id| matches!(self.files().get(id), Some(Upload::UnderWay))) {
                return;
            }
            ended.await;
        }
    }

    /// Forgets the URLs of messages that were taken, or will never be sent.
    pub async fn forget(&self, ids: &[String]) {
        let done: Vec<String> = {
            let mut files = self.files();
            let mut is_kept = |id: &&String| matches!(files.remove(*id), Some(Upload::Done(_)));
            ids.iter().filter(|id| is_kept(id)).map(|id| key(id)).collect()
        };
        if done.is_empty() {
            return;
        }
        let keys: Vec<&str> = done.iter().map(String::as_str).collect();
        if let Err(failure) = self.0.state.delete(&keys).await {
            // They are deleted by a later connection.
            tracing::debug!(%failure, "kept uploads are not deleted");
        }
    }

    async fn upload(&self, id: &str, file: &SharedFile) -> Result<String, SendFailure> {
        // The semaphore is never closed.
        let _permit = self.0.permits.acquire().await;
        let server = &self.0.server;
        let url = server.files.upload(&self.0.link, &*server.blobs, file).await?;
        let kept = serde_json::to_vec(&Kept { url: url.clone(), at: clock::now() });
        let kept = kept.map_err(|_| SendFailure::Retry)?;
        self.0.state.put(&[(&key(id), kept)]).await.map_err(|failure| {
            tracing::debug!(%failure, "an upload is not kept");
            SendFailure::Retry
        })?;
        Ok(url)
    }

    /// Reads what earlier connections kept, once, and deletes what nobody has asked for.
    async fn load(&self) -> Result<(), Failure> {
        let load = async || {
            let mut old = Vec::new();
            for (key, value) in self.0.state.list(KEY).await? {
                let kept: Option<Kept> = serde_json::from_slice(&value).ok();
                match (key.strip_prefix(KEY), kept.filter(|kept| clock::now() - kept.at < KEPT)) {
                    (Some(id), Some(kept)) => {
                        self.files().entry(id.to_owned()).or_insert(Upload::Done(kept.url));
                    }
                    _ => old.push(key),
                }
            }
            if !old.is_empty() {
                self.0.state.delete(&old.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            }
            Ok(())
        };
        self.0.loaded.get_or_try_init(load).await.copied()
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(id: &str) -> String {
    format!("{KEY}{id}")
}
