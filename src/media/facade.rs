//! What the rest of the program sees of stored files.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;

use super::blobs::{Blobs, ByteStream};
use super::keep::Lookers;
use super::spool::{Spool, Spools};
use super::urls::{Opened, Parts, Urls};
use super::{MediaError, Spooled};
use crate::config::{MediaLocation, MediaSettings};
use crate::domain::{BlobHash, Reference};
use crate::secrets::MasterKey;
use crate::store::{ServedBlob, Store};
use crate::telemetry::chain;

/// Stored files, and those on their way. Clones are cheap.
#[derive(Clone)]
pub struct Media(Arc<Inner>);

struct Inner {
    store: Store,
    blobs: Blobs,
    spools: Spools,
    urls: Urls,
    lookers: Lookers,
    location: MediaLocation,
}

/// A file that may be given out.
#[derive(Clone, Debug)]
pub struct Served {
    /// What the URL says.
    pub opened: Opened,
    /// What the database says of the file.
    pub blob: ServedBlob,
}

impl Media {
    /// Media stored as the settings say, with rows in `store`. URLs begin with `public_url`, which has no slash at its
    /// end. Nothing is opened yet.
    #[must_use]
    pub fn new(store: Store, keys: MasterKey, settings: &MediaSettings, public_url: Arc<str>) -> Self {
        Self(Arc::new(Inner {
            store,
            blobs: Blobs::new(settings.location.clone()),
            spools: Spools::new(&settings.data_dir, settings.max_upload),
            urls: Urls::new(keys, public_url, settings.url_lifetime),
            lookers: Lookers::new(),
            location: settings.location.clone(),
        }))
    }

    /// Opens what can be opened, and removes what killed programs left. What does not work now is tried again when it
    /// is needed; it is logged, and no reason not to start.
    pub async fn prepare(&self) {
        for prepared in [self.0.spools.prepare().await, self.0.blobs.prepare().await] {
            if let Err(error) = prepared {
                tracing::error!(error = chain(&error), "files cannot be stored now");
            }
        }
    }

    /// Where files are stored, for people.
    #[must_use]
    pub fn location(&self) -> String {
        self.0.location.to_string()
    }

    /// Writes, reads and deletes a small object.
    ///
    /// # Errors
    /// When one of these fails.
    pub async fn check(&self) -> Result<(), MediaError> {
        self.0.blobs.check().await
    }

    /// Bytes of the largest file that is taken.
    #[must_use]
    pub fn max_upload(&self) -> u64 {
        self.0.spools.limit()
    }

    /// A new file for what arrives. Nothing is made before the first write.
    #[must_use]
    pub fn spool(&self) -> Spool {
        self.0.spools.spool()
    }

    /// What makes such files, for whoever needs nothing else.
    #[must_use]
    pub fn spools(&self) -> &Spools {
        &self.0.spools
    }

    /// The bytes of a stored file, or those in a range that it has, as they come.
    ///
    /// # Errors
    /// [`MediaError::Missing`], [`MediaError::Away`].
    pub async fn stream(&self, hash: &BlobHash, range: Option<Range<u64>>) -> Result<ByteStream, MediaError> {
        self.0.blobs.stream(hash, range).await
    }

    /// All bytes of a small stored file, such as a profile photo.
    ///
    /// # Errors
    /// As for [`Media::stream`].
    pub async fn bytes(&self, hash: &BlobHash) -> Result<Bytes, MediaError> {
        let stream = self.stream(hash, None).await?;
        let whole = stream.try_fold(BytesMut::new(), async |mut whole, chunk| {
            whole.extend_from_slice(&chunk);
            Ok(whole)
        });
        Ok(whole.await.map_err(|error| MediaError::away(self.location(), error))?.freeze())
    }

    /// A URL that opens the file without a token, as long as `reference` refers to it and its time has not ended.
    #[must_use]
    pub fn url(&self, reference: Reference, hash: &BlobHash) -> String {
        self.0.urls.sign(reference, hash)
    }

    /// The file that a URL opens; `None` when its signature is wrong, its time has ended, or its row does not refer to
    /// the file any more.
    pub async fn open(&self, parts: Parts<'_>) -> Result<Option<Served>, MediaError> {
        let Some(opened) = self.0.urls.open(parts) else { return Ok(None) };
        let blob = self.0.store.referred_blob(opened.reference, &opened.hash).await?;
        Ok(blob.map(|blob| Served { opened, blob }))
    }

    /// Forgets files that nothing refers to, an hour after they were last put: looks at the `batch` files after
    /// `after` in the order of their hashes. Gives the last one that it looked at; `None` at the end of all.
    ///
    /// # Errors
    /// When the database or the storage fails.
    pub async fn forget_unreferred(
        &self,
        after: Option<BlobHash>,
        batch: i64,
    ) -> Result<Option<BlobHash>, MediaError> {
        let looked = self.0.store.unreferred_blobs(after, batch).await?;
        for hash in &looked.unreferred {
            let mut tx = self.0.store.begin().await?;
            if tx.lock_unreferred_blob(hash).await? {
                // Under the row's lock, so that nobody refers to it or puts it anew meanwhile.
                self.0.blobs.delete(hash).await?;
                tx.delete_blob(hash).await?;
                tx.commit().await?;
            }
        }
        Ok(looked.last)
    }

    /// Stores a file: the row first, so that the clean-up knows the object whatever happens.
    pub(super) async fn put(&self, spooled: &Spooled, mimetype: &str) -> Result<(), MediaError> {
        let (hash, size) = (spooled.hash(), spooled.size());
        self.0.store.put_blob(&hash, size, mimetype).await?;
        self.0.blobs.put(&hash, size, spooled.path()).await
    }

    /// Stores bytes in the same way.
    pub(super) async fn put_bytes(
        &self,
        hash: &BlobHash,
        bytes: Vec<u8>,
        mimetype: &str,
    ) -> Result<(), MediaError> {
        self.0.store.put_blob(hash, bytes.len() as u64, mimetype).await?;
        self.0.blobs.put_bytes(hash, bytes).await
    }

    pub(super) fn lookers(&self) -> &Lookers {
        &self.0.lookers
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Media").field(&self.0.location).finish()
    }
}
