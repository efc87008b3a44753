//! The events over a WebSocket (RFC 6455).
//!
//! What is wrong before the upgrade has a status if a page can do nothing about it; all else has a close code, whose reason is
//! the code of the error, since a page sees no status. The close codes are numbered as graphql-ws does.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::query::{EventQuery, Word, gone_body};
use super::stream::open;
use crate::config::CorsOrigins;
use crate::domain::UserId;
use crate::events::{After, Consumer, Cursor, Feed, Next, PositionError, Way};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::caller::{invalid, ticket_in, token};
use crate::http::middleware::trace::LongLived;
use crate::http::server::HeldConnection;
use crate::oauth::{Bearer, Watched};
use crate::telemetry::chain;

const PROTOCOL: &str = "windu.events.v1";

/// Bytes of a client's frame, and of its message.
const LARGEST: usize = 16 * 1024;
/// The first message must have come by then, if there is neither token nor ticket.
const FIRST: Duration = Duration::from_secs(10);
/// Of silence, then the cursor is sent.
const ALIVE: Duration = Duration::from_secs(30);
const PING: Duration = Duration::from_secs(30);
/// Without an answer to a ping, or without the client taking anything, the socket is closed.
const SILENCE: Duration = Duration::from_mins(1);
/// For the closing handshake.
const GOODBYE: Duration = Duration::from_secs(2);

mod close {
    pub const RESTARTING: u16 = 1001;
    pub const FAULT: u16 = 1011;
    pub const TOO_SLOW: u16 = 1013;
    pub const BAD: u16 = 4400;
    pub const TOKEN: u16 = 4401;
    pub const SCOPE: u16 = 4403;
    pub const NO_FIRST: u16 = 4408;
    pub const GONE: u16 = 4410;
    pub const TOO_MANY: u16 = 4429;
}

/// The route of this file: its caller may be known only after the upgrade.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(socket))
}

/// The events of all of the caller's accounts as they come, over a WebSocket: an object of the list per frame. The subprotocol
/// is windu.events.v1. A token comes as header, as a ticket, or in the first message: `{"token", "after", "types", "account"}`.
#[utoipa::path(get, path = "/api/events/ws/", tag = "events",
    params(
        ("after" = Option<String>, Query, description = "a cursor, oldest or newest (the default); with exactly one account \
            also the seq of an event"),
        ("types" = Option<String>, Query, description = "types with commas; message.* means all of a group; by default all, \
            those too that are not stored"),
        ("account" = Option<String>, Query, description = "numbers with commas; all accounts by default"),
        ("epoch" = Option<String>, Query, description = "compared with the server's when after is a seq"),
        ("ticket" = Option<String>, Query, description = "instead of a token, from POST /api/events/ticket/"),
    ),
    responses(
        (status = 101, description = "the protocol is WebSocket from now on"),
        ApiError,
        (status = 426, body = Problem, description = "the request asks for no upgrade"),
    ))]
async fn socket(
    State(state): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    held: Option<Extension<HeldConnection>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let bearer = if headers.contains_key(header::AUTHORIZATION) {
        Some(state.oauth.authenticate(token(&headers)?).await?.ok_or_else(invalid)?)
    } else {
        None
    };
    if !is_allowed(&state.cors_origins, &headers) {
        return Err(ApiError::forbidden(
            ErrorCode::OriginNotAllowed,
            "pages of this origin may not call this server: WINDU_CORS_ORIGINS lacks it",
        ));
    }
    let upgrade = upgrade.map_err(|rejection| {
        let is_websocket = headers
            .get(header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        if is_websocket {
            ApiError::bad_request(ErrorCode::InvalidRequest, rejection.body_text())
        } else {
            ApiError::new(
                StatusCode::UPGRADE_REQUIRED,
                ErrorCode::UpgradeRequired,
                "this is a WebSocket: send Upgrade: websocket, or read /api/events/stream/",
            )
            .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
        }
    })?;
    let query = query.unwrap_or_default();
    let lifecycle = state.lifecycle.clone();
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(LARGEST).max_frame_size(LARGEST);
    let mut response = upgrade.on_upgrade(move |socket| async move {
        let work = async move {
            Session { state, socket, since_pong: Instant::now() }.run(bearer, &query).await;
            drop(held);
        };
        // The stop waits for it, and it ends at the stop.
        let _ = lifecycle.spawn(work).await;
    });
    response.extensions_mut().insert(LongLived);
    Ok(response)
}

fn is_allowed(origins: &CorsOrigins, headers: &HeaderMap) -> bool {
    match (origins, headers.get(header::ORIGIN)) {
        (CorsOrigins::Any, _) | (_, None) => true,
        (CorsOrigins::These(list), Some(origin)) => {
            list.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
        }
    }
}

/// A message of a client.
#[derive(Deserialize)]
struct ClientMessage {
    token: Option<String>,
    #[serde(flatten)]
    query: EventQuery,
}

/// Why a socket ends.
enum End {
    /// With a close code and its reason.
    Close(u16, String),
    /// The client is gone, or takes nothing.
    Lost,
}

impl End {
    fn code(close: u16, code: ErrorCode) -> Self {
        Self::Close(close, code.as_str().to_owned())
    }
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        let close = match error.status() {
            StatusCode::UNAUTHORIZED => close::TOKEN,
            StatusCode::FORBIDDEN => close::SCOPE,
            StatusCode::GONE => close::GONE,
            StatusCode::TOO_MANY_REQUESTS => close::TOO_MANY,
            status if status.is_client_error() => close::BAD,
            _ => close::FAULT,
        };
        Self::code(close, error.code())
    }
}

