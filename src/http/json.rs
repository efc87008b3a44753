//! JSON responses.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;

use super::error::ApiError;

/// A value as the body of a response, with a line feed at its end: a terminal shows its prompt on a line of its own.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut body = match serde_json::to_vec(&self.0) {
            Ok(body) => body,
            Err(error) => return ApiError::internal(&error).into_response(),
        };
        body.push(b'\n');
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    }
}
