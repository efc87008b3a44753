//! The attempts of a webhook, and the events that were given up.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::NamedWebhook;
use crate::domain::{Timestamp, UncutTimestamp};
use crate::http::AppState;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::page::ListParameters;
use crate::http::extract::params::{Flag, RequestParameters};
use crate::http::json::Json;
use crate::store::{Attempt, AttemptsOf, DeadEvent};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(attempts)).routes(routes!(dead))
}

#[derive(Deserialize)]
struct AttemptFilter {
    event_id: Option<String>,
    #[serde(default)]
    failed: Flag,
}

#[derive(Serialize, ToSchema)]
struct AttemptList {
    attempts: Vec<AttemptInfo>,
}

/// A request to a webhook.
#[derive(Serialize, ToSchema)]
pub struct AttemptInfo {
    event_id: String,
    r#type: String,
    /// The number; null: the event is about the user.
    #[schema(required = true)]
    account: Option<String>,
    seq: i64,
    /// From 1 on.
    attempt: i32,
    #[schema(value_type = String)]
    time: Timestamp,
    #[schema(value_type = String)]
    timestamp: UncutTimestamp,
    /// How long it took.
    milliseconds: i32,
    /// Null: there was no response.
    #[schema(required = true)]
    status: Option<i16>,
    /// `not_allowed`, dns, connect, tls, timeout, closed, redirect or status; null: the event was accepted.
    #[schema(required = true)]
    error: Option<String>,
    /// The error in words.
    #[schema(required = true)]
    detail: Option<String>,
    /// The first 1024 bytes of the response's body.
    #[schema(required = true)]
    response: Option<String>,
    /// The time of the next attempt; null: there is none.
    #[schema(value_type = Option<String>, required = true)]
    next: Option<Timestamp>,
    #[schema(value_type = Option<String>, required = true)]
    next_timestamp: Option<UncutTimestamp>,
    /// The event was sent again by request.
    replay: bool,
}

impl From<Attempt> for AttemptInfo {
    fn from(attempt: Attempt) -> Self {
        Self {
            event_id: attempt.event_id,
            r#type: attempt.kind,
            account: attempt.account,
            seq: attempt.seq,
            attempt: attempt.attempt,
            time: Timestamp(attempt.at),
            timestamp: UncutTimestamp(attempt.at),
            milliseconds: attempt.milliseconds,
            status: attempt.status,
            error: attempt.error,
            detail: attempt.detail,
            response: attempt.response,
            next: attempt.next.map(Timestamp),
            next_timestamp: attempt.next.map(UncutTimestamp),
            replay: attempt.is_replay,
        }
    }
}

/// The attempts of the last seven days, the oldest first: the newest `limit` of those before the newest `offset`.
#[utoipa::path(get, path = "/api/webhooks/{webhook_id}/attempts/", tag = "webhooks",
    params(("webhook_id" = String, Path, description = "the webhook's id"), ListParameters,
           ("event_id" = Option<String>, Query, description = "only attempts of this event"),
           ("failed" = Option<bool>, Query, description = "1: only attempts that failed")),
    responses((status = 200, body = AttemptList), ApiError, (status = 404, body = Problem)))]
async fn attempts(
    State(state): State<AppState>,
    NamedWebhook { webhook, .. }: NamedWebhook,
    RequestParameters(list): RequestParameters<ListParameters>,
    RequestParameters(filter): RequestParameters<AttemptFilter>,
) -> Result<Json<AttemptList>, ApiError> {
    let of = match (filter.event_id.as_deref(), filter.failed.0) {
        (None, false) => AttemptsOf::All,
        (None, true) => AttemptsOf::Failed,
        (Some(event), false) => AttemptsOf::Event(event),
        (Some(event), true) => AttemptsOf::FailedOf(event),
    };
    let attempts = state.store.attempts(webhook.id, of, &list.page()).await?;
    Ok(Json(AttemptList { attempts: attempts.into_iter().map(AttemptInfo::from).collect() }))
}

#[derive(Serialize, ToSchema)]
struct DeadList {
    dead: Vec<DeadInfo>,
}

/// An event that was given up.
#[derive(Serialize, ToSchema)]
struct DeadInfo {
    event_id: String,
    r#type: String,
    /// The number; null: the event is about the user.
    #[schema(required = true)]
    account: Option<String>,
    seq: i64,
    #[schema(value_type = String)]
    stored: Timestamp,
    #[schema(value_type = String)]
    stored_timestamp: UncutTimestamp,
    #[schema(value_type = String)]
    died: Timestamp,
    #[schema(value_type = String)]
    died_timestamp: UncutTimestamp,
    attempts: i32,
    /// Of the last attempt.
    #[schema(required = true)]
    status: Option<i16>,
    /// Of the last attempt.
    #[schema(required = true)]
    error: Option<String>,
}

impl From<DeadEvent> for DeadInfo {
    fn from(dead: DeadEvent) -> Self {
        Self {
            event_id: dead.event_id,
            r#type: dead.kind,
            account: dead.account,
            seq: dead.seq,
            stored: Timestamp(dead.stored),
            stored_timestamp: UncutTimestamp(dead.stored),
            died: Timestamp(dead.died),
            died_timestamp: UncutTimestamp(dead.died),
            attempts: dead.attempts,
            status: dead.status,
            error: dead.error,
        }
    }
}

/// The events that were given up, by `died`, the oldest first: the newest `limit` of those before the newest `offset`. They
/// are listed for as long as events.
#[utoipa::path(get, path = "/api/webhooks/{webhook_id}/dead/", tag = "webhooks",
    params(("webhook_id" = String, Path, description = "the webhook's id"), ListParameters),
    responses((status = 200, body = DeadList), ApiError, (status = 404, body = Problem)))]
async fn dead(
    State(state): State<AppState>,
    NamedWebhook { webhook, .. }: NamedWebhook,
    RequestParameters(list): RequestParameters<ListParameters>,
) -> Result<Json<DeadList>, ApiError> {
    let dead = state.store.dead_events(webhook.id, &list.page()).await?;
    Ok(Json(DeadList { dead: dead.into_iter().map(DeadInfo::from).collect() }))
}
