//! Photos of contacts.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Account, PeerId, Timestamp, UncutTimestamp, Visible};
use crate::http::AppState;
use crate::http::api::photo::{PhotoSize, PhotoUrl, jpeg_response, no_photo};
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::account::{RegisteredAccount, StoredAccount};
use crate::http::extract::recipient::{PathContact, ShownContact};
use crate::http::json::Json;
use crate::store::{PhotoChange, ProfileScope, SeenPhoto};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(photo))
        .routes(routes!(preview_photo))
        .routes(routes!(photo_url))
        .routes(routes!(preview_photo_url))
        .routes(routes!(photo_history_urls))
        .routes(routes!(preview_photo_history_urls))
        .routes(routes!(photos_urls))
        .routes(routes!(preview_photos_urls))
}

/// A contact's photo.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/photo/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses(
        (status = 200, content_type = "image/jpeg", body = Vec<u8>),
        ApiError,
        (status = 403, body = Problem, description = "it is hidden"),
        (status = 404, body = Problem),
    ))]
async fn photo(State(state): State<AppState>, contact: ShownContact) -> Result<Response, ApiError> {
    contact_picture(&state, &contact, PhotoSize::Whole).await
}

/// The preview of a contact's photo.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/preview-photo/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses(
        (status = 200, content_type = "image/jpeg", body = Vec<u8>),
        ApiError,
        (status = 403, body = Problem, description = "it is hidden"),
        (status = 404, body = Problem),
    ))]
async fn preview_photo(State(state): State<AppState>, contact: ShownContact) -> Result<Response, ApiError> {
    contact_picture(&state, &contact, PhotoSize::Preview).await
}

async fn contact_picture(
    state: &AppState,
    ShownContact { account, peer }: &ShownContact,
    size: PhotoSize,
) -> Result<Response, ApiError> {
    match shown_photo(state, account, *peer).await? {
        Visible::Value(Some(seen)) => jpeg_response(state, &size.of(seen.photo)).await,
        Visible::Value(None) => Err(no_photo()),
        Visible::Hidden => {
            Err(ApiError::forbidden(ErrorCode::Hidden, "this contact does not show its photo to the account"))
        }
    }
}

async fn shown_photo(
    state: &AppState,
    account: &Account,
    peer: PeerId,
) -> Result<Visible<Option<SeenPhoto>>, ApiError> {
    let photos = state.store.peer_photos(account, ProfileScope::One(peer)).await?;
    Ok(photos.into_iter().next().map_or(Visible::Value(None), |photo| photo.photo))
}

/// The URL of a contact's photo.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/photo-url/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = PhotoUrl), ApiError))]
async fn photo_url(
    State(state): State<AppState>,
    ShownContact { account, peer }: ShownContact,
) -> Result<Json<PhotoUrl>, ApiError> {
    let photo = shown_photo(&state, &account, peer).await?;
    Ok(Json(PhotoUrl::of(&state.media, &photo, PhotoSize::Whole)))
}

/// The URL of the preview of a contact's photo.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/preview-photo-url/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = PhotoUrl), ApiError))]
async fn preview_photo_url(
    State(state): State<AppState>,
    ShownContact { account, peer }: ShownContact,
) -> Result<Json<PhotoUrl>, ApiError> {
    let photo = shown_photo(&state, &account, peer).await?;
    Ok(Json(PhotoUrl::of(&state.media, &photo, PhotoSize::Preview)))
}

#[derive(Serialize, ToSchema)]
struct PhotoHistory {
    contact_id: String,
    /// Newest first.
    photo_urls: Vec<FormerPhoto>,
}

#[derive(Serialize, ToSchema)]
struct FormerPhoto {
    #[serde(flatten)]
    url: PhotoUrl,
    /// When this server learned of the change.
    #[schema(value_type = String)]
    updated: Timestamp,
    /// The same time, uncut and with its zone.
    #[schema(value_type = String)]
    updated_timestamp: UncutTimestamp,
}

/// The photos that a contact has shown to the account, and the times without a photo; empty while the photo is hidden.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/photo-history-urls/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = PhotoHistory), ApiError))]
async fn photo_history_urls(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
    PathContact(contact): PathContact,
) -> Result<Json<PhotoHistory>, ApiError> {
    history(&state, &account, contact.to_string(), PhotoSize::Whole).await
}

/// The previews of these photos.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/preview-photo-history-urls/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = PhotoHistory), ApiError))]
async fn preview_photo_history_urls(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
    PathContact(contact): PathContact,
) -> Result<Json<PhotoHistory>, ApiError> {
    history(&state, &account, contact.to_string(), PhotoSize::Preview).await
}

async fn history(
    state: &AppState,
    account: &Account,
    contact_id: String,
    size: PhotoSize,
) -> Result<Json<PhotoHistory>, ApiError> {
    let changes = state.store.photo_changes(account, &contact_id).await?;
    let photo_urls = changes
        .into_iter()
        .map(|PhotoChange { photo, updated }| FormerPhoto {
            url: PhotoUrl::of(&state.media, &Visible::Value(photo), size),
            updated: Timestamp(updated),
            updated_timestamp: UncutTimestamp(updated),
        })
        .collect();
    Ok(Json(PhotoHistory { contact_id, photo_urls }))
}

#[derive(Serialize, ToSchema)]
struct PhotoUrls {
    photo_urls: Vec<ContactPhoto>,
}

#[derive(Serialize, ToSchema)]
struct ContactPhoto {
    contact_id: String,
    #[serde(flatten)]
    url: PhotoUrl,
}

/// The URLs of the photos of all contacts that exist, and of the people who wrote first.
#[utoipa::path(get, path = "/api/contacts/photos-urls/", tag = "contacts",
    responses((status = 200, body = PhotoUrls), ApiError))]
async fn photos_urls(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<PhotoUrls>, ApiError> {
    all(&state, &account, PhotoSize::Whole).await
}

/// The URLs of the previews of the photos of all contacts that exist, and of the people who wrote first.
#[utoipa::path(get, path = "/api/contacts/preview-photos-urls/", tag = "contacts",
    responses((status = 200, body = PhotoUrls), ApiError))]
async fn preview_photos_urls(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<PhotoUrls>, ApiError> {
    all(&state, &account, PhotoSize::Preview).await
}

async fn all(state: &AppState, account: &Account, size: PhotoSize) -> Result<Json<PhotoUrls>, ApiError> {
    let photos = state.store.peer_photos(account, ProfileScope::Everybody).await?;
    let photo_urls = photos
        .into_iter()
        .map(|photo| ContactPhoto {
            url: PhotoUrl::of(&state.media, &photo.photo, size),
            contact_id: photo.public_id,
        })
        .collect();
    Ok(Json(PhotoUrls { photo_urls }))
}
