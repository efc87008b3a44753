//! Profile photos in requests and responses, for accounts, contacts and groups.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use utoipa::ToSchema;

use crate::domain::BlobHash;
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::lifecycle::Deadline;

pub use crate::events::view::{PhotoSize, PhotoUrl};

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
