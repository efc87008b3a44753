//! The three kinds of body.

use axum::body::{Body, Bytes};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::multipart::{File, Parts};
use super::{form, json, multipart};
use crate::http::error::{ApiError, Code};
use crate::http::extract::body;
use crate::http::extract::body::{LARGEST, Limited};
use crate::media::Spools;

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

/// Reads and parses a body of any method. Files of a form go to `spools`.
///
/// # Errors
/// 400 malformed, 408 too slow, 413 too large, 415 another type, 503 when a file cannot be written.
pub async fn read(headers: &HeaderMap, body: Body, spools: &Spools) -> Result<Content, ApiError> {
    Ok(match open(headers, body, Some(spools)).await? {
        Opened::Empty => Content::default(),
        Opened::Form(bytes) => {
            Content { values: form::parse(&bytes)?, kind: BodyKind::Form, ..Content::default() }
        }
        Opened::Json(bytes) => {
            Content { values: json::parse(&bytes)?, kind: BodyKind::Json, ..Content::default() }
        }
        Opened::Multipart(Parts { pairs, files }) => {
            let values = pairs.into_iter().map(|(name, value)| (name, value.into())).collect();
            Content { values, files, kind: BodyKind::Multipart }
        }
    })
}

/// Reads a body for a row that must notice a repeated parameter: all names and values in order. Files are ignored, and
/// count as the rest does.
///
/// # Errors
/// As for [`read`]; 400 also for a JSON value that is neither text nor a number nor null, which is left out.
pub async fn pairs(headers: &HeaderMap, body: Body) -> Result<Vec<(String, String)>, ApiError> {
    match open(headers, body, None).await? {
        Opened::Empty => Ok(Vec::new()),
        Opened::Form(bytes) => form::pairs(&bytes),
        Opened::Json(bytes) => json::pairs(&bytes),
        Opened::Multipart(parts) => Ok(parts.pairs),
    }
}

/// A body that has been read; a multipart form is parsed meanwhile.
enum Opened {
    Empty,
    Form(Bytes),
    Json(Bytes),
    Multipart(Parts),
}

async fn open(headers: &HeaderMap, body: Body, spools: Option<&Spools>) -> Result<Opened, ApiError> {
    let encoded = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity");
    let essence = content_type(headers).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "multipart/form-data" && !encoded {
        return multipart(headers, body, spools).await;
    }
    let bytes = body::read(headers, body, LARGEST).await?;
    if bytes.is_empty() {
        return Ok(Opened::Empty);
    }
    if encoded {
        return Err(unsupported("a body must not have a Content-Encoding"));
    }
    match essence.as_str() {
        "application/x-www-form-urlencoded" => Ok(Opened::Form(bytes)),
        "application/json" => Ok(Opened::Json(bytes)),
        _ => Err(unsupported(
            "the body's Content-Type must be application/json, application/x-www-form-urlencoded or \
             multipart/form-data",
        )),
    }
}

async fn multipart(headers: &HeaderMap, body: Body, spools: Option<&Spools>) -> Result<Opened, ApiError> {
    let limit = spools.map_or(0, Spools::limit).saturating_add(LARGEST);
    let mut body = Limited::new(headers, body, limit)?;
    let parts = match body.next().await {
        Ok(None) => return Ok(Opened::Empty),
        Ok(Some(first)) => multipart::read(content_type(headers), first, &mut body, spools).await,
        Err(error) => Err(error.into()),
    };
    if parts.is_err() {
        body.drop_rest().await;
    }
    parts.map(Opened::Multipart)
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn unsupported(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::UnsupportedMediaType, message)
}
