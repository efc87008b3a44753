//! Bodies that were not read to their end when the response was made.
//!
//! A client that is still writing its body does not read the response, and a connection that is closed on unread bytes is
//! reset, which loses a response that is on its way. So while the response is written, the connection reads the rest of the
//! body and drops it, up to a limit of bytes and time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{Request, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

/// More than the largest upload by default.
const MOST_BYTES: u64 = 128 * 1024 * 1024;
/// The longest time for that, from the response on.
const LONGEST: Duration = Duration::from_secs(15);

/// The unread rest of the last request's body on a connection; clones share it.
#[derive(Clone, Default)]
pub struct UnreadBody(Arc<Mutex<Option<Rest>>>);

/// A body that its request and its connection share.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<State>>);

struct State {
    body: Incoming,
    /// Whether somebody has asked for the body: only then a client that waits for `100 Continue` begins to write it.
    began: bool,
    ended: bool,
}

struct Rest {
    body: SharedBody,
    dropped: u64,
    timer: Pin<Box<Sleep>>,
}

/// A request's body until its response is made; see [`BodyWatch::end`].
pub struct BodyWatch {
    body: Option<SharedBody>,
    waits_for_continue: bool,
    unread: UnreadBody,
}

impl UnreadBody {
    /// The request with a body that is watched.
    pub fn watch(&self, request: Request<Incoming>) -> (Request<Body>, BodyWatch) {
        let (parts, body) = request.into_parts();
        let waits_for_continue = parts.headers.contains_key(header::EXPECT);
        let (shared, body) = if body.is_end_stream() {
            (None, Body::empty())
        } else {
            let state = State { body, began: false, ended: false };
            let shared = SharedBody(Arc::new(Mutex::new(state)));
            (Some(shared.clone()), Body::new(shared))
        };
        let watch = BodyWatch { body: shared, waits_for_continue, unread: self.clone() };
        (Request::from_parts(parts, body), watch)
    }

    /// Reads and drops what is left; never returns. It must be polled after the connection each time: polling the connection
    /// may end a request, which wakes nobody, and reading at once registers the task for what follows.
    pub async fn discard(&self) {
        std::future::poll_fn(|context| {
            let mut rest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if rest.as_mut().is_some_and(|rest| rest.poll_discard(context).is_ready()) {
                *rest = None;
            }
            Poll::<()>::Pending
        })
        .await;
    }
}

impl BodyWatch {
    /// To be called when the response is made: from now on the rest of the body is dropped.
    pub fn end(self) {
        let Some(body) = self.body else { return };
        let needed = {
            let state = body.state();
            !state.ended && !state.body.is_end_stream() && (state.began || !self.waits_for_continue)
        };
        if needed {
            let rest = Rest { body, dropped: 0, timer: Box::pin(tokio::time::sleep(LONGEST)) };
            *self.unread.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}

impl Rest {
    /// Ready when there is no more, or when it is too much.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.dropped < MOST_BYTES {
            if self.timer.as_mut().poll(context).is_ready() {
                break;
            }
            let Some(Ok(frame)) = ready!(Pin::new(&mut self.body).poll_frame(context)) else { break };
            self.dropped += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(())
    }
}

impl SharedBody {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut state = self.state();
        state.began = true;
        let frame = ready!(Pin::new(&mut state.body).poll_frame(context));
        state.ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.state().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.state().body.size_hint()
    }
}
