//! The ways of a file into the storage: what it is, whether it is accepted, and what is removed from it.

use std::path::{Path, PathBuf};

use super::picture::{self, EncodedPhoto, PictureError};
use super::{Family, FileType, Media, MediaError, Probe, Spooled, fits, probe, sniff};
use crate::domain::{BlobHash, MediaKind, Photo, StoredMedia};
use crate::secrets;

const UNKNOWN: &str = "application/octet-stream";
const LONGEST_MIMETYPE: usize = 100;

/// A file's type and properties, from its content.
struct Inspected {
    file_type: FileType,
    probe: Probe,
}

impl Media {
    /// Stores an upload that is to be sent as this kind of media, without what a camera wrote beside the picture. The
    /// content decides what it is; the name's ending, where there is one, must fit it.
    ///
    /// # Errors
    /// [`MediaError::UnknownType`], [`MediaError::WrongFileType`], [`MediaError::Picture`]: the file cannot be sent so.
    /// [`MediaError::Busy`], [`MediaError::Unavailable`], [`MediaError::Store`]: not now.
    pub async fn store(
        &self,
        spooled: &Spooled,
        kind: MediaKind,
        file_name: Option<&str>,
    ) -> Result<StoredMedia, MediaError> {
        let (path, file_name) = (spooled.path().to_owned(), file_name.map(str::to_owned));
        let Inspected { file_type, probe } =
            self.inspections().run(move || inspect_upload(&path, kind, file_name.as_deref())).await?;
        if file_type.family() != Family::Picture {
            return self.store_as(spooled, file_type.mimetype().to_owned(), probe).await;
        }
        let stripped = self.strip(spooled.path().to_owned(), file_type).await?;
        self.store_as(&stripped, file_type.mimetype().to_owned(), probe).await
    }

    /// Stores a picture of any type as a profile or group photo.
    ///
    /// # Errors
    /// [`MediaError::Picture`] when it is no picture, or a broken or too large one; else as for [`Media::store`].
    pub async fn store_photo(&self, spooled: &Spooled) -> Result<Photo, MediaError> {
        let path = spooled.path().to_owned();
        let EncodedPhoto { jpeg, preview } = self.inspections().run(move || encode_photo(&path)).await?;
        Ok(Photo { photo: self.store_jpeg(jpeg).await?, preview: self.store_jpeg(preview).await? })
    }

    /// Stores a file from the network as it is. `mimetype` is the sender's claim; a type that the content shows
    /// replaces it.
    ///
    /// # Errors
    /// [`MediaError::Busy`], [`MediaError::Unavailable`], [`MediaError::Store`]: not now.
    pub async fn ingest(&self, spooled: &Spooled, mimetype: &str) -> Result<StoredMedia, MediaError> {
        let path = spooled.path().to_owned();
        let inspected = self.inspections().run(move || inspect_inbound(&path)).await?;
        let (mimetype, probe) = match inspected {
            Some(Inspected { file_type, probe }) => (file_type.mimetype().to_owned(), probe),
            None => (claimed(mimetype), Probe::default()),
        };
        self.store_as(spooled, mimetype, probe).await
    }

    async fn store_as(
        &self,
        spooled: &Spooled,
        mimetype: String,
        probe: Probe,
    ) -> Result<StoredMedia, MediaError> {
        self.put(spooled, &mimetype).await?;
        let Probe { width, height, duration } = probe;
        Ok(StoredMedia { hash: spooled.hash(), mimetype, size: spooled.size(), width, height, duration })
    }

    /// The picture without camera data, as a file of its own.
    async fn strip(&self, from: PathBuf, file_type: FileType) -> Result<Spooled, MediaError> {
        let file = self.spools().blank().await?;
        let stripped = self.inspections().run(move || {
            picture::strip(&from, file.path(), file_type).map_err(picture_error)?;
            Ok(file)
        });
        self.spools().adopt(stripped.await?).await
    }

    async fn store_jpeg(&self, jpeg: Vec<u8>) -> Result<BlobHash, MediaError> {
        let hash = BlobHash(secrets::sha256(&jpeg));
        self.put_bytes(&hash, jpeg, FileType::Jpeg.mimetype()).await?;
        Ok(hash)
    }
}

fn inspect_upload(path: &Path, kind: MediaKind, file_name: Option<&str>) -> Result<Inspected, MediaError> {
    let file_type = sniffed(path)?.ok_or(MediaError::UnknownType(kind))?;
    fits(kind, file_name, file_type)?;
    let probe = if file_type.family() == Family::Picture {
        let (width, height) = picture::inspect(path, file_type).map_err(picture_error)?;
        Probe { width: Some(width), height: Some(height), duration: None }
    } else {
        probe(path, file_type)
    };
    Ok(Inspected { file_type, probe })
}

/// `None` for a type that is not known here.
fn inspect_inbound(path: &Path) -> Result<Option<Inspected>, MediaError> {
    let file_type = sniffed(path)?;
    Ok(file_type.map(|file_type| Inspected { file_type, probe: probe(path, file_type) }))
}

fn encode_photo(path: &Path) -> Result<EncodedPhoto, MediaError> {
    let file_type = sniffed(path)?.ok_or(MediaError::Picture(PictureError::NotAPicture))?;
    picture::photo(path, file_type).map_err(picture_error)
}

fn sniffed(path: &Path) -> Result<Option<FileType>, MediaError> {
    sniff(path).map_err(|error| MediaError::unavailable("the folder spool in the data folder", error))
}

/// A file that cannot be read or written is our failure, not the caller's.
fn picture_error(error: PictureError) -> MediaError {
    match error {
        PictureError::File(error) => MediaError::unavailable("the folder spool in the data folder", error),
        error @ (PictureError::NotAPicture | PictureError::Broken | PictureError::TooLarge) => {
            MediaError::Picture(error)
        }
    }
}

/// The type that a sender claims, if it looks like one; else [`UNKNOWN`].
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
        for (claim, stored) in [
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
            assert_eq!(claimed(claim), stored, "{claim:?}");
        }
    }
}
