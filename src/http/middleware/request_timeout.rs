//! Timeout of requests while the database neither answers nor closes its connections: nothing else ends their wait.
//!
//! Waiting for the network, the code sender or the caller has timeouts of its own, so the database is probed before a
//! request is given up: a slow command may continue while the database answers.
//!
//! The handler is not dropped. It continues after the response, so that it ends what it has begun (a transaction, a claim
//! on a key) as soon as the database answers. As with any 503 of a send, the request may still take effect.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;

use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::store::Store;

/// A readiness probe must answer before its caller gives up.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
struct RequestTimeouts {
    /// After this time the database is probed again and again; the request is given up when the probe fails.
    probe: Duration,
    /// After this time the request is given up anyway: longer than a command, shorter than the shutdown waits for requests.
    total: Duration,
}

const TIMEOUTS: RequestTimeouts =
    RequestTimeouts { probe: Duration::from_secs(5), total: Duration::from_secs(28) };

/// Middleware: 503 for a request that waits for a database that does not answer. The time in which its body arrives does
/// not count.
pub async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let clock = WaitClock::default();
    let request = request.map(|body| Body::new(TimedBody { inner: body, clock: clock.clone() }));
    let mut handler = Box::pin(next.run(request));
    tokio::select! {
        biased;
        response = &mut handler => response,
        () = run_out(TIMEOUTS, clock, || answers(state.store.clone())) => {
            tracing::warn!("a request was given up: the database does not answer");
            state.lifecycle.spawn(handler.in_current_span());
            does_not_answer().into_response()
        }
    }
}

/// # Errors
/// 503 unless the database answers.
pub async fn probe(store: &Store) -> Result<(), ApiError> {
    match timeout(PROBE_TIMEOUT, store.db().ping()).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(does_not_answer()),
    }
}

fn does_not_answer() -> ApiError {
    ApiError::unavailable(ErrorCode::DatabaseUnavailable, "the database does not answer; try again soon", 2)
}

async fn answers(store: Store) -> bool {
    probe(&store).await.is_ok()
}

/// Returns when the request is to be given up.
async fn run_out<F: Future<Output = bool>>(
    timeouts: RequestTimeouts,
    clock: WaitClock,
    answers: impl Fn() -> F,
) {
    loop {
        let waited = clock.waited();
        if waited < timeouts.probe {
            sleep(timeouts.probe.saturating_sub(waited)).await;
            continue;
        }
        if waited >= timeouts.total || !answers().await {
            return;
        }
        sleep(timeouts.probe.min(timeouts.total.saturating_sub(clock.waited()))).await;
    }
}

/// The time since which the request waits for this server; `None` while it waits for its body.
#[derive(Clone)]
struct WaitClock(Arc<Mutex<Option<Instant>>>);

impl Default for WaitClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }
}

impl WaitClock {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn waited(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// A body that stops the clock while its reader waits for more.
struct TimedBody {
    inner: Body,
    clock: WaitClock,
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        self.clock.set(Some(Instant::now()));
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        self.clock.set(frame.is_ready().then(Instant::now));
        frame
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

    const SHORT: RequestTimeouts =
        RequestTimeouts { probe: Duration::from_millis(50), total: Duration::from_millis(400) };

    /// After which time a handler is given up, if it is.
    async fn given_up(answers: bool, handler: impl AsyncFnOnce(WaitClock)) -> Option<Duration> {
        let (began, clock) = (Instant::now(), WaitClock::default());
        tokio::select! {
            () = handler(clock.clone()) => None,
            () = run_out(SHORT, clock, async || answers) => Some(began.elapsed()),
        }
    }

    #[tokio::test]
    async fn a_silent_database_ends_the_wait() {
        let waited = given_up(false, async |_| std::future::pending().await).await.expect("given up");
        assert!(waited >= SHORT.probe && waited < SHORT.total, "{waited:?}");
    }

    #[tokio::test]
    async fn a_slow_handler_continues_while_the_database_answers() {
        assert_eq!(given_up(true, async |_| sleep(SHORT.probe * 3).await).await, None);
        let waited = given_up(true, async |_| std::future::pending().await).await.expect("given up");
        assert!(waited >= SHORT.total, "{waited:?}");
    }

    #[tokio::test]
    async fn a_body_may_arrive_slowly() {
        let upload = async |clock: WaitClock| {
            let frames = stream::iter(0..3).then(async |_| {
                sleep(SHORT.total).await;
                Ok::<_, std::io::Error>("more")
            });
            let body = Body::new(TimedBody { inner: Body::from_stream(frames), clock });
            axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        };
        assert_eq!(given_up(false, upload).await, None);
        let stuck = async |clock: WaitClock| {
            upload(clock).await;
            std::future::pending::<()>().await;
        };
        assert!(given_up(false, stuck).await.is_some());
    }
}
