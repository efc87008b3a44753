//! Why a request under `/o` was refused; `http` gives each its status and RFC 6749 code.

use std::time::Duration;

use oxide_auth::code_grant::error::AccessTokenErrorType;

use crate::db::DbError;

/// A refusal, or a failure of ours.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// Something is missing, repeated or malformed; the text says what.
    #[error("{0}")]
    InvalidRequest(String),
    /// The client is unknown, disabled, or did not prove itself.
    #[error("the client is unknown or its secret is wrong")]
    InvalidClient,
    /// The user name or the password is wrong, or the user may not sign in: never told apart.
    #[error("the user name or the password is wrong")]
    WrongLogin,
    /// The refresh token is unknown, expired, revoked, used, or another client's.
    #[error("the refresh token is unknown, expired, revoked or another client's")]
    InvalidGrant,
    /// The client may not do this.
    #[error("this client may not do this")]
    UnauthorizedClient,
    /// Neither `password` nor `refresh_token`.
    #[error("grant_type must be password or refresh_token")]
    UnsupportedGrantType,
    /// A scope that the client, or the grant, does not have.
    #[error("the scope is malformed or more than is allowed")]
    InvalidScope,
    /// Too many failed logins.
    #[error("too many failed logins; wait before you try again")]
    TooManyFailures {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too many logins at once.
    #[error("too many logins at once; try again soon")]
    Busy,
    /// The database.
    #[error(transparent)]
    Store(#[from] DbError),
    /// A password could not be hashed, or a stored hash not be read.
    #[error("password hashing failed: {0}")]
    Hashing(String),
    /// What cannot be.
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
