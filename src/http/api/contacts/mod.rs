//! Contacts of an account: listed, added, renamed and removed.

mod block_list;
mod import;
mod photos;
mod profile;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::ContactId;
use crate::events::view::ContactInfo;
use crate::http::AppState;
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::{RegisteredAccount, StoredAccount};
use crate::http::extract::params::{RequestParameters, Text};
use crate::http::extract::recipient::PathContact;
use crate::http::json::Json;
use crate::sessions::roster::SyncedContacts;

/// The routes of this folder.
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
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<NewContact>,
) -> Result<(StatusCode, Json<AddedContact>), ApiError> {
    let names = (&*body.first_name, &*body.last_name);
    let (tx, added) = state.sessions.add_contact(&account, &body.contact_id, names, claim.claim()).await?;
    let added = AddedContact { contact_id: added.public_id, exists: added.exists };
    Ok((StatusCode::CREATED, claim.commit(tx, StatusCode::CREATED, added).await?))
}

#[derive(Serialize, ToSchema)]
struct Synced {
    existing: Vec<String>,
    non_existing: Vec<String>,
}

/// Asks the network again which contacts exist.
#[utoipa::path(post, path = "/api/contacts/force-sync/", tag = "contacts",
    responses((status = 200, body = Synced), ApiError, NetworkResponses))]
async fn force_sync(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
) -> Result<Json<Synced>, ApiError> {
    let (tx, synced) = state.sessions.sync_contacts(&account, claim.claim()).await?;
    let SyncedContacts { existing, non_existing } = synced;
    claim.commit(tx, StatusCode::OK, Synced { existing, non_existing }).await
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

/// Changes the names that are given.
#[utoipa::path(patch, path = "/api/contacts/{contact_id}/", tag = "contacts", request_body = NewNames,
    params(("contact_id" = String, Path, description = "the number")),
    responses((status = 200, body = UpdatedContact), ApiError, (status = 404, body = Problem)))]
async fn rename(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    PathContact(contact): PathContact,
    RequestParameters(names): RequestParameters<NewNames>,
) -> Result<Json<UpdatedContact>, ApiError> {
    let (first, last) = (names.first_name.as_deref(), names.last_name.as_deref());
    if first.is_none() && last.is_none() {
        return Err(ApiError::bad_request(
            ErrorCode::MissingParameter,
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

/// Removes a contact from the list.
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
    ApiError::not_found(ErrorCode::ContactNotFound, "this number is not in the contact list")
}
