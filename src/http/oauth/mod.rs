//! Endpoints below `/o`: tokens are issued, refreshed, revoked and introspected (RFC 6749, 7009, 7662).

mod failure;
mod request;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::failure::{FailureBody, OAuthFailure};
use self::request::OAuthRequest;
use super::AppState;
use crate::http::json::Json;
use crate::oauth::{OAuth, TokenPair};
use crate::store::LiveToken;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(token))
        .routes(routes!(revoke))
        .routes(routes!(revoke_by_old_path))
        .routes(routes!(introspect))
}

/// Headers of responses that must not be cached (RFC 6749 section 5.1).
const NO_STORE: [(HeaderName, &str); 2] = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];

/// The parameters of `/o/token/`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body; each kind of body is read into names and values")]
struct TokenForm {
    /// `password` or `refresh_token`.
    grant_type: String,
    /// With `password`: the user's name.
    username: Option<String>,
    /// With `password`: the user's password.
    password: Option<String>,
    /// With `refresh_token`: the refresh token. It works once.
    refresh_token: Option<String>,
    /// The scopes, separated by blanks: at most `read write`, which is also the default.
    scope: Option<String>,
    /// The client, unless HTTP Basic names it.
    client_id: Option<String>,
    /// The secret of a confidential client, unless HTTP Basic contains it.
    client_secret: Option<String>,
}

/// The parameters of `/o/revoke-token/` and `/o/introspect/`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body; each kind of body is read into names and values")]
struct TokenQuery {
    /// An access or a refresh token.
    #[schema(min_length = 1)]
    token: String,
    /// Ignored: both types of token are searched.
    token_type_hint: Option<String>,
    /// The client, unless HTTP Basic names it.
    client_id: Option<String>,
    /// The secret of a confidential client, unless HTTP Basic contains it.
    client_secret: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct TokenAnswer {
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// The lifetime of the access token, in seconds.
    expires_in: u64,
    refresh_token: String,
    /// Sorted, separated by blanks.
    scope: String,
}

/// Only `active` for a token that is unknown, expired, used or revoked.
#[derive(Default, Serialize, ToSchema)]
struct Introspection {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    username: Option<String>,
    /// `Bearer` for an access token; a refresh token has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token_type: Option<&'static str>,
    /// The end of its lifetime, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    exp: Option<i64>,
    /// The beginning of its lifetime, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    iat: Option<i64>,
    /// The user's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sub: Option<String>,
}

/// Issues a pair of tokens for a user's password, or a new pair for a refresh token.
///
/// A refresh ends the old pair at once. A refresh token that is used again revokes all tokens of its login, except within
/// 10 s, while the new one is unused: then the same pair is returned again.
#[utoipa::path(
    post, path = "/o/token/", tag = "oauth", security(()),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, body = TokenAnswer),
        (status = 400, description = "invalid_request, invalid_grant, invalid_scope, unsupported_grant_type", body = FailureBody),
        (status = 401, description = "invalid_client", body = FailureBody),
        (status = 429, description = "too many failed logins; see Retry-After", body = FailureBody),
        (status = 503, description = "unavailable now; see Retry-After", body = FailureBody),
    )
)]
async fn token(
    State(oauth): State<Arc<OAuth>>,
    OAuthRequest(request): OAuthRequest,
) -> Result<Response, OAuthFailure> {
    let answer = TokenAnswer::from(oauth.token(&request).await?);
    Ok((NO_STORE, Json(answer)).into_response())
}

/// Revokes a token and the other one of its pair. For an unknown token, or another client's, the response is the same and
/// nothing changes.
#[utoipa::path(
    post, path = "/o/revoke-token/", tag = "oauth", security(()),
    request_body(content = TokenQuery, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "empty"),
        (status = 400, description = "invalid_request", body = FailureBody),
        (status = 401, description = "invalid_client", body = FailureBody),
        (status = 503, description = "unavailable now; see Retry-After", body = FailureBody),
    )
)]
async fn revoke(
    State(oauth): State<Arc<OAuth>>,
    OAuthRequest(request): OAuthRequest,
) -> Result<Response, OAuthFailure> {
    oauth.revoke(&request).await?;
    Ok(NO_STORE.into_response())
}

/// The same as `/o/revoke-token/`; the path of the old documents.
#[utoipa::path(
    post, path = "/o/revoke_token/", tag = "oauth", security(()),
    request_body(content = TokenQuery, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "empty"),
        (status = 400, description = "invalid_request", body = FailureBody),
        (status = 401, description = "invalid_client", body = FailureBody),
        (status = 503, description = "unavailable now; see Retry-After", body = FailureBody),
    )
)]
async fn revoke_by_old_path(
    oauth: State<Arc<OAuth>>,
    request: OAuthRequest,
) -> Result<Response, OAuthFailure> {
    revoke(oauth, request).await
}

/// Describes a token to a confidential client.
#[utoipa::path(
    post, path = "/o/introspect/", tag = "oauth", security(()),
    request_body(content = TokenQuery, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, body = Introspection),
        (status = 400, description = "invalid_request", body = FailureBody),
        (status = 401, description = "invalid_client", body = FailureBody),
        (status = 503, description = "unavailable now; see Retry-After", body = FailureBody),
    )
)]
async fn introspect(
    State(oauth): State<Arc<OAuth>>,
    OAuthRequest(request): OAuthRequest,
) -> Result<Response, OAuthFailure> {
    let answer = oauth.introspect(&request).await?.map(Introspection::from).unwrap_or_default();
    Ok((NO_STORE, Json(answer)).into_response())
}

impl From<TokenPair> for TokenAnswer {
    fn from(pair: TokenPair) -> Self {
        Self {
            access_token: pair.access_token,
            token_type: "Bearer",
            expires_in: pair.expires_in.as_secs(),
            refresh_token: pair.refresh_token,
            scope: pair.scope,
        }
    }
}

impl From<LiveToken> for Introspection {
    fn from(token: LiveToken) -> Self {
        Self {
            active: true,
            scope: Some(token.scope),
            client_id: Some(token.client_id),
            username: Some(token.username),
            token_type: token.access.then_some("Bearer"),
            exp: Some(token.expires_at.timestamp()),
            iat: Some(token.issued_at.timestamp()),
            sub: Some(token.user.to_string()),
        }
    }
}
