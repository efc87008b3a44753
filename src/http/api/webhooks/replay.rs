//! Events that a webhook gets again.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{NamedWebhook, settings};
use crate::domain::{CounterId, Event, TimeParameter};
use crate::events::{After, Cursor};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::params::{Flag, RequestParameters};
use crate::http::json::Json;
use crate::store::{PlaceOfSeq, Webhook};
use http::StatusCode;

/// Events of one request.
const MOST: usize = 10_000;
/// Places that one query looks through.
const WINDOW: i64 = 2_000;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(replay))
}

#[derive(Deserialize, ToSchema)]
struct ReplayRequest {
    /// One event.
    event_id: Option<String>,
    /// Events after a cursor or a time, or oldest: those that the webhook wants.
    after: Option<String>,
    /// With after: up to this cursor or time.
    until: Option<String>,
    /// 1: the events that were given up.
    #[serde(default)]
    dead: Flag,
}

#[derive(Serialize, ToSchema)]
struct Replayed {
    replayed: usize,
}

/// A place or a time.
enum Limit {
    Place(i64),
    Time(TimeParameter),
}

/// Sends events again, under their ids and in order, beside the new ones: one event, those after a cursor or time, or those
/// that were given up.
#[utoipa::path(post, path = "/api/webhooks/{webhook_id}/replay/", tag = "webhooks", request_body = ReplayRequest,
    params(("webhook_id" = String, Path, description = "the webhook's id")),
    responses(
        (status = 200, body = Replayed),
        ApiError,
        (status = 404, body = Problem),
        (status = 410, body = Problem, description = "the events after the cursor cannot be given: `reason` is epoch or \
            retention; `oldest` and `newest` are cursors"),
    ))]
async fn replay(
    State(state): State<AppState>,
    NamedWebhook { caller, webhook }: NamedWebhook,
    claim: IdempotencyClaim,
    RequestParameters(request): RequestParameters<ReplayRequest>,
) -> Result<Json<Replayed>, ApiError> {
    let events = match (request.event_id.as_deref(), request.after.as_deref(), request.dead.0) {
        (Some(event), None, false) => vec![one(&state, &webhook, event.trim()).await?],
        (None, Some(after), false) => between(&state, &webhook, after, request.until.as_deref()).await?,
        (None, None, true) => {
            state.store.dead_places(&webhook, i64::try_from(MOST + 1).unwrap_or(i64::MAX)).await?
        }
        _ => {
            return Err(ApiError::bad_request(
                ErrorCode::MissingParameter,
                "exactly one of event_id, after and dead=1 is needed",
            ));
        }
    };
    if events.len() > MOST {
        return Err(too_many("name a shorter time"));
    }
    let mut tx = state.store.begin().await?;
    if !tx.replay(&webhook, &events, MOST).await? {
        return Err(too_many(
            "with those that wait to be sent again there would be more; wait until they are sent",
        ));
    }
    tx.record_webhook_act("webhook.replay", caller.user, &webhook.public_id).await?;
    claim.commit(tx, StatusCode::OK, Replayed { replayed: events.len() }).await
}

fn too_many(advice: &str) -> ApiError {
    let message = format!("at most {MOST} events are sent again at a time; {advice}");
    ApiError::bad_request(ErrorCode::TooMany, message)
}

async fn one(state: &AppState, webhook: &Webhook, id: &str) -> Result<(CounterId, i64), ApiError> {
    let unknown = || {
        ApiError::bad_request(
            ErrorCode::InvalidParameter,
            "event_id: you have no event with this id, or it is too old",
        )
    };
    let mut parts = id.split('-');
    let (Some(word), Some(counter), Some(seq), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(unknown());
    };
    let (Ok(counter), Ok(seq)) = (counter.parse(), seq.parse()) else { return Err(unknown()) };
    let counter = CounterId(counter);
    // Everything has its place then.
    state.events.ends(webhook.user).await?;
    let PlaceOfSeq::At(place) = state.store.place_of_seq(webhook.user, counter, seq).await? else {
        return Err(unknown());
    };
    let found = state.store.event_at(webhook.user, place).await?;
    let event = found.filter(|event| event.counter == counter && event.seq == seq).ok_or_else(unknown)?;
    if state.events.epochs().await?.word(event.epoch)? != word {
        return Err(unknown());
    }
    Ok((counter, place))
}

/// The events that the webhook wants, in order; when there are too many, one more than may be.
async fn between(
    state: &AppState,
    webhook: &Webhook,
    after: &str,
    until: Option<&str>,
) -> Result<Vec<(CounterId, i64)>, ApiError> {
    let user = webhook.user;
    let ends = state.events.ends(user).await?;
    let (mut place, later_than) = match limit(state, webhook, "after", after).await? {
        Limit::Place(place) => (place, None),
        Limit::Time(time) => (state.store.place_before(user, time.at()).await?, Some(time.at())),
    };
    let (last, not_after): (i64, Option<DateTime<Utc>>) = match until {
        None => (ends.last, None),
        Some(until) => match limit(state, webhook, "until", until).await? {
            Limit::Place(place) => (place, None),
            Limit::Time(time) => (ends.last, Some(time.last_moment())),
        },
    };
    let filter = state.webhooks.filter(webhook).await?;
    let mut events = Vec::new();
    while place < last && events.len() <= MOST {
        let window = (place, last.min(place + WINDOW));
        for event in state.store.sequence(user, window, &filter, WINDOW).await? {
            let is_meant = later_than.is_none_or(|time| event.at > time)
                && not_after.is_none_or(|time| event.at <= time)
                && event.kind != Event::WEBHOOK_TEST;
            if is_meant {
                events.push((event.counter, event.place));
            }
        }
        place = window.1;
    }
    Ok(events)
}

async fn limit(state: &AppState, webhook: &Webhook, name: &str, text: &str) -> Result<Limit, ApiError> {
    if let Ok(time) = text.parse::<TimeParameter>() {
        return Ok(Limit::Time(time));
    }
    if name == "after" && text.trim() == "oldest" {
        return Ok(Limit::Place(settings::place(state, webhook.user, "oldest").await?));
    }
    let cursor = text.trim().parse::<Cursor>().map_err(|_| {
        let message = format!("{name}: a cursor as an event has it, or a time is expected");
        ApiError::bad_request(ErrorCode::InvalidCursor, message)
    })?;
    let ends = state.events.ends(webhook.user).await?;
    Ok(Limit::Place(state.events.place(webhook.user, &After::Cursor(cursor), ends).await?))
}
