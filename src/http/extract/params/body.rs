//! Bodies of requests: forms, multipart forms and JSON.

use axum::body::{Body, Bytes};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::multipart::{File, FormParts};
use super::{form, json, multipart};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::body;
use crate::http::extract::body::{LARGEST, LimitedBody};
use crate::media::UploaderSpools;

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

#[derive(Default)]
pub struct ParsedBody {
    pub values: Map<String, Value>,
    pub files: Vec<File>,
    pub kind: BodyKind,
}

/// Reads and parses a body of any method. Files of a form are spooled.
///
/// # Errors
/// 400 malformed, 408 too slow, 413 too large, 415 another type, 503 when a file cannot be spooled.
pub async fn read(headers: &HeaderMap, body: Body, spools: &UploaderSpools) -> Result<ParsedBody, ApiError> {
    Ok(match open(headers, body, Some(spools)).await? {
        RawBody::Empty => ParsedBody::default(),
        RawBody::Form(bytes) => {
            ParsedBody { values: form::parse(&bytes)?, kind: BodyKind::Form, ..ParsedBody::default() }
        }
        RawBody::Json(bytes) => {
            ParsedBody { values: json::parse(&bytes)?, kind: BodyKind::Json, ..ParsedBody::default() }
        }
        RawBody::Multipart(FormParts { pairs, files }) => {
            let values = pairs.into_iter().map(|(name, value)| (name, value.into())).collect();
            ParsedBody { values, files, kind: BodyKind::Multipart }
        }
    })
}

/// Reads a body for an endpoint that must notice repeated parameters: all names and values in order. Files are dropped, but
/// count against the limit. A JSON null is left out.
///
/// # Errors
/// As for [`read`]; also 400 for a JSON value that is neither text nor a number nor null.
pub async fn pairs(headers: &HeaderMap, body: Body) -> Result<Vec<(String, String)>, ApiError> {
    match open(headers, body, None).await? {
        RawBody::Empty => Ok(Vec::new()),
        RawBody::Form(bytes) => form::pairs(&bytes),
        RawBody::Json(bytes) => json::pairs(&bytes),
        RawBody::Multipart(parts) => Ok(parts.pairs),
    }
}

/// A body that was read but not parsed, except a multipart form, which is parsed while it is read.
enum RawBody {
    Empty,
    Form(Bytes),
    Json(Bytes),
    Multipart(FormParts),
}

async fn open(headers: &HeaderMap, body: Body, spools: Option<&UploaderSpools>) -> Result<RawBody, ApiError> {
    let encoded = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity");
    let essence = content_type(headers).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "multipart/form-data" && !encoded {
        return multipart(headers, body, spools).await;
    }
    let bytes = body::read(headers, body, LARGEST).await?;
    if bytes.is_empty() {
        return Ok(RawBody::Empty);
    }
    if encoded {
        return Err(unsupported("a body must not have a Content-Encoding"));
    }
    match essence.as_str() {
        "application/x-www-form-urlencoded" => Ok(RawBody::Form(bytes)),
        "application/json" => Ok(RawBody::Json(bytes)),
        _ => Err(unsupported(
            "the body's Content-Type must be application/json, application/x-www-form-urlencoded or \
             multipart/form-data",
        )),
    }
}

async fn multipart(
    headers: &HeaderMap,
    body: Body,
    spools: Option<&UploaderSpools>,
) -> Result<RawBody, ApiError> {
    let limit = spools.map_or(0, UploaderSpools::limit).saturating_add(LARGEST);
    let mut body = LimitedBody::new(headers, body, limit)?;
    let parts = match body.next().await {
        Ok(None) => return Ok(RawBody::Empty),
        Ok(Some(first)) => multipart::read(content_type(headers), first, &mut body, spools).await,
        Err(error) => Err(error.into()),
    };
    if parts.is_err() {
        body.discard_rest().await;
    }
    parts.map(RawBody::Multipart)
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn unsupported(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::UnsupportedMediaType, message)
}
