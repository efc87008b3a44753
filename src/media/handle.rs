//! The handle of stored files, for the rest of the program.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek as _};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::blobs::{Blobs, ByteStream};
use super::inspection::InspectionPool;
use super::spool::{Spool, Spools};
use super::urls::{UrlParts, Urls, VerifiedUrl};
use super::{MediaError, Spooled, Uploader};
use crate::config::{MediaLocation, MediaSettings};
use crate::domain::{BlobHash, Reference};
use crate::secrets::MasterKey;
use crate::store::{ServedBlob, Store};
use crate::telemetry::chain;

/// Stored files, and those being uploaded. Clones are cheap.
#[derive(Clone)]
pub struct Media(Arc<MediaInner>);

struct MediaInner {
    store: Store,
    blobs: Blobs,
    spools: Spools,
    urls: Urls,
    inspections: InspectionPool,
    location: MediaLocation,
}

/// Files that are looked for at the start.
const SAMPLE: i64 = 20;
/// Files in one page of the inventory.
const INVENTORY_PAGE: i64 = 1_000;
/// Files that the inventory looks for at the same time.
const INVENTORY_AT_ONCE: usize = 32;

/// How many files something refers to, and how many of them the storage does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    pub files: usize,
    pub missing: usize,
}

/// A file that a URL opens.
#[derive(Clone, Debug)]
pub struct ServedFile {
    pub url: VerifiedUrl,
    /// The file's row.
    pub blob: ServedBlob,
}

impl Media {
    /// Media stored as the settings say, with rows in `store`. URLs begin with `public_url`, which has no slash at its
    /// end. Nothing is opened yet.
    #[must_use]
    pub fn new(store: Store, keys: MasterKey, settings: &MediaSettings, public_url: Arc<str>) -> Self {
        Self(Arc::new(MediaInner {
            store,
            blobs: Blobs::new(settings.location.clone()),
            spools: Spools::new(&settings.data_dir, settings.max_upload),
            urls: Urls::new(keys, public_url, settings.url_lifetime),
            inspections: InspectionPool::new(),
            location: settings.location.clone(),
        }))
    }

    /// Opens the spool and the storage, and removes half-written files of killed programs. A failure is logged, and no
    /// reason not to start: both are opened again when they are needed.
    pub async fn prepare(&self) {
        let mut ready = true;
        for prepared in [self.0.spools.prepare().await, self.0.blobs.prepare().await] {
            if let Err(error) = prepared {
                tracing::error!(error = chain(&error), "files cannot be stored now");
                ready = false;
            }
        }
        if !ready {
            return;
        }
        match self.sample().await {
            Ok(Inventory { missing: 0, .. }) => {}
            Ok(Inventory { files, missing }) => tracing::error!(
                location = self.location(),
                "of {files} files that messages refer to, {missing} are not in this storage: processes that share a \
                 database need one folder that all of them see, or S3"
            ),
            Err(error) => tracing::error!(error = chain(&error), "files cannot be looked for now"),
        }
    }

    /// Looks for some of the stored files that something refers to.
    async fn sample(&self) -> Result<Inventory, MediaError> {
        let page = self.0.store.referred_blobs(None, SAMPLE).await?;
        self.look_for(&page).await
    }

    async fn look_for(&self, hashes: &[BlobHash]) -> Result<Inventory, MediaError> {
        let looking = hashes.iter().copied().map(|hash| async move { self.0.blobs.contains(&hash).await });
        let found = stream::iter(looking).buffered(INVENTORY_AT_ONCE);
        let found: Vec<bool> = found.try_collect().await?;
        Ok(Inventory { files: hashes.len(), missing: found.iter().filter(|found| !**found).count() })
    }

    /// Where files are stored, for people.
    #[must_use]
    pub fn location(&self) -> String {
        self.0.location.to_string()
    }

    /// Writes, reads and deletes a small object.
    pub async fn check(&self) -> Result<(), MediaError> {
        self.0.blobs.check().await
    }

