//! The errors of the endpoints under `/o`; `http` maps each to its status and RFC 6749 code.

use std::time::Duration;

use oxide_auth::code_grant::error::AccessTokenErrorType;

use crate::db::DbError;

/// Why a request was refused, or failed.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// A parameter is missing, repeated or malformed; the text names it.
    #[error("{0}")]
    InvalidRequest(String),
    /// The client is unknown, disabled, or its secret is wrong.
    #[error("the client is unknown or its secret is wrong")]
    InvalidClient,
    /// The user name or the password is wrong, or the user is disabled: one error for all three.
    #[error("the user name or the password is wrong")]
    WrongLogin,
    /// The refresh token is unknown, expired, revoked, used, or another client's.
    #[error("the refresh token is unknown, expired, revoked or another client's")]
    InvalidGrant,
    #[error("this client may not do this")]
    UnauthorizedClient,
    #[error("grant_type must be password or refresh_token")]
    UnsupportedGrantType,
    /// Malformed, or a scope that the client or the grant does not have.
    #[error("the scope is malformed or more than is allowed")]
    InvalidScope,
    #[error("too many failed logins; wait before you try again")]
    TooManyFailures { retry_after: Duration },
    #[error("too many logins at once; try again soon")]
    Busy,
    #[error(transparent)]
    Store(#[from] DbError),
    /// A password could not be hashed, or a stored hash could not be read.
    #[error("password hashing failed: {0}")]
    Hashing(String),
    /// A bug.
    #[error("impossible: {0}")]
    Impossible(&'static str),
}

impl From<AccessTokenErrorType> for OAuthError {
    fn from(kind: AccessTokenErrorType) -> Self {
        match kind {
            AccessTokenErrorType::InvalidRequest => {
                Self::InvalidRequest("the request is malformed".to_owned())
            }
            AccessTokenErrorType::InvalidClient => Self::InvalidClient,
            AccessTokenErrorType::InvalidGrant => Self::InvalidGrant,
            AccessTokenErrorType::UnauthorizedClient => Self::UnauthorizedClient,
            AccessTokenErrorType::UnsupportedGrantType => Self::UnsupportedGrantType,
            AccessTokenErrorType::InvalidScope => Self::InvalidScope,
        }
    }
}
