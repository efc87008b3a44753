//! The answer of a row that has nothing to say: an empty object.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;

/// It is done.
#[derive(Serialize, ToSchema)]
pub struct Done {}

/// `200 {}`.
pub fn done() -> Result<Json<Done>, ApiError> {
    Ok(Json(Done {}))
}
