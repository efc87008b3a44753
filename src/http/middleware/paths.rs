//! Normalisation of paths before routing: slashes, the aliases of the old documents, percent-encoding.
//!
//! Nothing is redirected, because a redirected POST loses its body.

use axum::extract::Request;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::http::error::{ApiError, ErrorCode};

/// Characters that stay encoded in a segment; the slash, so that it does not split the segment.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Old prefixes of paths and their replacements, in whole segments.
const ALIASES: &[(&str, &str)] = &[("/api/message/", "/api/messages/"), ("/groups/", "/api/groups/")];

/// Prefixes of the paths that are documented with a slash at the end; all others end without.
const SLASHED: &[&str] = &["/api/", "/o/"];

/// The request with its path as the routes are written.
///
/// # Errors
/// 400 `invalid_path` when a segment does not decode to UTF-8 or contains a NUL.
pub fn normalised(mut request: Request) -> Result<Request, ApiError> {
    let path = canonical(request.uri().path())?;
    if path != request.uri().path() {
        let whole = match request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let mut parts = request.uri().clone().into_parts();
        let target = PathAndQuery::try_from(whole).map_err(|_| invalid())?;
        parts.path_and_query = Some(target);
        *request.uri_mut() = http::Uri::from_parts(parts).map_err(|_| invalid())?;
    }
    Ok(request)
}

fn canonical(path: &str) -> Result<String, ApiError> {
    // `*` and the target of CONNECT are not paths; the router knows neither.
    if !path.starts_with('/') {
        return Ok(path.to_owned());
    }
    let mut segments = Vec::new();
    for segment in path.trim_end_matches('/').split('/').skip(1) {
        let segment = percent_decode_str(segment).decode_utf8().map_err(|_| invalid())?;
        if segment.contains('\0') {
            return Err(invalid());
        }
        segments.push(utf8_percent_encode(&segment, RESERVED).to_string());
    }
    if segments.is_empty() {
        return Ok("/".to_owned());
    }
    let mut path = format!("/{}/", segments.join("/"));
    for (old, new) in ALIASES {
        if let Some(rest) = path.strip_prefix(old) {
            path = format!("{new}{rest}");
        }
    }
    if !SLASHED.iter().any(|start| path.starts_with(start)) {
        path.pop();
    }
    Ok(path)
}

fn invalid() -> ApiError {
    ApiError::bad_request(ErrorCode::InvalidPath, "the path does not decode to UTF-8 text without NUL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        for (path, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/livez", "/livez"),
            ("/livez/", "/livez"),
            ("/api/account", "/api/account/"),
            ("/api/account/", "/api/account/"),
            ("/o/token", "/o/token/"),
            ("/api/message/chats", "/api/messages/chats/"),
            ("/api/message", "/api/messages/"),
            ("/api/messages/chats/", "/api/messages/chats/"),
            ("/groups/info-all/", "/api/groups/info-all/"),
            ("/groups", "/api/groups/"),
            ("/groupsome", "/groupsome"),
            ("/api/%63ontacts/%2B1%20555/", "/api/contacts/+1%20555/"),
            ("/api/contacts/a%2Fb", "/api/contacts/a%2Fb/"),
            ("/api/contacts/%zz", "/api/contacts/%25zz/"),
            ("/api/contacts/é", "/api/contacts/%C3%A9/"),
            ("/%61pi/account", "/api/account/"),
            ("/api/contacts//", "/api/contacts/"),
            ("/api//contacts/", "/api//contacts/"),
            ("*", "*"),
        ] {
            assert_eq!(canonical(path).expect(path), expected, "{path}");
        }
    }

    #[test]
    fn invalid_text_is_refused() {
        for path in ["/api/contacts/%ff/", "/api/contacts/%00/", "/%c3"] {
            assert_eq!(canonical(path).expect_err(path).code().as_str(), "invalid_path");
        }
    }
}
