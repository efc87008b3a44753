//! The account's own photo.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::AppState;
use crate::http::api::done::{DONE, Done};
use crate::http::api::photo::{PhotoForm, jpeg_response, no_photo};
use crate::http::error::{ApiError, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::{RegisteredAccount, StoredAccount};
use crate::http::extract::upload::PhotoUpload;
use crate::http::json::Json;
use crate::lifecycle::Deadline;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(own_photo, set_own_photo, remove_own_photo))
}

/// The account's photo.
#[utoipa::path(get, path = "/api/account/profile-photo/", tag = "account",
    responses(
        (status = 200, content_type = "image/jpeg", body = Vec<u8>),
        ApiError,
        (status = 404, body = Problem),
    ))]
async fn own_photo(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
) -> Result<Response, ApiError> {
    let photo = state.store.own_photo(account.id).await?.ok_or_else(no_photo)?;
    jpeg_response(&state, &photo.photo).await
}

/// Changes the account's photo.
#[utoipa::path(post, path = "/api/account/profile-photo/", tag = "account",
    request_body(content = PhotoForm, content_type = "multipart/form-data"),
    responses((status = 200, body = Done), ApiError))]
async fn set_own_photo(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    PhotoUpload(upload): PhotoUpload,
) -> Result<Json<Done>, ApiError> {
    let photo = Deadline::elsewhere(state.media.store_photo(&upload.spooled)).await?;
    let mut tx = state.store.begin().await?;
    tx.set_photo(&account, Some(photo)).await?;
    claim.commit(tx, StatusCode::OK, Done {}).await
}

/// Removes the account's photo.
#[utoipa::path(delete, path = "/api/account/profile-photo/", tag = "account",
    responses((status = 200, body = Done), ApiError))]
async fn remove_own_photo(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<Done>, ApiError> {
    let mut tx = state.store.begin().await?;
    tx.set_photo(&account, None).await?;
    tx.commit().await?;
    Ok(DONE)
}
