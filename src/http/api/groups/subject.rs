//! Subject of a group: shown to its participants, any of whom may change it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::AppState;
use crate::http::api::done::Done;
use crate::http::api::groups::access::{change_group, visible_group};
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::RegisteredAccount;
use crate::http::extract::params::{RequestParameters, Text};
use crate::http::extract::recipient::NamedGroup;
use crate::http::json::Json;
use crate::sessions::Sessions;
use crate::upstream::GroupEdit;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(subject, set_subject)).routes(routes!(set_subject_by_id))
}

#[derive(Serialize, ToSchema)]
struct GroupSubject {
    subject: String,
}

#[derive(Deserialize, ToSchema)]
struct NewSubject {
    #[schema(value_type = String, max_length = 100)]
    subject: Text<100>,
}

/// The body of an endpoint that takes `group_id` as a parameter; for the description only.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes two extractors as one body")]
struct WithGroupId<T> {
    group_id: String,
    #[schema(inline)]
    #[serde(flatten)]
    rest: T,
}

/// A group's subject.
#[utoipa::path(get, path = "/api/groups/{group_id}/subject/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = GroupSubject), ApiError, (status = 404, body = Problem)))]
async fn subject(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
) -> Result<Json<GroupSubject>, ApiError> {
    let group = visible_group(&state, &account, &id, false).await?;
    Ok(Json(GroupSubject { subject: group.subject }))
}

/// Changes a group's subject; every participant may.
#[utoipa::path(post, path = "/api/groups/{group_id}/subject/", tag = "groups", request_body = NewSubject,
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn set_subject(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    claim: IdempotencyClaim,
    RequestParameters(new): RequestParameters<NewSubject>,
) -> Result<Json<Done>, ApiError> {
    let group = visible_group(&state, &account, &id, Sessions::has_asked(claim.claim())).await?;
    let edit = GroupEdit::Subject { subject: required(new.subject)? };
    change_group(&state, &account, group, edit, &claim).await
}

/// Changes the subject of the group that `group_id` names.
#[utoipa::path(post, path = "/api/groups/subject/", tag = "groups", request_body = inline(WithGroupId<NewSubject>),
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn set_subject_by_id(
    state: State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
    claim: IdempotencyClaim,
    new: RequestParameters<NewSubject>,
) -> Result<Json<Done>, ApiError> {
    set_subject(state, account, group, claim, new).await
}

/// The subject's text.
///
/// # Errors
/// 400 for a blank one.
pub fn required(subject: Text<100>) -> Result<String, ApiError> {
    if subject.trim().is_empty() {
        return Err(ApiError::bad_request(
            ErrorCode::InvalidParameter,
            "subject: a group's subject must not be empty",
        ));
    }
    Ok(subject.into_inner())
}
