//! Messages: sending, and the lists of what was sent and received.

mod send_media;
mod view;

use axum::Json;
use axum::extract::State;
use chrono::TimeDelta;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::done::{DONE, Done};
use crate::domain::{Account, Content, TimeParameter, Timestamp, Typing};
use crate::http::AppState;
use crate::http::api::messages::view::MessageInfo;
use crate::http::error::{ApiError, Code, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::{RegisteredAccount, StoredAccount};
use crate::http::extract::page::ListParameters;
use crate::http::extract::params::{Flag, Parameters, Text};
use crate::http::extract::recipient::{Addressed, Receiver, StoredChat, Target, readable};
use crate::store::{Accepted, NewMessage, Page, Receipted};
use crate::upstream::Address;
use crate::{clock, secrets};

/// How often a message is offered whose account may write there whenever it is looked at, but not when it is written.
const LOOKS: usize = 3;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_message))
        .routes(routes!(set_typing))
        .routes(routes!(set_paused))
        .routes(routes!(chats))
        .routes(routes!(chat))
        .routes(routes!(update_last_read))
        .routes(routes!(delivered))
        .routes(routes!(read))
        .merge(send_media::router())
}

#[derive(Deserialize, ToSchema)]
struct SendMessage {
    /// The text.
    #[schema(value_type = String, max_length = 65536)]
    message: Text<65_536>,
}

#[derive(Serialize, ToSchema)]
pub struct Sent {
    /// The message's id, under which receipts come in.
    message_id: String,
    /// The same.
    id: String,
}

impl Sent {
    /// Of a message with this id, whoever sends it.
    pub fn of(_: &Account, id: String) -> Self {
        Self { message_id: id.clone(), id }
    }
}

/// Sends a text. The answer means that the message is stored: it will be sent, whatever happens to this server.
#[utoipa::path(post, path = "/api/messages/send-message/", tag = "messages",
    request_body = inline(SendTo<SendMessage>),
    responses((status = 200, body = Sent), ApiError, (status = 404, body = Problem)))]
async fn send_message(
    State(state): State<AppState>,
    to: Receiver,
    claim: IdempotencyClaim,
    Parameters(body): Parameters<SendMessage>,
) -> Result<Json<Sent>, ApiError> {
    if body.message.is_empty() {
        return Err(ApiError::bad_request(Code::InvalidParameter, "message: an empty text cannot be sent"));
    }
    send(&state, &to, &claim, Content::Text(body.message.into_inner()), Sent::of).await
}

/// Accepts a message under a new id. `answer` makes the row's answer of the account that sends and the id; it is committed with the message.
///
/// # Errors
/// 400 or 404 when the account may not write there any more, 503 when its outbox is full.
pub(in crate::http) async fn send<T: Serialize>(
    state: &AppState,
    to: &Receiver,
    claim: &IdempotencyClaim,
    content: Content,
    answer: impl Fn(&Account, String) -> T,
) -> Result<Json<T>, ApiError> {
    let id = secrets::growing_id(clock::now());
    let mut now = None;
    for _ in 0..LOOKS {
        let Addressed { account, chat, reachable } = now.as_ref().unwrap_or(&to.addressed);
        let sent = answer(account, id.clone());
        let keyed = claim.answered(StatusCode::OK, &sent)?;
        let outgoing = NewMessage {
            named: to.is_of_named_account(),
            id: &id,
            peer: reachable.peer,
            chat,
            content: &content,
            time_to_live: state.send_ttl,
        };
        match state.store.accept_send(account, &outgoing, keyed.as_ref()).await? {
            Accepted::Queued(_) => return Ok(Json(sent)),
            Accepted::OutboxFull => {
                return Err(ApiError::unavailable(
                    Code::OutboxFull,
                    "too many messages of this account wait for the network; try again when some were taken",
                    30,
                ));
            }
            Accepted::NotAllowed => now = Some(to.look_again(state).await?),
        }
    }
    Err(ApiError::unavailable(Code::Changing, "the account or its contacts are changing; try again", 1))
}

/// A message's receiver beside what it says; for the description only.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes two extractors as one body")]
pub struct SendTo<T> {
    #[schema(inline)]
    #[serde(flatten)]
    target: Target,
    #[schema(inline)]
    #[serde(flatten)]
    body: T,
}

/// Shows the contact, or the group, that the account writes.
#[utoipa::path(post, path = "/api/messages/set-typing/", tag = "messages", request_body = Target,
    responses((status = 200, body = Done), ApiError, (status = 404, body = Problem)))]
async fn set_typing(
    State(state): State<AppState>,
    Addressed { account, reachable, .. }: Addressed,
) -> Result<Json<Done>, ApiError> {
    state.sessions.typing(account.id, &Address(reachable.address), Typing::Composing);
    Ok(DONE)
}

/// Shows the contact, or the group, that the account stopped writing.
#[utoipa::path(post, path = "/api/messages/set-paused/", tag = "messages", request_body = Target,
    responses((status = 200, body = Done), ApiError, (status = 404, body = Problem)))]
async fn set_paused(
    State(state): State<AppState>,
    Addressed { account, reachable, .. }: Addressed,
) -> Result<Json<Done>, ApiError> {
    state.sessions.typing(account.id, &Address(reachable.address), Typing::Paused);
    Ok(DONE)
}

#[derive(Serialize, ToSchema)]
struct ChatList {
    chats: Vec<ChatInfo>,
}

