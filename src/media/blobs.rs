//! The storage: objects by the hash of their content, in a folder or in S3. An object is there whole or not at all.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::prefix::PrefixStore;
use object_store::{
    ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload,
    RetryConfig,
};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{MediaError, folder};
use crate::clock;
use crate::config::MediaLocation;
use crate::domain::BlobHash;
use crate::metrics::METRICS;
use crate::secrets;

/// The smallest part that S3 accepts of an object, other than the last.
const S3_PART: usize = 5 * 1024 * 1024;
const FOLDER_PART: usize = 1024 * 1024;

/// For one small request to the storage, or one part of an object.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(20);
/// For a deletion, during which a transaction waits: less than the database lets it be idle.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes for so long is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// An older half-written file in the folder was left by a killed program.
const STALE: Duration = Duration::from_hours(24);

/// A stream of an object's bytes.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// The storage. It is opened at its first use that succeeds, so the program can start while it is unavailable.
pub struct Blobs {
    location: MediaLocation,
    opened: OnceCell<Arc<dyn ObjectStore>>,
}

impl Blobs {
    #[must_use]
    pub fn new(location: MediaLocation) -> Self {
        Self { location, opened: OnceCell::new() }
    }

    /// Stores a file under its hash, unless it is stored already.
    ///
    /// # Errors
    /// [`MediaError::Unavailable`] when the storage fails; then nothing of the file is visible.
    pub async fn put(&self, hash: &BlobHash, size: u64, path: &Path) -> Result<(), MediaError> {
        let file = File::open(path).await.map_err(|error| self.unavailable(error))?;
        self.put_file(hash, size, file).await
    }

    /// As [`Blobs::put`], for an open file at its beginning.
    pub async fn put_file(&self, hash: &BlobHash, size: u64, mut file: File) -> Result<(), MediaError> {
        let (store, name) = (self.open().await?, name(hash));
        if self.size(store, &name).await? == Some(size) {
            return Ok(());
        }
        let first = self.part(&mut file).await?;
        if first.content_length() as u64 == size {
            return self.within(OBJECT_TIMEOUT, store.put(&name, first)).await.map(drop);
        }
        let mut upload = self.within(OBJECT_TIMEOUT, store.put_multipart(&name)).await?;
        let put = self.put_parts(&mut *upload, first, file).await;
        if put.is_err() {
            // Parts that stay nevertheless are removed by the storage's own rules.
            let _ = timeout(OBJECT_TIMEOUT, upload.abort()).await;
        }
        put
    }

    /// As [`Blobs::put`], for bytes in memory.
    pub async fn put_bytes(&self, hash: &BlobHash, bytes: Vec<u8>) -> Result<(), MediaError> {
        let (store, name) = (self.open().await?, name(hash));
        if self.size(store, &name).await? == Some(bytes.len() as u64) {
            return Ok(());
        }
        self.within(OBJECT_TIMEOUT, store.put(&name, bytes.into())).await.map(drop)
    }

    /// The bytes of an object, or of a range within it.
    ///
    /// # Errors
    /// [`MediaError::Missing`] when there is no such object, [`MediaError::Unavailable`] when the storage does not answer.
    pub async fn stream(&self, hash: &BlobHash, range: Option<Range<u64>>) -> Result<ByteStream, MediaError> {
        let (store, name) = (self.open().await?, name(hash));
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        match timeout(OBJECT_TIMEOUT, store.get_opts(&name, options)).await {
            Ok(Ok(found)) => Ok(found.into_stream().map_err(io::Error::from).boxed()),
            Ok(Err(object_store::Error::NotFound { .. })) => {
                METRICS.media_missing();
                Err(MediaError::Missing(*hash))
            }
            Ok(Err(error)) => Err(self.unavailable(error)),
            Err(elapsed) => Err(self.unavailable(elapsed)),
        }
    }

    /// Deletes an object; a missing one is no error.
    ///
    /// # Errors
    /// [`MediaError::Unavailable`] when the storage does not answer: the object may be deleted nevertheless.
    pub async fn delete(&self, hash: &BlobHash) -> Result<(), MediaError> {
        let store = self.open().await?;
        match timeout(DELETE_TIMEOUT, store.delete(&name(hash))).await {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => Err(self.unavailable(error)),
            Err(elapsed) => Err(self.unavailable(elapsed)),
        }
    }

    /// Whether the object is there.
    ///
    /// # Errors
    /// [`MediaError::Unavailable`] when the storage does not answer.
    pub async fn contains(&self, hash: &BlobHash) -> Result<bool, MediaError> {
        Ok(self.size(self.open().await?, &name(hash)).await?.is_some())
    }

