//! A group's photo: shown to its participants, any of whom may change it.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::Reference;
use crate::http::AppState;
use crate::http::api::contacts::photos::{NewPhoto, PhotoUrl, Size, no_photo, picture};
use crate::http::api::done::Done;
use crate::http::api::groups::{change, look};
use crate::http::error::{ApiError, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::RegisteredAccount;
use crate::http::extract::recipient::NamedGroup;
use crate::http::extract::upload::PhotoUpload;
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
    responses((status = 200, content_type = "image/jpeg", body = Vec<u8>), (status = 404, body = Problem)))]
async fn photo(
    State(state): State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
) -> Result<Response, ApiError> {
    show(&state, account, group, Size::Whole).await
}

/// The group's photo, small.
#[utoipa::path(get, path = "/api/groups/{group_id}/preview-photo/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, content_type = "image/jpeg", body = Vec<u8>), (status = 404, body = Problem)))]
async fn preview_photo(
    State(state): State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
) -> Result<Response, ApiError> {
    show(&state, account, group, Size::Preview).await
}

/// Changes the group's photo; every participant may.
#[utoipa::path(post, path = "/api/groups/{group_id}/photo/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    request_body(content = NewPhoto, content_type = "multipart/form-data"),
    responses((status = 200, body = Done), (status = 400, body = Problem), (status = 404, body = Problem),
              (status = 413, body = Problem), (status = 503, body = Problem), (status = 504, body = Problem)))]
async fn set_photo(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    keyed: IdempotencyClaim,
    upload: Result<PhotoUpload, ApiError>,
) -> Result<Json<Done>, ApiError> {
    let group = look(&state, &account, &id, Sessions::has_asked(keyed.claim())).await?;
    let PhotoUpload(upload) = upload?;
    let photo = state.media.store_photo(&upload.spooled).await?;
    change(&state, &account, group, GroupEdit::Photo { photo: Some(photo) }, &keyed).await
}

/// Takes the group's photo away; every participant may.
#[utoipa::path(delete, path = "/api/groups/{group_id}/photo/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = Done), (status = 404, body = Problem), (status = 503, body = Problem),
              (status = 504, body = Problem)))]
async fn remove_photo(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    keyed: IdempotencyClaim,
) -> Result<Json<Done>, ApiError> {
    let group = look(&state, &account, &id, false).await?;
    change(&state, &account, group, GroupEdit::Photo { photo: None }, &keyed).await
}

/// The URL of the group's photo.
#[utoipa::path(get, path = "/api/groups/{group_id}/photo-url/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = PhotoUrl), (status = 404, body = Problem)))]
async fn photo_url(
    State(state): State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
) -> Result<Json<PhotoUrl>, ApiError> {
    url(&state, account, group, Size::Whole).await
}

/// The URL of the group's photo, small.
#[utoipa::path(get, path = "/api/groups/{group_id}/preview-photo-url/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = PhotoUrl), (status = 404, body = Problem)))]
async fn preview_photo_url(
    State(state): State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
) -> Result<Json<PhotoUrl>, ApiError> {
    url(&state, account, group, Size::Preview).await
}

async fn show(
    state: &AppState,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    size: Size,
) -> Result<Response, ApiError> {
    let photo = look(state, &account, &id, false).await?.photo.ok_or_else(no_photo)?;
    picture(state, &size.of(photo)).await
}

async fn url(
    state: &AppState,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    size: Size,
) -> Result<Json<PhotoUrl>, ApiError> {
    let group = look(state, &account, &id, false).await?;
    let photo_url = group
        .photo
        .zip(group.chat)
        .map(|(photo, chat)| state.media.url(Reference::GroupPhoto(chat), &size.of(photo)));
    let photo_status = if photo_url.is_some() { "200" } else { "404" };
    Ok(Json(PhotoUrl { photo_url, photo_status }))
}
