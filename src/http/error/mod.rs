//! Errors of the API: `{"error": "for people", "code": "for_programs"}` with the right status.
//!
//! Layers below know no status code; [`layers`] and [`files`] (one exhaustive match per error type) are the only places
//! where their variants meet one. The caller's mistakes are logged at debug, ours at error with their cause.

mod codes;
mod common;
mod files;
mod layers;
pub mod responses;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::json::Json;
use crate::telemetry::chain;

pub use codes::ErrorCode;

/// The body of every error, for the description of the API.
#[derive(Debug, ToSchema)]
pub struct Problem {
    /// What was wrong and what to send instead, for people. Its wording may change.
    pub error: String,
    /// The same for programs. It does not change.
    pub code: ErrorCode,
    /// Seconds until the request may be repeated.
    #[schema(nullable = false)]
    pub retry_after: Option<u64>,
    /// Which rate limit was reached.
    #[schema(nullable = false)]
    pub policy: Option<String>,
    /// Of a code: wrong, expired or none; password when one is needed besides, no_account when the network has none. Of a
    /// cursor: epoch or retention.
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// The word of the present epoch, when a cursor is gone.
    #[schema(nullable = false)]
    pub epoch: Option<String>,
    /// The cursor of the oldest events that are kept.
    #[schema(nullable = false)]
    pub oldest: Option<String>,
    /// The cursor of what comes next.
    #[schema(nullable = false)]
    pub newest: Option<String>,
    /// The participants that the request failed for.
    #[schema(nullable = false)]
    pub participants: Option<Vec<String>>,
}

/// An answer that is not a success.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    fields: Map<String, Value>,
    transient: bool,
}

/// An extension of the response to a request that may succeed when it is repeated unchanged: such a response is not saved
/// under an `Idempotency-Key`.
#[derive(Clone, Copy, Debug)]
pub struct Transient;

/// The message of an [`ApiError`]: an extension of its response, for endpoints whose errors have another form.
#[derive(Clone)]
pub struct ErrorMessage(pub String);

impl ApiError {
    /// An error with a status, a code for programs and a sentence for people: what was wrong and what to send instead.
    pub fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        let (headers, fields) = (Vec::new(), Map::new());
        Self { status, code, message: message.into(), headers, fields, transient: false }
    }

    /// 400
    pub fn bad_request(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 403
    pub fn forbidden(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 404: missing, or not the caller's.
    pub fn not_found(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 429 with `Retry-After` in seconds, which is also the field `retry_after`.
    pub fn too_many(code: ErrorCode, message: impl Into<String>, retry_after: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
            .with_header(header::RETRY_AFTER, retry_after.into())
            .with_field("retry_after", retry_after)
    }

    /// 502: the network, or the sender of codes, refused or failed.
    pub fn bad_gateway(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, code, message)
    }

    /// 503 with `Retry-After` in seconds.
    pub fn unavailable(code: ErrorCode, message: impl Into<String>, retry_after: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
            .with_header(header::RETRY_AFTER, retry_after.into())
    }

    /// 500 without a word of the cause, which is logged here.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = chain(cause), "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::Internal,
            "this server made a mistake; it is logged",
        )
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a field beside `error` and `code`.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Marks the response as [`Transient`].
    #[must_use]
    pub fn transient(self) -> Self {
        Self { transient: true, ..self }
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = Map::new();
        body.insert("error".to_owned(), self.message.clone().into());
        body.insert("code".to_owned(), self.code.as_str().into());
        body.extend(self.fields);
        let mut response = (self.status, Json(Value::Object(body))).into_response();
        response.headers_mut().extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response.extensions_mut().insert(self.code);
        response.extensions_mut().insert(ErrorMessage(self.message));
        if self.transient {
            response.extensions_mut().insert(Transient);
        }
        response
    }
}
