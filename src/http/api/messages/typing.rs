//! Typing notifications.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::Typing;
use crate::http::AppState;
use crate::http::api::done::{DONE, Done};
use crate::http::error::{ApiError, Problem};
use crate::http::extract::recipient::{ChatSelector, Recipient};
use crate::http::json::Json;
use crate::upstream::Address;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(set_typing)).routes(routes!(set_paused))
}

/// Notifies the contact or the group that the account is typing.
#[utoipa::path(post, path = "/api/messages/set-typing/", tag = "messages", request_body = ChatSelector,
    responses((status = 200, body = Done), ApiError, (status = 404, body = Problem)))]
async fn set_typing(
    State(state): State<AppState>,
    Recipient { account, reachable, .. }: Recipient,
) -> Result<Json<Done>, ApiError> {
    state.sessions.typing(account.id, &Address(reachable.address), Typing::Composing);
    Ok(DONE)
}

/// Notifies the contact or the group that the account stopped typing.
#[utoipa::path(post, path = "/api/messages/set-paused/", tag = "messages", request_body = ChatSelector,
    responses((status = 200, body = Done), ApiError, (status = 404, body = Problem)))]
async fn set_paused(
    State(state): State<AppState>,
    Recipient { account, reachable, .. }: Recipient,
) -> Result<Json<Done>, ApiError> {
    state.sessions.typing(account.id, &Address(reachable.address), Typing::Paused);
    Ok(DONE)
}
