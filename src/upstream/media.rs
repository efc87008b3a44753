//! The files of messages: those that an adapter reads from our storage, and those that it fetches for us.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::Failure;
use crate::domain::BlobHash;

/// The content of a file. An error ends the stream.
pub type FileStream = BoxStream<'static, Result<Bytes, Failure>>;

/// The storage from which an adapter reads the files that it sends.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// [`Failure::Refused`] when the file does not exist, [`Failure::Retry`] when the storage is unavailable.
    async fn read(&self, hash: &BlobHash) -> Result<FileStream, Failure>;
}
