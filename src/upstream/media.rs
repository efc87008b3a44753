//! The files of messages: those that an adapter reads from our storage, and those that it fetches for us.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::Failure;
use crate::domain::{BlobHash, Photo};

/// The content of a file. An error ends the stream.
pub type FileStream = BoxStream<'static, Result<Bytes, Failure>>;

/// The storage from which an adapter reads the files that it sends, and into which it puts the pictures of groups.
#[async_trait]
pub trait BlobStorage: Send + Sync {
    /// A stored file. [`Failure::Refused`] when the file does not exist, [`Failure::Retry`] when the storage is unavailable.
    async fn read(&self, hash: &BlobHash) -> Result<FileStream, Failure>;

    /// Stores a picture of any type as the photo of a group. [`Failure::Refused`] when it is no picture, or a broken or too
    /// large one, [`Failure::Retry`] when the storage is unavailable or busy.
    async fn store_photo(&self, picture: &[u8]) -> Result<Photo, Failure>;
}
