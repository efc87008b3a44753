//! Extractors for the parameters of a request. A parameter of the path replaces one of the body, which replaces one of the
//! query; of a repeated parameter the last counts.
//!
//! [`read`] reads them once per request, after the caller is known. Then handlers take [`RequestParameters`] or [`JsonOnly`],
//! and other extractors read [`RawParameters`], for example for `account`.

mod body;
mod degrees;
mod disposition;
mod fields;
mod form;
mod json;
mod multipart;
mod names;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;

use super::body::{LARGEST, limit_of};
use super::body_budget::{BodyBudget, BodyRoom};
use crate::domain::UserId;
use crate::fair_share::FairShare;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::rate_limit::RateHeaders;
use crate::media::{Spools, Uploader, UploaderSpools};
use crate::secrets;

pub use body::{BodyKind, pairs};
pub use degrees::Degrees;
pub use fields::{Code, Flag, Text, WholeNumber};
pub use multipart::File;
pub use names::KNOWN as KNOWN_NAMES;
pub use value::Value;

/// All parameters of a request that an endpoint knows, merged. A JSON null counts as missing, and so does an empty text
/// where it is not a value of its own.
#[derive(Default)]
pub struct RawParameters {
    values: BTreeMap<&'static str, Value>,
    files: Vec<File>,
    body: BodyKind,
    /// Of the values, as long as they live.
    _room: Option<BodyRoom>,
}

/// An extension of a request whose route does not have its method: the body is not read.
#[derive(Clone, Copy, Debug)]
pub struct WrongMethod;

/// An extractor that knows whose request it is.
pub trait Requester {
    fn user(&self) -> UserId;
}

/// The parameters of an endpoint as its own type; others are ignored. A handler can take several of these.
///
/// 400 `missing_parameter` or `invalid_parameter`; the error begins with the parameter's name.
pub struct RequestParameters<T>(pub T);

/// [`RequestParameters`] of an endpoint whose body is JSON or empty: 415 for a form.
pub struct JsonOnly<T>(pub T);

impl RawParameters {
    /// The files of a multipart form, in order.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    #[must_use]
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// The parameters as an endpoint's own type.
    ///
    /// # Errors
    /// 400, naming the missing or invalid parameter.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let values = MapDeserializer::<_, serde_json::Error>::new(
            self.values.iter().map(|(name, value)| (*name, value)),
        );
        serde_path_to_error::deserialize(values).map_err(|error| parse_error(&error))
    }

    /// SHA-256 over all parameters and the content of all files. It does not depend on the notation: order, boundary, form
    /// or JSON, a number or its digits as text, the client's names of the files.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        write_object(self.values.iter().map(|(name, value)| (*name, value)), &mut bytes);
        for file in &self.files {
            // Not its file name: a client that repeats a request from a temporary file has another one.
            for part in [file.name.as_bytes(), &file.spooled.hash().0] {
                write_text(b'f', part, &mut bytes);
            }
        }
        secrets::sha256(&bytes)
    }
}

/// Middleware of the routes that take parameters (as a `route_layer`, so that those of the path are known): extracts `E`
/// first, so that the body of an unknown caller is not read, then the parameters. Both become request extensions. A user who
/// has too many requests open is refused.
pub async fn read<E, S>(State(state): State<S>, request: Request, next: Next) -> Response
where
    E: FromRequestParts<S> + Requester + Clone + Send + Sync + 'static,
    for<'a> Uploader: From<&'a E>,
    S: Clone + Send + Sync + 'static,
    Spools: FromRef<S>,
    BodyBudget: FromRef<S>,
    FairShare<UserId>: FromRef<S>,
{
    let (mut parts, body) = request.into_parts();
    let (spools, room, _open) = match E::from_request_parts(&mut parts, &state).await {
        Ok(caller) => {
            let Some(open) = FairShare::from_ref(&state).take(caller.user(), 1) else {
                return ApiError::too_many_requests().into_response();
            };
            let spools = Spools::from_ref(&state).of(Uploader::from(&caller));
            let room = BodyBudget::from_ref(&state).room(caller.user());
            parts.extensions.insert(caller);
            (spools, room, open)
        }
        Err(rejection) => return rejection.into_response(),
    };
    let left = parts.extensions.get::<RateHeaders>().cloned().unwrap_or_default();
    let mut response = answer(parts, body, &spools, room, next).await;
    left.add_to(response.headers_mut());
    response
}

