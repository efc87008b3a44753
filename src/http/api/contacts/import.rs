//! The contact list changed as a whole: replaced, or thinned out. JSON only.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Account, ContactId, PhoneNumber};
use crate::http::AppState;
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, Code};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::RegisteredAccount;
use crate::http::extract::params::{JsonOnly, Text};
use crate::store::{ImportedContact, NewPeer, Peer};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(import)).routes(routes!(remove))
}

#[derive(Deserialize, ToSchema)]
struct ContactList {
    /// Each with contact_id, and first_name and last_name where wanted. One without a valid number is left out.
    #[schema(value_type = Vec<Object>)]
    contacts: Vec<Value>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Names {
    first_name: Option<Text<256>>,
    last_name: Option<Text<256>>,
}

/// Replaces the whole list in one step. Only names that changed need no word with the network.
#[utoipa::path(post, path = "/api/contacts/import-contacts/", tag = "contacts", request_body = ContactList,
    responses(
        (status = 200, description = "added, removed, updated, synced, existing and non_existing as counts; contacts_updated when only names changed; message when nothing did"),
        ApiError,
        NetworkResponses,
    ))]
async fn import(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    keyed: IdempotencyClaim,
    JsonOnly(list): JsonOnly<ContactList>,
) -> Result<Json<Value>, ApiError> {
    let entries = entries(&list.contacts)?;
    let peers = peers(&state, &account, entries.keys()).await?;
    if peers.is_empty() {
        return Err(no_valid_number());
    }
    let current = state.store.contacts(&account).await?;
    let had: BTreeSet<&str> = current.iter().map(|contact| contact.public_id.as_str()).collect();
    let wanted: BTreeSet<&str> = peers.iter().map(|peer| peer.public_id.as_str()).collect();
    let same_people = had == wanted;
    let existing: HashSet<String> = if same_people {
        current.iter().filter(|contact| contact.exists).map(|contact| contact.public_id.clone()).collect()
    } else {
        let numbers = wanted.iter().filter_map(|id| id.parse().ok()).collect();
        let found = state.sessions.existing(account.id, numbers, keyed.claim()).await?;
        // Who has no number was seen on the network itself.
        let seen = wanted.iter().filter(|id| id.parse::<PhoneNumber>().is_err()).map(|id| (*id).to_owned());
        found.iter().map(ToString::to_string).chain(seen).collect()
    };
    let contacts: Vec<ImportedContact> = peers
        .into_iter()
        .map(|peer| {
            let names = entries.get(&peer.public_id).cloned().unwrap_or_default();
            ImportedContact {
                exists: existing.contains(&peer.public_id),
                first_name: names.first_name.unwrap_or_default().into_inner(),
                last_name: names.last_name.unwrap_or_default().into_inner(),
                peer,
            }
        })
        .collect();
    let mut tx = state.store.begin().await?;
    let imported = tx.replace_contacts(&account, &contacts).await?;
    let answer = match (same_people, imported.updated) {
        (true, 0) => json!({"message": "the list is like this already; nothing changed"}),
        (true, updated) => json!({"contacts_updated": updated}),
        (false, updated) => json!({
            "added": imported.added,
            "removed": imported.removed,
            "updated": updated,
            "synced": contacts.len(),
            "existing": existing.len(),
            "non_existing": contacts.len() - existing.len(),
        }),
    };
    keyed.commit(tx, StatusCode::OK, answer).await
}

/// Takes contacts off the list.
#[utoipa::path(post, path = "/api/contacts/remove-contacts/", tag = "contacts", request_body = ContactList,
    responses(
        (status = 200, description = "total_deleted, or a message when none was in the list"),
        ApiError,
    ))]
async fn remove(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    keyed: IdempotencyClaim,
    JsonOnly(list): JsonOnly<ContactList>,
) -> Result<Json<Value>, ApiError> {
    let ids: Vec<String> = list.contacts.iter().filter_map(contact_id).map(|id| id.to_string()).collect();
    if ids.is_empty() {
        return Err(no_valid_number());
    }
    let mut tx = state.store.begin().await?;
    let answer = match tx.remove_contacts(&account, &ids).await? {
        0 => json!({"message": "none of these was in the contact list"}),
        deleted => json!({"total_deleted": deleted}),
    };
    keyed.commit(tx, StatusCode::OK, answer).await
}

/// The entries with a valid number, by number; of a number that comes twice the last.
fn entries(list: &[Value]) -> Result<BTreeMap<String, Names>, ApiError> {
    let mut entries = BTreeMap::new();
    for entry in list {
        let Some(id) = entry.get("contact_id").and_then(contact_id) else { continue };
        let names = Names::deserialize(entry).map_err(|error| {
            ApiError::bad_request(Code::InvalidParameter, format!("the name of {id}: {error}"))
        })?;
        entries.insert(id.to_string(), names);
    }
    Ok(entries)
}

fn contact_id(value: &Value) -> Option<ContactId> {
    ContactId::deserialize(value).ok()
}

/// Those whom the entries mean. A public id that nobody on the network has is left out, like an invalid number.
async fn peers(
    state: &AppState,
    account: &Account,
    ids: impl Iterator<Item = &String>,
) -> Result<Vec<Peer>, ApiError> {
    let connector = state.connector(account)?;
    let (mut numbers, mut peers) = (Vec::new(), Vec::new());
    for id in ids {
        match id.parse() {
            Ok(ContactId::Number(number)) => {
                numbers.push(NewPeer { address: connector.address_of(&number).0, number: Some(number) });
            }
            Ok(ContactId::PublicId(id)) => {
                peers.extend(state.store.peer_by_public_id(&account.network, &id).await?);
            }
            Err(_) => {}
        }
    }
    if !numbers.is_empty() {
        peers.extend(state.store.peers(&account.network, &numbers).await?);
    }
    Ok(peers)
}

fn no_valid_number() -> ApiError {
    ApiError::bad_request(
        Code::InvalidParameter,
        "contacts: not one valid number is in the list; a number has 5 to 15 digits, such as 15551230000",
    )
}
