//! Bodies of requests: forms, multipart forms and JSON.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use http::{HeaderMap, StatusCode, header};
use hyper::body::Body as _;

use super::multipart::{File, FormParts};
use super::value::{MAX_VALUES, VALUE_SIZE, Value};
use super::{form, json, multipart, names};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::body;
use crate::http::extract::body::{LARGEST, LARGEST_UNKNOWN, LimitedBody};
use crate::http::extract::body_budget::BodyRoom;
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
    pub values: BTreeMap<&'static str, Value>,
    pub files: Vec<File>,
    pub kind: BodyKind,
}

/// Reads and parses a body of any method. Files of a form are spooled; what else it holds is at most `limit` bytes, which
/// are counted in `room`.
///
/// # Errors
/// 400 malformed, 408 too slow, 413 too large, 415 another type, 503 when there is no room, or a file cannot be spooled.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: u64,
    spools: &UploaderSpools,
    room: &mut BodyRoom,
) -> Result<ParsedBody, ApiError> {
    let (values, kind) = match open(headers, body, limit, Some(spools), Some(room)).await? {
        RawBody::Empty => return Ok(ParsedBody::default()),
        RawBody::Form(bytes) => (parse(bytes, room, form::parse).await?, BodyKind::Form),
        RawBody::Json(bytes) => (parse(bytes, room, json::parse).await?, BodyKind::Json),
        RawBody::Multipart(FormParts { pairs, files }) => {
            let known = |(name, value): (String, _)| Some((names::known(&name)?, Value::Text(value)));
            let values = pairs.into_iter().filter_map(known).collect();
            return Ok(ParsedBody { values, files, kind: BodyKind::Multipart });
        }
    };
    Ok(ParsedBody { values, files: Vec::new(), kind })
}

/// Reads a body of a caller who is not known yet, for an endpoint that must notice repeated parameters: all names and values
/// in order. Files are dropped, but count against the limit. A JSON null is left out.
///
/// # Errors
/// As for [`read`]; also 400 for a JSON value that is neither text nor null.
pub async fn pairs(headers: &HeaderMap, body: Body) -> Result<Vec<(String, String)>, ApiError> {
    match open(headers, body, LARGEST_UNKNOWN, None, None).await? {
        RawBody::Empty => Ok(Vec::new()),
        RawBody::Form(bytes) => form::pairs(&bytes),
        RawBody::Json(bytes) => json::pairs(&bytes),
        RawBody::Multipart(parts) => Ok(parts.pairs),
    }
}

type Values = BTreeMap<&'static str, Value>;

/// Parses a body, whose values are counted in `room` together with its bytes.
async fn parse(
    bytes: Bytes,
    room: &mut BodyRoom,
    parser: fn(&[u8]) -> Result<Values, ApiError>,
) -> Result<Values, ApiError> {
    let length = bytes.len() as u64;
    // No value is shorter than two bytes, and the texts are not longer than the body. Twice, because a list of values is
    // copied by an endpoint that takes it.
    let largest = length + 2 * VALUE_SIZE * (length / 2).min(MAX_VALUES as u64);
    room.grow(largest).await?;
    let values = room.parse(bytes.len(), move || parser(&bytes)).await?;
    room.shrink(2 * values.values().map(Value::size).sum::<u64>());
    Ok(values)
}

/// A body that was read but not parsed, except a multipart form, which is parsed while it is read.
enum RawBody {
    Empty,
    Form(Bytes),
    Json(Bytes),
    Multipart(FormParts),
}

async fn open(
    headers: &HeaderMap,
    body: Body,
    limit: u64,
    spools: Option<&UploaderSpools>,
    room: Option<&mut BodyRoom>,
) -> Result<RawBody, ApiError> {
    if body.is_end_stream() {
        return Ok(RawBody::Empty);
    }
    let encoded = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity");
    let essence = content_type(headers).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "multipart/form-data" && !encoded {
        return multipart(headers, body, limit, spools, room).await;
    }
    let bytes = body::read(body, limit, room).await?;
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
    limit: u64,
    spools: Option<&UploaderSpools>,
    room: Option<&mut BodyRoom>,
) -> Result<RawBody, ApiError> {
    let mut body =
        LimitedBody::new(body, spools.map_or(0, UploaderSpools::limit).saturating_add(limit.max(LARGEST)))?;
    match body.next().await? {
        None => Ok(RawBody::Empty),
        Some(first) => {
            let parts = multipart::read(content_type(headers), first, &mut body, limit, spools, room).await?;
            Ok(RawBody::Multipart(parts))
        }
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn unsupported(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::UnsupportedMediaType, message)
}
