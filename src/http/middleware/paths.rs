//! One spelling per path before routing: slashes, the aliases of the old documents, percent-encoding.
//!
//! Nothing is redirected, because a redirected POST loses its body.

use axum::extract::Request;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::http::error::{ApiError, ErrorCode};

/// What must stay encoded in a path's word; a slash, so that it does not become two words.
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

/// Old spellings and what they mean, as whole words at the start of a path.
const ALIASES: &[(&str, &str)] = &[("/api/message/", "/api/messages/"), ("/groups/", "/api/groups/")];

/// Where the documented form of a path ends with a slash; elsewhere it ends without.
const SLASHED: &[&str] = &["/api/", "/o/"];

/// The request in the spelling that the routes are written in.
///
/// # Errors
/// 400 `invalid_path` when a word does not decode to UTF-8 or holds a NUL.
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
    // `*` and the target of CONNECT are no paths; the router knows neither.
    if !path.starts_with('/') {
        return Ok(path.to_owned());
    }
    let mut words = Vec::new();
    for word in path.trim_end_matches('/').split('/').skip(1) {
        let word = percent_decode_str(word).decode_utf8().map_err(|_| invalid())?;
        if word.contains('\0') {
            return Err(invalid());
        }
        words.push(utf8_percent_encode(&word, RESERVED).to_string());
    }
    if words.is_empty() {
        return Ok("/".to_owned());
    }
    let mut path = format!("/{}/", words.join("/"));
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
    fn one_spelling_per_path() {
        for (given, expected) in [
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
            assert_eq!(canonical(given).expect(given), expected, "{given}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for given in ["/api/contacts/%ff/", "/api/contacts/%00/", "/%c3"] {
            assert_eq!(canonical(given).expect_err(given).code().as_str(), "invalid_path");
        }
    }
}
