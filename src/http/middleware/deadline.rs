//! The deadline of requests. Nothing else ends a wait for a database that neither answers nor closes its connections.
//!
//! At the deadline the handler is dropped, with its open transaction, so that nothing happens after the refusal. A layer
//! that waits for something else than the database ends its wait earlier ([`Deadline::shorten`]) and says what did not
//! answer; the database is blamed only when it was waited for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{sleep, timeout};

use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::lifecycle::Deadline;
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

/// Why a request was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivenUp {
    /// The database did not answer, neither the request nor a probe.
    DatabaseSilent,
    /// Something else took too long.
    TooSlow,
}

/// Middleware: sets the deadline of a request, and refuses the request when it passes. The time in which its body arrives
/// does not count.
pub async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = limited(state, request, next).await;
    if let Some(route) = route {
        // For the log.
        response.extensions_mut().insert(route);
    }
    response
}

async fn limited(state: AppState, request: Request, next: Next) -> Response {
    let deadline = Deadline::after(TIMEOUTS.total);
    let request = request.map(|body| TimedBody::around(body, &deadline));
    let handler = Box::pin(deadline.clone().scope(next.run(request)));
    tokio::select! {
        biased;
        response = handler => response,
        why = run_out(TIMEOUTS, &deadline, || answers(state.store.clone())) => {
            // The handler is dropped by now; what works for it in another task stops too.
            deadline.give_up();
            tracing::warn!(?why, "a request was given up");
            refusal(why).into_response()
        }
    }
}

/// # Errors
/// 503 unless the database answers.
pub async fn probe(store: &Store) -> Result<(), ApiError> {
    match timeout(PROBE_TIMEOUT, store.db().ping()).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(refusal(GivenUp::DatabaseSilent)),
    }
}

/// 503
fn refusal(why: GivenUp) -> ApiError {
    match why {
        GivenUp::DatabaseSilent => ApiError::unavailable(
            ErrorCode::DatabaseUnavailable,
            "the database does not answer; try again soon",
            2,
        ),
        GivenUp::TooSlow => ApiError::deadline_exceeded(),
    }
}

async fn answers(store: Store) -> bool {
    probe(&store).await.is_ok()
}

/// Returns when the request is to be given up.
async fn run_out<F: Future<Output = bool>>(
    timeouts: RequestTimeouts,
    deadline: &Deadline,
    answers: impl Fn() -> F,
) -> GivenUp {
    loop {
        let waited = deadline.waited();
        if waited < timeouts.probe {
            sleep(timeouts.probe.saturating_sub(waited)).await;
            continue;
        }
        if waited >= timeouts.total {
            return if deadline.is_elsewhere() { GivenUp::TooSlow } else { GivenUp::DatabaseSilent };
        }
        if !answers().await {
            return GivenUp::DatabaseSilent;
        }
        sleep(timeouts.probe.min(deadline.left())).await;
    }
}

/// A body that stops the clock while its reader waits for more.
struct TimedBody {
    inner: Body,
    deadline: Deadline,
}

impl TimedBody {
    fn around(body: Body, deadline: &Deadline) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Self { inner: body, deadline: deadline.clone() })
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        self.deadline.wait_for_input(false);
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
        self.deadline.wait_for_input(frame.is_pending());
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
    use tokio::time::Instant;

    const SHORT: RequestTimeouts =
        RequestTimeouts { probe: Duration::from_millis(50), total: Duration::from_millis(400) };

    /// Why and after which time a handler is given up, if it is.
    async fn given_up(answers: bool, handler: impl AsyncFnOnce(Deadline)) -> Option<(GivenUp, Duration)> {
        let (began, deadline) = (Instant::now(), Deadline::after(SHORT.total));
        tokio::select! {
            () = deadline.clone().scope(handler(deadline.clone())) => None,
            why = run_out(SHORT, &deadline, async || answers) => Some((why, began.elapsed())),
        }
    }

    #[tokio::test]
    async fn a_silent_database_ends_the_wait() {
        let (why, waited) = given_up(false, async |_| std::future::pending().await).await.expect("given up");
        assert!(waited >= SHORT.probe && waited < SHORT.total, "{waited:?}");
        assert_eq!(why, GivenUp::DatabaseSilent);
    }

    #[tokio::test]
    async fn a_slow_handler_continues_while_the_database_answers() {
        assert_eq!(given_up(true, async |_| sleep(SHORT.probe * 3).await).await, None);
        let (why, waited) = given_up(true, async |_| std::future::pending().await).await.expect("given up");
        assert!(waited >= SHORT.total, "{waited:?}");
        assert_eq!(why, GivenUp::DatabaseSilent);
    }

    #[tokio::test]
    async fn the_database_is_not_blamed_for_a_wait_for_something_else() {
        let elsewhere = async |_| Deadline::elsewhere(std::future::pending()).await;
        let (why, waited) = given_up(true, elsewhere).await.expect("given up");
        assert!(waited >= SHORT.total, "{waited:?}");
        assert_eq!(why, GivenUp::TooSlow);
        // It is while it does not answer.
        let (why, _) = given_up(false, elsewhere).await.expect("given up");
        assert_eq!(why, GivenUp::DatabaseSilent);
    }

    #[tokio::test]
    async fn a_body_may_arrive_slowly() {
        let upload = async |deadline: Deadline| {
            let frames = stream::iter(0..3).then(async |_| {
                sleep(SHORT.total).await;
                Ok::<_, std::io::Error>("more")
            });
            let body = TimedBody::around(Body::from_stream(frames), &deadline);
            axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        };
        assert_eq!(given_up(false, upload).await, None);
        let stuck = async |deadline: Deadline| {
            upload(deadline).await;
            std::future::pending::<()>().await;
        };
        assert!(given_up(false, stuck).await.is_some());
    }
}
