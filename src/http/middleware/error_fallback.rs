//! Error bodies for requests that axum itself refuses, and for handlers that panic; the headers of all JSON responses.

use std::any::Any;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::http::error::{ApiError, ErrorCode, ErrorMessage};
use crate::http::json::Json;

/// The response with an error object as the body of an error, and with the headers of JSON.
pub fn finished(response: Response, oauth: bool) -> Response {
    protected(as_object(response, oauth))
}

/// JSON of a person's messages and contacts is not guessed to be anything else, and kept by no cache.
fn protected(mut response: Response) -> Response {
    if is_json(&response) {
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

/// Replaces the body of an error that is not JSON, and below `/o` gives every error the form of RFC 6749. Headers are kept.
fn as_object(response: Response, oauth: bool) -> Response {
    let status = response.status();
    let message = response.extensions().get::<ErrorMessage>().filter(|_| oauth);
    if !(status.is_client_error() || status.is_server_error()) || (is_json(&response) && message.is_none()) {
        return response;
    }
    let text = message.map_or(default_error(status).1, |message| &message.0);
    let mut object = if oauth { oauth_object(status, text) } else { object(status) };
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            object.headers_mut().insert(name, value.clone());
        }
    }
    object
}

/// 500 for a handler that panicked. The panic itself was logged where it happened.
pub fn panicked(_: Box<dyn Any + Send>) -> Response {
    protected(object(StatusCode::INTERNAL_SERVER_ERROR))
}

fn object(status: StatusCode) -> Response {
    let (code, message) = default_error(status);
    ApiError::new(status, code, message).into_response()
}

/// RFC 6749, section 5.2.
fn oauth_object(status: StatusCode, text: &str) -> Response {
    let code = match status {
        StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request",
    };
    let body = Json(json!({"error": code, "error_description": text}));
    (status, [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], body).into_response()
}

fn default_error(status: StatusCode) -> (ErrorCode, &'static str) {
    match status {
        StatusCode::NOT_FOUND => (ErrorCode::NotFound, "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => (
            ErrorCode::MethodNotAllowed,
            "this path does not accept this method; the header Allow lists those that it accepts",
        ),
        StatusCode::REQUEST_TIMEOUT => (ErrorCode::Timeout, "the request took too long to arrive"),
        StatusCode::PAYLOAD_TOO_LARGE => (ErrorCode::TooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            (ErrorCode::UnsupportedMediaType, "this type of body is not accepted")
        }
        StatusCode::INTERNAL_SERVER_ERROR => {
            (ErrorCode::Internal, "this server made a mistake; it is logged")
        }
        status if status.is_server_error() => (ErrorCode::Unavailable, "this server cannot do that now"),
        _ => (ErrorCode::InvalidRequest, "the request cannot be understood"),
    }
}

fn is_json(response: &Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .is_some_and(|value| value.starts_with(b"application/json"))
}
