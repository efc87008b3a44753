//! Files on their way into the storage: written to a folder of this process alone while they arrive, hashed meanwhile,
//! deleted when dropped.
//!
//! ```text
//! DATA/spool/          locked while a process makes its folder or sweeps those of the dead
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

/// Bytes that are gathered before they are hashed and written.
const BLOCK: usize = 256 * 1024;

/// How many of the largest files may lie in the folder at once, in bytes: the disk is the database's too.
const LARGEST_FILES: u64 = 32;

/// Makes spools. Clones share the folder and its room.
#[derive(Clone, Debug)]
pub struct Spools {
    data_dir: Arc<Path>,
    /// Bytes of a file.
    limit: u64,
    folder: Arc<OnceCell<Arc<Folder>>>,
    room: Arc<Room>,
}

/// A file that is being written. At most the largest upload fits; dropped, it is deleted.
pub struct Spool {
    spools: Spools,
    writer: Option<Writer>,
    gathered: Vec<u8>,
    share: Share,
}

/// A whole file. Deleted when dropped.
#[derive(Debug)]
pub struct Spooled {
    path: TempPath,
    hash: BlobHash,
    share: Share,
    // Keeps the folder; after the file, so that it is deleted before its folder is.
    _folder: Arc<Folder>,
}

/// The folder of this process.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Locked; the lock ends with the process, however that ends.
    _lock: File,
}

/// A file in the folder for somebody else to write.
pub(super) struct Blank {
    file: NamedTempFile,
    folder: Arc<Folder>,
}

struct Writer {
    file: NamedTempFile,
    hash: Context,
    folder: Arc<Folder>,
}

/// How many bytes lie in the folder.
#[derive(Debug)]
struct Room {
    taken: AtomicU64,
    limit: u64,
}

/// A file's part of the room.
#[derive(Debug)]
struct Share {
    room: Arc<Room>,
    bytes: u64,
}

impl Spools {
    /// Spools in this data folder for files of at most `limit` bytes. Nothing is made yet.
    #[must_use]
    pub fn new(data_dir: &Path, limit: u64) -> Self {
        let room = Room { taken: AtomicU64::new(0), limit: limit.saturating_mul(LARGEST_FILES) };
        Self { data_dir: data_dir.into(), limit, folder: Arc::default(), room: Arc::new(room) }
    }

    /// Bytes of the largest file.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Makes the folder of this process, and removes those of processes that are gone. Done once; the first spool does
    /// it too.
    ///
    /// # Errors
    /// When the disk does not let it.
    pub async fn prepare(&self) -> Result<(), MediaError> {
        self.folder().await.map(drop)
    }

    /// A new, empty file. It is made when the first bytes are written.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool {
            spools: self.clone(),
            writer: None,
            gathered: Vec::new(),
            share: Share { room: Arc::clone(&self.room), bytes: 0 },
        }
    }

    /// An empty file, which somebody else writes and [`Spools::adopt`] takes back.
    pub(super) async fn blank(&self) -> Result<Blank, MediaError> {
        let folder = self.folder().await?;
        work(move || Ok(Blank { file: file_in(&folder)?, folder })).await
    }

    /// What somebody has written into a blank file, as a whole file.
    pub(super) async fn adopt(&self, Blank { file, folder }: Blank) -> Result<Spooled, MediaError> {
        let mut share = Share { room: Arc::clone(&self.room), bytes: 0 };
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
        share.grow(size)?;
        Ok(Spooled { path: file.into_temp_path(), hash, share, _folder: folder })
    }

    async fn folder(&self) -> Result<Arc<Folder>, MediaError> {
        let made = self.folder.get_or_try_init(async || {
            let data_dir = Arc::clone(&self.data_dir);
            work(move || make_folder(&data_dir)).await.map(Arc::new)
        });
        made.await.cloned()
    }
}

impl Spool {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`MediaError::TooLarge`] when the file would be larger than an upload may be, [`MediaError::Busy`] when too many
    /// files are under way, [`MediaError::Away`] when the disk does not take it.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        let limit = self.spools.limit;
        let more = bytes.len() as u64;
        if self.share.bytes.checked_add(more).is_none_or(|size| size > limit) {
            return Err(MediaError::TooLarge { limit });
        }
        self.share.grow(more)?;
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= BLOCK {
            self.writer = Some(self.flush().await?);
        }
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.share.bytes
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`MediaError::Away`] when the disk does not take it.
    pub async fn finish(mut self) -> Result<Spooled, MediaError> {
        let Writer { file, hash, folder } = self.flush().await?;
        Ok(Spooled { path: file.into_temp_path(), hash: digest(hash), share: self.share, _folder: folder })
    }

    async fn flush(&mut self) -> Result<Writer, MediaError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::open(self.spools.folder().await?).await?,
        };
        let mut block = std::mem::take(&mut self.gathered);
        let (writer, block) = work(move || {
            writer.hash.update(&block);
            writer.file.write_all(&block)?;
            block.clear();
            Ok((writer, block))
        })
        .await?;
        self.gathered = block;
        Ok(writer)
    }
}

/// What a caller's URL gives goes to a spool as an upload does.
impl Sink for Spool {
    type Error = MediaError;

    async fn write(&mut self, chunk: &[u8]) -> Result<(), MediaError> {
        Self::write(self, chunk).await
    }
}

impl Spooled {
    /// Where it is, until this is dropped.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub fn hash(&self) -> BlobHash {
        self.hash
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.share.bytes
    }
}

impl Blank {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }
}

impl Writer {
    async fn open(folder: Arc<Folder>) -> Result<Self, MediaError> {
        work(move || Ok(Self { file: file_in(&folder)?, hash: Context::new(&SHA256), folder })).await
    }
}

impl Share {
    fn grow(&mut self, bytes: u64) -> Result<(), MediaError> {
        let Room { taken, limit } = &*self.room;
        let grown = |taken: u64| taken.checked_add(bytes).filter(|taken| taken <= limit);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).map_err(|_| MediaError::Busy)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is swept by the next process.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Runs file operations where they may block.
async fn work<T: Send + 'static>(
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, MediaError> {
    match spawn_blocking(task).await {
        Ok(done) => done.map_err(|error| MediaError::away("the folder spool in the data folder", error)),
        Err(error) => Err(MediaError::away("the folder spool in the data folder", error)),
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

fn make_folder(data_dir: &Path) -> io::Result<Folder> {
    let all = data_dir::make(data_dir)?.join("spool");
    make_private(&all)?;
    // Between its making and its lock, a folder looks like that of a process that is gone.
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

fn make_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Removes the folders that no process has locked. What cannot be removed is left: it only takes room.
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
            tracing::warn!(%error, path = %path.display(), "what a killed process left cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests;
