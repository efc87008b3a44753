//! Request bodies, with limits of time and size.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::http::error::{ApiError, ErrorCode};

/// Bytes of the largest body without files.
pub const LARGEST: u64 = 2 * 1024 * 1024;

/// How many further bytes of a body that is too large are read and dropped: a caller that is still writing does not read
/// the response.
const DISCARDED: u64 = 8 * 1024 * 1024;

/// The time that a body may take to arrive: `base`, and one second more for each `bytes_per_second` bytes received.
#[derive(Clone, Copy)]
struct Pace {
    base: Duration,
    bytes_per_second: u64,
}

const PACE: Pace = Pace { base: Duration::from_secs(30), bytes_per_second: 16 * 1024 };

/// The request with a body that fails when it arrives too slowly.
pub fn paced(request: Request) -> Request {
    request.map(|body| Body::new(PacedBody::new(body, PACE)))
}

/// A body that is read in chunks, up to a limit.
pub struct LimitedBody {
    body: Body,
    limit: u64,
    announced: u64,
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
    /// [`BodyError::TooLarge`] when a caller that waits for `100 Continue` announces more than `limit` bytes.
    pub fn new(headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, BodyError> {
        let announced = body.size_hint().lower();
        // Such a caller has not begun to write, so it will read the response.
        if announced > limit && headers.contains_key(header::EXPECT) {
            return Err(BodyError::TooLarge { limit });
        }
        Ok(Self { body, limit, announced, read: 0 })
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

    /// Reads the rest of a refused body and drops it, up to a limit: a caller that is still writing does not read the
    /// response.
    pub async fn discard_rest(&mut self) {
        let most = self.limit + DISCARDED;
        while self.read <= most && self.announced <= most {
            let Some(Ok(frame)) = self.body.frame().await else { return };
            self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
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

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// 413 when it is larger, 408 when it arrives too slowly, 400 when it ends too early.
pub async fn read(headers: &HeaderMap, body: Body, limit: u64) -> Result<Bytes, ApiError> {
    let mut body = LimitedBody::new(headers, body, limit)?;
    let expected = usize::try_from(body.announced.min(limit)).unwrap_or_default();
    let mut whole = BytesMut::with_capacity(expected);
    loop {
        match body.next().await {
            Ok(Some(data)) => whole.extend_from_slice(&data),
            Ok(None) => return Ok(whole.freeze()),
            Err(error) => {
                drop(whole);
                body.discard_rest().await;
                return Err(error.into());
            }
        }
    }
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
        read(&HeaderMap::new(), body, LARGEST)
            .await
            .map(|bytes| bytes.len())
            .map_err(|error| error.code().as_str())
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
    async fn a_large_body_is_refused_after_it_was_read() {
        let largest = usize::try_from(LARGEST).expect("fits");
        for (count, size) in [(3, 1024 * 1024), (65, 1024 * 1024), (1, largest + 1)] {
            assert_eq!(read_chunks(count, size, Duration::ZERO, PACE).await, Err("too_large"));
        }
        assert_eq!(read_chunks(2, largest / 2, Duration::ZERO, PACE).await, Ok(largest));
    }
}
