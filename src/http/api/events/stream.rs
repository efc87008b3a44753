//! The events as a stream: Server-Sent Events, as the HTML standard defines them.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::query::{EventQuery, EventRequest};
use crate::domain::UserId;
use crate::events::{
    After, Consumer, Cursor, EventPage, Events, Feed, LiveEvent, Next, PositionError, RenderedEvent, Way,
};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::caller::Caller;
use crate::http::extract::params::{Flag, RequestParameters};
use crate::http::middleware::trace::LongLived;
use crate::oauth::Watched;
use crate::secrets;
use crate::telemetry::chain;

/// The cursor from which a browser's EventSource goes on when it connects again.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Keeps nginx from collecting the stream before it passes it on.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Something is sent at least this often.
const BEAT: Duration = Duration::from_secs(15);
/// Milliseconds after which a client connects again: at random, so that not all come back at once.
const RETRY: (u64, u64) = (1_000, 5_000);
/// Bytes that are handed to the connection together, if they are of several events.
const CHUNK: usize = 64 * 1024;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(stream))
}

#[derive(Deserialize)]
struct StreamParameters {
    #[serde(default)]
    named: Flag,
}

/// The events of all of the caller's accounts as they come: Server-Sent Events. Each has its cursor as `id:` and the object of
/// the list as `data:`, on one line; the first is `ready` with the cursor at which the stream begins.
#[utoipa::path(get, path = "/api/events/stream/", tag = "events",
    params(
        ("after" = Option<String>, Query, description = "a cursor, oldest or newest (the default); with exactly one account \
            also the seq of an event"),
        ("types" = Option<String>, Query, description = "types with commas; message.* means all of a group; by default all, \
            those too that are not stored"),
        ("account" = Option<String>, Query, description = "numbers with commas; all accounts by default"),
        ("epoch" = Option<String>, Query, description = "compared with the server's when after is a seq"),
        ("named" = Option<bool>, Query, description = "1: each event has its type as event:"),
        ("ticket" = Option<String>, Query, description = "instead of a token, from POST /api/events/ticket/"),
        ("Last-Event-ID" = Option<String>, Header, description = "a cursor, which wins over after"),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = String),
        ApiError,
        (status = 410, body = Problem, description = "the events after the cursor cannot be given"),
    ))]
async fn stream(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    RequestParameters(StreamParameters { named }): RequestParameters<StreamParameters>,
    RequestParameters(query): RequestParameters<EventQuery>,
) -> Result<Response, ApiError> {
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let last = last.map(str::trim).filter(|last| !last.is_empty()).map(str::to_owned);
    let user = caller.user;
    let request = query.going_on_after(last).read(&state, user, After::Newest).await?;
    let consumer = state.consumers.open(user, Way::Stream).ok_or_else(ApiError::too_many_streams)?;
    let feed = open(&state, user, request).await?;
    let stream = EventStream {
        epoch: state.events.epochs().await?.present().to_owned(),
        user,
        named: named.0,
        events: state.events.clone(),
        shown: feed.at(),
        feed,
        page: None,
        token: state.oauth.watch(&caller.token),
        stop: state.lifecycle.soft().clone(),
        stage: Stage::Begin,
        next_beat: Instant::now() + BEAT,
        _consumer: consumer,
    };
    let frames = futures_util::stream::unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((Ok::<_, Infallible>(frame), stream))
    });
    let mut response = Body::from_stream(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response.extensions_mut().insert(LongLived);
    Ok(response)
}

/// The feed of a user from where a request wants it.
pub async fn open(state: &AppState, user: UserId, request: EventRequest) -> Result<Feed, PositionError> {
    let followed = state.events.follow(user);
    let ends = state.events.ends(user).await?;
    followed.reached(ends.last);
    let after = state.events.place(user, &request.after, ends).await?;
    Ok(state.events.feed(followed, request.filter, after))
}

