//! Stored files, by signed URLs without a token.
//!
//! Files come from strangers and open in browsers: only a fixed list of types is shown inline, all others are
//! downloads, and no script runs.

mod range;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::AppState;
use crate::http::api::media::range::RangeRequest;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::lifecycle::Deadline;
use crate::media::{ServedFile, UrlParts};

/// The types that a browser shows or plays. No SVG, HTML or PDF: these can contain scripts.
const INLINE: &[&str] = &[
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "audio/3gpp",
    "audio/aac",
    "audio/aiff",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/wav",
    "audio/webm",
    "audio/x-caf",
    "audio/x-ms-wma",
    "video/3gpp",
    "video/mp4",
    "video/quicktime",
    "video/webm",
    "video/x-msvideo",
];

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(serve))
}

#[derive(Deserialize)]
struct Signed {
    expires: String,
    signature: String,
}

/// A stored file, under a URL from the API. Supports range requests. 404 for a URL that is wrong or expired, or whose message
/// or photo was removed or is hidden.
#[utoipa::path(get, path = "/media/{kind}/{id}/{name}", tag = "media", security(()),
    params(
        ("kind" = String, Path, description = "the type of the entity that refers to the file"),
        ("id" = String, Path, description = "its id"),
        ("name" = String, Path, description = "the file's SHA-256"),
        ("expires" = String, Query, description = "the end of the URL's validity, in seconds since 1970"),
        ("signature" = String, Query, description = "made by this server"),
    ),
    responses(
        (status = 200, content_type = "*/*", body = Vec<u8>),
        (status = 206, content_type = "*/*", body = Vec<u8>, description = "the requested range"),
        (status = 304, description = "the caller has this file already"),
        (status = 404, body = Problem), (status = 416, body = Problem), (status = 503, body = Problem)))]
async fn serve(
    State(state): State<AppState>,
    Path((kind, id, name)): Path<(String, String, String)>,
    signed: Result<Query<Signed>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Ok(Query(Signed { expires, signature })) = signed else { return Err(not_found()) };
    let parts = UrlParts { kind: &kind, id: &id, name: &name, expires: &expires, signature: &signature };
    let served = state.media.open(parts).await?.ok_or_else(not_found)?;
    let (hash, size) = (served.url.hash, served.blob.size);
    let etag = format!("\"{hash}\"");
    // A range is defined for GET alone (RFC 9110, section 14.2).
    let is_head = method == Method::HEAD;
    let (status, part) = match range::requested(&headers, &etag, size) {
        RangeRequest::Unchanged => (StatusCode::NOT_MODIFIED, None),
        RangeRequest::Part(part) if !is_head => (StatusCode::PARTIAL_CONTENT, Some(part)),
        RangeRequest::Unsatisfiable if !is_head => return Err(unsatisfiable(size)),
        RangeRequest::Whole | RangeRequest::Part(_) | RangeRequest::Unsatisfiable => (StatusCode::OK, None),
    };
    let body = if is_head || status == StatusCode::NOT_MODIFIED {
        Body::empty()
    } else {
        Body::from_stream(Deadline::elsewhere(state.media.stream(&hash, part.clone())).await?)
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    if status != StatusCode::NOT_MODIFIED {
        let length = part.as_ref().map_or(size, |part| part.end - part.start);
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if let Some(part) = part {
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        headers.insert(header::CONTENT_RANGE, value(range)?);
    }
    describe(headers, &served, etag)?;
    Ok(response)
}

/// The headers that do not depend on the range.
fn describe(headers: &mut HeaderMap, served: &ServedFile, etag: String) -> Result<(), ApiError> {
    let shown = INLINE.iter().find(|known| **known == served.blob.mimetype);
    let disposition = if shown.is_some() { "inline" } else { "attachment" };
    let kind = shown.copied().unwrap_or("application/octet-stream");
    let remaining = served.url.remaining.as_secs();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let no_scripts = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, no_scripts);
    // The URL opens the file: no other site learns it.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, value(format!("private, max-age={remaining}"))?);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, value(etag)?);
    Ok(())
}

fn value(text: String) -> Result<HeaderValue, ApiError> {
    HeaderValue::try_from(text).map_err(|error| ApiError::internal(&error))
}

/// The same for every reason: a caller without the right URL learns nothing about files.
fn not_found() -> ApiError {
    ApiError::not_found(
        ErrorCode::MediaNotFound,
        "there is no file at this URL, or the URL has expired; get a new one from the API",
    )
}

fn unsatisfiable(size: u64) -> ApiError {
    let message = format!("the file has {size} bytes; none of them is in this range");
    let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeNotSatisfiable, message);
    match HeaderValue::try_from(format!("bytes */{size}")) {
        Ok(range) => error.with_header(header::CONTENT_RANGE, range),
        Err(cause) => ApiError::internal(&cause),
    }
}
