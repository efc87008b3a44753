//! Profile photos: the account's own, and those of contacts.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Account, BlobHash, PeerId, Photo, Reference, Timestamp, Visible};
use crate::http::AppState;
use crate::http::api::done::Done;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::{RegisteredAccount, StoredAccount};
use crate::http::extract::recipient::{PathContact, ShownContact};
use crate::http::extract::upload::PhotoUpload;
use crate::store::{PhotoChange, ProfileScope, SeenPhoto};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(own_photo, set_own_photo, remove_own_photo))
        .routes(routes!(photo))
        .routes(routes!(preview_photo))
        .routes(routes!(photo_url))
        .routes(routes!(preview_photo_url))
        .routes(routes!(photo_history_urls))
        .routes(routes!(preview_photo_history_urls))
        .routes(routes!(photos_urls))
        .routes(routes!(preview_photos_urls))
}

/// Which of the two files of a photo a row is about.
#[derive(Clone, Copy)]
pub(in crate::http) enum Size {
    Whole,
    Preview,
}

impl Size {
    /// The file.
    pub(in crate::http) fn of(self, photo: Photo) -> BlobHash {
        match self {
            Self::Whole => photo.photo,
            Self::Preview => photo.preview,
        }
    }
}

/// The account's photo.
#[utoipa::path(get, path = "/api/account/profile-photo/", tag = "account",
    responses((status = 200, content_type = "image/jpeg", body = Vec<u8>), (status = 400, body = Problem),
              (status = 404, body = Problem)))]
async fn own_photo(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
) -> Result<Response, ApiError> {
    let photo = state.store.own_photo(account.id).await?.ok_or_else(no_photo)?;
    picture(&state, &photo.photo).await
}

/// A photo; for the description only.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an extractor")]
pub(in crate::http) struct NewPhoto {
    /// A picture of any usual kind; it is kept as JPEG.
    #[schema(value_type = String, format = Binary)]
    photo: Vec<u8>,
}

/// Changes the account's photo.
#[utoipa::path(post, path = "/api/account/profile-photo/", tag = "account",
    request_body(content = NewPhoto, content_type = "multipart/form-data"),
    responses((status = 200, body = Done), (status = 400, body = Problem), (status = 413, body = Problem),
              (status = 503, body = Problem)))]
async fn set_own_photo(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    keyed: IdempotencyClaim,
    PhotoUpload(upload): PhotoUpload,
) -> Result<Json<Done>, ApiError> {
    let photo = state.media.store_photo(&upload.spooled).await?;
    let mut tx = state.store.begin().await?;
    tx.set_photo(&account, Some(photo)).await?;
    keyed.commit(tx, StatusCode::OK, Done {}).await
}

/// Takes the account's photo away.
#[utoipa::path(delete, path = "/api/account/profile-photo/", tag = "account",
    responses((status = 200, body = Done), (status = 400, body = Problem)))]
async fn remove_own_photo(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<Done>, ApiError> {
    let mut tx = state.store.begin().await?;
    tx.set_photo(&account, None).await?;
    tx.commit().await?;
    Ok(crate::http::api::done::DONE)
}

/// A contact's photo.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/photo/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, content_type = "image/jpeg", body = Vec<u8>), (status = 400, body = Problem),
              (status = 403, body = Problem, description = "it is hidden"), (status = 404, body = Problem)))]
async fn photo(State(state): State<AppState>, contact: ShownContact) -> Result<Response, ApiError> {
    contact_picture(&state, &contact, Size::Whole).await
}

/// A contact's photo, small.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/preview-photo/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, content_type = "image/jpeg", body = Vec<u8>), (status = 400, body = Problem),
              (status = 403, body = Problem, description = "it is hidden"), (status = 404, body = Problem)))]
async fn preview_photo(State(state): State<AppState>, contact: ShownContact) -> Result<Response, ApiError> {
    contact_picture(&state, &contact, Size::Preview).await
}

