//! Profile photos in requests and responses, for accounts, contacts and groups.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{BlobHash, ChatId, Photo, Reference, Visible};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::lifecycle::Deadline;
use crate::store::SeenPhoto;

/// The two files of a photo.
#[derive(Clone, Copy)]
pub enum PhotoSize {
    Whole,
    Preview,
}

impl PhotoSize {
    pub fn of(self, photo: Photo) -> BlobHash {
        match self {
            Self::Whole => photo.photo,
            Self::Preview => photo.preview,
        }
    }
}

/// A photo in a multipart form; for the description only.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an extractor")]
pub struct PhotoForm {
    /// A picture of any usual type; it is stored as JPEG.
    #[schema(value_type = String, format = Binary)]
    photo: Vec<u8>,
    /// The URL of the picture, if the form has none.
    #[schema(nullable = false)]
    url: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct PhotoUrl {
    /// Signed; opens without a token for 24 h. Null unless `photo_status` is 200.
    #[schema(required = true)]
    pub photo_url: Option<String>,
    /// `200`, `404` when there is no photo, `401` when it is hidden.
    pub photo_status: &'static str,
}

impl PhotoUrl {
    pub fn of(state: &AppState, photo: &Visible<Option<SeenPhoto>>, size: PhotoSize) -> Self {
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

    /// A group's photo, with the account's chat with the group.
    pub fn of_group(state: &AppState, photo: Option<(ChatId, Photo)>, size: PhotoSize) -> Self {
        let url = |(chat, photo)| state.media.url(Reference::GroupPhoto(chat), &size.of(photo));
        let photo_url = photo.map(url);
        let photo_status = if photo_url.is_some() { "200" } else { "404" };
        Self { photo_url, photo_status }
    }
}

/// The file of a photo, which is always JPEG.
pub async fn jpeg_response(state: &AppState, hash: &BlobHash) -> Result<Response, ApiError> {
    let bytes = Deadline::elsewhere(state.media.bytes(hash)).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ];
    Ok((headers, Body::from(bytes)).into_response())
}

pub fn no_photo() -> ApiError {
    ApiError::not_found(ErrorCode::PhotoNotFound, "there is no photo")
}
