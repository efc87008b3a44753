//! The list of chats.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{MessageState, Timestamp, UncutTimestamp};
use crate::http::AppState;
use crate::http::api::photo::{PhotoSize, PhotoUrl};
use crate::http::error::ApiError;
use crate::http::extract::account::StoredAccount;
use crate::http::extract::page::ListParameters;
use crate::http::extract::params::RequestParameters;
use crate::http::json::Json;
use crate::store::{ChatPhoto, ChatSummary, LastMessage};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(chats))
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
    /// The beginning of the last message; empty in a group without messages.
    snippet: String,
    /// The type of the last message, as in the list of messages; empty in a group without messages.
    r#type: String,
    /// When the last message was stored; in a group without messages, when the account came into it.
    #[schema(value_type = String)]
    time: Timestamp,
    /// The same time, uncut and with its zone.
    #[schema(value_type = String)]
    timestamp: UncutTimestamp,
    /// How many received messages are unread.
    unread: i32,
    /// Whether the account received the last message; otherwise the account sent it. Null in a group without messages.
    #[schema(required = true)]
    received: Option<bool>,
    /// How far the last message has come: queued, sent, delivered, read, failed or received. Null in a group without
    /// messages.
    #[schema(required = true)]
    state: Option<String>,
    /// The sender of the last message, if it was received in a group.
    #[schema(required = true)]
    participant: Option<String>,
    /// The preview of the contact's or the group's photo. Signed; opens without a token for 24 h. Null unless
    /// `photo_status` is 200.
    #[schema(required = true)]
    preview_photo_url: Option<String>,
    /// `200`, `404` when there is no photo, `401` when it is hidden.
    photo_status: &'static str,
}

impl ChatInfo {
    fn new(state: &AppState, chat: ChatSummary) -> Self {
        let photo = match chat.photo {
            ChatPhoto::OfPerson(photo) => PhotoUrl::of(&state.media, &photo, PhotoSize::Preview),
            ChatPhoto::OfGroup(photo) => PhotoUrl::of_group(&state.media, photo, PhotoSize::Preview),
        };
        let (received, progress, participant) = match chat.last {
            Some(last) => (Some(last.received), Some(progress(&last).to_owned()), last.participant),
            None => (None, None, None),
        };
        Self {
            id: chat.id,
            title: chat.title,
            is_group: chat.is_group,
            snippet: chat.snippet.unwrap_or_default(),
            r#type: chat.kind,
            time: Timestamp(chat.time),
            timestamp: UncutTimestamp(chat.time),
            unread: chat.unread,
            received,
            state: progress,
            participant,
            preview_photo_url: photo.photo_url,
            photo_status: photo.photo_status,
        }
    }
}

/// The state of a message, with its receipts if the account sent it.
fn progress(message: &LastMessage) -> &str {
    match &message.state {
        MessageState::Sent if message.is_read => "read",
        MessageState::Sent if message.is_delivered => "delivered",
        state => state.name(),
    }
}

/// The chats, newest first, with the groups that the account is in.
#[utoipa::path(get, path = "/api/messages/chats/", tag = "messages", params(ListParameters),
    responses((status = 200, body = ChatList), ApiError))]
async fn chats(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
    RequestParameters(list): RequestParameters<ListParameters>,
) -> Result<Json<ChatList>, ApiError> {
    let chats = state.store.chats(&account, list.page()).await?;
    Ok(Json(ChatList { chats: chats.into_iter().map(|chat| ChatInfo::new(&state, chat)).collect() }))
}
