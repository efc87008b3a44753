//! An account's contact list.

mod block_list;
mod import;
pub mod photos;
mod profile;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{ContactId, PhoneNumber};
use crate::http::AppState;
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, Code, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::{RegisteredAccount, StoredAccount};
use crate::http::extract::params::{Parameters, Text};
use crate::http::extract::recipient::PathContact;
use crate::store::{Contact, NewPeer};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(add))
        .routes(routes!(force_sync))
        .routes(routes!(show, rename, remove))
        .merge(import::router())
        .merge(profile::router())
        .merge(block_list::router())
        .merge(photos::router())
}

#[derive(Serialize, ToSchema)]
struct ContactInfo {
    /// The number, or the public id of somebody who has none.
    contact_id: String,
    first_name: String,
    last_name: String,
    /// Whether the network knows the number, as the last sync told.
    exists: bool,
}

impl From<Contact> for ContactInfo {
    fn from(contact: Contact) -> Self {
        let Contact { public_id, first_name, last_name, exists } = contact;
        Self { contact_id: public_id, first_name, last_name, exists }
    }
}

/// The whole list.
#[utoipa::path(get, path = "/api/contacts/", tag = "contacts",
    responses((status = 200, body = Vec<ContactInfo>), ApiError))]
async fn list(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
) -> Result<Json<Vec<ContactInfo>>, ApiError> {
    let contacts = state.store.contacts(&account).await?;
    Ok(Json(contacts.into_iter().map(ContactInfo::from).collect()))
}

#[derive(Deserialize, ToSchema)]
struct NewContact {
    #[schema(value_type = String)]
    contact_id: ContactId,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 256)]
    first_name: Text<256>,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 256)]
    last_name: Text<256>,
}

#[derive(Serialize, ToSchema)]
struct AddedContact {
    contact_id: String,
    exists: bool,
}

/// Adds a contact and asks the network whether it exists.
#[utoipa::path(post, path = "/api/contacts/add-contact/", tag = "contacts", request_body = NewContact,
    responses((status = 201, body = AddedContact), ApiError, NetworkResponses))]
async fn add(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    keyed: IdempotencyClaim,
    Parameters(body): Parameters<NewContact>,
) -> Result<(StatusCode, Json<AddedContact>), ApiError> {
    if state.store.contact(&account, body.contact_id.as_str()).await?.is_some() {
        return Err(ApiError::contact_exists());
    }
    let (peer, exists) = match &body.contact_id {
        ContactId::Number(number) => {
            let existing = state.sessions.existing(account.id, vec![number.clone()], keyed.claim()).await?;
            let connector = state.connector(&account)?;
            let wanted = NewPeer { address: connector.address_of(number).0, number: Some(number.clone()) };
            let peer = state.store.peers(&account.network, &[wanted]).await?.pop();
            (peer, existing.contains(number))
        }
        ContactId::PublicId(id) => (state.store.peer_by_public_id(&account.network, id).await?, true),
    };
    let peer = peer.ok_or_else(|| {
        ApiError::bad_request(Code::ContactUnknown, "nobody on the network has this public id")
    })?;
    let names = (&*body.first_name, &*body.last_name);
    let mut tx = state.store.begin().await?;
    if !tx.add_contact(&account, &peer, names, exists).await? {
        return Err(ApiError::contact_exists());
    }
    let added = AddedContact { contact_id: peer.public_id, exists };
    Ok((StatusCode::CREATED, keyed.commit(tx, StatusCode::CREATED, added).await?))
}

#[derive(Serialize, ToSchema)]
struct Synced {
    existing: Vec<String>,
    non_existing: Vec<String>,
}

/// Asks the network anew which contacts exist.
#[utoipa::path(post, path = "/api/contacts/force-sync/", tag = "contacts",
    responses((status = 200, body = Synced), ApiError, NetworkResponses))]
async fn force_sync(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    keyed: IdempotencyClaim,
) -> Result<Json<Synced>, ApiError> {
    let contacts = state.store.contacts(&account).await?;
    let asked: Vec<String> = contacts.into_iter().map(|contact| contact.public_id).collect();
    // Who has no number was seen on the network itself.
    let (numbers, mut existing): (Vec<String>, Vec<String>) =
        asked.into_iter().partition(|id| id.parse::<PhoneNumber>().is_ok());
    let mut found = Vec::new();
    if !numbers.is_empty() {
        let numbers = numbers.iter().filter_map(|number| number.parse().ok()).collect();
        found = state.sessions.existing(account.id, numbers, keyed.claim()).await?;
    }
    let found: std::collections::HashSet<&str> = found.iter().map(PhoneNumber::as_str).collect();
    let (known, non_existing): (Vec<String>, Vec<String>) =
        numbers.iter().cloned().partition(|number| found.contains(number.as_str()));
    let mut tx = state.store.begin().await?;
    tx.store_sync(&account, &numbers, &known).await?;
    existing.extend(known);
    keyed.commit(tx, StatusCode::OK, Synced { existing, non_existing }).await
}

/// One contact.
#[utoipa::path(get, path = "/api/contacts/{contact_id}/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = ContactInfo), ApiError, (status = 404, body = Problem)))]
async fn show(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
    PathContact(contact): PathContact,
) -> Result<Json<ContactInfo>, ApiError> {
    let contact = state.store.contact(&account, contact.as_str()).await?.ok_or_else(not_in_the_list)?;
    Ok(Json(contact.into()))
}

#[derive(Deserialize, ToSchema)]
struct NewNames {
    #[schema(value_type = Option<String>, max_length = 256)]
    first_name: Option<Text<256>>,
    #[schema(value_type = Option<String>, max_length = 256)]
    last_name: Option<Text<256>>,
}

#[derive(Serialize, ToSchema)]
struct UpdatedContact {
    updated_contact: String,
}

/// Changes a contact's names; what is not given stays.
#[utoipa::path(patch, path = "/api/contacts/{contact_id}/", tag = "contacts", request_body = NewNames,
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = UpdatedContact), ApiError, (status = 404, body = Problem)))]
async fn rename(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    PathContact(contact): PathContact,
    Parameters(names): Parameters<NewNames>,
) -> Result<Json<UpdatedContact>, ApiError> {
    let (first, last) = (names.first_name.as_deref(), names.last_name.as_deref());
    if first.is_none() && last.is_none() {
        return Err(ApiError::bad_request(
            Code::MissingParameter,
            "first_name, last_name or both are needed",
        ));
    }
    if !state.store.rename_contact(&account, contact.as_str(), first, last).await? {
        return Err(not_in_the_list());
    }
    Ok(Json(UpdatedContact { updated_contact: contact.to_string() }))
}

#[derive(Serialize, ToSchema)]
struct RemovedContact {
    removed_contact: String,
}

/// Takes a contact off the list.
#[utoipa::path(delete, path = "/api/contacts/{contact_id}/", tag = "contacts",
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = RemovedContact), ApiError, (status = 404, body = Problem)))]
async fn remove(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    PathContact(contact): PathContact,
) -> Result<Json<RemovedContact>, ApiError> {
    if !state.store.remove_contact(&account, contact.as_str()).await? {
        return Err(not_in_the_list());
    }
    Ok(Json(RemovedContact { removed_contact: contact.to_string() }))
}

fn not_in_the_list() -> ApiError {
    ApiError::not_found(Code::ContactNotFound, "this number is not in the contact list")
}
