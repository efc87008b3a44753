//! Webhooks: URLs that events are posted to.

mod history;
mod info;
mod replay;
mod settings;

use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::info::WebhookInfo;
use self::settings::{Lists, SecretText, Settings};
use super::done::{DONE, Done};
use crate::domain::{Timestamp, UncutTimestamp};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::caller::Caller;
use crate::http::extract::params::{Flag, RequestParameters, Text, WholeNumber};
use crate::http::json::Json;
use crate::secrets::random_id;
use crate::store::{MOST_WEBHOOKS, NewWebhook, Selection, Webhook, WebhookChange};
use crate::webhooks::Secret;

/// The beginning of all paths here.
pub const PATH: &str = "/api/webhooks/";
/// Seconds for which the old secret signs, too.
const KEEP_OLD: u64 = 86_400;
const LONGEST_KEEP_OLD: u64 = 7 * 86_400;

/// The routes of this folder.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, delete))
        .routes(routes!(rotate_secret))
        .routes(routes!(test))
        .merge(replay::router())
        .merge(history::router())
}

/// The caller's webhook that the path names. 404 for another user's, as for none.
struct NamedWebhook {
    caller: Caller,
    webhook: Webhook,
}

impl FromRequestParts<AppState> for NamedWebhook {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|_| not_found())?;
        let webhook = state.store.webhook(caller.user, &id).await?.ok_or_else(not_found)?;
        Ok(Self { caller, webhook })
    }
}

fn not_found() -> ApiError {
    ApiError::not_found(ErrorCode::WebhookNotFound, "you have no such webhook; GET /api/webhooks/ lists them")
}

#[derive(Serialize, ToSchema)]
struct WebhookList {
    webhooks: Vec<WebhookInfo>,
}

/// The caller's webhooks, the oldest first.
#[utoipa::path(get, path = "/api/webhooks/", tag = "webhooks",
    responses((status = 200, body = WebhookList), ApiError))]
async fn list(State(state): State<AppState>, caller: Caller) -> Result<Json<WebhookList>, ApiError> {
    let mut webhooks = Vec::new();
    for webhook in state.store.webhooks(caller.user).await? {
        webhooks.push(info::of(&state, webhook).await?);
    }
    Ok(Json(WebhookList { webhooks }))
}

#[derive(Deserialize, ToSchema)]
struct NewWebhookBody {
    /// https on port 443 of a public address; others only into the networks that this server's operator allows.
    #[schema(value_type = String, max_length = 2048)]
    url: String,
    /// With commas, in JSON also a list; * or none: all that are stored. message.* means all of a group.
    #[schema(value_type = Option<String>)]
    types: Option<Lists>,
    /// Numbers with commas, in JSON also a list; * or none: all, later ones too.
    #[schema(value_type = Option<String>)]
    accounts: Option<Lists>,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 256)]
    description: Text<256>,
    /// 1 by default; with 0 events wait until it is set to 1.
    active: Option<Flag>,
    /// whsec_ and 24 to 64 bytes in base64; by default the server makes one.
    #[schema(value_type = Option<String>)]
    secret: Option<SecretText>,
    /// newest (the default), oldest, or a cursor: the events after it are sent.
    after: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct CreatedWebhook {
    #[serde(flatten)]
    webhook: WebhookInfo,
    /// Shown this once; a repeat of the request by its Idempotency-Key has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
}

