//! Participants of a group: added, removed, promoted and demoted by its admins.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Account, ContactId, GroupId};
use crate::http::AppState;
use crate::http::api::done::{DONE, Done};
use crate::http::api::groups::access::{change_group, visible_group};
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::RegisteredAccount;
use crate::http::extract::params::RequestParameters;
use crate::http::extract::recipient::NamedGroup;
use crate::http::json::Json;
use crate::sessions::{GroupRefusal, Sessions};
use crate::store::{Candidate, GroupView};
use crate::upstream::{Address, GroupEdit};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(add_participant))
        .routes(routes!(remove_participant))
        .routes(routes!(promote_participant))
        .routes(routes!(demote_participant))
}

#[derive(Deserialize, ToSchema)]
struct Participant {
    #[schema(value_type = String)]
    contact: ContactId,
}

/// Adds a contact to a group; only admins may. Adding a participant again changes nothing.
#[utoipa::path(post, path = "/api/groups/{group_id}/add-participant/", tag = "groups", request_body = Participant,
    params(("group_id" = String, Path, description = "the group's id")),
    responses(
        (status = 200, body = Done),
        ApiError,
        NetworkResponses,
        (status = 403, body = Problem),
        (status = 404, body = Problem),
    ))]
async fn add_participant(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    claim: IdempotencyClaim,
    RequestParameters(Participant { contact }): RequestParameters<Participant>,
) -> Result<Json<Done>, ApiError> {
    let asked = Sessions::has_asked(claim.claim());
    let group = visible_group(&state, &account, &id, asked).await?;
    if !asked && !group.admin {
        return Err(GroupRefusal::NotAnAdmin.into());
    }
    match candidate(&state, &account, &group, &contact).await? {
        Some(candidate) if candidate.is_member && !asked => Ok(DONE),
        Some(candidate) if candidate.reachable || asked => {
            let edit = GroupEdit::Add { who: vec![Address(candidate.peer.address)] };
            change_group(&state, &account, group, edit, &claim).await
        }
        Some(_) | None => Err(ApiError::not_a_contact()),
    }
}

/// Removes a participant from a group; only admins may. Removing one's own number leaves the group.
#[utoipa::path(post, path = "/api/groups/{group_id}/remove-participant/", tag = "groups",
    request_body = Participant, params(("group_id" = String, Path, description = "the group's id")),
    responses(
        (status = 200, body = Done),
        ApiError,
        NetworkResponses,
        (status = 403, body = Problem),
        (status = 404, body = Problem),
    ))]
async fn remove_participant(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    claim: IdempotencyClaim,
    RequestParameters(Participant { contact }): RequestParameters<Participant>,
) -> Result<Json<Done>, ApiError> {
    if contact.as_str() == account.number.as_str() {
        let group = visible_group(&state, &account, &id, Sessions::has_asked(claim.claim())).await?;
        return change_group(&state, &account, group, GroupEdit::Leave, &claim).await;
    }
    change_participant(&state, &account, (&id, &contact), &claim, |who| GroupEdit::Remove { who }).await
}

/// Makes a participant an admin; only admins may.
#[utoipa::path(post, path = "/api/groups/{group_id}/promote-participant/", tag = "groups",
    request_body = Participant, params(("group_id" = String, Path, description = "the group's id")),
    responses(
        (status = 200, body = Done),
        ApiError,
        NetworkResponses,
        (status = 403, body = Problem),
        (status = 404, body = Problem),
    ))]
async fn promote_participant(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    claim: IdempotencyClaim,
    RequestParameters(Participant { contact }): RequestParameters<Participant>,
) -> Result<Json<Done>, ApiError> {
    change_participant(&state, &account, (&id, &contact), &claim, |who| GroupEdit::Promote { who }).await
}

/// Makes an admin an ordinary participant; only admins may. A group always has an admin: when the last one is demoted, the
/// longest-standing participant becomes admin.
#[utoipa::path(post, path = "/api/groups/{group_id}/demote-participant/", tag = "groups",
    request_body = Participant, params(("group_id" = String, Path, description = "the group's id")),
    responses(
        (status = 200, body = Done),
        ApiError,
        NetworkResponses,
        (status = 403, body = Problem),
        (status = 404, body = Problem),
    ))]
async fn demote_participant(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    claim: IdempotencyClaim,
    RequestParameters(Participant { contact }): RequestParameters<Participant>,
) -> Result<Json<Done>, ApiError> {
    change_participant(&state, &account, (&id, &contact), &claim, |who| GroupEdit::Demote { who }).await
}

async fn candidate(
    state: &AppState,
    account: &Account,
    group: &GroupView,
    contact: &ContactId,
) -> Result<Option<Candidate>, ApiError> {
    Ok(state.store.candidates(account, Some(group.peer.id), &[contact.to_string()]).await?.pop())
}

/// Makes a change that only admins may make.
async fn change_participant(
    state: &AppState,
    account: &Account,
    (id, contact): (&GroupId, &ContactId),
    claim: &IdempotencyClaim,
    edit: impl FnOnce(Address) -> GroupEdit + Send,
) -> Result<Json<Done>, ApiError> {
    let asked = Sessions::has_asked(claim.claim());
    let group = visible_group(state, account, id, asked).await?;
    if !asked && !group.admin {
        return Err(GroupRefusal::NotAnAdmin.into());
    }
    match candidate(state, account, &group, contact).await? {
        Some(candidate) if candidate.is_member || asked => {
            change_group(state, account, group, edit(Address(candidate.peer.address)), claim).await
        }
        Some(_) | None => Err(GroupRefusal::NotAMember.into()),
    }
}
