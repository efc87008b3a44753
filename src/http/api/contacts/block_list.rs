//! Blocked numbers of an account.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::ContactId;
use crate::http::AppState;
use crate::http::api::done::Done;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::{RegisteredAccount, StoredAccount};
use crate::http::extract::params::{JsonOnly, Value};
use crate::http::extract::recipient::PathContact;
use crate::http::json::Json;
use crate::store::{LIST_LIMIT, ListAddition};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(block))
        .routes(routes!(unblock))
        .routes(routes!(blocked_list, replace_blocked_list))
}

#[derive(Serialize, ToSchema)]
struct BlockChange {
    /// `already-blocked` or `not-blocked`, when nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text: Option<&'static str>,
}

/// Blocks a number: its messages no longer arrive, and it no longer sees the account's profile. Groups are not affected.
#[utoipa::path(post, path = "/api/contacts/{contact_id}/block/", tag = "contacts",
    params(("contact_id" = String, Path, description = "any number")),
    responses((status = 200, body = BlockChange), ApiError))]
async fn block(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    PathContact(contact): PathContact,
) -> Result<Json<BlockChange>, ApiError> {
    let peers = state.sessions.peers(&account, vec![contact]).await?;
    let mut tx = state.store.begin().await?;
    let mut changed = false;
    for peer in &peers {
        match tx.block(&account, peer).await? {
            ListAddition::Added => changed = true,
            ListAddition::Present => {}
            ListAddition::Full => return Err(ApiError::list_full("blocked numbers")),
        }
    }
    let text = (!changed).then_some("already-blocked");
    claim.commit(tx, StatusCode::OK, BlockChange { text }).await
}

/// Unblocks a number.
#[utoipa::path(post, path = "/api/contacts/{contact_id}/unblock/", tag = "contacts",
    params(("contact_id" = String, Path, description = "any number")),
    responses((status = 200, body = BlockChange), ApiError))]
async fn unblock(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    PathContact(contact): PathContact,
) -> Result<Json<BlockChange>, ApiError> {
    let mut tx = state.store.begin().await?;
    let changed = tx.unblock(&account, contact.as_str()).await?;
    let text = (!changed).then_some("not-blocked");
    claim.commit(tx, StatusCode::OK, BlockChange { text }).await
}

#[derive(Serialize, ToSchema)]
struct BlockedList {
    /// In the order in which they were blocked.
    numbers: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
struct NewBlockedList {
    /// All numbers to block; empty for none.
    #[schema(value_type = Vec<String>)]
    numbers: Option<Vec<Value>>,
    /// Another name of `numbers`, for older clients; the description has one.
    #[schema(ignore)]
    contacts: Option<Vec<Value>>,
}

/// The numbers that the account has blocked.
#[utoipa::path(get, path = "/api/contacts/blocked-list/", tag = "contacts",
    responses((status = 200, body = BlockedList), ApiError))]
async fn blocked_list(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
) -> Result<Json<BlockedList>, ApiError> {
    Ok(Json(BlockedList { numbers: state.store.blocked(&account).await? }))
}

/// Replaces the whole list, in one step or not at all.
#[utoipa::path(post, path = "/api/contacts/blocked-list/", tag = "contacts", request_body = NewBlockedList,
    responses((status = 200, body = Done), ApiError))]
async fn replace_blocked_list(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    JsonOnly(list): JsonOnly<NewBlockedList>,
) -> Result<Json<Done>, ApiError> {
    let Some(numbers) = list.numbers.or(list.contacts) else {
        return Err(ApiError::bad_request(
            ErrorCode::MissingParameter,
            "numbers is missing; [] unblocks all numbers",
        ));
    };
    if numbers.len() > usize::from(LIST_LIMIT) {
        return Err(ApiError::list_full("blocked numbers"));
    }
    let mut ids: Vec<ContactId> = Vec::with_capacity(numbers.len());
    for number in &numbers {
        let id = ContactId::deserialize(number).map_err(|error| {
            ApiError::bad_request(ErrorCode::InvalidParameter, format!("numbers: {number}: {error}"))
        })?;
        ids.push(id);
    }
    let peers = state.sessions.peers(&account, ids).await?;
    let mut tx = state.store.begin().await?;
    tx.replace_blocked(&account, &peers).await?;
    claim.commit(tx, StatusCode::OK, Done {}).await
}
