//! Extractor for the requests below `/o`: HTTP Basic and the body. Parameters in the URL are refused, because URLs are logged.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequest, Request};
use data_encoding::BASE64;
use http::request::Parts;
use http::{HeaderMap, header};
use percent_encoding::percent_decode;

use super::failure::OAuthFailure;
use crate::http::error::ApiError;
use crate::http::extract::params;
use crate::http::server::{self, Remote};
use crate::oauth::{Basic, OAuth, OAuthError, TokenParameters, TokenRequest};

pub struct OAuthRequest(pub TokenRequest);

impl<S> FromRequest<S> for OAuthRequest
where
    S: Send + Sync,
    Arc<OAuth>: FromRef<S>,
{
    type Rejection = OAuthFailure;

    async fn from_request(request: Request, state: &S) -> Result<Self, OAuthFailure> {
        let (parts, body) = request.into_parts();
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            let text = "parameters belong in the body, never in the URL";
            return Err(OAuthError::InvalidRequest(text.to_owned()).into());
        }
        let basic = basic(&parts.headers)?;
        let parameters = TokenParameters::new(params::pairs(&parts.headers, body).await?)?;
        let address = address(&parts, &Arc::<OAuth>::from_ref(state))?;
        Ok(Self(TokenRequest { basic, parameters, address }))
    }
}

fn address(parts: &Parts, oauth: &OAuth) -> Result<std::net::IpAddr, OAuthFailure> {
    #[derive(Debug, thiserror::Error)]
    #[error("the server did not record the address of a connection")]
    struct NoRemote;
    let remote = parts.extensions.get::<Remote>().ok_or_else(|| ApiError::internal(&NoRemote))?;
    Ok(oauth.client_address(remote.0.ip(), server::forwarded(&parts.headers)))
}

/// The client's credentials. Other schemes are ignored.
fn basic(headers: &HeaderMap) -> Result<Option<Basic>, OAuthError> {
    let mut found = None;
    for value in headers.get_all(header::AUTHORIZATION) {
        let value = value.as_bytes().trim_ascii();
        let Some((scheme, rest)) = value.split_at_checked(b"basic ".len()) else { continue };
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            continue;
        }
        if found.is_some() {
            return Err(OAuthError::InvalidRequest("the client is named more than once".to_owned()));
        }
        found = Some(decode(rest.trim_ascii()).ok_or(OAuthError::InvalidClient)?);
    }
    Ok(found)
}

/// Each half is form-encoded before it is joined (RFC 6749 section 2.3.1).
fn decode(encoded: &[u8]) -> Option<Basic> {
    let plain = BASE64.decode(encoded).ok()?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    Some(Basic { client_id: text(&plain[..colon])?, secret: text(&plain[colon + 1..])? })
}

fn text(bytes: &[u8]) -> Option<String> {
    let blanks: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let text = percent_decode(&blanks).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(values: &[&str]) -> Result<Option<(String, String)>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a header"));
        }
        match basic(&headers) {
            Ok(basic) => Ok(basic.map(|basic| (basic.client_id, basic.secret))),
            Err(OAuthError::InvalidClient) => Err("client"),
            Err(_) => Err("request"),
        }
    }

    #[test]
    fn basic_credentials_are_form_encoded_inside() {
        let encoded = |plain: &[u8]| format!("bAsIc {}", BASE64.encode(plain));
        let pair = |id: &str, secret: &str| Ok(Some((id.to_owned(), secret.to_owned())));
        assert_eq!(read(&[&encoded(b"id:secret")]), pair("id", "secret"));
        assert_eq!(read(&[&encoded(b"i%3Ad:se+c:r%C3%A9t")]), pair("i:d", "se c:rét"));
        assert_eq!(read(&[&encoded(b"id:")]), pair("id", ""));
        for wrong in [encoded(b"id"), encoded(b"id:\xff"), encoded(b"id:%00"), "Basic ***".to_owned()] {
            assert_eq!(read(&[&wrong]), Err("client"), "{wrong}");
        }
        assert_eq!(read(&[&encoded(b"a:b"), &encoded(b"a:b")]), Err("request"));
        assert_eq!(read(&["Bearer abc"]), Ok(None));
        assert_eq!(read(&[]), Ok(None));
    }
}
