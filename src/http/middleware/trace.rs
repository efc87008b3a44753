//! Request ids, the span of a request in the log, and one log line per response.
//!
//! Queries, headers and bodies are not logged: they contain tokens, codes and messages.

use std::borrow::Cow;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::http::error::ErrorCode;
use crate::metrics::{METRICS, method_name};
use crate::secrets;
use crate::telemetry::traces::{self, AnsweredRequest};

/// The caller's own id, if it is valid; otherwise a new one.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An extension of a response that waited for events, or goes on with them: its duration says nothing about this server.
#[derive(Clone, Copy, Debug)]
pub struct LongLived;

const LONGEST_ID: usize = 128;

const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// Middleware around everything: puts the id in the request, the span and the response.
pub async fn trace(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = id_of_caller(request.headers()).unwrap_or_else(new_id);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let parent = traces::parent(request.headers());
    let active = METRICS.begin_request();
    // The highest level, so that no filter of levels removes the id from the lines within. Extractors fill in the rest.
    let span = tracing::error_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = method.as_str(),
        user = Empty,
        account = Empty,
    );
    let mut response = next.run(request).instrument(span.clone()).await;
    drop(active);
    let took = began.elapsed();
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let route = response.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if response.extensions().get::<LongLived>().is_none() {
        METRICS.request(&method, route, response.status().as_u16(), took);
    }
    let code = response.extensions().get::<ErrorCode>().map(|code| code.as_str());
    // Probes say nothing new as long as they succeed.
    let is_news = !(response.status().is_success() && PROBES.contains(&path.as_str()));
    if is_news {
        let method = method_name(&method);
        traces::record(AnsweredRequest { parent, method, route, status: response.status(), code, took });
    }
    span.in_scope(|| {
        let status = response.status().as_u16();
        // The template of the route, or the path of a request that no route serves.
        let route = route.map_or_else(|| Cow::Owned(masked(&path)), Cow::Borrowed);
        if is_news {
            tracing::info!(status, code, milliseconds, %route, "answered");
        } else {
            tracing::debug!(status, milliseconds, %route, "answered");
        }
    });
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn id_of_caller(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let bytes = id.as_bytes();
    let valid = (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    valid.then(|| id.clone())
}

fn new_id() -> HeaderValue {
    HeaderValue::try_from(secrets::random_id()).unwrap_or(HeaderValue::from_static("-"))
}

/// The path with only the last three digits of each phone number, as everywhere in the log.
fn masked(path: &str) -> String {
    const SHORTEST_NUMBER: usize = 5;
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(start) = rest.find(|character: char| character.is_ascii_digit()) {
        text.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        if end < SHORTEST_NUMBER {
            text.push_str(&rest[..end]);
        } else {
            text.push('…');
            text.push_str(&rest[end - 3..end]);
        }
        rest = &rest[end..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_paths_are_masked() {
        assert_eq!(masked("/api/contacts/15551230000/photo/"), "/api/contacts/…000/photo/");
        assert_eq!(masked("/api/groups/15551230000-1466000001/"), "/api/groups/…000-…001/");
        assert_eq!(masked("/v2/1234"), "/v2/1234");
    }

    #[test]
    fn only_a_valid_id_is_used() {
        let used = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).expect("a value"));
            id_of_caller(&headers).is_some()
        };
        assert!(used(b"a-1"));
        assert!(used(&[b'a'; 128]));
        assert!(!used(&[b'a'; 129]));
        assert!(!used(b""));
        assert!(!used(b"a b"));
        assert!(!used("é".as_bytes()));
    }
}