    /// Writes, reads and deletes a small object.
    pub async fn check(&self) -> Result<(), MediaError> {
        let store = self.open().await?;
        let (name, text) =
            (Name::from(format!("check-{}", secrets::random_id())), Bytes::from_static(b"windu"));
        self.within(OBJECT_TIMEOUT, store.put(&name, text.clone().into())).await?;
        let read = self.within(OBJECT_TIMEOUT, async { store.get(&name).await?.bytes().await }).await;
        self.within(OBJECT_TIMEOUT, store.delete(&name)).await?;
        if read? == text {
            Ok(())
        } else {
            Err(self.unavailable(io::Error::from(io::ErrorKind::InvalidData)))
        }
    }

    /// Opens the storage, and removes half-written files of killed programs from a folder.
    pub async fn prepare(&self) -> Result<(), MediaError> {
        self.open().await?;
        if let MediaLocation::Folder(path) = &self.location {
            let path = path.clone();
            let before = SystemTime::from(clock::now()) - STALE;
            spawn_blocking(move || folder::sweep(&path, before))
                .await
                .map_err(|error| self.unavailable(error))?
                .map_err(|error| self.unavailable(error))?;
        }
        Ok(())
    }

    async fn open(&self) -> Result<&Arc<dyn ObjectStore>, MediaError> {
        self.opened
            .get_or_try_init(async || {
                let location = self.location.clone();
                let opened = spawn_blocking(move || open(&location)).await;
                opened.map_err(|error| self.unavailable(error))?.map_err(|error| self.unavailable(error))
            })
            .await
    }

    /// The size of an object in bytes; `None`: there is none.
    async fn size(&self, store: &Arc<dyn ObjectStore>, name: &Name) -> Result<Option<u64>, MediaError> {
        match timeout(OBJECT_TIMEOUT, store.head(name)).await {
            Ok(Ok(found)) => Ok(Some(found.size)),
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(self.unavailable(error)),
            Err(elapsed) => Err(self.unavailable(elapsed)),
        }
    }

    async fn put_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        first: PutPayload,
        mut file: File,
    ) -> Result<(), MediaError> {
        let mut part = first;
        // One after the other: each waiting part takes memory.
        while part.content_length() > 0 {
            self.within(OBJECT_TIMEOUT, upload.put_part(part)).await?;
            part = self.part(&mut file).await?;
        }
        self.within(OBJECT_TIMEOUT, upload.complete()).await.map(drop)
    }

    /// The next part of a file, empty at its end.
    async fn part(&self, file: &mut File) -> Result<PutPayload, MediaError> {
        let size = match self.location {
            MediaLocation::Folder(_) => FOLDER_PART,
            MediaLocation::S3 { .. } => S3_PART,
        };
        let mut part = Vec::with_capacity(size);
        file.take(size as u64).read_to_end(&mut part).await.map_err(|error| self.unavailable(error))?;
        Ok(part.into())
    }

    async fn within<T>(
        &self,
        limit: Duration,
        done: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, MediaError> {
        match timeout(limit, done).await {
            Ok(done) => done.map_err(|error| self.unavailable(error)),
            Err(elapsed) => Err(self.unavailable(elapsed)),
        }
    }

    fn unavailable(&self, error: impl std::error::Error + Send + Sync + 'static) -> MediaError {
        MediaError::unavailable(self.location.to_string(), error)
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Blobs").field("location", &self.location).finish_non_exhaustive()
    }
}

/// The object's name: in one of 256 folders, so that none grows too large.
fn name(hash: &BlobHash) -> Name {
    let hex = hash.hex();
    Name::from(format!("{}/{hex}", &hex[..2]))
}

fn open(location: &MediaLocation) -> object_store::Result<Arc<dyn ObjectStore>> {
    match location {
        MediaLocation::Folder(path) => {
            folder::create(path)
                .map_err(|error| object_store::Error::Generic { store: "folder", source: error.into() })?;
            Ok(Arc::new(LocalFileSystem::new_with_prefix(path)?.with_fsync(true)))
        }
        MediaLocation::S3 { bucket, prefix, variables } => {
            let bucket = s3(bucket, variables)?;
            if prefix.is_empty() {
                return Ok(Arc::new(bucket));
            }
            Ok(Arc::new(PrefixStore::new(bucket, prefix.as_str())))
        }
    }
}

