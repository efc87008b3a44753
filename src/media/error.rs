//! The errors of storing and reading files. The HTTP layer turns them into responses.

use std::error::Error;

use super::WrongFileType;
use super::accepted_types::{accepted_endings, ending};
use super::picture::PictureError;
use crate::db::DbError;
use crate::domain::{BlobHash, MediaKind};

/// Why a file cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The file is larger than an upload may be.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    #[error(
        "the content of the file is of no type that this endpoint accepts{}: {}",
        .ending.as_ref().map(|ending| format!(", although its name ends in {ending}")).unwrap_or_default(),
        accepted_endings(*.kind)
    )]
    UnknownType {
        kind: MediaKind,
        /// Of the file's name.
        ending: Option<String>,
    },
    #[error(transparent)]
    WrongFileType(#[from] WrongFileType),
    /// Never [`PictureError::File`], which is [`MediaError::Unavailable`].
    #[error(transparent)]
    Picture(PictureError),
    /// Too many files are being uploaded or inspected: try again soon.
    #[error("too many files are being processed")]
    Busy,
    /// The work on the file took too long: it is made to, or the machine is overloaded.
    #[error("the work on the file took too long")]
    TooSlow,
    /// The disk or the storage fails now, or is full: try again.
    #[error("{place} does not work")]
    Unavailable {
        /// The disk or the storage, for people.
        place: String,
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database knows a file that the storage does not have: somebody removed it there.
    #[error("the file {0} is missing from the storage")]
    Missing(BlobHash),
    #[error(transparent)]
    Store(#[from] DbError),
}

impl MediaError {
    /// [`MediaError::UnknownType`].
    pub(super) fn unknown_type(kind: MediaKind, file_name: Option<&str>) -> Self {
        Self::UnknownType { kind, ending: ending(file_name) }
    }

    /// [`MediaError::Unavailable`].
    pub(super) fn unavailable(
        place: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { place: place.into(), source: source.into() }
    }
}
