//! The answer of a row that has nothing to say: an empty object.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// It is done.
#[derive(Serialize, ToSchema)]
pub struct Done {}

/// `200 {}`.
pub const DONE: Json<Done> = Json(Done {});
