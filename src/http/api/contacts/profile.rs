//! Profiles of contacts: status messages and presence.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Account, Timestamp, UncutTimestamp, Visible};
use crate::events::view::PresenceInfo;
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::account::{RegisteredAccount, StoredAccount};
use crate::http::extract::recipient::{PathContact, ShownContact};
use crate::http::json::Json;
use crate::store::{PeerStatusMessage, ProfileScope};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(status_message))
        .routes(routes!(status_message_history))
        .routes(routes!(statuses_messages))
        .routes(routes!(connected_status))
        .routes(routes!(connected_statuses))
}

#[derive(Serialize, ToSchema)]
struct StatusMessages {
    statuses_messages: Vec<StatusMessageInfo>,
}

#[derive(Serialize, ToSchema)]
struct StatusMessageInfo {
    contact_id: String,
    /// Empty when it was never set, null when it is hidden.
    #[schema(required = true)]
    status_message: Option<String>,
}

impl From<PeerStatusMessage> for StatusMessageInfo {
    fn from(message: PeerStatusMessage) -> Self {
        let status_message = match message.text {
            Visible::Hidden => None,
            Visible::Value(text) => Some(text),
        };
        Self { contact_id: message.public_id, status_message }
    }
}

/// A contact's status message.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/status-message/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = StatusMessages), ApiError))]
async fn status_message(
    State(state): State<AppState>,
    ShownContact { account, peer }: ShownContact,
) -> Result<Json<StatusMessages>, ApiError> {
    show_status_messages(&state, &account, ProfileScope::One(peer)).await
}

/// The status messages of all contacts that exist, and of the people who wrote first.
#[utoipa::path(get, path = "/api/contacts/statuses-messages/", tag = "contacts",
    responses((status = 200, body = StatusMessages), ApiError))]
async fn statuses_messages(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<StatusMessages>, ApiError> {
    show_status_messages(&state, &account, ProfileScope::Everybody).await
}

async fn show_status_messages(
    state: &AppState,
    account: &Account,
    scope: ProfileScope,
) -> Result<Json<StatusMessages>, ApiError> {
    let messages = state.store.status_messages(account, scope).await?;
    let statuses_messages = messages.into_iter().map(StatusMessageInfo::from).collect();
    Ok(Json(StatusMessages { statuses_messages }))
}

#[derive(Serialize, ToSchema)]
struct StatusMessageHistory {
    /// Newest first.
    values: Vec<StatusMessageChange>,
}

#[derive(Serialize, ToSchema)]
struct StatusMessageChange {
    contact_id: String,
    status_message: String,
    /// When this server learned of the change.
    #[schema(value_type = String)]
    updated: Timestamp,
    /// The same time, uncut and with its zone.
    #[schema(value_type = String)]
    updated_timestamp: UncutTimestamp,
}

/// The status messages that a contact has shown to the account; empty while they are hidden.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/status-message-history/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = StatusMessageHistory), ApiError))]
async fn status_message_history(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
    PathContact(contact): PathContact,
) -> Result<Json<StatusMessageHistory>, ApiError> {
    let changes = state.store.status_changes(&account, contact.as_str()).await?;
    let values = changes
        .into_iter()
        .map(|change| StatusMessageChange {
            contact_id: contact.to_string(),
            status_message: change.text,
            updated: Timestamp(change.updated),
            updated_timestamp: UncutTimestamp(change.updated),
        })
        .collect();
    Ok(Json(StatusMessageHistory { values }))
}

#[derive(Serialize, ToSchema)]
struct ConnectedStatuses {
    connected_statuses: Vec<PresenceInfo>,
}

/// Whether a contact is online. Updated only while the account is online itself; otherwise the last known state.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/connected-status/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = ConnectedStatuses), ApiError))]
async fn connected_status(
    State(state): State<AppState>,
    ShownContact { account, peer }: ShownContact,
) -> Result<Json<ConnectedStatuses>, ApiError> {
    show_presences(&state, &account, ProfileScope::One(peer)).await
}

/// Whether each contact that exists, and each person who wrote first, is online.
#[utoipa::path(get, path = "/api/contacts/connected-statuses/", tag = "contacts",
    responses((status = 200, body = ConnectedStatuses), ApiError))]
async fn connected_statuses(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<ConnectedStatuses>, ApiError> {
    show_presences(&state, &account, ProfileScope::Everybody).await
}

async fn show_presences(
    state: &AppState,
    account: &Account,
    scope: ProfileScope,
) -> Result<Json<ConnectedStatuses>, ApiError> {
    let presences = state.store.presences(account, scope).await?;
    let connected_statuses = presences.into_iter().map(PresenceInfo::from).collect();
    Ok(Json(ConnectedStatuses { connected_statuses }))
}
