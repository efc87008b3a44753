//! What a caller sees of a failure: `{"error": "for people", "code": "for_programs"}` with the right status.
//!
//! Layers below know no status code; the `From` impls here (one exhaustive match per error type) are the only
//! place where their variants meet one. The caller's mistakes are logged at debug, ours at error with their cause.

mod files;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::db::DbError;
use crate::http::extract::recipient::no_such_group;
use crate::http::middleware::idempotency;
use crate::sessions::{AskError, GroupRefusal, RegisterError};
use crate::telemetry::chain;
use crate::upstream::Failure;
use crate::verification::{CheckError, RequestError};

/// Said of a number that the caller does not have, whoever else may have it.
pub const ACCOUNT_UNKNOWN: &str = "you have no account with this number; GET /api/account/ lists them";

/// The body of every error, for the description of the API. Some have more fields, such as `retry_after`.
#[derive(Debug, ToSchema)]
pub struct Problem {
    /// What was wrong and what to send instead, for people. Its wording may change.
    pub error: String,
    /// The same for programs. It does not change.
    pub code: String,
}

/// An answer that is not a success.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    fields: Map<String, Value>,
    passing: bool,
}

/// In the extensions of a refusal that may pass although the request stays the same: no answer for a key.
#[derive(Clone, Copy, Debug)]
pub struct Transient;

impl ApiError {
    /// An error with a status, a stable code for programs and a sentence for people: what was wrong and what to
    /// send instead.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (headers, fields) = (Vec::new(), Map::new());
        Self { status, code, message: message.into(), headers, fields, passing: false }
    }

    /// 400: something that the caller sent.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 403: not allowed.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 404: not there, or not the caller's.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 413: a body or a file of more than `limit` bytes.
    #[must_use]
    pub fn too_large(what: &str, limit: u64) -> Self {
        let message = format!("the {what} is larger than {} KiB", limit / 1024);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// 429 with `Retry-After` in seconds, which is also the field `retry_after`.
    pub fn too_many(code: &'static str, message: impl Into<String>, retry_after: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
            .with_header(header::RETRY_AFTER, retry_after.into())
            .with_field("retry_after", retry_after)
    }

    /// 502: the network, or the sender of codes, refused or failed.
    pub fn bad_gateway(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, code, message)
    }

    /// 503 with `Retry-After` in seconds: not now.
    pub fn unavailable(code: &'static str, message: impl Into<String>, retry_after: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
            .with_header(header::RETRY_AFTER, retry_after.into())
    }

    /// 503: the program has not finished its start.
    #[must_use]
    pub fn starting() -> Self {
        Self::unavailable("starting", "this server is starting; try again soon", 1)
    }

    /// 501: this network has no such thing.
    #[must_use]
    pub fn unsupported(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "unsupported", format!("the account's network cannot {what}"))
    }

    /// 504: the network did not answer in time, so nobody knows whether it did what was asked.
    #[must_use]
    pub fn outcome_unknown() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "outcome_unknown",
            "the network did not answer in time; look before you try again",
        )
    }

    /// 500 without a word of the cause, which goes to the log.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = chain(cause), "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "this server made a mistake; it is logged")
    }

    /// Adds a header to the answer.
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

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

/// The sentence of an [`ApiError`]: an extension of its answer, for rows whose errors have another form.
#[derive(Clone)]
pub struct ErrorMessage(pub String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if !self.status.is_server_error() {
            tracing::debug!(status = self.status.as_u16(), code = self.code, "request refused");
        }
        let mut body = Map::new();
        body.insert("error".to_owned(), self.message.clone().into());
        body.insert("code".to_owned(), self.code.into());
        body.extend(self.fields);
        let mut response = (self.status, Json(Value::Object(body))).into_response();
        response.headers_mut().extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response.extensions_mut().insert(ErrorMessage(self.message));
        if self.passing {
            response.extensions_mut().insert(Transient);
        }
        response
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NotNow { retry_after } => Self::unavailable(
                "session_not_ready",
                "the account's session is not connected to its network now; try again soon",
                retry_after,
            ),
            AskError::OutcomeUnknown => Self::outcome_unknown(),
            AskError::Refused(reason) => {
                Self::bad_gateway("network_refused", format!("the network refused: {reason}"))
            }
            AskError::Unsupported(what) => Self::unsupported(&what),
            AskError::Group(why) => why.into(),
            AskError::Store(error) => error.into(),
        }
    }
}

