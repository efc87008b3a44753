//! Error objects for what axum refuses by itself, and for handlers that panic.

use std::any::Any;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::error::ApiError;

/// Middleware: an error whose body is not JSON gets the error object of its status. Its headers stay.
pub async fn objects(request: Request, next: Next) -> Response {
    let oauth = request.uri().path().starts_with("/o/");
    let response = next.run(request).await;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_json(&response) {
        return response;
    }
    let mut object = if oauth { oauth_object(status) } else { object(status) };
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            object.headers_mut().insert(name, value.clone());
        }
    }
    object
}

/// 500 for a handler that panicked. The panic itself was logged where it happened.
pub fn panicked(_: Box<dyn Any + Send>) -> Response {
    object(StatusCode::INTERNAL_SERVER_ERROR)
}

fn object(status: StatusCode) -> Response {
    let (code, message) = words(status);
    ApiError::new(status, code, message).into_response()
}

/// The form of RFC 6749, section 5.2.
fn oauth_object(status: StatusCode) -> Response {
    let (_, message) = words(status);
    let code = if status.is_server_error() { "server_error" } else { "invalid_request" };
    let body = json!({"error": code, "error_description": message}).to_string();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => (
            "method_not_allowed",
            "this path does not take this method; the header Allow says which it takes",
        ),
        StatusCode::REQUEST_TIMEOUT => ("timeout", "the request took too long to arrive"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "this type of body is not taken"),
        StatusCode::INTERNAL_SERVER_ERROR => ("internal", "this server made a mistake; it is logged"),
        status if status.is_server_error() => ("unavailable", "this server cannot do that now"),
        _ => ("invalid_request", "the request cannot be understood"),
    }
}

fn is_json(response: &Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .is_some_and(|value| value.starts_with(b"application/json"))
}