/// Adds a webhook: from now on its URL gets each event by POST, signed as in Standard Webhooks 1.0.
#[utoipa::path(post, path = "/api/webhooks/", tag = "webhooks", request_body = NewWebhookBody,
    responses(
        (status = 201, body = CreatedWebhook),
        ApiError,
        (status = 410, body = Problem, description = "the events after the cursor cannot be given: `reason` is epoch or \
            retention; `oldest` and `newest` are cursors"),
    ))]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<NewWebhookBody>,
) -> Result<(StatusCode, Json<CreatedWebhook>), ApiError> {
    let settings = Settings::read(&state, caller.user, Some(body.url), body.types, body.accounts).await?;
    let place = settings::place(&state, caller.user, body.after.as_deref().unwrap_or("newest")).await?;
    let secret = body.secret.map_or_else(Secret::generate, |SecretText(secret)| secret);
    let public_id = random_id();
    let new = NewWebhook {
        url: settings.url.unwrap_or_default(),
        types: settings.types.and_then(Selection::stored),
        accounts: settings.accounts.and_then(Selection::stored),
        description: body.description.into_inner(),
        active: body.active.is_none_or(|Flag(active)| active),
        secret: state.webhooks.seal(&public_id, &secret),
        public_id,
        place,
    };
    let mut tx = state.store.begin().await?;
    let webhook = tx.create_webhook(caller.user, new).await?.ok_or_else(|| {
        let message = format!("a user may have at most {MOST_WEBHOOKS} webhooks; delete one first");
        ApiError::bad_request(ErrorCode::TooManyWebhooks, message)
    })?;
    tx.record_webhook_act("webhook.create", caller.user, &webhook.public_id).await?;
    let mut created =
        CreatedWebhook { webhook: WebhookInfo::new(webhook, crate::store::Waiting::default()), secret: None };
    tx.save_answer(claim.answered(StatusCode::CREATED, &created)?.as_ref()).await?;
    tx.commit().await?;
    created.secret = Some(secret.reveal());
    Ok((StatusCode::CREATED, Json(created)))
}

/// One webhook.
#[utoipa::path(get, path = "/api/webhooks/{webhook_id}/", tag = "webhooks",
    params(("webhook_id" = String, Path, description = "the webhook's id")),
    responses((status = 200, body = WebhookInfo), ApiError, (status = 404, body = Problem)))]
async fn show(
    State(state): State<AppState>,
    NamedWebhook { webhook, .. }: NamedWebhook,
) -> Result<Json<WebhookInfo>, ApiError> {
    Ok(Json(info::of(&state, webhook).await?))
}

#[derive(Deserialize, ToSchema)]
struct ChangedWebhook {
    #[schema(value_type = Option<String>, max_length = 2048)]
    url: Option<String>,
    /// With commas, in JSON also a list; *: all that are stored.
    #[schema(value_type = Option<String>)]
    types: Option<Lists>,
    /// Numbers with commas, in JSON also a list; *: all, later ones too.
    #[schema(value_type = Option<String>)]
    accounts: Option<Lists>,
    #[schema(value_type = Option<String>, max_length = 256)]
    description: Option<Text<256>>,
    /// 0: events wait; 1: it goes on where it stopped, also after the server has disabled it.
    active: Option<Flag>,
    /// newest: what waits is skipped; oldest, or a cursor: the events after it are sent, also those that were accepted.
    after: Option<String>,
}

/// Changes what is given.
#[utoipa::path(patch, path = "/api/webhooks/{webhook_id}/", tag = "webhooks", request_body = ChangedWebhook,
    params(("webhook_id" = String, Path, description = "the webhook's id")),
    responses(
        (status = 200, body = WebhookInfo),
        ApiError,
        (status = 404, body = Problem),
        (status = 410, body = Problem, description = "the events after the cursor cannot be given: `reason` is epoch or \
            retention; `oldest` and `newest` are cursors"),
    ))]
async fn change(
    State(state): State<AppState>,
    NamedWebhook { caller, webhook }: NamedWebhook,
    RequestParameters(body): RequestParameters<ChangedWebhook>,
) -> Result<Json<WebhookInfo>, ApiError> {
    let settings = Settings::read(&state, caller.user, body.url, body.types, body.accounts).await?;
    let place = match body.after.as_deref() {
        Some(after) => Some(settings::place(&state, caller.user, after).await?),
        None => None,
    };
    let change = WebhookChange {
        url: settings.url,
        types: settings.types,
        accounts: settings.accounts,
        description: body.description.map(Text::into_inner),
        active: body.active.map(|Flag(active)| active),
        place,
    };
    if change.is_empty() {
        return Err(ApiError::bad_request(
            ErrorCode::MissingParameter,
            "one of url, types, accounts, description, active and after is needed",
        ));
    }
    let mut tx = state.store.begin().await?;
    let changed = tx.change_webhook(caller.user, &webhook.public_id, change).await?.ok_or_else(not_found)?;
    tx.record_webhook_act("webhook.change", caller.user, &webhook.public_id).await?;
    tx.commit().await?;
    Ok(Json(info::of(&state, changed).await?))
}

