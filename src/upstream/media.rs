//! Files that messages carry: those that an adapter reads from us, and those that it fetches for us.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::Failure;
use crate::domain::BlobHash;

/// A file's bytes as they come. An error ends it.
pub type FileStream = BoxStream<'static, Result<Bytes, Failure>>;

/// Where an adapter finds the files of the messages that it sends.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// The file with this content.
    ///
    /// # Errors
    /// [`Failure::Refused`] when there is no such file, [`Failure::Retry`] when the storage is away.
    async fn read(&self, hash: &BlobHash) -> Result<FileStream, Failure>;
}