#[derive(Serialize, ToSchema)]
struct ChatInfo {
    /// The number, or the public id of somebody who has none; or the group's id.
    id: String,
    /// Names, else nickname, else the number; or the group's subject.
    title: String,
    is_group: bool,
    /// The beginning of the last message.
    snippet: String,
    /// The kind of the last message.
    r#type: String,
    /// When the last message was stored.
    #[schema(value_type = String)]
    time: Timestamp,
    /// Received messages that were not read.
    unread: i32,
}

/// The chats, newest first.
#[utoipa::path(get, path = "/api/messages/chats/", tag = "messages", params(ListParameters),
    responses((status = 200, body = ChatList), ApiError))]
async fn chats(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
    Parameters(list): Parameters<ListParameters>,
) -> Result<Json<ChatList>, ApiError> {
    let chats = state.store.chats(&account, page(&list)).await?;
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
    /// Only what came in.
    #[serde(default)]
    received_only: Flag,
}

#[derive(Serialize, ToSchema)]
struct MessageList {
    messages: Vec<MessageInfo>,
}

/// The messages of a chat, oldest first: the newest `limit` after `offset` newer ones. Of a number that never wrote,
/// none. Who left a group still reads what came until then.
#[utoipa::path(get, path = "/api/messages/chats/{chat}/", tag = "messages",
    params(("chat" = String, Path, description = "the number, or the group's id"), ListParameters,
           ("received_only" = Option<bool>, Query, description = "1: only what came in")),
    responses((status = 200, body = MessageList), ApiError, (status = 404, body = Problem)))]
async fn chat(
    State(state): State<AppState>,
    StoredChat { account, chat }: StoredChat,
    Parameters(list): Parameters<ListParameters>,
    Parameters(filter): Parameters<ReceivedOnly>,
) -> Result<Json<MessageList>, ApiError> {
    let messages = state.store.messages(&account, chat.as_str(), filter.received_only.0, page(&list)).await?;
    let messages =
        messages.into_iter().map(|message| MessageInfo::new(&state, account.id, message)).collect();
    Ok(Json(MessageList { messages }))
}

#[derive(Deserialize, ToSchema)]
struct LastRead {
    /// Only messages stored up to then; without it, all.
    #[schema(value_type = Option<String>)]
    date_limit: Option<TimeParameter>,
}

/// Marks received messages read and tells their sender.
#[utoipa::path(post, path = "/api/messages/update-last-read/", tag = "messages",
    request_body = inline(SendTo<LastRead>),
    responses(
        (status = 200, description = "how many were read, or a message that there were none"),
        ApiError,
        (status = 404, body = Problem),
    ))]
async fn update_last_read(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    keyed: IdempotencyClaim,
    Parameters(target): Parameters<Target>,
    Parameters(body): Parameters<LastRead>,
) -> Result<Json<Value>, ApiError> {
    let chat = target.chat()?;
    readable(&state, &account, &chat).await?;
    // The bound is exclusive; stored times are whole microseconds.
    let before = body.date_limit.map(|limit| limit.last_moment() + TimeDelta::microseconds(1));
    let mut tx = state.store.begin().await?;
    let answer = match tx.mark_read(&account, chat.as_str(), before).await? {
        0 => json!({"message": "there were no unread messages"}),
        read => json!({"read": read}),
    };
    keyed.commit(tx, StatusCode::OK, answer).await
}

#[derive(Serialize, ToSchema)]
struct DeliveredList {
    messages: Vec<Delivered>,
}

#[derive(Serialize, ToSchema)]
struct Delivered {
    id: String,
    #[schema(value_type = String)]
    delivered: Timestamp,
}

/// What the account sent and was delivered, oldest first, by the time of delivery.
#[utoipa::path(get, path = "/api/messages/delivered/{chat}/", tag = "messages",
    params(("chat" = String, Path, description = "the number, or the group's id"), ListParameters),
    responses((status = 200, body = DeliveredList), ApiError, (status = 404, body = Problem)))]
async fn delivered(
    State(state): State<AppState>,
    StoredChat { account, chat }: StoredChat,
    Parameters(list): Parameters<ListParameters>,
) -> Result<Json<DeliveredList>, ApiError> {
    let receipts = state.store.delivered(&account, chat.as_str(), page(&list)).await?;
    let messages =
        receipts.into_iter().map(|Receipted { id, at }| Delivered { id, delivered: Timestamp(at) }).collect();
    Ok(Json(DeliveredList { messages }))
}

#[derive(Serialize, ToSchema)]
struct ReadList {
    messages: Vec<Read>,
}

#[derive(Serialize, ToSchema)]
struct Read {
    id: String,
    #[schema(value_type = String)]
    read: Timestamp,
}

/// What the account sent and was read, oldest first, by the time it was read.
#[utoipa::path(get, path = "/api/messages/read/{chat}/", tag = "messages",
    params(("chat" = String, Path, description = "the number, or the group's id"), ListParameters),
    responses((status = 200, body = ReadList), ApiError, (status = 404, body = Problem)))]
async fn read(
    State(state): State<AppState>,
    StoredChat { account, chat }: StoredChat,
    Parameters(list): Parameters<ListParameters>,
) -> Result<Json<ReadList>, ApiError> {
    let receipts = state.store.read(&account, chat.as_str(), page(&list)).await?;
    let messages =
        receipts.into_iter().map(|Receipted { id, at }| Read { id, read: Timestamp(at) }).collect();
    Ok(Json(ReadList { messages }))
}

fn page(list: &ListParameters) -> Page {
    Page {
        limit: i64::from(list.limit),
        offset: i64::try_from(list.offset).unwrap_or(i64::MAX),
        after: list.after,
    }
}
