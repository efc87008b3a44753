//! The ways of a file into the storage: what it is, whether it is accepted, and what is removed from it.

use std::path::Path;
use std::sync::Arc;

use super::deadline::Deadline;
use super::picture::{self, EncodedPhoto, Header, MOST_PHOTO, MOST_SENT, PhotoPlan, PictureError};
use super::spool::BlankFile;
use super::{Family, FileType, Media, MediaError, Probe, Spooled, accepts, probe, sniff, vcard};
use crate::domain::{BlobHash, Card, MediaKind, Photo, StoredMedia};
use crate::secrets;

const UNKNOWN: &str = "application/octet-stream";
const LONGEST_MIMETYPE: usize = 100;
/// The types of contact cards: the registered one, and those before it.
const CARDS: [&str; 3] = ["text/vcard", "text/x-vcard", "text/directory"];

/// A file's type and properties, from its content.
struct Inspected {
    file_type: FileType,
    probe: Probe,
}

/// An upload that is accepted; a picture without camera data, as a file of its own.
struct Accepted {
    inspected: Inspected,
    clean: Option<(BlankFile, BlobHash)>,
}

/// An upload that may be sent, as it will be stored.
#[derive(Debug)]
pub struct Sendable {
    file: Arc<Spooled>,
    mimetype: String,
    probe: Probe,
}

impl Sendable {
    /// In bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.file.size()
    }
}

impl Media {
    /// Checks an upload that is to be sent as this kind of media, and leaves out what a camera wrote beside the picture. The
    /// content alone decides what it is; the name is for the text of the error.
    ///
    /// # Errors
    /// [`MediaError::UnknownType`], [`MediaError::WrongFileType`], [`MediaError::Picture`]: the file cannot be sent so.
    /// [`MediaError::Busy`], [`MediaError::TooSlow`], [`MediaError::Unavailable`]: not now.
    pub async fn check_sendable(
        &self,
        spooled: &Arc<Spooled>,
        kind: MediaKind,
        file_name: Option<&str>,
    ) -> Result<Sendable, MediaError> {
        let uploader = spooled.uploader();
        let (path, file_name) = (spooled.path().to_owned(), file_name.map(str::to_owned));
        let blank = self.spools().blank(uploader).await?;
        let accepted = self.inspections().run(uploader, spooled.size(), move |deadline| {
            accept(&path, kind, file_name.as_deref(), blank, deadline)
        });
        let Accepted { inspected: Inspected { file_type, probe }, clean } = accepted.await?;
        let file = match clean {
            Some((file, hash)) => Arc::new(file.into_spooled(hash)),
            None => Arc::clone(spooled),
        };
        Ok(Sendable { file, mimetype: file_type.mimetype().to_owned(), probe })
    }

    /// Stores an upload that may be sent.
    ///
    /// # Errors
    /// [`MediaError::Unavailable`], [`MediaError::Store`]: not now.
    pub async fn store(&self, upload: Sendable) -> Result<StoredMedia, MediaError> {
        self.store_as(&upload.file, upload.mimetype, upload.probe).await
    }

    /// Stores a picture of any type as a profile or group photo.
    ///
    /// # Errors
    /// [`MediaError::Picture`] when it is no picture, or a broken or too large one; else as for [`Media::store`].
    pub async fn store_photo(&self, spooled: &Spooled) -> Result<Photo, MediaError> {
        let (uploader, size, path) = (spooled.uploader(), spooled.size(), spooled.path().to_owned());
        let blank = self.spools().blank(uploader).await?;
        let planned = self.inspections().run(uploader, size, move |deadline| {
            let file_type =
                sniffed(&path, deadline)?.ok_or(MediaError::Picture(PictureError::NotAPicture))?;
            let (clean, _, header) = cleaned(&path, file_type, MOST_PHOTO, blank, deadline)?;
            let plan = PhotoPlan::new(clean.path(), file_type, header, deadline).map_err(picture_error)?;
            Ok((clean, plan))
        });
        let (clean, plan) = planned.await?;
        let encoded = self.inspections().run_within(uploader, size, plan.memory(), move |deadline| {
            plan.encode(clean.path(), deadline).map_err(picture_error)
        });
        let EncodedPhoto { jpeg, preview } = encoded.await?;
        Ok(Photo { photo: self.store_jpeg(jpeg).await?, preview: self.store_jpeg(preview).await? })
    }

