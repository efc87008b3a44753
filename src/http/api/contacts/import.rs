//! Changes of the whole contact list: import and removal. JSON only.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::ContactId;
use crate::http::AppState;
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::RegisteredAccount;
use crate::http::extract::params::{JsonOnly, Text, Value};
use crate::http::json::Json;
use crate::sessions::contact_import::{ImportChange, ImportEntry, ImportOutcome};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(import)).routes(routes!(remove))
}

#[derive(Deserialize, ToSchema)]
struct ContactList {
    /// Each with contact_id, and optionally first_name and last_name. An entry without a valid number is dropped and counted.
    #[schema(value_type = Vec<Object>)]
    contacts: Vec<Value>,
}

#[derive(Deserialize, ToSchema)]
struct RemovalList {
    /// Numbers, or public ids of contacts that have none. An invalid one is left out.
    #[schema(value_type = Vec<String>)]
    contacts: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ImportedNames {
    first_name: Option<Text<256>>,
    last_name: Option<Text<256>>,
}

/// Replaces the whole list in one step. The network is asked unless only names change.
#[utoipa::path(post, path = "/api/contacts/import-contacts/", tag = "contacts", request_body = ContactList,
    responses(
        (status = 200, description = "added, removed, updated, synced, existing and non_existing as counts; \
            contacts_updated when only names changed; message when nothing did; with each, invalid: how many entries \
            were dropped because they have no valid number, if any"),
        ApiError,
        NetworkResponses,
    ))]
async fn import(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    JsonOnly(list): JsonOnly<ContactList>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let entries = entries(&list.contacts)?;
    let without_number = list.contacts.len() - entries.len();
    let (tx, outcome) = state.sessions.import_contacts(&account, entries, claim.claim()).await?;
    claim.commit(tx, StatusCode::OK, imported(outcome, without_number)).await
}

/// Removes contacts from the list.
#[utoipa::path(post, path = "/api/contacts/remove-contacts/", tag = "contacts", request_body = RemovalList,
    responses(
        (status = 200, description = "total_deleted, or a message when none was in the list"),
        ApiError,
    ))]
async fn remove(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    JsonOnly(list): JsonOnly<RemovalList>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let ids: Vec<String> = list.contacts.iter().filter_map(contact_id).map(|id| id.to_string()).collect();
    if ids.is_empty() {
        return Err(ApiError::no_valid_number());
    }
    let mut tx = state.store.begin().await?;
    let answer = match tx.remove_contacts(&account, &ids).await? {
        0 => json!({"message": "none of these was in the contact list"}),
        deleted => json!({"total_deleted": deleted}),
    };
    claim.commit(tx, StatusCode::OK, answer).await
}

/// The entries with a valid number or public id.
fn entries(list: &[Value]) -> Result<Vec<ImportEntry>, ApiError> {
    let mut entries = Vec::with_capacity(list.len());
    for entry in list {
        let Some(id) = entry.get("contact_id").and_then(contact_id) else { continue };
        let names = ImportedNames::deserialize(entry).map_err(|error| {
            ApiError::bad_request(ErrorCode::InvalidParameter, format!("the name of {id}: {error}"))
        })?;
        entries.push(ImportEntry {
            id,
            first_name: names.first_name.unwrap_or_default().into_inner(),
            last_name: names.last_name.unwrap_or_default().into_inner(),
        });
    }
    Ok(entries)
}

fn contact_id(value: &Value) -> Option<ContactId> {
    ContactId::deserialize(value).ok()
}

/// The counts of an import, with that of the entries that were dropped, if there are any.
fn imported(outcome: ImportOutcome, without_number: usize) -> serde_json::Value {
    let invalid = without_number + outcome.unknown;
    let mut answer = match outcome.change {
        ImportChange::None => {
            json!({"message": "the list already has these contacts; nothing changed"})
        }
        ImportChange::Renamed { updated } => json!({"contacts_updated": updated}),
        ImportChange::Replaced { changed, existing, non_existing } => json!({
            "added": changed.added,
            "removed": changed.removed,
            "updated": changed.updated,
            "synced": existing + non_existing,
            "existing": existing,
            "non_existing": non_existing,
        }),
    };
    if invalid > 0 {
        answer["invalid"] = invalid.into();
    }
    answer
}
