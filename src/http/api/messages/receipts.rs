//! Receipts: messages marked as read, and the lists of delivered and of read messages.

use axum::extract::State;
use chrono::TimeDelta;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{TimeParameter, Timestamp, UncutTimestamp};
use crate::http::AppState;
use crate::http::api::messages::send::SendTo;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::RegisteredAccount;
use crate::http::extract::page::ListParameters;
use crate::http::extract::params::RequestParameters;
use crate::http::extract::recipient::{ChatSelector, StoredChat, readable};
use crate::http::json::Json;
use crate::store::{MarkedRead, Receipted};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(update_last_read)).routes(routes!(delivered)).routes(routes!(read))
}

#[derive(Deserialize, ToSchema)]
struct LastRead {
    /// Only messages stored up to this time; without it, all.
    #[schema(value_type = Option<String>)]
    date_limit: Option<TimeParameter>,
}

/// Either `read` or `message`.
#[derive(Default, Serialize, ToSchema)]
struct ReadUpTo {
    /// How many messages were marked as read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    read: Option<usize>,
    /// True: there are more; they are marked in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pending: Option<bool>,
    /// That there were no unread messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<&'static str>,
}

/// Marks received messages as read and sends read receipts.
#[utoipa::path(post, path = "/api/messages/update-last-read/", tag = "messages",
    request_body = inline(SendTo<LastRead>),
    responses(
        (status = 200, body = ReadUpTo),
        ApiError,
        (status = 404, body = Problem),
    ))]
async fn update_last_read(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    RequestParameters(selector): RequestParameters<ChatSelector>,
    RequestParameters(body): RequestParameters<LastRead>,
) -> Result<Json<ReadUpTo>, ApiError> {
    let chat = selector.chat()?;
    readable(&state, &account, &chat).await?;
    // The bound is exclusive; stored times are whole microseconds.
    let before = body.date_limit.map(|limit| limit.last_moment() + TimeDelta::microseconds(1));
    let mut tx = state.store.begin().await?;
    let answer = match tx.mark_read(&account, chat.as_str(), before).await? {
        MarkedRead { messages: 0, .. } => {
            ReadUpTo { message: Some("there were no unread messages"), ..ReadUpTo::default() }
        }
        MarkedRead { messages, pending } => {
            ReadUpTo { read: Some(messages), pending: pending.then_some(true), message: None }
        }
    };
    claim.commit(tx, StatusCode::OK, answer).await
}

#[derive(Serialize, ToSchema)]
struct DeliveredList {
    messages: Vec<DeliveredMessage>,
}

#[derive(Serialize, ToSchema)]
struct DeliveredMessage {
    id: String,
    #[schema(value_type = String)]
    delivered: Timestamp,
    /// The same time, uncut and with its zone.
    #[schema(value_type = String)]
    delivered_timestamp: UncutTimestamp,
}

/// The delivered messages that the account sent, oldest first by the time of delivery.
#[utoipa::path(get, path = "/api/messages/delivered/{chat}/", tag = "messages",
    params(("chat" = String, Path, description = "the number, or the group's id"), ListParameters),
    responses((status = 200, body = DeliveredList), ApiError, (status = 404, body = Problem)))]
async fn delivered(
    State(state): State<AppState>,
    StoredChat { account, chat }: StoredChat,
    RequestParameters(list): RequestParameters<ListParameters>,
) -> Result<Json<DeliveredList>, ApiError> {
    let receipts = state.store.delivered(&account, chat.as_str(), list.page()).await?;
    let messages = receipts
        .into_iter()
        .map(|Receipted { id, at }| DeliveredMessage {
            id,
            delivered: Timestamp(at),
            delivered_timestamp: UncutTimestamp(at),
        })
        .collect();
    Ok(Json(DeliveredList { messages }))
}

#[derive(Serialize, ToSchema)]
struct ReadList {
    messages: Vec<ReadMessage>,
}

#[derive(Serialize, ToSchema)]
struct ReadMessage {
    id: String,
    #[schema(value_type = String)]
    read: Timestamp,
    /// The same time, uncut and with its zone.
    #[schema(value_type = String)]
    read_timestamp: UncutTimestamp,
}

/// The read messages that the account sent, oldest first by the time when they were read.
#[utoipa::path(get, path = "/api/messages/read/{chat}/", tag = "messages",
    params(("chat" = String, Path, description = "the number, or the group's id"), ListParameters),
    responses((status = 200, body = ReadList), ApiError, (status = 404, body = Problem)))]
async fn read(
    State(state): State<AppState>,
    StoredChat { account, chat }: StoredChat,
    RequestParameters(list): RequestParameters<ListParameters>,
) -> Result<Json<ReadList>, ApiError> {
    let receipts = state.store.read(&account, chat.as_str(), list.page()).await?;
    let messages = receipts
        .into_iter()
        .map(|Receipted { id, at }| ReadMessage {
            id,
            read: Timestamp(at),
            read_timestamp: UncutTimestamp(at),
        })
        .collect();
    Ok(Json(ReadList { messages }))
}
