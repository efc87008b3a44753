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

use ring::digest::{Context, SHA256};
use tempfile::{NamedTempFile, TempPath};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::deadline::Deadline;
use super::{MediaError, Uploader};
use crate::config::data_dir;
use crate::domain::BlobHash;
use crate::fair_share::{FairShare, Share};
use crate::fetch::Sink;
use crate::secrets;

/// Bytes that are buffered before they are hashed and written.
const BLOCK: usize = 256 * 1024;

/// The room in the folder, in files of the largest size: the disk is the database's too. Uploaders share it fairly.
const LARGEST_FILES: u64 = 32;

/// Creates spools. Clones share the folder and its room.
#[derive(Clone, Debug)]
pub struct Spools {
    data_dir: Arc<Path>,
    /// The largest file, in bytes.
    limit: u64,
    folder: Arc<OnceCell<Arc<Folder>>>,
    room: FairShare<Uploader>,
}

/// Creates spools for one uploader.
#[derive(Clone, Debug)]
pub struct UploaderSpools {
    spools: Spools,
    uploader: Uploader,
}

/// A file that is being written. At most the largest upload fits; dropped, it is deleted.
pub struct Spool {
    spools: Spools,
    writer: Option<SpoolWriter>,
    buffer: Vec<u8>,
    room: Share<Uploader>,
}

/// A complete file. Deleted when dropped.
#[derive(Debug)]
pub struct Spooled {
    path: TempPath,
    hash: BlobHash,
    room: Share<Uploader>,
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
    room: Share<Uploader>,
}

struct SpoolWriter {
    file: NamedTempFile,
    hash: Context,
    folder: Arc<Folder>,
}

impl Spools {
    /// Spools in this data folder for files of at most `limit` bytes. Nothing is created yet.
    #[must_use]
    pub fn new(data_dir: &Path, limit: u64) -> Self {
        let room = FairShare::new(limit.saturating_mul(LARGEST_FILES));
        Self { data_dir: data_dir.into(), limit, folder: Arc::default(), room }
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

    /// The spools of one uploader.
    #[must_use]
    pub fn of(&self, uploader: Uploader) -> UploaderSpools {
        UploaderSpools { spools: self.clone(), uploader }
    }

    /// A new, empty file. It is created on the disk when the first bytes are written.
    #[must_use]
    pub fn spool(&self, uploader: Uploader) -> Spool {
        Spool { spools: self.clone(), writer: None, buffer: Vec::new(), room: self.room.share(uploader) }
    }

    /// An empty file, to be written through its path.
    pub(super) async fn blank(&self, uploader: Uploader) -> Result<BlankFile, MediaError> {
        let (folder, room) = (self.folder().await?, self.room.share(uploader));
        work(move || Ok(BlankFile { file: file_in(&folder)?, folder, room })).await
    }

    async fn folder(&self) -> Result<Arc<Folder>, MediaError> {
        let created = self.folder.get_or_try_init(async || {
            let data_dir = Arc::clone(&self.data_dir);
            work(move || create_folder(&data_dir)).await.map(Arc::new)
        });
        created.await.cloned()
    }
}

impl UploaderSpools {
    /// The largest file, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.spools.limit
    }

    /// As [`Spools::spool`].
    #[must_use]
    pub fn spool(&self) -> Spool {
        self.spools.spool(self.uploader)
    }
}

impl Spool {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`MediaError::TooLarge`] when the file would be larger than an upload may be, [`MediaError::Busy`] when the
    /// uploader's part of the room is used up, [`MediaError::Unavailable`] when the disk fails or is full.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        let limit = self.spools.limit;
        let more = bytes.len() as u64;
        if self.size().checked_add(more).is_none_or(|size| size > limit) {
            return Err(MediaError::TooLarge { limit });
        }
        if !self.room.grow(more) {
            return Err(MediaError::Busy);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BLOCK {
            self.writer = Some(self.flush().await?);
        }
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.room.amount()
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`MediaError::Unavailable`] when the disk fails or is full.
    pub async fn finish(mut self) -> Result<Spooled, MediaError> {
        let SpoolWriter { file, hash, folder } = self.flush().await?;
        Ok(Spooled { path: file.into_temp_path(), hash: digest(hash), room: self.room, _folder: folder })
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

    #[must_use]
    pub fn uploader(&self) -> Uploader {
        self.room.party()
    }

    /// In bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.room.amount()
    }
}

impl BlankFile {
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The hash of the file, which was written meanwhile.
    ///
    /// # Errors
    /// [`MediaError::Busy`] when the uploader has no room for it, [`MediaError::Unavailable`] when the disk fails or the
    /// deadline has passed.
    pub(super) fn hash(&mut self, deadline: &Deadline) -> Result<BlobHash, MediaError> {
        let (hash, size) = hash(self.path(), deadline).map_err(unavailable)?;
        if self.room.grow(size) { Ok(hash) } else { Err(MediaError::Busy) }
    }

    /// The file as an upload, with its hash.
    pub(super) fn into_spooled(self, hash: BlobHash) -> Spooled {
        Spooled { path: self.file.into_temp_path(), hash, room: self.room, _folder: self.folder }
    }
}

impl SpoolWriter {
    async fn open(folder: Arc<Folder>) -> Result<Self, MediaError> {
        work(move || Ok(Self { file: file_in(&folder)?, hash: Context::new(&SHA256), folder })).await
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
    spawn_blocking(task).await.map_err(unavailable)?.map_err(unavailable)
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> MediaError {
    MediaError::unavailable("the folder spool in the data folder", error)
}

fn hash(path: &Path, deadline: &Deadline) -> io::Result<(BlobHash, u64)> {
    let (mut hash, mut block, mut size) = (Context::new(&SHA256), vec![0; BLOCK], 0);
    let mut file = deadline.open(path)?;
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok((digest(hash), size));
        }
        hash.update(&block[..read]);
        size += read as u64;
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