/// A stream to one client. Nothing is read for it before it took the last frame.
struct EventStream {
    epoch: String,
    user: UserId,
    named: bool,
    events: Events,
    feed: Feed,
    /// Events that were read and not given out yet: the page, and the index of the next.
    page: Option<(Arc<EventPage>, usize)>,
    /// The place that the client knows.
    shown: i64,
    token: Arc<Watched>,
    stop: CancellationToken,
    stage: Stage,
    next_beat: Instant,
    _consumer: Consumer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Events,
    End,
}

impl EventStream {
    /// The next bytes of the response.
    async fn next(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Begin => {
                self.stage = Stage::Events;
                let retry = RETRY.0 + secrets::random_below(RETRY.1 - RETRY.0 + 1);
                let cursor = self.cursor(self.feed.at());
                return Some(
                    format!(
                        "retry: {retry}\nevent: ready\nid: {cursor}\ndata: {{\"cursor\":\"{cursor}\"}}\n\n"
                    )
                    .into(),
                );
            }
            Stage::Events => {}
            Stage::End => return None,
        }
        loop {
            if self.token.is_ended() {
                return Some(self.end(ErrorCode::TokenInvalid.as_str()));
            }
            if let Some((page, from)) = self.page.take() {
                return Some(self.frames(&page, from));
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Some(self.end(ErrorCode::ShuttingDown.as_str())),
                () = self.token.ended() => return Some(self.end(ErrorCode::TokenInvalid.as_str())),
                next = self.feed.next() => match next {
                    Ok(Next::Page(page, after)) => {
                        let from = page.events.partition_point(|event| event.place <= after);
                        self.page = Some((page, from));
                    }
                    Ok(Next::Live(event)) => return Some(self.live(&event)),
                    Err(PositionError::Gone(_)) => {
                        return Some(self.end(ErrorCode::CursorGone.as_str()));
                    }
                    Err(PositionError::Store(error)) => {
                        tracing::error!(error = chain(&error), "a stream of events failed");
                        return Some(self.end(ErrorCode::Internal.as_str()));
                    }
                },
                () = sleep_until(self.next_beat) => return Some(self.beat()),
            }
        }
    }

    /// As many events of a page as go together, from one on.
    fn frames(&mut self, page: &Arc<EventPage>, from: usize) -> Bytes {
        let (mut text, mut until) = (String::new(), from);
        while let Some(event) = page.events.get(until) {
            if until > from && text.len() + event.json.len() > CHUNK {
                break;
            }
            self.frame(&mut text, event);
            until += 1;
        }
        self.events.count(Way::Stream, &page.events[from..until], !page.more);
        self.page = (until < page.events.len()).then(|| (Arc::clone(page), until));
        self.next_beat = Instant::now() + BEAT;
        text.into()
    }

    fn frame(&mut self, text: &mut String, event: &RenderedEvent) {
        self.shown = event.place;
        let cursor = self.cursor(event.place);
        // Writing to a string does not fail.
        let _ = writeln!(text, "id: {cursor}");
        self.named(text, &event.kind);
        let _ = write!(text, "data: {}\n\n", event.json);
    }

    /// Without an id: EventSource keeps the last one.
    fn live(&mut self, event: &LiveEvent) -> Bytes {
        let mut text = String::new();
        self.named(&mut text, event.kind);
        let _ = write!(text, "data: {}\n\n", event.json);
        self.next_beat = Instant::now() + BEAT;
        text.into()
    }

    fn named(&self, text: &mut String, kind: &str) {
        if self.named {
            let _ = writeln!(text, "event: {kind}");
        }
    }

    /// A comment; and an id alone when the cursor moved over what the filter left out, or it would grow too old.
    fn beat(&mut self) -> Bytes {
        self.next_beat = Instant::now() + BEAT;
        let at = self.feed.at();
        if at == self.shown {
            return Bytes::from_static(b":\n\n");
        }
        self.shown = at;
        format!(":\nid: {}\n\n", self.cursor(at)).into()
    }

    fn end(&mut self, code: &str) -> Bytes {
        self.stage = Stage::End;
        format!("event: end\ndata: {{\"code\":\"{code}\"}}\n\n").into()
    }

    fn cursor(&self, place: i64) -> Cursor {
        Cursor { epoch: self.epoch.clone(), user: self.user, place }
    }
}
