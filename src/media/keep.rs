//! From a file that arrived to one that is stored: what it is, whether it may be kept, and what is taken out of it.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::picture::{self, Photo, PictureError};
use super::{Family, FileType, Media, MediaError, Probe, SendRow, Spooled, fits, probe, sniff};
use crate::domain::{BlobHash, StoredMedia};
use crate::secrets;

/// How many may wait for a core before more are turned away.
const WAITING: usize = 64;

const UNKNOWN: &str = "application/octet-stream";
const LONGEST_MIMETYPE: usize = 100;

/// Who looks into files: one per core at a time, because decoding takes memory and all of a core.
#[derive(Debug)]
pub struct Lookers {
    cores: Arc<Semaphore>,
    queue: Semaphore,
}

/// A profile photo and its preview, both stored as JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhotoBlobs {
    /// The photo.
    pub photo: BlobHash,
    /// Its longest side has 96 pixels.
    pub preview: BlobHash,
}

/// What was found out about a file that may be sent.
struct Found {
    file_type: FileType,
    probe: Probe,
}

impl Lookers {
    /// One for each core.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { cores: Arc::new(Semaphore::new(cores)), queue: Semaphore::new(cores + WAITING) }
    }

    /// Does blocking work when there is a core for it.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, MediaError> + Send + 'static,
    ) -> Result<T, MediaError> {
        let _queued = self.queue.try_acquire().map_err(|_| MediaError::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| MediaError::Busy)?;
        let done = spawn_blocking(move || {
            let _core = core;
            work()
        });
        done.await.map_err(|error| MediaError::away("this server", error))?
    }
}

impl Media {
    /// Stores a file that is to be sent by a row, without what a camera wrote beside the picture. The content decides
    /// what it is; the name's ending, where there is one, must fit it.
    ///
    /// # Errors
    /// [`MediaError::WrongFileType`], [`MediaError::Picture`]: the file is not for this row. [`MediaError::Busy`],
    /// [`MediaError::Away`], [`MediaError::Store`]: not now.
    pub async fn keep(
        &self,
        spooled: &Spooled,
        row: SendRow,
        file_name: Option<&str>,
    ) -> Result<StoredMedia, MediaError> {
        let (path, file_name) = (spooled.path().to_owned(), file_name.map(str::to_owned));
        let found = self.lookers().look(move || sendable(&path, row, file_name.as_deref())).await?;
        if found.file_type.family() != Family::Picture {
            return self.store(spooled, found.file_type.mimetype().to_owned(), found.probe).await;
        }
        let clean = self.clean(spooled.path().to_owned(), found.file_type).await?;
        self.store(&clean, found.file_type.mimetype().to_owned(), found.probe).await
    }

    /// Stores a picture of any kind as a profile or group photo.
    ///
    /// # Errors
    /// [`MediaError::Picture`] when it is no picture, or a broken or too large one; else as for [`Media::keep`].
    pub async fn keep_photo(&self, spooled: &Spooled) -> Result<PhotoBlobs, MediaError> {
        let path = spooled.path().to_owned();
        let Photo { jpeg, preview } = self.lookers().look(move || photo(&path)).await?;
        Ok(PhotoBlobs { photo: self.store_photo(jpeg).await?, preview: self.store_photo(preview).await? })
    }

    /// Stores a file that came from the network as it is. `mimetype` is what the sender calls it; what is known from the
    /// content counts more.
    ///
    /// # Errors
    /// [`MediaError::Busy`], [`MediaError::Away`], [`MediaError::Store`]: not now.
    pub async fn keep_inbound(&self, spooled: &Spooled, mimetype: &str) -> Result<StoredMedia, MediaError> {
        let path = spooled.path().to_owned();
        let found = self.lookers().look(move || known(&path)).await?;
        let (mimetype, probe) = match found {
            Some(Found { file_type, probe }) => (file_type.mimetype().to_owned(), probe),
            None => (claimed(mimetype), Probe::default()),
        };
        self.store(spooled, mimetype, probe).await
    }

    async fn store(
        &self,
        spooled: &Spooled,
        mimetype: String,
        probe: Probe,
    ) -> Result<StoredMedia, MediaError> {
        self.put(spooled, &mimetype).await?;
        let Probe { width, height, duration } = probe;
        Ok(StoredMedia { hash: spooled.hash(), mimetype, size: spooled.size(), width, height, duration })
    }

    /// The picture without camera data.
    async fn clean(&self, from: PathBuf, file_type: FileType) -> Result<Spooled, MediaError> {
        let file = self.spools().blank().await?;
        let cleaned = self.lookers().look(move || {
            picture::strip(&from, file.path(), file_type).map_err(refused)?;
            Ok(file)
        });
        self.spools().adopt(cleaned.await?).await
    }

    async fn store_photo(&self, jpeg: Vec<u8>) -> Result<BlobHash, MediaError> {
        let hash = BlobHash(secrets::sha256(&jpeg));
        self.put_bytes(&hash, jpeg, FileType::Jpeg.mimetype()).await?;
        Ok(hash)
    }
}

fn sendable(path: &Path, row: SendRow, file_name: Option<&str>) -> Result<Found, MediaError> {
    let file_type = sniffed(path)?.ok_or(MediaError::UnknownType(row))?;
    fits(row, file_name, file_type)?;
    let probe = if file_type.family() == Family::Picture {
        let (width, height) = picture::inspect(path, file_type).map_err(refused)?;
        Probe { width: Some(width), height: Some(height), duration: None }
    } else {
        probe(path, file_type)
    };
    Ok(Found { file_type, probe })
}

fn known(path: &Path) -> Result<Option<Found>, MediaError> {
    let found = sniffed(path)?;
    Ok(found.map(|file_type| Found { file_type, probe: probe(path, file_type) }))
}

fn photo(path: &Path) -> Result<Photo, MediaError> {
    let file_type = sniffed(path)?.ok_or(MediaError::Picture(PictureError::NotAPicture))?;
    picture::photo(path, file_type).map_err(refused)
}

fn sniffed(path: &Path) -> Result<Option<FileType>, MediaError> {
    sniff(path).map_err(|error| MediaError::away("the folder spool in the data folder", error))
}

/// A file that cannot be read or written is ours to mend, not the caller's.
fn refused(error: PictureError) -> MediaError {
    match error {
        PictureError::File(error) => MediaError::away("the folder spool in the data folder", error),
        error @ (PictureError::NotAPicture | PictureError::Broken | PictureError::TooLarge) => {
            MediaError::Picture(error)
        }
    }
}

/// What a stranger calls a file, if it looks like a type at all.
fn claimed(mimetype: &str) -> String {
    let essence = mimetype.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let is_type = essence.split_once('/').is_some_and(|(kind, name)| is_token(kind) && is_token(name));
    if is_type && essence.len() <= LONGEST_MIMETYPE { essence } else { UNKNOWN.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_type_must_look_like_one() {
        for (claim, taken) in [
            ("image/svg+xml", "image/svg+xml"),
            ("Text/HTML; charset=utf-8", "text/html"),
            ("", UNKNOWN),
            ("image", UNKNOWN),
            ("image/", UNKNOWN),
            ("image/a b", UNKNOWN),
            ("image/a\r\nX: y", UNKNOWN),
            ("image/é", UNKNOWN),
            (&format!("image/{}", "a".repeat(100)), UNKNOWN),
        ] {
            assert_eq!(claimed(claim), taken, "{claim:?}");
        }
    }
}
