//! Photo of a group: shown to its participants, any of whom may change it.

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::AppState;
use crate::http::api::done::Done;
use crate::http::api::groups::access::{change_group, visible_group};
use crate::http::api::photo::{PhotoForm, PhotoSize, PhotoUrl, jpeg_response, no_photo};
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::RegisteredAccount;
use crate::http::extract::recipient::NamedGroup;
use crate::http::extract::upload::PhotoUpload;
use crate::http::json::Json;
use crate::lifecycle::Deadline;
use crate::sessions::Sessions;
use crate::upstream::GroupEdit;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(photo, set_photo, remove_photo))
        .routes(routes!(preview_photo))
        .routes(routes!(photo_url))
        .routes(routes!(preview_photo_url))
}

/// The group's photo.
#[utoipa::path(get, path = "/api/groups/{group_id}/photo/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses(
        (status = 200, content_type = "image/jpeg", body = Vec<u8>),
        ApiError,
        (status = 404, body = Problem),
    ))]
async fn photo(
    State(state): State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
) -> Result<Response, ApiError> {
    show(&state, account, group, PhotoSize::Whole).await
}

/// Preview of the group's photo.
#[utoipa::path(get, path = "/api/groups/{group_id}/preview-photo/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses(
        (status = 200, content_type = "image/jpeg", body = Vec<u8>),
        ApiError,
        (status = 404, body = Problem),
    ))]
async fn preview_photo(
    State(state): State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
) -> Result<Response, ApiError> {
    show(&state, account, group, PhotoSize::Preview).await
}

/// Changes the group's photo; every participant may.
#[utoipa::path(post, path = "/api/groups/{group_id}/photo/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    request_body(content = PhotoForm, content_type = "multipart/form-data"),
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn set_photo(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    claim: IdempotencyClaim,
    upload: Result<PhotoUpload, ApiError>,
) -> Result<Json<Done>, ApiError> {
    let group = visible_group(&state, &account, &id, Sessions::has_asked(claim.claim())).await?;
    let PhotoUpload(upload) = upload?;
    let photo = Deadline::elsewhere(state.media.store_photo(&upload.spooled)).await?;
    change_group(&state, &account, group, GroupEdit::Photo { photo: Some(photo) }, &claim).await
}

/// Removes the group's photo; every participant may.
#[utoipa::path(delete, path = "/api/groups/{group_id}/photo/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn remove_photo(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    claim: IdempotencyClaim,
) -> Result<Json<Done>, ApiError> {
    let group = visible_group(&state, &account, &id, false).await?;
    change_group(&state, &account, group, GroupEdit::Photo { photo: None }, &claim).await
}

/// The URL of the group's photo.
#[utoipa::path(get, path = "/api/groups/{group_id}/photo-url/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = PhotoUrl), ApiError, (status = 404, body = Problem)))]
async fn photo_url(
    State(state): State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
) -> Result<Json<PhotoUrl>, ApiError> {
    url(&state, account, group, PhotoSize::Whole).await
}

/// The URL of the preview of the group's photo.
#[utoipa::path(get, path = "/api/groups/{group_id}/preview-photo-url/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = PhotoUrl), ApiError, (status = 404, body = Problem)))]
async fn preview_photo_url(
    State(state): State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
) -> Result<Json<PhotoUrl>, ApiError> {
    url(&state, account, group, PhotoSize::Preview).await
}

async fn show(
    state: &AppState,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    size: PhotoSize,
) -> Result<Response, ApiError> {
    let photo = visible_group(state, &account, &id, false).await?.photo.ok_or_else(no_photo)?;
    jpeg_response(state, &size.of(photo)).await
}

async fn url(
    state: &AppState,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    size: PhotoSize,
) -> Result<Json<PhotoUrl>, ApiError> {
    let group = visible_group(state, &account, &id, false).await?;
    Ok(Json(PhotoUrl::of_group(&state.media, group.chat.zip(group.photo), size)))
}
