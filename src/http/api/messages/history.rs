//! The list of a chat's messages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::events::view::MessageInfo;
use crate::http::AppState;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::page::ListParameters;
use crate::http::extract::params::{Flag, RequestParameters};
use crate::http::extract::recipient::StoredChat;
use crate::http::json::Json;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(chat))
}

#[derive(Deserialize, ToSchema)]
struct ReceivedOnly {
    /// Only received messages.
    #[serde(default)]
    received_only: Flag,
}

#[derive(Serialize, ToSchema)]
struct MessageList {
    messages: Vec<MessageInfo>,
}

/// The messages of a chat, oldest first: the newest `limit` of those before the newest `offset`. Empty for a number
/// that never wrote. After leaving a group an account can still read the earlier messages.
#[utoipa::path(get, path = "/api/messages/chats/{chat}/", tag = "messages",
    params(("chat" = String, Path, description = "the number, or the group's id"), ListParameters,
           ("received_only" = Option<bool>, Query, description = "1: only received messages")),
    responses((status = 200, body = MessageList), ApiError, (status = 404, body = Problem)))]
async fn chat(
    State(state): State<AppState>,
    StoredChat { account, chat }: StoredChat,
    RequestParameters(list): RequestParameters<ListParameters>,
    RequestParameters(filter): RequestParameters<ReceivedOnly>,
) -> Result<Json<MessageList>, ApiError> {
    let messages = state.store.messages(&account, chat.as_str(), filter.received_only.0, list.page()).await?;
    let messages =
        messages.into_iter().map(|message| MessageInfo::new(&state.media, account.id, message)).collect();
    Ok(Json(MessageList { messages }))
}
