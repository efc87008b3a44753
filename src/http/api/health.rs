//! Probes for operators: `/livez` and `/readyz`.

use crate::http::json::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::AppState;
use crate::http::error::{ApiError, Problem};
use crate::http::middleware::deadline;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(readyz))
}

#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// Answers while the program runs; uses nothing else.
#[utoipa::path(get, path = "/livez", tag = "health", security(()), responses((status = 200, body = Health)))]
async fn livez() -> Json<Health> {
    OK
}

/// Answers when the program has started and the database answers.
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = Health), (status = 503, body = Problem))
)]
async fn readyz(State(state): State<AppState>) -> Result<Json<Health>, ApiError> {
    if !state.started.is_set() {
        return Err(ApiError::starting());
    }
    deadline::probe(&state.store).await?;
    Ok(OK)
}
