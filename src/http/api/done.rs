//! The empty object: the response of endpoints that return nothing.

use crate::http::json::Json;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct Done {}

pub const DONE: Json<Done> = Json(Done {});