    /// Looks for every stored file that something refers to.
    pub async fn inventory(&self) -> Result<Inventory, MediaError> {
        let mut inventory = Inventory::default();
        let mut after = None;
        loop {
            let page = self.0.store.referred_blobs(after, INVENTORY_PAGE).await?;
            let Some(last) = page.last() else { return Ok(inventory) };
            after = Some(*last);
            let found = self.look_for(&page).await?;
            inventory.files += found.files;
            inventory.missing += found.missing;
        }
    }

    /// The largest upload, in bytes.
    #[must_use]
    pub fn max_upload(&self) -> u64 {
        self.0.spools.limit()
    }

    /// A new file for an upload. Nothing is created on the disk before the first write.
    #[must_use]
    pub fn spool(&self, uploader: Uploader) -> Spool {
        self.0.spools.spool(uploader)
    }

    #[must_use]
    pub fn spools(&self) -> &Spools {
        &self.0.spools
    }

    /// The bytes of a stored file, or of a range within it, as a stream.
    ///
    /// # Errors
    /// [`MediaError::Missing`], [`MediaError::Unavailable`].
    pub async fn stream(&self, hash: &BlobHash, range: Option<Range<u64>>) -> Result<ByteStream, MediaError> {
        self.0.blobs.stream(hash, range).await
    }

    /// Stores the file of a backup, whose content has this hash.
    pub async fn restore(&self, hash: &BlobHash, mut file: File) -> Result<(), MediaError> {
        let failed = |error: io::Error| MediaError::unavailable("the backup", error);
        let size = file.metadata().map_err(failed)?.len();
        file.rewind().map_err(failed)?;
        self.0.blobs.put_file(hash, size, file.into()).await
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
        Ok(whole.await.map_err(|error| MediaError::unavailable(self.location(), error))?.freeze())
    }

    /// A URL that opens the file without a token, until it expires or `reference` does not refer to the file any more.
    #[must_use]
    pub fn url(&self, reference: Reference, hash: &BlobHash) -> String {
        self.0.urls.sign(reference, hash)
    }

    /// The file that a URL opens; `None` when its signature is wrong, when it has expired, or when its row does not refer
    /// to the file any more.
    pub async fn open(&self, parts: UrlParts<'_>) -> Result<Option<ServedFile>, MediaError> {
        let Some(url) = self.0.urls.verify(parts) else { return Ok(None) };
        let blob = self.0.store.referred_blob(url.reference, &url.hash).await?;
        Ok(blob.map(|blob| ServedFile { url, blob }))
    }

    /// Deletes files that nothing refers to, an hour after they were last stored: examines the `batch` files after
    /// `after` in the order of their hashes. Returns the last one that it examined; `None` at the end of all.
    pub async fn delete_unreferenced(
        &self,
        after: Option<BlobHash>,
        batch: i64,
    ) -> Result<Option<BlobHash>, MediaError> {
        let examined = self.0.store.unreferred_blobs(after, batch).await?;
        for hash in &examined.unreferred {
            let mut tx = self.0.store.begin().await?;
            if tx.lock_unreferred_blob(hash).await? {
                // Under the row's lock, so that nobody refers to it or stores it again meanwhile.
                self.0.blobs.delete(hash).await?;
                tx.delete_blob(hash).await?;
                tx.commit().await?;
            }
        }
        Ok(examined.last)
    }

    /// Stores a file: the row first, so that the clean-up knows the object whatever happens.
    pub(super) async fn put(&self, spooled: &Spooled, mimetype: &str) -> Result<(), MediaError> {
        let (hash, size) = (spooled.hash(), spooled.size());
        self.0.store.put_blob(&hash, size, mimetype).await?;
        self.0.blobs.put(&hash, size, spooled.path()).await
    }

    /// As [`Media::put`], for bytes in memory.
    pub(super) async fn put_bytes(
        &self,
        hash: &BlobHash,
        bytes: Vec<u8>,
        mimetype: &str,
    ) -> Result<(), MediaError> {
        self.0.store.put_blob(hash, bytes.len() as u64, mimetype).await?;
        self.0.blobs.put_bytes(hash, bytes).await
    }

    pub(super) fn inspections(&self) -> &InspectionPool {
        &self.0.inspections
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Media").field(&self.0.location).finish()
    }
}
