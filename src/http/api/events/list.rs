//! The list of events, with a long poll.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::query::{EventQuery, EventRequest};
use crate::events::{After, Cursor, EventPage, PageLimit, Way};
use crate::http::AppState;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::caller::Caller;
use crate::http::extract::params::{RequestParameters, WholeNumber};
use crate::http::middleware::trace::LongLived;
use crate::lifecycle::Deadline;

const DEFAULT_LIMIT: u64 = 100;
/// More counts as this.
const LARGEST_LIMIT: u64 = 1_000;
/// Bytes of the events of an answer.
const LARGEST_PAGE: usize = 4 * 1024 * 1024;
/// Seconds; more count as these. Proxies give up after 60.
const LONGEST_WAIT: u64 = 50;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Deserialize)]
#[serde(default)]
struct PollParameters {
    limit: WholeNumber,
    wait: WholeNumber,
}

impl Default for PollParameters {
    fn default() -> Self {
        Self { limit: WholeNumber(DEFAULT_LIMIT), wait: WholeNumber(0) }
    }
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the response")]
struct EventList {
    /// Oldest first.
    events: Vec<EventInfo>,
    /// The next `after`.
    cursor: String,
    /// There are more events, also when this list is empty because of a filter: ask again at once.
    more: bool,
}

/// An event. Fields and types that a client does not know are to be ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the object that events::render writes")]
pub struct EventInfo {
    /// The same each time the event is given out; by it alone repeated events are recognised. Of letters, digits, _ and -.
    #[schema(max_length = 64)]
    id: String,
    /// The number of the event of its account: from 1 on, without gaps.
    seq: i64,
    /// The word of the server's epoch; a restoration from a backup begins another one.
    epoch: String,
    /// Such as message.received.
    r#type: String,
    /// The number of the account; null when the event is about the user.
    #[schema(required = true)]
    account: Option<String>,
    /// When it was stored.
    time: String,
    /// The same time, uncut and with its zone.
    timestamp: String,
    /// The place of the event: an `after` from which the next event follows.
    #[schema(max_length = 128)]
    cursor: String,
    /// By type. Of what is not there any more: the facts, and `gone`.
    #[schema(value_type = Object)]
    data: (),
}

/// The events of all of the caller's accounts after a cursor, oldest first. With `wait` the answer waits until there is one.
#[utoipa::path(get, path = "/api/events/", tag = "events",
    params(
        ("after" = Option<String>, Query, description = "a cursor, oldest (the default) or newest; with exactly one account \
            also the seq of an event"),
        ("limit" = Option<u32>, Query, minimum = 0, description = "100 by default; more than 1000 count as 1000"),
        ("wait" = Option<u32>, Query, minimum = 0, description = "seconds; more than 50 count as 50"),
        ("types" = Option<String>, Query, description = "types with commas; message.* means all of a group"),
        ("account" = Option<String>, Query, description = "numbers with commas; all accounts by default"),
        ("epoch" = Option<String>, Query, description = "compared with the server's when after is a seq"),
    ),
    responses(
        (status = 200, body = EventList),
        ApiError,
        (status = 410, body = Problem, description = "the events after the cursor cannot be given: `reason` is epoch or \
            retention; `oldest` and `newest` are cursors"),
    ))]
async fn list(
    State(state): State<AppState>,
    caller: Caller,
    RequestParameters(parameters): RequestParameters<PollParameters>,
    RequestParameters(query): RequestParameters<EventQuery>,
) -> Result<Response, ApiError> {
    let user = caller.user;
    let limit = usize::try_from(parameters.limit.0.min(LARGEST_LIMIT)).unwrap_or(usize::MAX);
    let page_limit = PageLimit { events: limit, bytes: LARGEST_PAGE };
    let wait = Duration::from_secs(parameters.wait.0.min(LONGEST_WAIT));
    let EventRequest { after, filter } = query.read(&state, user, After::Oldest).await?;
    let events = &state.events;

    let ends = events.ends(user).await?;
    let mut after = events.place(user, &after, ends).await?;
    let mut page = events.read(user, (after, ends.last), &filter, page_limit).await?;
    let may_wait = !wait.is_zero() && limit > 0;
    let waits = |page: &EventPage| may_wait && page.events.is_empty() && !page.more;
    let mut has_waited = false;
    if waits(&page) {
        has_waited = true;
        let _consumer = state.consumers.open(user, Way::Poll).ok_or_else(ApiError::too_many_streams)?;
        tracing::debug!("a poll waits");
        let followed = events.follow(user);
        let mut places = followed.places();
        let until = Instant::now() + wait;
        // The first round after the subscription asks once more: what came before it is not notified.
        let mut last = events.ends(user).await?.last;
        loop {
            after = page.until;
            if last > after {
                page = events.read(user, (after, last), &filter, page_limit).await?;
            }
            if !waits(&page) {
                break;
            }
            let newer = async { places.wait_for(|place| *place > page.until).await.map(|place| *place) };
            let waiting = Deadline::paused(async {
                tokio::select! {
                    newer = newer => newer.ok(),
                    () = tokio::time::sleep_until(until) => None,
                    () = state.lifecycle.soft().cancelled() => None,
                }
            });
            match waiting.await {
                Some(place) => last = place,
                None => break,
            }
        }
    }
    let cursor = events.cursor(user, page.until).await?;
    events.count(Way::Poll, &page.events, has_waited);
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body(&page, &cursor)).into_response();
    if has_waited {
        response.extensions_mut().insert(LongLived);
    }
    Ok(response)
}

/// The objects are JSON already, and a cursor has no character that JSON escapes.
fn body(page: &EventPage, cursor: &Cursor) -> String {
    let mut body =
        String::with_capacity(256 + page.events.iter().map(|event| event.json.len() + 1).sum::<usize>());
    body.push_str("{\"events\":[");
    for (nth, event) in page.events.iter().enumerate() {
        if nth > 0 {
            body.push(',');
        }
        body.push_str(&event.json);
    }
    body.push_str("],\"cursor\":\"");
    body.push_str(&cursor.to_string());
    body.push_str("\",\"more\":");
    body.push_str(if page.more { "true" } else { "false" });
    body.push_str("}\n");
    body
}