async fn contact_picture(
    state: &AppState,
    ShownContact { account, peer }: &ShownContact,
    size: Size,
) -> Result<Response, ApiError> {
    match shown_photo(state, account, *peer).await? {
        Visible::Value(Some(seen)) => picture(state, &size.of(seen.photo)).await,
        Visible::Value(None) => Err(no_photo()),
        Visible::Hidden => {
            Err(ApiError::forbidden("hidden", "this contact does not show its photo to the account"))
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

pub(in crate::http) async fn picture(state: &AppState, hash: &BlobHash) -> Result<Response, ApiError> {
    let bytes = state.media.bytes(hash).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ];
    Ok((headers, Body::from(bytes)).into_response())
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PhotoUrl {
    /// Signed; opens without a token for a day. Null unless the status is 200.
    pub(in crate::http) photo_url: Option<String>,
    /// `200`, `404` when there is none, `401` when it is hidden.
    pub(in crate::http) photo_status: &'static str,
}

impl PhotoUrl {
    fn of(state: &AppState, photo: &Visible<Option<SeenPhoto>>, size: Size) -> Self {
        let (photo_url, photo_status) = match photo {
            Visible::Hidden => (None, "401"),
            Visible::Value(None) => (None, "404"),
            Visible::Value(Some(seen)) => {
                let url = state.media.url(Reference::PeerPhoto(seen.change), &size.of(seen.photo));
                (Some(url), "200")
            }
        };
        Self { photo_url, photo_status }
    }
}

/// The URL of a contact's photo.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/photo-url/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = PhotoUrl), (status = 400, body = Problem)))]
async fn photo_url(
    State(state): State<AppState>,
    ShownContact { account, peer }: ShownContact,
) -> Result<Json<PhotoUrl>, ApiError> {
    let photo = shown_photo(&state, &account, peer).await?;
    Ok(Json(PhotoUrl::of(&state, &photo, Size::Whole)))
}

/// The URL of a contact's photo, small.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/preview-photo-url/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = PhotoUrl), (status = 400, body = Problem)))]
async fn preview_photo_url(
    State(state): State<AppState>,
    ShownContact { account, peer }: ShownContact,
) -> Result<Json<PhotoUrl>, ApiError> {
    let photo = shown_photo(&state, &account, peer).await?;
    Ok(Json(PhotoUrl::of(&state, &photo, Size::Preview)))
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
    /// When this server learnt of it.
    #[schema(value_type = String)]
    updated: Timestamp,
}

/// The photos that somebody has shown as far as the account has seen them, and when there was none; nothing while it is
/// hidden.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/photo-history-urls/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = PhotoHistory), (status = 400, body = Problem)))]
async fn photo_history_urls(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
    PathContact(contact): PathContact,
) -> Result<Json<PhotoHistory>, ApiError> {
    history(&state, &account, contact.to_string(), Size::Whole).await
}

/// The same, small.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/preview-photo-history-urls/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = PhotoHistory), (status = 400, body = Problem)))]
async fn preview_photo_history_urls(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
    PathContact(contact): PathContact,
) -> Result<Json<PhotoHistory>, ApiError> {
    history(&state, &account, contact.to_string(), Size::Preview).await
}

async fn history(
    state: &AppState,
    account: &Account,
    contact_id: String,
    size: Size,
) -> Result<Json<PhotoHistory>, ApiError> {
    let changes = state.store.photo_changes(account, &contact_id).await?;
    let photo_urls = changes
        .into_iter()
        .map(|PhotoChange { photo, updated }| FormerPhoto {
            url: PhotoUrl::of(state, &Visible::Value(photo), size),
            updated: Timestamp(updated),
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

/// The URLs of the photos of all contacts that exist.
#[utoipa::path(get, path = "/api/contacts/photos-urls/", tag = "contacts",
    responses((status = 200, body = PhotoUrls), (status = 400, body = Problem)))]
async fn photos_urls(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<PhotoUrls>, ApiError> {
    all(&state, &account, Size::Whole).await
}

/// The same, small.
#[utoipa::path(get, path = "/api/contacts/preview-photos-urls/", tag = "contacts",
    responses((status = 200, body = PhotoUrls), (status = 400, body = Problem)))]
async fn preview_photos_urls(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<PhotoUrls>, ApiError> {
    all(&state, &account, Size::Preview).await
}

async fn all(state: &AppState, account: &Account, size: Size) -> Result<Json<PhotoUrls>, ApiError> {
    let photos = state.store.peer_photos(account, ProfileScope::EveryContact).await?;
    let photo_urls = photos
        .into_iter()
        .map(|photo| ContactPhoto {
            url: PhotoUrl::of(state, &photo.photo, size),
            contact_id: photo.public_id,
        })
        .collect();
    Ok(Json(PhotoUrls { photo_urls }))
}

pub(in crate::http) fn no_photo() -> ApiError {
    ApiError::not_found("photo_not_found", "there is no photo")
}
