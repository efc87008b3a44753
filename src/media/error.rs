//! Why a file cannot be stored or given out. The HTTP layer turns it into an answer.

use std::error::Error;

use super::picture::PictureError;
use super::{SendRow, WrongFileType};
use crate::db::DbError;
use crate::domain::BlobHash;

/// A file that cannot be stored or given out.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The file is larger than an upload may be.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// What is taken, in bytes.
        limit: u64,
    },
    /// The file is of no type that is known.
    #[error("the file is of no type that this row takes: {}", .0.endings())]
    UnknownType(SendRow),
    /// The file is not for the row.
    #[error(transparent)]
    WrongFileType(#[from] WrongFileType),
    /// The picture cannot be used; never [`PictureError::File`].
    #[error(transparent)]
    Picture(PictureError),
    /// So many files are under way that there is no room for another now.
    #[error("too many files are under way")]
    Busy,
    /// The disk or the storage does not work now, or is full: worth trying again.
    #[error("{place} does not work")]
    Away {
        /// Which.
        place: String,
        /// What it said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database knows a file that the storage does not have: somebody else took it away.
    #[error("the file {0} is missing from the storage")]
    Missing(BlobHash),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] DbError),
}

impl MediaError {
    /// [`MediaError::Away`].
    pub(super) fn away(place: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Away { place: place.into(), source: source.into() }
    }
}
