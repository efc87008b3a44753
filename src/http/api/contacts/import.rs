//! Changes of the whole contact list: import and removal. JSON only.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
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
    /// An entry without a valid number is dropped and counted.
    #[schema(value_type = Vec<ImportedContact>, min_items = 1)]
    contacts: Vec<Value>,
}

/// An entry of the list; for the description only, because each is read by itself.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the entries of ContactList")]
struct ImportedContact {
    /// A number, or the public id of a person without one.
    #[schema(examples("15550100002"))]
    contact_id: String,
    #[schema(nullable = false, max_length = 256)]
    first_name: Option<String>,
    #[schema(nullable = false, max_length = 256)]
    last_name: Option<String>,
}

/// The counts of an import; `contacts_updated` alone when only names changed, `message` when nothing did.
#[derive(Default, Serialize, ToSchema)]
struct Imported {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    added: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    removed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    updated: Option<usize>,
    /// `existing` and `non_existing` together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    synced: Option<usize>,
    /// How many of the list the network knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    existing: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    non_existing: Option<usize>,
    /// How many names changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    contacts_updated: Option<usize>,
    /// How many entries were dropped because they have no valid number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    invalid: Option<usize>,
    /// That the list already has these contacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<&'static str>,
}

/// Either `total_deleted` or `message`.
#[derive(Default, Serialize, ToSchema)]
struct Removed {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total_deleted: Option<usize>,
    /// That none of them was in the contact list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<&'static str>,
}

#[derive(Deserialize, ToSchema)]
struct RemovalList {
    /// Numbers, or public ids of contacts that have none. An invalid one is left out.
    #[schema(value_type = Vec<String>, min_items = 1, examples("15550100002"))]
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
        (status = 200, body = Imported),
        ApiError,
        NetworkResponses,
    ))]
async fn import(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    JsonOnly(list): JsonOnly<ContactList>,
) -> Result<Json<Imported>, ApiError> {
    let entries = entries(&list.contacts)?;
    let without_number = list.contacts.len() - entries.len();
    let (tx, outcome) = state.sessions.import_contacts(&account, entries, claim.claim()).await?;
    claim.commit(tx, StatusCode::OK, imported(outcome, without_number)).await
}

/// Removes contacts from the list.
#[utoipa::path(post, path = "/api/contacts/remove-contacts/", tag = "contacts", request_body = RemovalList,
    responses(
        (status = 200, body = Removed),
        ApiError,
    ))]
async fn remove(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    JsonOnly(list): JsonOnly<RemovalList>,
) -> Result<Json<Removed>, ApiError> {
    let ids: Vec<String> = list.contacts.iter().filter_map(contact_id).map(|id| id.to_string()).collect();
    if ids.is_empty() {
        return Err(ApiError::no_valid_number());
    }
    let mut tx = state.store.begin().await?;
    let answer = match tx.remove_contacts(&account, &ids).await? {
        0 => Removed { message: Some("none of these was in the contact list"), total_deleted: None },
        deleted => Removed { total_deleted: Some(deleted), message: None },
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

/// The answer, with the count of the entries that were dropped, if there are any.
fn imported(outcome: ImportOutcome, without_number: usize) -> Imported {
    let invalid = Some(without_number + outcome.unknown).filter(|count| *count > 0);
    match outcome.change {
        ImportChange::None => Imported {
            message: Some("the list already has these contacts; nothing changed"),
            invalid,
            ..Imported::default()
        },
        ImportChange::Renamed { updated } => {
            Imported { contacts_updated: Some(updated), invalid, ..Imported::default() }
        }
        ImportChange::Replaced { changed, existing, non_existing } => Imported {
            added: Some(changed.added),
            removed: Some(changed.removed),
            updated: Some(changed.updated),
            synced: Some(existing + non_existing),
            existing: Some(existing),
            non_existing: Some(non_existing),
            invalid,
            ..Imported::default()
        },
    }
}