/// Deletes a webhook, with its attempts and dead events.
#[utoipa::path(delete, path = "/api/webhooks/{webhook_id}/", tag = "webhooks",
    params(("webhook_id" = String, Path, description = "the webhook's id")),
    responses((status = 200, body = Done), ApiError, (status = 404, body = Problem)))]
async fn delete(
    State(state): State<AppState>,
    NamedWebhook { caller, webhook }: NamedWebhook,
) -> Result<Json<Done>, ApiError> {
    let mut tx = state.store.begin().await?;
    if !tx.delete_webhook(caller.user, &webhook.public_id).await? {
        return Err(not_found());
    }
    tx.record_webhook_act("webhook.delete", caller.user, &webhook.public_id).await?;
    tx.commit().await?;
    Ok(DONE)
}

#[derive(Deserialize, ToSchema)]
struct NewSecret {
    /// whsec_ and 24 to 64 bytes in base64; by default the server makes one.
    #[schema(value_type = Option<String>)]
    secret: Option<SecretText>,
    /// Seconds for which the old secret signs, too: 86400 by default, at most 604800.
    #[schema(value_type = Option<u32>, maximum = 604_800)]
    keep_old: Option<WholeNumber>,
}

#[derive(Serialize, ToSchema)]
struct RotatedSecret {
    /// Shown this once; a repeat of the request by its Idempotency-Key has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    /// Until then the old secret signs, too.
    #[schema(value_type = Option<String>, required = true)]
    old_until: Option<Timestamp>,
    #[schema(value_type = Option<String>, required = true)]
    old_until_timestamp: Option<UncutTimestamp>,
}

/// Sets another secret. For a while both sign: the signature of the new one is the first.
#[utoipa::path(post, path = "/api/webhooks/{webhook_id}/rotate-secret/", tag = "webhooks", request_body = NewSecret,
    params(("webhook_id" = String, Path, description = "the webhook's id")),
    responses((status = 200, body = RotatedSecret), ApiError, (status = 404, body = Problem)))]
async fn rotate_secret(
    State(state): State<AppState>,
    NamedWebhook { caller, webhook }: NamedWebhook,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<NewSecret>,
) -> Result<Json<RotatedSecret>, ApiError> {
    let keep_old = body.keep_old.map_or(KEEP_OLD, |WholeNumber(seconds)| seconds);
    let keep_old = u32::try_from(keep_old).ok().filter(|seconds| u64::from(*seconds) <= LONGEST_KEEP_OLD);
    let keep_old = keep_old.ok_or_else(|| {
        let message = format!("keep_old: at most {LONGEST_KEEP_OLD} seconds are accepted");
        ApiError::bad_request(ErrorCode::InvalidParameter, message)
    })?;
    let secret = body.secret.map_or_else(Secret::generate, |SecretText(secret)| secret);
    let sealed = state.webhooks.seal(&webhook.public_id, &secret);
    let mut tx = state.store.begin().await?;
    let changed = tx.rotate_secret(caller.user, &webhook.public_id, &sealed, keep_old.into()).await?;
    let old_until = changed.ok_or_else(not_found)?.secrets.old.map(|(_, until)| until);
    tx.record_webhook_act("webhook.rotate_secret", caller.user, &webhook.public_id).await?;
    let mut rotated = RotatedSecret {
        secret: None,
        old_until: old_until.map(Timestamp),
        old_until_timestamp: old_until.map(UncutTimestamp),
    };
    tx.save_answer(claim.answered(StatusCode::OK, &rotated)?.as_ref()).await?;
    tx.commit().await?;
    rotated.secret = Some(secret.reveal());
    Ok(Json(rotated))
}

/// Sends one event `webhook.test` at once, also when the webhook is not active, and answers with the attempt.
#[utoipa::path(post, path = "/api/webhooks/{webhook_id}/test/", tag = "webhooks",
    params(("webhook_id" = String, Path, description = "the webhook's id")),
    responses((status = 200, body = history::AttemptInfo), ApiError, (status = 404, body = Problem)))]
async fn test(
    State(state): State<AppState>,
    NamedWebhook { webhook, .. }: NamedWebhook,
) -> Result<Json<history::AttemptInfo>, ApiError> {
    let attempt = state.webhooks.test(&webhook).await?.ok_or_else(ApiError::too_many_requests)?;
    Ok(Json(attempt.into()))
}
