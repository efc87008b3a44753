//! The three kinds of body.

use axum::body::{Body, Bytes};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::{File, form, json, multipart};
use crate::http::body::{self, LARGEST};
use crate::http::error::ApiError;

/// How a body was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// Empty or absent, whatever its type.
    #[default]
    None,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`.
    Multipart,
    /// `application/json`.
    Json,
}

/// What a body holds.
#[derive(Default)]
pub struct Content {
    pub values: Map<String, Value>,
    pub files: Vec<File>,
    pub kind: BodyKind,
}

/// Reads and parses a body of any method.
///
/// # Errors
/// 400 malformed, 408 too slow, 413 too large, 415 another type.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Content, ApiError> {
    let (kind, bytes) = open(headers, body).await?;
    match kind {
        BodyKind::None => Ok(Content::default()),
        BodyKind::Form => Ok(Content { values: form::parse(&bytes)?, kind, ..Content::default() }),
        BodyKind::Json => Ok(Content { values: json::parse(&bytes)?, kind, ..Content::default() }),
        BodyKind::Multipart => {
            let (values, files) = multipart::parse(content_type(headers), bytes).await?;
            Ok(Content { values, files, kind })
        }
    }
}

/// Reads a body for a row that must notice a repeated parameter: all names and values in order. Files are ignored.
///
/// # Errors
/// As for [`read`]; 400 also for a JSON value that is neither text nor a number nor null, which is left out.
pub async fn pairs(headers: &HeaderMap, body: Body) -> Result<Vec<(String, String)>, ApiError> {
    let (kind, bytes) = open(headers, body).await?;
    match kind {
        BodyKind::None => Ok(Vec::new()),
        BodyKind::Form => form::pairs(&bytes),
        BodyKind::Json => json::pairs(&bytes),
        BodyKind::Multipart => Ok(multipart::parts(content_type(headers), bytes).await?.0),
    }
}

async fn open(headers: &HeaderMap, body: Body) -> Result<(BodyKind, Bytes), ApiError> {
    let bytes = body::read(headers, body, LARGEST).await?;
    if bytes.is_empty() {
        return Ok((BodyKind::None, bytes));
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        return Err(unsupported("a body must not have a Content-Encoding"));
    }
    let essence = content_type(headers).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = match essence.as_str() {
        "application/x-www-form-urlencoded" => BodyKind::Form,
        "application/json" => BodyKind::Json,
        "multipart/form-data" => BodyKind::Multipart,
        _ => {
            return Err(unsupported(
                "the body's Content-Type must be application/json, application/x-www-form-urlencoded or \
                 multipart/form-data",
            ));
        }
    };
    Ok((kind, bytes))
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// 400 for a body or query that is not what it says.
pub fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("malformed", message)
}

fn unsupported(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}
