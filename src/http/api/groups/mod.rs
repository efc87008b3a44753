//! Groups: created, shown and left.

mod access;
mod participants;
mod photos;
mod subject;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::access::{change_group, visible_group};
use super::done::Done;
use crate::domain::ContactId;
use crate::events::view::GroupDetails;
use crate::http::AppState;
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::RegisteredAccount;
use crate::http::extract::params::{JsonOnly, Text};
use crate::http::extract::recipient::NamedGroup;
use crate::http::json::Json;
use crate::sessions::Sessions;
use crate::upstream::GroupEdit;

/// The routes of this folder.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(info_all))
        .routes(routes!(info))
        .routes(routes!(leave))
        .routes(routes!(leave_by_id))
        .merge(subject::router())
        .merge(participants::router())
        .merge(photos::router())
}

#[derive(Deserialize, ToSchema)]
struct CreateGroup {
    /// Numbers of contacts that exist, or that wrote first. The account's own number and repeated ones are ignored.
    #[schema(value_type = Vec<String>)]
    participants: Vec<ContactId>,
    #[schema(value_type = String, max_length = 100)]
    subject: Text<100>,
}

#[derive(Serialize, ToSchema)]
struct CreatedGroup {
    groupid: String,
}

/// Creates a group whose admin is the account. If one participant cannot be added, no group is created.
#[utoipa::path(post, path = "/api/groups/create-group/", tag = "groups", request_body = CreateGroup,
    responses(
        (status = 201, body = CreatedGroup),
        ApiError,
        NetworkResponses,
        (status = 400, body = Problem, description = "`participants`: those who cannot be added"),
    ))]
async fn create(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    JsonOnly(new): JsonOnly<CreateGroup>,
) -> Result<(StatusCode, Json<CreatedGroup>), ApiError> {
    let subject = subject::required(new.subject)?;
    let group =
        state.sessions.create_group_of_contacts(&account, subject, &new.participants, claim.claim()).await?;
    Ok((StatusCode::CREATED, Json(CreatedGroup { groupid: group.to_string() })))
}

#[derive(Serialize, ToSchema)]
struct GroupList {
    grouplist: Vec<GroupDetails>,
}

/// The groups that the account is in, oldest first.
#[utoipa::path(get, path = "/api/groups/info-all/", tag = "groups",
    responses((status = 200, body = GroupList), ApiError))]
async fn info_all(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<GroupList>, ApiError> {
    let groups = state.store.groups(&account, None).await?;
    Ok(Json(GroupList { grouplist: groups.into_iter().map(GroupDetails::from).collect() }))
}

/// One group.
#[utoipa::path(get, path = "/api/groups/{group_id}/info/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = GroupDetails), ApiError, (status = 404, body = Problem)))]
async fn info(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
) -> Result<Json<GroupDetails>, ApiError> {
    let group = state.store.groups(&account, Some(&id)).await?.pop().ok_or_else(ApiError::no_such_group)?;
    Ok(Json(group.into()))
}

/// Leaves a group. When the last admin leaves, the longest-standing participant becomes admin; an empty group ends.
#[utoipa::path(post, path = "/api/groups/{group_id}/leave/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn leave(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    claim: IdempotencyClaim,
) -> Result<Json<Done>, ApiError> {
    let group = visible_group(&state, &account, &id, Sessions::has_asked(claim.claim())).await?;
    change_group(&state, &account, group, GroupEdit::Leave, &claim).await
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an extractor as a body")]
struct GroupIdBody {
    group_id: String,
}

/// Leaves the group that `group_id` names.
#[utoipa::path(post, path = "/api/groups/leave/", tag = "groups", request_body = GroupIdBody,
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn leave_by_id(
    state: State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
    claim: IdempotencyClaim,
) -> Result<Json<Done>, ApiError> {
    leave(state, account, group, claim).await
}
