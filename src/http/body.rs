//! Request bodies: how slowly they may come, how large they may be.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::error::ApiError;

/// The most that the body of a row without files may hold: 2 MiB.
pub const LARGEST: usize = 2 * 1024 * 1024;

/// Of a body that is too large, so much more is read and dropped: a caller that is still writing does not hear
/// the answer.
const DROPPED: usize = 8 * 1024 * 1024;

/// How slowly a body may come.
#[derive(Clone, Copy)]
struct Pace {
    /// How long it may take to arrive, whatever its size ...
    patience: Duration,
    /// ... and a second more for each so many bytes that have arrived.
    bytes_per_second: u64,
}

const PACE: Pace = Pace { patience: Duration::from_secs(30), bytes_per_second: 16 * 1024 };

/// Middleware: a request's body that comes too slowly ends with an error, whoever reads it.
pub async fn pace(request: Request, next: Next) -> Response {
    next.run(request.map(|body| Body::new(Paced::new(body, PACE)))).await
}

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// 413 when it is larger, 408 when it comes too slowly, 400 when it breaks off.
pub async fn read(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // A caller that waits to be told to go on has not begun to write.
    if announced > limit && headers.contains_key(header::EXPECT) {
        return Err(too_large(limit));
    }
    let mut read = 0;
    let mut whole = BytesMut::with_capacity(announced.min(limit));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        read += data.len();
        if read <= limit {
            whole.extend_from_slice(&data);
        } else if read > limit + DROPPED || announced > limit + DROPPED {
            break;
        } else {
            whole = BytesMut::new();
        }
    }
    if read > limit { Err(too_large(limit)) } else { Ok(whole.freeze()) }
}

fn too_large(limit: usize) -> ApiError {
    let message = format!("the body is larger than {} KiB", limit / 1024);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}

fn broken(error: &axum::Error) -> ApiError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<TooSlow>() {
            return ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the body of the request took too long to arrive",
            );
        }
        cause = error.source();
    }
    ApiError::bad_request("broken_body", "the body of the request broke off")
}

#[derive(Debug, thiserror::Error)]
#[error("the body comes too slowly")]
struct TooSlow;

struct Paced {
    inner: Body,
    pace: Pace,
    began: Instant,
    received: u64,
    alarm: Pin<Box<Sleep>>,
}

impl Paced {
    fn new(inner: Body, pace: Pace) -> Self {
        let began = Instant::now();
        let alarm = Box::pin(tokio::time::sleep_until(began + pace.patience));
        Self { inner, pace, began, received: 0, alarm }
    }

    fn deadline(&self) -> Instant {
        let earned = Duration::from_millis(self.received.saturating_mul(1_000) / self.pace.bytes_per_second);
        self.began + self.pace.patience + earned
    }
}

impl HttpBody for Paced {
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
            ready!(self.alarm.as_mut().poll(context));
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(Some(Err(TooSlow.into())));
            }
            self.alarm.as_mut().reset(deadline);
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
        let body = Body::new(Paced::new(Body::from_stream(chunks), pace));
        read(&HeaderMap::new(), body, LARGEST).await.map(|bytes| bytes.len()).map_err(|error| error.code())
    }

    #[tokio::test]
    async fn a_dripping_body_ends_and_a_slow_one_may_go_on() {
        let pause = Duration::from_millis(20);
        let pace = Pace { patience: pause * 4, bytes_per_second: 1_000 };
        assert_eq!(read_chunks(1_000, 1, pause, pace).await, Err("timeout"));
        assert_eq!(read_chunks(1, 1, pause * 100, pace).await, Err("timeout"));
        // Each earns more than ten times its pause, so a busy machine does not fail this.
        assert_eq!(read_chunks(20, 500, pause, pace).await, Ok(10_000));
    }

    #[tokio::test]
    async fn a_large_body_is_refused_in_the_end() {
        for (count, size) in [(3, 1024 * 1024), (65, 1024 * 1024), (1, LARGEST + 1)] {
            assert_eq!(read_chunks(count, size, Duration::ZERO, PACE).await, Err("too_large"));
        }
        assert_eq!(read_chunks(2, LARGEST / 2, Duration::ZERO, PACE).await, Ok(LARGEST));
    }
}