    /// Stores a file from the network as it is. `mimetype` is the sender's claim; a type that the content shows
    /// replaces it.
    ///
    /// # Errors
    /// [`MediaError::Busy`], [`MediaError::TooSlow`], [`MediaError::Unavailable`], [`MediaError::Store`]: not now.
    pub async fn ingest(&self, spooled: &Spooled, mimetype: &str) -> Result<StoredMedia, MediaError> {
        let path = spooled.path().to_owned();
        let inspected = self.inspections().run(spooled.uploader(), spooled.size(), move |deadline| {
            // `None` for a type that is not known here.
            let file_type = sniffed(&path, deadline)?;
            Ok(file_type.map(|file_type| Inspected { file_type, probe: probe(&path, file_type, deadline) }))
        });
        let (mimetype, probe) = match inspected.await? {
            Some(Inspected { file_type, probe }) => (file_type.mimetype().to_owned(), probe),
            None => (claimed(mimetype), Probe::default()),
        };
        self.store_as(spooled, mimetype, probe).await
    }

    /// The contact card in a file from the network; `None` when the sender does not call it one, or it is none.
    ///
    /// # Errors
    /// As for [`Media::ingest`].
    pub async fn card(&self, spooled: &Spooled, mimetype: &str) -> Result<Option<Card>, MediaError> {
        if !CARDS.contains(&claimed(mimetype).as_str()) || spooled.size() > vcard::LONGEST as u64 {
            return Ok(None);
        }
        let path = spooled.path().to_owned();
        let card = self.inspections().run(spooled.uploader(), spooled.size(), move |_| {
            let bytes = std::fs::read(&path)
                .map_err(|error| MediaError::unavailable("the folder spool in the data folder", error))?;
            let text = vcard::decode(bytes);
            // PostgreSQL stores no NUL.
            let read = vcard::read(&text).ok().filter(|_| !text.contains('\0'));
            Ok(read.map(|card| Card { vcard: text, name: card.name }))
        });
        card.await
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

    async fn store_jpeg(&self, jpeg: Vec<u8>) -> Result<BlobHash, MediaError> {
        let hash = BlobHash(secrets::sha256(&jpeg));
        self.put_bytes(&hash, jpeg, FileType::Jpeg.mimetype()).await?;
        Ok(hash)
    }
}

fn accept(
    path: &Path,
    kind: MediaKind,
    file_name: Option<&str>,
    blank: BlankFile,
    deadline: &Deadline,
) -> Result<Accepted, MediaError> {
    let file_type = sniffed(path, deadline)?.ok_or_else(|| MediaError::unknown_type(kind, file_name))?;
    accepts(kind, file_type)?;
    if file_type.family() != Family::Picture {
        let inspected = Inspected { file_type, probe: probe(path, file_type, deadline) };
        return Ok(Accepted { inspected, clean: None });
    }
    let (clean, hash, header) = cleaned(path, file_type, MOST_SENT, blank, deadline)?;
    let (width, height) = header.shown();
    let probe = Probe { width: Some(width), height: Some(height), duration: None };
    Ok(Accepted { inspected: Inspected { file_type, probe }, clean: Some((clean, hash)) })
}

/// Writes the picture without camera data to the blank file.
fn cleaned(
    path: &Path,
    file_type: FileType,
    megapixels: u32,
    mut blank: BlankFile,
    deadline: &Deadline,
) -> Result<(BlankFile, BlobHash, Header), MediaError> {
    let header =
        picture::strip(path, blank.path(), file_type, megapixels, deadline).map_err(picture_error)?;
    let hash = blank.hash(deadline)?;
    Ok((blank, hash, header))
}

fn sniffed(path: &Path, deadline: &Deadline) -> Result<Option<FileType>, MediaError> {
    sniff(path, deadline)
        .map_err(|error| MediaError::unavailable("the folder spool in the data folder", error))
}

/// A file that cannot be read or written is our failure, not the caller's.
fn picture_error(error: PictureError) -> MediaError {
    match error {
        PictureError::File(error) => MediaError::unavailable("the folder spool in the data folder", error),
        error => MediaError::Picture(error),
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
