//! The account's own profile: status message, presence and privacy settings.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Account, Audience};
use crate::http::AppState;
use crate::http::api::done::Done;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::{RegisteredAccount, StoredAccount};
use crate::http::extract::params::{RequestParameters, Text};
use crate::http::json::Json;
use crate::store::{OwnProfile, PrivacyChange};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(status_message, set_status_message))
        .routes(routes!(connected_status, set_connected_status))
        .routes(routes!(privacy_settings, set_privacy_settings))
}

async fn own_profile(state: &AppState, account: &Account) -> Result<OwnProfile, ApiError> {
    state.store.own_profile(account).await?.ok_or_else(ApiError::account_unknown)
}

#[derive(Serialize, ToSchema)]
struct OwnStatusMessage {
    /// Empty when it was never set.
    status_message: String,
}

#[derive(Deserialize, ToSchema)]
struct NewStatusMessage {
    /// Shown to others beside the name; not empty.
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    status_message: Text<256>,
}

/// The account's status message.
#[utoipa::path(get, path = "/api/account/status-message/", tag = "account",
    responses((status = 200, body = OwnStatusMessage), ApiError))]
async fn status_message(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
) -> Result<Json<OwnStatusMessage>, ApiError> {
    let OwnProfile { status_message, .. } = own_profile(&state, &account).await?;
    Ok(Json(OwnStatusMessage { status_message }))
}

/// Changes the account's status message.
#[utoipa::path(post, path = "/api/account/status-message/", tag = "account", request_body = NewStatusMessage,
    responses((status = 200, body = Done), ApiError))]
async fn set_status_message(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<NewStatusMessage>,
) -> Result<Json<Done>, ApiError> {
    if body.status_message.is_empty() {
        return Err(ApiError::bad_request(
            ErrorCode::InvalidParameter,
            "status_message: it must not be empty",
        ));
    }
    let mut tx = state.store.begin().await?;
    tx.set_status_message(&account, &body.status_message).await?;
    claim.commit(tx, StatusCode::OK, Done {}).await
}

/// Whether an account is shown as online.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Connected {
    Online,
    Offline,
}

#[derive(Serialize, Deserialize, ToSchema)]
struct ConnectedStatus {
    connected_status: Connected,
}

/// Whether the account is shown as online.
#[utoipa::path(get, path = "/api/account/connected-status/", tag = "account",
    responses((status = 200, body = ConnectedStatus), ApiError))]
async fn connected_status(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
) -> Result<Json<ConnectedStatus>, ApiError> {
    let OwnProfile { connected, .. } = own_profile(&state, &account).await?;
    let connected_status = if connected { Connected::Online } else { Connected::Offline };
    Ok(Json(ConnectedStatus { connected_status }))
}

/// Shows the account as online or offline. Messages arrive either way; the presence of contacts is updated only while the
/// account is online itself.
#[utoipa::path(post, path = "/api/account/connected-status/", tag = "account", request_body = ConnectedStatus,
    responses((status = 200, body = Done), ApiError))]
async fn set_connected_status(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<ConnectedStatus>,
) -> Result<Json<Done>, ApiError> {
    let mut tx = state.store.begin().await?;
    tx.set_connected(&account, matches!(body.connected_status, Connected::Online)).await?;
    claim.commit(tx, StatusCode::OK, Done {}).await
}

#[derive(Serialize, ToSchema)]
struct PrivacySettings {
    /// `none`, `contacts` or `all`.
    status_message: String,
    /// The same for the photo.
    photo: String,
    /// The same for the presence: when the account was last online, and whether it is now.
    last_seen: String,
}

#[derive(Deserialize, ToSchema)]
struct NewPrivacySettings {
    /// `none`, `contacts` or `all`.
    #[schema(value_type = Option<String>)]
    status_message: Option<Audience>,
    /// The same for the photo.
    #[schema(value_type = Option<String>)]
    photo: Option<Audience>,
    /// The same for the presence: when the account was last online, and whether it is now.
    #[schema(value_type = Option<String>)]
    last_seen: Option<Audience>,
}

#[derive(Serialize, ToSchema)]
struct ChangedSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    status_message: Option<Audience>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    photo: Option<Audience>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    last_seen: Option<Audience>,
}

/// The account's privacy settings.
#[utoipa::path(get, path = "/api/account/privacy-settings/", tag = "account",
    responses((status = 200, body = PrivacySettings), ApiError))]
async fn privacy_settings(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
) -> Result<Json<PrivacySettings>, ApiError> {
    let OwnProfile { privacy, .. } = own_profile(&state, &account).await?;
    Ok(Json(PrivacySettings {
        status_message: privacy.status_message,
        photo: privacy.photo,
        last_seen: privacy.last_seen,
    }))
}

/// Changes the privacy settings that are named.
#[utoipa::path(post, path = "/api/account/privacy-settings/", tag = "account", request_body = NewPrivacySettings,
    responses((status = 200, body = ChangedSettings), ApiError))]
async fn set_privacy_settings(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<NewPrivacySettings>,
) -> Result<Json<ChangedSettings>, ApiError> {
    let NewPrivacySettings { status_message, photo, last_seen } = body;
    if status_message.is_none() && photo.is_none() && last_seen.is_none() {
        return Err(ApiError::bad_request(
            ErrorCode::MissingParameter,
            "status_message, photo, last_seen or several of them are needed, each none, contacts or all",
        ));
    }
    let mut tx = state.store.begin().await?;
    tx.set_privacy(&account, PrivacyChange { status_message, photo, last_seen }).await?;
    claim.commit(tx, StatusCode::OK, ChangedSettings { status_message, photo, last_seen }).await
}
