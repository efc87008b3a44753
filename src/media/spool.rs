//! Spools: files that are being uploaded, in a folder of this process. They are hashed while they are written, and deleted
//! when dropped.
//!
//! ```text
//! DATA/spool/          locked while a process creates its folder or removes those of ended processes
//! DATA/spool/RANDOM/   locked by its process as long as that lives
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::digest::{Context, SHA256};
use tempfile::{NamedTempFile, TempPath};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::MediaError;
use crate::config::data_dir;
use crate::domain::BlobHash;
use crate::fetch::Sink;
use crate::secrets;

/// Bytes that are buffered before they are hashed and written.
const BLOCK: usize = 256 * 1024;

/// The folder's quota, in files of the largest size: the disk is the database's too.
const LARGEST_FILES: u64 = 32;

/// Creates spools. Clones share the folder and its quota.
#[derive(Clone, Debug)]
pub struct Spools {
    data_dir: Arc<Path>,
    /// The largest file, in bytes.
    limit: u64,
    folder: Arc<OnceCell<Arc<Folder>>>,
    quota: Arc<Quota>,
}

/// A file that is being written. At most the largest upload fits; dropped, it is deleted.
pub struct Spool {
    spools: Spools,
    writer: Option<SpoolWriter>,
    buffer: Vec<u8>,
    reserved: QuotaReservation,
}

/// A complete file. Deleted when dropped.
#[derive(Debug)]
pub struct Spooled {
    path: TempPath,
    hash: BlobHash,
    reserved: QuotaReservation,
    // After the file, so that the file is deleted before its folder is.
    _folder: Arc<Folder>,
}

/// The folder of this process.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Locked; the lock ends with the process, however that ends.
    _lock: File,
}

/// An empty file in the folder, written by code that needs a path.
pub(super) struct BlankFile {
    file: NamedTempFile,
    folder: Arc<Folder>,
}

struct SpoolWriter {
    file: NamedTempFile,
    hash: Context,
    folder: Arc<Folder>,
}

/// The bytes that all files in the folder may take together.
#[derive(Debug)]
struct Quota {
    used: AtomicU64,
    limit: u64,
}

/// A file's part of the quota.
#[derive(Debug)]
struct QuotaReservation {
    quota: Arc<Quota>,
    bytes: u64,
}

impl Spools {
    /// Spools in this data folder for files of at most `limit` bytes. Nothing is created yet.
    #[must_use]
    pub fn new(data_dir: &Path, limit: u64) -> Self {
        let quota = Quota { used: AtomicU64::new(0), limit: limit.saturating_mul(LARGEST_FILES) };
        Self { data_dir: data_dir.into(), limit, folder: Arc::default(), quota: Arc::new(quota) }
    }

    /// The largest file, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Creates the folder of this process, and removes those of ended processes. Done once; the first spool does it too.
    pub async fn prepare(&self) -> Result<(), MediaError> {
        self.folder().await.map(drop)
    }

    /// A new, empty file. It is created on the disk when the first bytes are written.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool {
            spools: self.clone(),
            writer: None,
            buffer: Vec::new(),
            reserved: QuotaReservation { quota: Arc::clone(&self.quota), bytes: 0 },
        }
    }

    /// An empty file, to be written through its path and then passed to [`Spools::adopt`].
    pub(super) async fn blank(&self) -> Result<BlankFile, MediaError> {
        let folder = self.folder().await?;
        work(move || Ok(BlankFile { file: file_in(&folder)?, folder })).await
    }

    /// Hashes a blank file that was written meanwhile.
    pub(super) async fn adopt(&self, BlankFile { file, folder }: BlankFile) -> Result<Spooled, MediaError> {
        let mut reserved = QuotaReservation { quota: Arc::clone(&self.quota), bytes: 0 };
        let (file, hash, size) = work(move || {
            let (mut hash, mut block, mut size) = (Context::new(&SHA256), vec![0; BLOCK], 0);
            let mut reader = File::open(file.path())?;
            loop {
                let read = reader.read(&mut block)?;
                if read == 0 {
                    return Ok((file, digest(hash), size));
                }
                hash.update(&block[..read]);
                size += read as u64;
            }
        })
        .await?;
        reserved.grow(size)?;
        Ok(Spooled { path: file.into_temp_path(), hash, reserved, _folder: folder })
    }

    async fn folder(&self) -> Result<Arc<Folder>, MediaError> {
        let created = self.folder.get_or_try_init(async || {
            let data_dir = Arc::clone(&self.data_dir);
            work(move || create_folder(&data_dir)).await.map(Arc::new)
        });
        created.await.cloned()
    }
}