/// A socket after its upgrade.
struct Session {
    state: AppState,
    socket: WebSocket,
    since_pong: Instant,
}

/// What a socket gives out.
struct Open {
    user: UserId,
    epoch: String,
    feed: Feed,
    token: Arc<Watched>,
    _consumer: Consumer,
}

impl Session {
    async fn run(mut self, bearer: Option<Bearer>, query: &str) {
        let ended = match self.open(bearer, query).await {
            Ok(open) => self.give_out(open).await,
            Err(end) => end,
        };
        if let End::Close(code, reason) = ended {
            let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
            let goodbye = async {
                if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                    // Until the client has closed, too: otherwise the frame may be lost.
                    while let Some(Ok(_)) = self.socket.recv().await {}
                }
            };
            let _ = timeout(GOODBYE, goodbye).await;
        }
    }

    async fn open(&mut self, bearer: Option<Bearer>, query: &str) -> Result<Open, End> {
        let mut asked = query_of(query);
        let bearer = match (bearer, ticket_in(query)) {
            (Some(bearer), _) => bearer,
            (None, Some(ticket)) => self
                .state
                .oauth
                .redeem(&ticket)
                .await
                .map_err(ApiError::from)?
                .ok_or_else(|| End::code(close::TOKEN, ErrorCode::TicketInvalid))?,
            (None, None) => {
                let stop = self.state.lifecycle.soft().clone();
                let first = tokio::select! {
                    first = timeout(FIRST, self.message()) => first,
                    () = stop.cancelled() => return Err(restarting()),
                };
                let first = first.map_err(|_| End::code(close::NO_FIRST, ErrorCode::Timeout))??;
                asked = first.query.over(asked);
                let token = first.token.ok_or_else(|| End::code(close::TOKEN, ErrorCode::TokenMissing))?;
                Self::bearer(&self.state.clone(), &token).await?
            }
        };
        let user = bearer.user;
        let expires_in = Self::admit(&self.state.clone(), &bearer).await?;
        let consumer = self
            .state
            .consumers
            .open(user, Way::Socket)
            .ok_or_else(|| End::code(close::TOO_MANY, ErrorCode::TooManyStreams))?;
        let token = self.state.oauth.watch(&bearer.token);
        let request = asked.read(&self.state, user, After::Newest).await?;
        let feed = match open(&self.state, user, request).await {
            Ok(feed) => feed,
            Err(PositionError::Gone(gone)) => {
                self.send(gone_body(&gone).to_string()).await?;
                return Err(End::code(close::GONE, ErrorCode::CursorGone));
            }
            Err(error) => return Err(ApiError::from(error).into()),
        };
        let epoch = self.state.events.epochs().await.map_err(ApiError::from)?.present().to_owned();
        let cursor = Cursor { epoch: epoch.clone(), user, place: feed.at() };
        let ready = json!({"type": "ready", "cursor": cursor.to_string(), "expires_in": expires_in});
        self.send(ready.to_string()).await?;
        Ok(Open { user, epoch, feed, token, _consumer: consumer })
    }

    async fn give_out(&mut self, mut open: Open) -> End {
        let stop = self.state.lifecycle.soft().clone();
        let (mut next_alive, mut next_ping) = (Instant::now() + ALIVE, Instant::now() + PING);
        loop {
            let outcome = tokio::select! {
                biased;
                () = stop.cancelled() => Err(restarting()),
                () = open.token.ended() => Err(End::code(close::TOKEN, ErrorCode::TokenInvalid)),
                message = self.message() => match message {
                    Ok(message) => self.take(message, &mut open).await,
                    Err(end) => Err(end),
                },
                () = sleep_until(next_ping) => {
                    next_ping = Instant::now() + PING;
                    self.ping().await
                }
                next = open.feed.next() => {
                    next_alive = Instant::now() + ALIVE;
                    self.give(next).await
                }
                () = sleep_until(next_alive) => {
                    next_alive = Instant::now() + ALIVE;
                    let cursor = Cursor { epoch: open.epoch.clone(), user: open.user, place: open.feed.at() };
                    self.send(json!({"type": "alive", "cursor": cursor.to_string()}).to_string()).await
                }
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    async fn give(&mut self, next: Result<Next, PositionError>) -> Result<(), End> {
        match next {
            Ok(Next::Page(page, after)) => {
                let from = page.events.partition_point(|event| event.place <= after);
                for event in &page.events[from..] {
                    self.send(event.json.to_string()).await?;
                }
                self.state.events.count(Way::Socket, &page.events[from..], !page.more);
                Ok(())
            }
            Ok(Next::Live(event)) => self.send(event.json.clone()).await,
            Err(PositionError::Gone(gone)) => {
                self.send(gone_body(&gone).to_string()).await?;
                Err(End::code(close::GONE, ErrorCode::CursorGone))
            }
            Err(PositionError::Store(error)) => {
                tracing::error!(error = chain(&error), "a socket of events failed");
                Err(End::code(close::FAULT, ErrorCode::Internal))
            }
        }
    }

    /// Another token of the same user: the socket goes on with that.
    async fn take(&mut self, message: ClientMessage, open: &mut Open) -> Result<(), End> {
        let token = message.token.ok_or_else(|| End::code(close::BAD, ErrorCode::MissingParameter))?;
        let bearer = Self::bearer(&self.state.clone(), &token).await?;
        if bearer.user != open.user {
            return Err(End::code(close::TOKEN, ErrorCode::TokenInvalid));
        }
        Self::admit(&self.state.clone(), &bearer).await?;
        open.token = self.state.oauth.watch(&bearer.token);
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.since_pong.elapsed() > SILENCE {
            return Err(End::code(close::TOO_SLOW, ErrorCode::TooSlow));
        }
        self.send_message(Message::Ping(Vec::new().into())).await
    }

    async fn bearer(state: &AppState, token: &str) -> Result<Bearer, End> {
        let found = state.oauth.authenticate(token).await.map_err(ApiError::from)?;
        found.ok_or_else(|| End::code(close::TOKEN, ErrorCode::TokenInvalid))
    }

    /// Counts a request of the token, and returns its lifetime in seconds.
    async fn admit(state: &AppState, bearer: &Bearer) -> Result<u64, End> {
        if !bearer.scopes.iter().any(|scope| scope == "read") {
            return Err(End::code(close::SCOPE, ErrorCode::InsufficientScope));
        }
        state.limits.requests.count(&bearer.token)?;
        let record = state.store.bearer(&bearer.token).await.map_err(ApiError::from)?;
        let record = record.ok_or_else(|| End::code(close::TOKEN, ErrorCode::TokenInvalid))?;
        Ok(record.remaining.as_secs())
    }

    /// The client's next message. Dropped before that, nothing is lost.
    async fn message(&mut self) -> Result<ClientMessage, End> {
        loop {
            match self.socket.recv().await {
                None | Some(Ok(Message::Close(_))) => return Err(End::Lost),
                // Too large, or against the protocol; or the connection is gone, then nobody hears it.
                Some(Err(_) | Ok(Message::Binary(_))) => {
                    return Err(End::code(close::BAD, ErrorCode::InvalidRequest));
                }
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text)
                        .map_err(|_| End::code(close::BAD, ErrorCode::Malformed));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.since_pong = Instant::now(),
            }
        }
    }

    async fn send(&mut self, text: String) -> Result<(), End> {
        self.send_message(Message::Text(text.into())).await
    }

    async fn send_message(&mut self, message: Message) -> Result<(), End> {
        let stop = self.state.lifecycle.soft().clone();
        let stopped = async {
            stop.cancelled().await;
            sleep(GOODBYE).await;
        };
        tokio::select! {
            sent = timeout(SILENCE, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Lost),
                Err(_) => Err(End::code(close::TOO_SLOW, ErrorCode::TooSlow)),
            },
            () = stopped => Err(restarting()),
        }
    }
}

fn restarting() -> End {
    End::code(close::RESTARTING, ErrorCode::ShuttingDown)
}

fn query_of(query: &str) -> EventQuery {
    let mut asked = EventQuery::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if !value.is_empty() {
            asked.set(&name, Word(value.trim().to_owned()));
        }
    }
    asked
}
