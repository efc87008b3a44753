//! Fetching a file over a connection, and what it means when it does not come.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::session::Session;
use crate::media::{MediaError, Spooled};
use crate::telemetry::chain;
use crate::upstream::{Connection, Failure};

/// Why a file did not come.
pub(super) enum Missing {
    /// Something in between did not work.
    Later(&'static str),
    /// The network said when to come again.
    NotBefore(Duration),
    /// It will never come.
    Lost(String),
}

impl Session {
    /// The bytes behind a reference, on the disk. A network that is silent for a step is given up.
    pub(super) async fn spool(
        &self,
        connection: &Arc<dyn Connection>,
        reference: &str,
    ) -> Result<Spooled, Missing> {
        let silent = |_| Missing::Later("no_answer");
        let step = self.timeouts.step;
        let mut stream =
            timeout(step, connection.fetch(reference)).await.map_err(silent)?.map_err(Missing::from)?;
        let mut spool = self.media.spool();
        while let Some(bytes) = timeout(step, stream.next()).await.map_err(silent)? {
            spool.write(&bytes?).await.map_err(|error| self.missing(&error))?;
        }
        spool.finish().await.map_err(|error| self.missing(&error))
    }

    /// What a file that cannot be stored comes to.
    pub(super) fn missing(&self, error: &MediaError) -> Missing {
        match error {
            MediaError::TooLarge { .. }
            | MediaError::UnknownType(_)
            | MediaError::WrongFileType(_)
            | MediaError::Picture(_) => Missing::Lost(chain(error)),
            MediaError::Busy => Missing::Later("busy"),
            MediaError::Unavailable { .. } | MediaError::Missing(_) | MediaError::Store(_) => {
                tracing::warn!(account = %self.lease.account, error = chain(error), "a file was not stored");
                Missing::Later("storage")
            }
        }
    }
}

impl From<Failure> for Missing {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry(reason) => Self::Later(reason),
            Failure::OutcomeUnknown => Self::Later("no_answer"),
            Failure::RateLimited(pause) => Self::NotBefore(pause),
            Failure::Refused(reason) => Self::Lost(reason),
            Failure::Unsupported(what) => Self::Lost(format!("this network cannot {what}")),
        }
    }
}