impl From<GroupRefusal> for ApiError {
    fn from(why: GroupRefusal) -> Self {
        match why {
            GroupRefusal::NotInGroup => no_such_group(),
            GroupRefusal::NotAnAdmin => Self::forbidden(
                "not_an_admin",
                "only admins of the group may do that, and this account is none",
            ),
            GroupRefusal::NotAMember => {
                Self::not_found("participant_not_found", "this number is not in the group")
            }
            GroupRefusal::TooLarge => {
                Self::bad_request("group_too_large", "the network takes no group of so many participants")
            }
            GroupRefusal::CannotAdd { who } => Self::bad_request(
                "cannot_be_added",
                format!("the network does not let these be added: {}", who.join(", ")),
            )
            .with_field("participants", who),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry(_) => Self::unavailable(
                "network_unavailable",
                "the network cannot be reached now; try again soon",
                5,
            ),
            Failure::RateLimited(pause) => Self::unavailable(
                "network_rate_limited",
                "the network asks to wait before the next try",
                pause.as_secs().max(1),
            ),
            Failure::Refused(reason) => {
                Self::bad_gateway("network_refused", format!("the network refused: {reason}"))
            }
            Failure::OutcomeUnknown => Self::outcome_unknown(),
            Failure::Unsupported(what) => Self::unsupported(what),
        }
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Network(failure) => failure.into(),
            RegisterError::UnderWay => Self::unavailable(
                "registration_under_way",
                "another request registers this number at this moment; look at GET /api/account/",
                2,
            ),
            RegisterError::NoSuchNetwork(_) => {
                tracing::error!(%error, "an account's network is missing");
                Self::unavailable(
                    "network_unavailable",
                    "this server is not connected to the account's network now",
                    60,
                )
            }
            RegisterError::Store(error) => error.into(),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::TooSoon { retry_after } => Self::too_many(
                "code_too_soon",
                format!("this number had a code less than a minute ago; try again in {retry_after} s"),
                retry_after,
            ),
            RequestError::DailyLimit { retry_after } => Self::too_many(
                "too_many_codes",
                format!("too many codes were sent today; try again in {retry_after} s"),
                retry_after,
            ),
            RequestError::NotAllowed => {
                Self::forbidden("number_not_allowed", "this server sends no codes to numbers of this kind")
            }
            RequestError::NoAccount => Self::bad_request("account_unknown", ACCOUNT_UNKNOWN),
            RequestError::SenderFailed { retry_after } => {
                let failed = Self::bad_gateway(
                    "code_sender_failed",
                    "no code could be sent: whoever brings codes to phones refused or failed",
                );
                match retry_after {
                    Some(seconds) => failed.with_header(header::RETRY_AFTER, seconds.into()),
                    None => failed,
                }
            }
            RequestError::SenderTimedOut => Self::bad_gateway(
                "code_sender_failed",
                "whoever brings codes to phones did not answer in time; a code may arrive all the same",
            ),
            RequestError::Store(error) => error.into(),
        }
    }
}

impl From<CheckError> for ApiError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Wrong => {
                Self::forbidden("code_wrong", "the code is wrong").with_field("reason", "wrong")
            }
            CheckError::Expired => {
                Self::forbidden("code_expired", "the code is older than ten minutes; ask for a new one")
                    .with_field("reason", "expired")
            }
            CheckError::NoneAsked => Self::forbidden("code_none", "no code is waited for; ask for one")
                .with_field("reason", "none"),
            CheckError::TooMany { retry_after } => Self::too_many(
                "too_many_guesses",
                format!("too many wrong codes; ask for a new one in {retry_after} s"),
                retry_after,
            ),
            CheckError::Store(error) => error.into(),
        }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(_) => {
                tracing::warn!(error = chain(&error), "the database is away");
                Self::unavailable("database_unavailable", "the database is away; try again soon", 2)
            }
            // The account was removed between the look at it and this query.
            DbError::Refused(_)
                if error.constraint().is_some_and(|name| name.ends_with("_account_id_fkey")) =>
            {
                Self::bad_request("account_unknown", ACCOUNT_UNKNOWN)
            }
            // Requests write under nothing else that can pass on.
            DbError::Fenced => idempotency::in_use(),
            DbError::Corrupt(_) | DbError::Refused(_) => Self::internal(&error),
        }
    }
}