async fn answer(
    mut parts: Parts,
    body: Body,
    spools: &UploaderSpools,
    room: BodyRoom,
    next: Next,
) -> Response {
    let parameters = if parts.extensions.get::<WrongMethod>().is_some() {
        RawParameters::default()
    } else {
        match collect(&mut parts, body, spools, room).await {
            Ok(parameters) => parameters,
            Err(error) => return error.into_response(),
        }
    };
    parts.extensions.insert(Arc::new(parameters));
    next.run(Request::from_parts(parts, Body::empty())).await
}

/// The parameters of a request, for other extractors.
///
/// # Errors
/// 500 when the route lacks the middleware [`read`].
pub fn raw(parts: &Parts) -> Result<&RawParameters, ApiError> {
    #[derive(Debug, thiserror::Error)]
    #[error("a route that takes parameters lacks the middleware that reads them")]
    struct NotRead;
    parts.extensions.get::<Arc<RawParameters>>().map(Arc::as_ref).ok_or_else(|| ApiError::internal(&NotRead))
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for RequestParameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        raw(parts)?.parse().map(Self)
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for JsonOnly<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let raw = raw(parts)?;
        match raw.body {
            BodyKind::None | BodyKind::Json => raw.parse().map(Self),
            BodyKind::Form | BodyKind::Multipart => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ErrorCode::UnsupportedMediaType,
                "this endpoint accepts JSON only: send Content-Type: application/json and an object as the body",
            )),
        }
    }
}

async fn collect(
    parts: &mut Parts,
    body: Body,
    spools: &UploaderSpools,
    mut room: BodyRoom,
) -> Result<RawParameters, ApiError> {
    let path = RawPathParams::from_request_parts(parts, &()).await.ok();
    let limit = parts.extensions.get::<MatchedPath>().map_or(LARGEST, |route| limit_of(route.as_str()));
    let mut values = form::parse(parts.uri.query().unwrap_or_default().as_bytes())?;
    let body = body::read(&parts.headers, body, limit, spools, &mut room).await?;
    values.extend(body.values.into_iter().filter(|(name, value)| value.is_given_as(name)));
    values.retain(|name, value| value.is_given_as(name));
    if let Some(path) = &path {
        let known = |(name, value): (&str, &str)| Some((names::known(name)?, Value::Text(value.to_owned())));
        values.extend(path.iter().filter_map(known));
    }
    Ok(RawParameters { values, files: body.files, body: body.kind, _room: Some(room) })
}

fn parse_error(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let path = error.path().to_string();
    let mut message = error.inner().to_string();
    // Of a value that is none of a few, what they are.
    if message.starts_with("unknown variant ")
        && let Some((_, expected)) = message.split_once(", expected ")
    {
        message = format!("{} is expected", expected.replace('`', ""));
    }
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match (path.as_str(), missing) {
        (".", Some(name)) => ApiError::bad_request(ErrorCode::MissingParameter, format!("{name} is missing")),
        (path, Some(name)) => {
            ApiError::bad_request(ErrorCode::MissingParameter, format!("{path}.{name} is missing"))
        }
        (".", None) => ApiError::bad_request(ErrorCode::InvalidParameter, message),
        (path, None) => ApiError::bad_request(ErrorCode::InvalidParameter, format!("{path}: {message}")),
    }
}

fn write_object<'a>(members: impl Iterator<Item = (&'static str, &'a Value)>, bytes: &mut Vec<u8>) {
    let mut entries: Vec<_> = members.filter(|(_, value)| **value != Value::Null).collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    bytes.push(b'{');
    for (name, value) in entries {
        write_text(b's', name.as_bytes(), bytes);
        write_value(value, bytes);
    }
    bytes.push(b'}');
}

fn write_value(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.push(b'0'),
        Value::Flag(flag) => write_text(b's', flag.to_string().as_bytes(), bytes),
        Value::Whole(number) => write_text(b's', number.to_string().as_bytes(), bytes),
        Value::Negative(number) => write_text(b's', number.to_string().as_bytes(), bytes),
        Value::Fraction(number) => write_text(b's', number.to_string().as_bytes(), bytes),
        Value::Text(text) => write_text(b's', text.as_bytes(), bytes),
        Value::List(items) => {
            bytes.push(b'[');
            for item in items {
                write_value(item, bytes);
            }
            bytes.push(b']');
        }
        Value::Object(members) => {
            write_object(members.iter().map(|(name, value)| (*name, value)), bytes);
        }
    }
}

fn write_text(kind: u8, text: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(kind);
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(text);
}

#[cfg(test)]
mod tests;
