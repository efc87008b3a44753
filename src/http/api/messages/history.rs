//! Lists of chats and of their messages.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::Timestamp;
use crate::http::AppState;
use crate::http::api::messages::view::MessageInfo;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::account::StoredAccount;
use crate::http::extract::page::ListParameters;
use crate::http::extract::params::{Flag, RequestParameters};
use crate::http::extract::recipient::StoredChat;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(chats)).routes(routes!(chat))
}

#[derive(Serialize, ToSchema)]
struct ChatList {
    chats: Vec<ChatInfo>,
}

#[derive(Serialize, ToSchema)]
struct ChatInfo {
    /// The number, the public id of a contact without a number, or the group's id.
    id: String,
    /// The contact's names, else its nickname, else its number; or the group's subject.
    title: String,
    is_group: bool,
    /// The beginning of the last message.
    snippet: String,
    /// The type of the last message.
    r#type: String,
    /// When the last message was stored.
    #[schema(value_type = String)]
    time: Timestamp,
    /// How many received messages are unread.
    unread: i32,
}

/// The chats, newest first.
#[utoipa::path(get, path = "/api/messages/chats/", tag = "messages", params(ListParameters),
    responses((status = 200, body = ChatList), ApiError))]
async fn chats(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
    RequestParameters(list): RequestParameters<ListParameters>,
) -> Result<Json<ChatList>, ApiError> {
    let chats = state.store.chats(&account, list.page()).await?;
    let chats = chats
        .into_iter()
        .map(|chat| ChatInfo {
            id: chat.id,
            title: chat.title,
            is_group: chat.is_group,
            snippet: chat.snippet.unwrap_or_default(),
            r#type: chat.kind,
            time: Timestamp(chat.time),
            unread: chat.unread,
        })
        .collect();
    Ok(Json(ChatList { chats }))
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
        messages.into_iter().map(|message| MessageInfo::new(&state, account.id, message)).collect();
    Ok(Json(MessageList { messages }))
}
