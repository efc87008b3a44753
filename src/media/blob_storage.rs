//! Stored files, for the networks that send them or have pictures of groups.

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{Media, MediaError, Uploader};
use crate::domain::{BlobHash, Photo};
use crate::telemetry::chain;
use crate::upstream::{BlobStorage, Failure, FileStream};

#[async_trait]
impl BlobStorage for Media {
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

    async fn store_photo(&self, picture: &[u8]) -> Result<Photo, Failure> {
        let stored = async {
            let mut spool = self.spool(Uploader::Network);
            spool.write(picture).await?;
            Media::store_photo(self, &spool.finish().await?).await
        };
        stored.await.map_err(|error| match error {
            MediaError::TooLarge { .. }
            | MediaError::UnknownType { .. }
            | MediaError::WrongFileType(_)
            | MediaError::Picture(_) => Failure::Refused(chain(&error)),
            MediaError::Busy | MediaError::TooSlow => Failure::Retry("busy"),
            MediaError::Unavailable { .. } | MediaError::Missing(_) | MediaError::Store(_) => {
                tracing::warn!(error = chain(&error), "the picture of a group cannot be stored now");
                Failure::Retry("storage_unavailable")
            }
        })
    }
}