fn s3(bucket: &str, variables: &[(String, String)]) -> object_store::Result<AmazonS3> {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // No limit on a whole response: a slow client downloads a large file slowly.
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT);
    let retry = RetryConfig { max_retries: 3, retry_timeout: OBJECT_TIMEOUT, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::new().with_client_options(client).with_retry(retry);
    for (name, value) in variables {
        // Variables that only other programs read are skipped.
        if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    builder.with_bucket_name(bucket).build()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn blobs_in(path: &Path) -> Blobs {
        Blobs::new(MediaLocation::Folder(path.join("media")))
    }

    fn content(size: usize) -> (Vec<u8>, BlobHash) {
        let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).expect("below 256")).collect();
        let hash = BlobHash(secrets::sha256(&bytes));
        (bytes, hash)
    }

    async fn read(blobs: &Blobs, hash: &BlobHash, range: Option<Range<u64>>) -> Vec<u8> {
        let stream = blobs.stream(hash, range).await.expect("an object");
        stream.try_collect::<Vec<_>>().await.expect("whole").concat()
    }

    #[tokio::test]
    async fn the_storage_is_closed_and_a_data_folder_that_it_makes_is_not_closed_to_postgresql() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().expect("a folder");
        let data = place.path().join("data");
        let (_, hash) = content(1);
        let _ = blobs_in(&data).delete(&hash).await;
        let mode = |path: &Path| fs::metadata(path).expect("made").permissions().mode() & 0o777;
        assert_eq!(mode(&data.join("media")), 0o700);
        assert_eq!(mode(&data), if nix::unistd::Uid::effective().is_root() { 0o711 } else { 0o700 });
    }

    #[tokio::test]
    async fn what_is_put_is_streamed_whole_or_in_part_until_it_is_deleted() {
        let place = tempfile::tempdir().expect("a folder");
        let blobs = blobs_in(place.path());
        for size in [0, 1, FOLDER_PART - 1, FOLDER_PART, FOLDER_PART + 1, 3 * FOLDER_PART] {
            let (bytes, hash) = content(size);
            let file = place.path().join("file");
            fs::write(&file, &bytes).expect("written");
            for _ in 0..2 {
                blobs.put(&hash, size as u64, &file).await.expect("put");
            }
            assert_eq!(read(&blobs, &hash, None).await, bytes, "{size}");
            if size > 10 {
                assert_eq!(read(&blobs, &hash, Some(3..10)).await, bytes[3..10]);
                let end = size as u64;
                assert_eq!(read(&blobs, &hash, Some(end - 1..end)).await, bytes[size - 1..]);
            }
            for _ in 0..2 {
                blobs.delete(&hash).await.expect("deleted");
            }
            assert!(matches!(blobs.stream(&hash, None).await, Err(MediaError::Missing(_))));
        }
        let (bytes, hash) = content(1_000);
        blobs.put_bytes(&hash, bytes.clone()).await.expect("put");
        assert_eq!(read(&blobs, &hash, None).await, bytes);
    }

    #[tokio::test]
    async fn an_object_of_another_size_is_put_anew() {
        let place = tempfile::tempdir().expect("a folder");
        let blobs = blobs_in(place.path());
        let (bytes, hash) = content(1_000);
        blobs.put_bytes(&hash, bytes[..10].to_vec()).await.expect("put");
        blobs.put_bytes(&hash, bytes.clone()).await.expect("put");
        assert_eq!(read(&blobs, &hash, None).await, bytes);
    }

    #[tokio::test]
    async fn an_unavailable_storage_is_opened_again_later() {
        let place = tempfile::tempdir().expect("a folder");
        let blobs = blobs_in(place.path());
        fs::write(place.path().join("media"), "in the way").expect("a file");
        let (bytes, hash) = content(1_000);
        for outcome in [blobs.put_bytes(&hash, bytes.clone()).await, blobs.check().await] {
            assert!(matches!(outcome, Err(MediaError::Unavailable { .. })));
        }
        assert!(matches!(blobs.stream(&hash, None).await, Err(MediaError::Unavailable { .. })));
        fs::remove_file(place.path().join("media")).expect("removed");
        blobs.check().await.expect("works");
        blobs.put_bytes(&hash, bytes).await.expect("put");
        assert_eq!(fs::read_dir(place.path().join("media")).expect("a folder").count(), 1);
    }

    #[tokio::test]
    async fn only_old_half_files_are_swept() {
        let place = tempfile::tempdir().expect("a folder");
        let blobs = blobs_in(place.path());
        let (bytes, hash) = content(1_000);
        blobs.put_bytes(&hash, bytes).await.expect("put");
        let whole = place.path().join("media").join(name(&hash).to_string());
        let half = |number: u32| whole.with_file_name(format!("{}#{number}", hash.hex()));
        for path in [&whole, &half(1), &half(2)] {
            fs::write(path, "half").expect("written");
        }
        let aged = SystemTime::from(clock::now()) - STALE - Duration::from_secs(1);
        for path in [&whole, &half(1)] {
            fs::File::options().write(true).open(path).expect("a file").set_modified(aged).expect("aged");
        }
        blobs.prepare().await.expect("prepared");
        assert_eq!([whole.exists(), half(1).exists(), half(2).exists()], [true, false, true]);
    }
}
