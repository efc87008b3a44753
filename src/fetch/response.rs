//! The response to a request.

use bytes::{Bytes, BytesMut};
use chrono::DateTime;

use super::error::{FetchError, classify};
use crate::clock;

/// In seconds: a day. A longer `Retry-After` is cut to it.
const MAX_RETRY_AFTER: u64 = 86_400;

/// A response whose status and headers have arrived; the body is not read yet.
#[derive(Debug)]
pub struct FetchResponse {
    pub(super) response: reqwest::Response,
}

impl FetchResponse {
    /// 100 to 599.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Whether the status is a 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    /// The seconds of `Retry-After` (RFC 9110, section 10.2.3: seconds or a date), 1 at least and a day at most.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let value = self.response.headers().get("retry-after")?.to_str().ok()?.trim();
        let seconds = if let Ok(seconds) = value.parse::<u64>() {
            seconds
        } else {
            let until = DateTime::parse_from_rfc2822(value).ok()?;
            u64::try_from((until.to_utc() - clock::now()).num_seconds()).unwrap_or(0)
        };
        Some(seconds.clamp(1, MAX_RETRY_AFTER))
    }

    /// The body. One of more than `limit` bytes is [`FetchError::TooLong`]; no more than that is held in memory.
    pub async fn body(mut self, limit: usize) -> Result<Bytes, FetchError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.response.chunk().await.map_err(classify)? {
            if body.len() + chunk.len() > limit {
                return Err(FetchError::TooLong { limit: limit as u64 });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The first `limit` bytes of the body, or what came of it. The rest is not read.
    pub async fn beginning(mut self, limit: usize) -> Bytes {
        let mut body = BytesMut::new();
        while body.len() < limit
            && let Ok(Some(chunk)) = self.response.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
        }
        body.freeze()
    }
}
