//! The three kinds of body.

use axum::body::Body;
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
    let bytes = body::read(headers, body, LARGEST).await?;
    if bytes.is_empty() {
        return Ok(Content::default());
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        return Err(unsupported("a body must not have a Content-Encoding"));
    }
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-www-form-urlencoded" => {
            Ok(Content { values: form::parse(&bytes)?, kind: BodyKind::Form, ..Content::default() })
        }
        "application/json" => {
            Ok(Content { values: json::parse(&bytes)?, kind: BodyKind::Json, ..Content::default() })
        }
        "multipart/form-data" => {
            let (values, files) = multipart::parse(content_type, bytes).await?;
            Ok(Content { values, files, kind: BodyKind::Multipart })
        }
        _ => Err(unsupported(
            "the body's Content-Type must be application/json, application/x-www-form-urlencoded or \
             multipart/form-data",
        )),
    }
}

/// 400 for a body or query that is not what it says.
pub fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("malformed", message)
}

fn unsupported(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}
