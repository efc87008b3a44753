//! How long a request may take when the database neither answers nor goes away: then nothing else ends the wait.
//!
//! Whatever waits for the network, a code's sender or the caller has a limit of its own, so it is the database that is
//! asked before a request is given up: a command may take its time while the database lives.
//!
//! The handler is not dropped then. It goes on behind the answer, so that whatever it has begun (a transaction, a claim
//! on a key) it also ends, as soon as the database lets it. As with any 503 of a send, what was asked may take effect
//! all the same.

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

/// How long a look at the database may take: a readiness probe must answer before its caller gives up.
const ANSWER: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
struct RequestTimeouts {
    /// A request that has waited for so long is let wait on as long as the database answers ...
    look: Duration,
    /// ... up to this: more than a command takes, less than the end of the program waits for its requests.
    longest: Duration,
}

const TIMEOUTS: RequestTimeouts =
    RequestTimeouts { look: Duration::from_secs(5), longest: Duration::from_secs(28) };

/// Middleware: 503 for a request that waits for a database that does not answer. The time in which its body arrives
/// does not count.
pub async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let clock = Clock::default();
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

/// 503, unless the database answers.
///
/// # Errors
/// When it does not, or says why it cannot.
pub async fn probe(store: &Store) -> Result<(), ApiError> {
    match timeout(ANSWER, store.db().ping()).await {
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

/// Returns when there is no use in waiting on.
async fn run_out<F: Future<Output = bool>>(timeouts: RequestTimeouts, clock: Clock, answers: impl Fn() -> F) {
    loop {
        let waited = clock.waited();
        if waited < timeouts.look {
            sleep(timeouts.look.saturating_sub(waited)).await;
            continue;
        }
        if waited >= timeouts.longest || !answers().await {
            return;
        }
        sleep(timeouts.look.min(timeouts.longest.saturating_sub(clock.waited()))).await;
    }
}

/// Since when nothing is waited for that the caller has to send; `None` while it is.
#[derive(Clone)]
struct Clock(Arc<Mutex<Option<Instant>>>);

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }
}

impl Clock {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn waited(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// A body that stops the clock while its reader waits for more of it.
struct TimedBody {
    inner: Body,
    clock: Clock,
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
        RequestTimeouts { look: Duration::from_millis(50), longest: Duration::from_millis(400) };

    /// How long a handler is waited for, in a world where the database answers or not.
    async fn given_up(answers: bool, handler: impl AsyncFnOnce(Clock)) -> Option<Duration> {
        let (began, clock) = (Instant::now(), Clock::default());
        tokio::select! {
            () = handler(clock.clone()) => None,
            () = run_out(SHORT, clock, async || answers) => Some(began.elapsed()),
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_silent_database() {
        let waited = given_up(false, async |_| std::future::pending().await).await.expect("given up");
        assert!(waited >= SHORT.look && waited < SHORT.longest, "{waited:?}");
    }

    #[tokio::test]
    async fn what_takes_its_time_may_while_the_database_answers() {
        assert_eq!(given_up(true, async |_| sleep(SHORT.look * 3).await).await, None);
        let waited = given_up(true, async |_| std::future::pending().await).await.expect("given up");
        assert!(waited >= SHORT.longest, "{waited:?}");
    }

    #[tokio::test]
    async fn a_body_may_come_slowly() {
        let upload = async |clock: Clock| {
            let frames = stream::iter(0..3).then(async |_| {
                sleep(SHORT.longest).await;
                Ok::<_, std::io::Error>("more")
            });
            let body = Body::new(TimedBody { inner: Body::from_stream(frames), clock });
            axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        };
        assert_eq!(given_up(false, upload).await, None);
        let stuck = async |clock: Clock| {
            upload(clock).await;
            std::future::pending::<()>().await;
        };
        assert!(given_up(false, stuck).await.is_some());
    }
}
