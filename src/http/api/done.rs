//! The empty object: the response of endpoints that return nothing.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::json::Json;

#[derive(Serialize, ToSchema)]
pub struct Done {}

pub const DONE: Json<Done> = Json(Done {});
