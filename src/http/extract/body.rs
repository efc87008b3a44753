//! Request bodies, with limits of time and size.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use bytes::BytesMut;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::body_budget::BodyRoom;
use crate::http::error::{ApiError, ErrorCode};

/// Bytes of the largest body without files.
pub const LARGEST: u64 = 2 * 1024 * 1024;
/// Bytes of the largest body of `/o`, whose callers are not known yet.
pub const LARGEST_UNKNOWN: u64 = 64 * 1024;
/// The endpoints that take longer bodies than [`LARGEST`]: 20,000 contacts with long names in any notation.
const LARGE: &[(&str, u64)] = &[("/api/contacts/import-contacts/", 8 * 1024 * 1024)];

/// Bytes that are set aside for a body before they arrive.
const FIRST_CAPACITY: u64 = 16 * 1024;

/// The time that a body may take to arrive: `base`, and one second more for each `bytes_per_second` bytes received.
#[derive(Clone, Copy)]
struct Pace {
    base: Duration,
    bytes_per_second: u64,
}

const PACE: Pace = Pace { base: Duration::from_secs(30), bytes_per_second: 16 * 1024 };

/// The request with a body that fails when it arrives too slowly.
pub fn paced(request: Request) -> Request {
    request.map(|body| if body.is_end_stream() { body } else { Body::new(PacedBody::new(body, PACE)) })
}

/// The limit of a route's bodies without files.
#[must_use]
pub fn limit_of(route: &str) -> u64 {
    LARGE.iter().find(|(path, _)| *path == route).map_or(LARGEST, |(_, limit)| *limit)
}

/// A body that is read in chunks, up to a limit.
pub struct LimitedBody {
    body: Body,
    limit: u64,
    read: u64,
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    #[error("the body arrives too slowly")]
    TooSlow,
    /// The connection ended, or the bytes are not a valid body.
    #[error("the body ended too early")]
    Broken,
}

impl LimitedBody {
    /// # Errors
    /// [`BodyError::TooLarge`] when more than `limit` bytes are announced.
    pub fn new(body: Body, limit: u64) -> Result<Self, BodyError> {
        if body.size_hint().lower() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        Ok(Self { body, limit, read: 0 })
    }

    /// The next bytes, never empty; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(frame) = self.body.frame().await {
            let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
            self.read += data.len() as u64;
            if self.read > self.limit {
                return Err(BodyError::TooLarge { limit: self.limit });
            }
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::too_large("body", limit),
            BodyError::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                ErrorCode::Timeout,
                "the body of the request took too long to arrive",
            ),
            BodyError::Broken => {
                Self::bad_request(ErrorCode::BrokenBody, "the body of the request ended too early")
            }
        }
    }
}

/// Reads a whole body of at most `limit` bytes, which are counted in `room`.
///
/// # Errors
/// 413 when it is larger, 408 when it arrives too slowly, 400 when it ends too early, 503 when there is no room for it.
pub async fn read(body: Body, limit: u64, mut room: Option<&mut BodyRoom>) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().lower();
    let mut body = LimitedBody::new(body, limit)?;
    let mut whole = BytesMut::new();
    let mut capacity = announced.min(FIRST_CAPACITY);
    while let Some(data) = body.next().await? {
        let needed = (whole.len() + data.len()) as u64;
        if needed > capacity {
            // All at once if the size is known, so that nothing is copied.
            capacity = announced.max(needed).max((2 * capacity).min(limit));
        }
        if let Some(room) = &mut room {
            room.grow_to(capacity).await?;
        }
        whole.reserve(usize::try_from(capacity).unwrap_or_default().saturating_sub(whole.len()));
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn broken(error: &axum::Error) -> BodyError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<TooSlow>() {
            return BodyError::TooSlow;
        }
        cause = error.source();
    }
    BodyError::Broken
}

#[derive(Debug, thiserror::Error)]
#[error("the body arrives too slowly")]
struct TooSlow;

struct PacedBody {
    inner: Body,
    pace: Pace,
    began: Instant,
    received: u64,
    timer: Pin<Box<Sleep>>,
}

impl PacedBody {
    fn new(inner: Body, pace: Pace) -> Self {
        let began = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(began + pace.base));
        Self { inner, pace, began, received: 0, timer }
    }

    fn deadline(&self) -> Instant {
        let extra = Duration::from_millis(self.received.saturating_mul(1_000) / self.pace.bytes_per_second);
        self.began + self.pace.base + extra
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            if let Some(Ok(frame)) = &frame {
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(Some(Err(TooSlow.into())));
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt as _, stream};

    async fn read_chunks(
        count: usize,
        size: usize,
        pause: Duration,
        pace: Pace,
    ) -> Result<usize, &'static str> {
        let chunks = stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(vec![b'a'; size])
        });
        let body = Body::new(PacedBody::new(Body::from_stream(chunks), pace));
        read(body, LARGEST, None).await.map(|bytes| bytes.len()).map_err(|error| error.code().as_str())
    }

    #[tokio::test]
    async fn a_slow_body_is_read_and_a_stalled_one_refused() {
        let pause = Duration::from_millis(20);
        let pace = Pace { base: pause * 4, bytes_per_second: 1_000 };
        assert_eq!(read_chunks(1_000, 1, pause, pace).await, Err("timeout"));
        assert_eq!(read_chunks(1, 1, pause * 100, pace).await, Err("timeout"));
        // Each chunk extends the deadline by more than ten times its pause, so a busy machine does not fail this.
        assert_eq!(read_chunks(20, 500, pause, pace).await, Ok(10_000));
    }

    #[tokio::test]
    async fn a_large_body_is_refused() {
        let largest = usize::try_from(LARGEST).expect("fits");
        for (count, size) in [(3, 1024 * 1024), (65, 1024 * 1024), (1, largest + 1)] {
            assert_eq!(read_chunks(count, size, Duration::ZERO, PACE).await, Err("too_large"));
        }
        assert_eq!(read_chunks(2, largest / 2, Duration::ZERO, PACE).await, Ok(largest));
    }
}
