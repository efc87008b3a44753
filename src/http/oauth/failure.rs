//! Errors under `/o`, in the form of RFC 6749 section 5.2.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::NO_STORE;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::oauth::OAuthError;

#[derive(Debug)]
pub struct OAuthFailure {
    status: StatusCode,
    error: &'static str,
    description: String,
    retry_after: Option<Duration>,
}

#[derive(Serialize, ToSchema)]
pub struct FailureBody {
    /// For programs: a code of RFC 6749, `temporarily_unavailable` or `server_error`.
    error: &'static str,
    /// For people.
    error_description: String,
}

/// `Retry-After` of a 503.
const SOON: Duration = Duration::from_secs(2);

impl OAuthFailure {
    fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        Self { status, error, description: description.into(), retry_after: None }
    }

    /// RFC 6749 has no code for this case at the token endpoint; the one of section 4.1.2.1 fits.
    fn later(status: StatusCode, description: impl Into<String>, retry_after: Duration) -> Self {
        let failure = Self::new(status, "temporarily_unavailable", description);
        Self { retry_after: Some(retry_after), ..failure }
    }
}

impl IntoResponse for OAuthFailure {
    fn into_response(self) -> Response {
        if !self.status.is_server_error() {
            tracing::debug!(status = self.status.as_u16(), error = self.error, "request refused");
        }
        let body = FailureBody { error: self.error, error_description: self.description };
        let mut response = (self.status, NO_STORE, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"windu\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after {
            // Rounded up: a request at the end of the last second must not be refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<OAuthError> for OAuthFailure {
    fn from(error: OAuthError) -> Self {
        let bad = |code, error: &OAuthError| Self::new(StatusCode::BAD_REQUEST, code, error.to_string());
        match error {
            OAuthError::InvalidRequest(_) => bad("invalid_request", &error),
            OAuthError::WrongLogin | OAuthError::InvalidGrant => bad("invalid_grant", &error),
            OAuthError::UnauthorizedClient => bad("unauthorized_client", &error),
            OAuthError::UnsupportedGrantType => bad("unsupported_grant_type", &error),
            OAuthError::InvalidScope => bad("invalid_scope", &error),
            OAuthError::InvalidClient => {
                Self::new(StatusCode::UNAUTHORIZED, "invalid_client", error.to_string())
            }
            OAuthError::TooManyFailures { retry_after } => {
                Self::later(StatusCode::TOO_MANY_REQUESTS, error.to_string(), retry_after)
            }
            OAuthError::Busy => Self::later(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), SOON),
            OAuthError::Store(error) => ApiError::from(error).into(),
            OAuthError::Hashing(_) | OAuthError::Impossible(_) => ApiError::internal(&error).into(),
        }
    }
}

/// Errors of the layers below, such as the body and the database.
impl From<ApiError> for OAuthFailure {
    fn from(error: ApiError) -> Self {
        let (status, description) = (error.status(), error.message());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            Self::later(status, description, SOON)
        } else if status.is_server_error() {
            Self::new(status, "server_error", description)
        } else {
            Self::new(status, "invalid_request", description)
        }
    }
}
