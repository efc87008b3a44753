//! JSON responses.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;

use super::error::ApiError;

/// A value as the body of a response, with a line feed at its end: a terminal shows its prompt on a line of its own.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match text(&self.0) {
            Ok(body) => {
                ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
            }
            Err(error) => error.into_response(),
        }
    }
}

/// The body of a value.
pub fn text(value: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    let mut body = serde_json::to_vec(value).map_err(|error| ApiError::internal(&error))?;
    body.push(b'\n');
    Ok(body)
}