impl Spool {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`MediaError::TooLarge`] when the file would be larger than an upload may be, [`MediaError::Busy`] when the
    /// quota is used up, [`MediaError::Unavailable`] when the disk fails or is full.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        let limit = self.spools.limit;
        let more = bytes.len() as u64;
        if self.reserved.bytes.checked_add(more).is_none_or(|size| size > limit) {
            return Err(MediaError::TooLarge { limit });
        }
        self.reserved.grow(more)?;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BLOCK {
            self.writer = Some(self.flush().await?);
        }
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.reserved.bytes
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`MediaError::Unavailable`] when the disk fails or is full.
    pub async fn finish(mut self) -> Result<Spooled, MediaError> {
        let SpoolWriter { file, hash, folder } = self.flush().await?;
        Ok(Spooled {
            path: file.into_temp_path(),
            hash: digest(hash),
            reserved: self.reserved,
            _folder: folder,
        })
    }

    async fn flush(&mut self) -> Result<SpoolWriter, MediaError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => SpoolWriter::open(self.spools.folder().await?).await?,
        };
        let mut block = std::mem::take(&mut self.buffer);
        let (writer, block) = work(move || {
            writer.hash.update(&block);
            writer.file.write_all(&block)?;
            block.clear();
            Ok((writer, block))
        })
        .await?;
        self.buffer = block;
        Ok(writer)
    }
}

/// A file from a caller-supplied URL is spooled as an upload is.
impl Sink for Spool {
    type Error = MediaError;

    async fn write(&mut self, chunk: &[u8]) -> Result<(), MediaError> {
        Self::write(self, chunk).await
    }
}

impl Spooled {
    /// The file's path, valid until this is dropped.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn hash(&self) -> BlobHash {
        self.hash
    }

    /// In bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.reserved.bytes
    }
}

impl BlankFile {
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }
}

impl SpoolWriter {
    async fn open(folder: Arc<Folder>) -> Result<Self, MediaError> {
        work(move || Ok(Self { file: file_in(&folder)?, hash: Context::new(&SHA256), folder })).await
    }
}

impl QuotaReservation {
    fn grow(&mut self, bytes: u64) -> Result<(), MediaError> {
        let Quota { used, limit } = &*self.quota;
        let grown = |used: u64| used.checked_add(bytes).filter(|used| used <= limit);
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).map_err(|_| MediaError::Busy)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for QuotaReservation {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays is removed by the next process.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Runs file operations on a thread where they may block.
async fn work<T: Send + 'static>(
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, MediaError> {
    match spawn_blocking(task).await {
        Ok(done) => {
            done.map_err(|error| MediaError::unavailable("the folder spool in the data folder", error))
        }
        Err(error) => Err(MediaError::unavailable("the folder spool in the data folder", error)),
    }
}

fn file_in(folder: &Folder) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix("").tempfile_in(&folder.path)
}

fn digest(hash: Context) -> BlobHash {
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    BlobHash(digest)
}

fn create_folder(data_dir: &Path) -> io::Result<Folder> {
    let all = data_dir::make(data_dir)?.join("spool");
    create_private(&all)?;
    // Between its creation and its lock, a folder looks like that of an ended process.
    let turn = File::open(&all)?;
    turn.lock()?;
    sweep(&all);
    let path = all.join(secrets::random_id());
    DirBuilder::new().mode(0o700).create(&path)?;
    let lock = File::open(&path)?;
    lock.lock()?;
    turn.unlock()?;
    Ok(Folder { path, _lock: lock })
}

fn create_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

/// Removes the folders that no process has locked. One that cannot be removed only takes disk space.
fn sweep(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let Ok(folder) = File::open(&path) else { continue };
        let removed = match folder.try_lock() {
            Ok(()) => fs::remove_dir_all(&path),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, path = %path.display(), "the files of a killed process cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests;
