//! Extractor for the caller: the bearer token of a request (RFC 6750), in the header and nowhere else.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, MatchedPath};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tracing::Span;

use super::params::Requester;
use crate::domain::{ClientId, UserId};
use crate::http::api::events;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::rate_limit::RateLimits;
use crate::media::Uploader;
use crate::oauth::{Bearer, OAuth};
use crate::store::TokenHash;

/// A caller with a valid token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The hash of the token.
    pub token: TokenHash,
    pub user: UserId,
    pub client: ClientId,
    /// Sorted.
    pub scopes: Arc<[String]>,
}

impl Requester for Caller {
    fn user(&self) -> UserId {
        self.user
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Arc<OAuth>: FromRef<S>,
    RateLimits: FromRef<S>,
{
    type Rejection = ApiError;

    /// From the request's extensions when an earlier extractor put the caller there, else from the token, whose requests
    /// are counted then; the extension [`RateHeaders`](crate::http::rate_limit::RateHeaders) says what is left.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let oauth = Arc::<OAuth>::from_ref(state);
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let bearer = match ticket(parts, route) {
            Some(ticket) => oauth.redeem(&ticket).await?.ok_or_else(ticket_invalid)?,
            None => oauth.authenticate(token(&parts.headers)?).await?.ok_or_else(invalid)?,
        };
        let needed = if route == events::ticket::PATH { Scope::READ } else { Scope::of(&parts.method) };
        let Bearer { token, user, client, scopes } = bearer;
        Span::current().record("user", user.0);
        let left = RateLimits::from_ref(state).requests.count(&token)?;
        parts.extensions.insert(left);
        if scopes.iter().any(|scope| scope == needed.name) {
            Ok(Self { token, user, client, scopes })
        } else {
            Err(needed.missing())
        }
    }
}

/// The scope that a method needs.
struct Scope {
    name: &'static str,
    /// Of a token without it (RFC 6750 section 3.1).
    challenge: &'static str,
}

impl Scope {
    const READ: Self = Self {
        name: "read",
        challenge: "Bearer error=\"insufficient_scope\", error_description=\"GET and HEAD need the scope read\", \
                    scope=\"read\"",
    };
    const WRITE: Self = Self {
        name: "write",
        challenge: "Bearer error=\"insufficient_scope\", error_description=\"all methods but GET and HEAD need the \
                    scope write\", scope=\"write\"",
    };

    fn of(method: &Method) -> Self {
        if matches!(*method, Method::GET | Method::HEAD) { Self::READ } else { Self::WRITE }
    }

    /// 403
    fn missing(&self) -> ApiError {
        let message = format!(
            "the token lacks the scope {}, which this method needs: request a token with it at /o/token/",
            self.name
        );
        ApiError::forbidden(ErrorCode::InsufficientScope, message)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge))
    }
}

impl From<&Caller> for Uploader {
    fn from(caller: &Caller) -> Self {
        Self::User(caller.user)
    }
}

/// The ticket in the query of a request to a stream that has no token.
fn ticket(parts: &Parts, route: &str) -> Option<String> {
    if route != "/api/events/stream/" || parts.headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    ticket_in(parts.uri.query()?)
}

/// The ticket in a query.
#[must_use]
pub fn ticket_in(query: &str) -> Option<String> {
    let mut parameters = url::form_urlencoded::parse(query.as_bytes());
    parameters.find(|(name, _)| name == "ticket").map(|(_, ticket)| ticket.into_owned())
}

/// The token of the header `Authorization`. With another scheme the token is missing; two headers, or characters that no
/// token has, make it invalid.
pub fn token(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(missing()) };
    let (scheme, token) = split(value.as_bytes());
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(missing());
    }
    if values.next().is_some() || token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(invalid());
    }
    str::from_utf8(token).map_err(|_| invalid())
}

fn split(value: &[u8]) -> (&[u8], &[u8]) {
    let value = value.trim_ascii();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    (&value[..end], value[end..].trim_ascii())
}

/// Without a token the response says only how to send one (RFC 6750 section 3.1).
fn missing() -> ApiError {
    refuse(
        "Bearer",
        ErrorCode::TokenMissing,
        "a token is missing: send the header Authorization: Bearer TOKEN",
    )
}

#[must_use]
pub fn invalid() -> ApiError {
    refuse(
        "Bearer error=\"invalid_token\", error_description=\"the token is unknown, expired or revoked\"",
        ErrorCode::TokenInvalid,
        "the token is unknown, expired or revoked: request a new one at /o/token/",
    )
}

#[must_use]
pub fn ticket_invalid() -> ApiError {
    refuse(
        "Bearer error=\"invalid_token\", error_description=\"the ticket is unknown, late or used\"",
        ErrorCode::TicketInvalid,
        "the ticket is unknown, late or used: each is good for one request within 60 s",
    )
}

fn refuse(challenge: &'static str, code: ErrorCode, message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, code, message)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_get_and_head_do_without_the_scope_write() {
        for (method, name) in [
            (Method::GET, "read"),
            (Method::HEAD, "read"),
            (Method::POST, "write"),
            (Method::PATCH, "write"),
            (Method::DELETE, "write"),
            (Method::from_bytes(b"get").expect("a method"), "write"),
        ] {
            let scope = Scope::of(&method);
            assert_eq!(scope.name, name, "{method}");
            assert!(scope.challenge.ends_with(&format!("scope=\"{name}\"")), "{}", scope.challenge);
        }
    }

    fn read(values: &[&'static str]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        token(&headers).map(str::to_owned).map_err(|error| error.code().as_str())
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc ", "bEaReR abc"] {
            assert_eq!(read(&[value]).as_deref(), Ok("abc"), "{value}");
        }
    }

    #[test]
    fn what_is_no_token_is_missing_or_invalid() {
        for values in [&[][..], &["Basic YTpi"], &["abc"], &["Bearerabc"], &[""]] {
            assert_eq!(read(values), Err("token_missing"), "{values:?}");
        }
        for values in [&["Bearer"][..], &["Bearer "], &["Bearer a b"], &["Bearer a", "Bearer b"]] {
            assert_eq!(read(values), Err("token_invalid"), "{values:?}");
        }
    }
}
