//! Tickets: a page's EventSource and WebSocket send no header, and a token in a URL would be logged.

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::caller::Caller;
use crate::http::json::Json;
use crate::oauth::TICKET_LIFETIME;

/// The path, which needs the scope read only and takes no Idempotency-Key.
pub const PATH: &str = "/api/events/ticket/";

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(ticket))
}

#[derive(Serialize, ToSchema)]
struct Ticket {
    ticket: String,
    /// Seconds.
    expires_in: u64,
}

/// A ticket for one request to the stream or the socket, on any process. It ends with the token.
#[utoipa::path(post, path = "/api/events/ticket/", tag = "events",
    responses((status = 201, body = Ticket), ApiError))]
async fn ticket(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<(StatusCode, Json<Ticket>), ApiError> {
    let ticket = state.oauth.ticket(&caller.token).await?;
    Ok((StatusCode::CREATED, Json(Ticket { ticket, expires_in: TICKET_LIFETIME.as_secs() })))
}
