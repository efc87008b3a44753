//! Stored files as a source for the networks that send them.

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{Media, MediaError};
use crate::domain::BlobHash;
use crate::telemetry::chain;
use crate::upstream::{BlobSource, Failure, FileStream};

#[async_trait]
impl BlobSource for Media {
    async fn read(&self, hash: &BlobHash) -> Result<FileStream, Failure> {
        let stream = self.stream(hash, None).await.map_err(|error| match error {
            MediaError::Missing(_) => {
                tracing::error!(error = chain(&error), "a stored file is missing");
                Failure::Refused("the file is not there any more".to_owned())
            }
            error => {
                tracing::warn!(error = chain(&error), "a stored file cannot be read now");
                Failure::Retry("storage_unavailable")
            }
        })?;
        Ok(stream.map_err(|_| Failure::Retry("storage_unavailable")).boxed())
    }
}
