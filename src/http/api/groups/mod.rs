//! Groups: made, shown, changed and left.
//!
//! Who may do what is looked up first, so that most refusals need no word with the network; the network decides. A
//! request that asked its session before it was cut off skips the look: what it wants may be done by now, and then the
//! account may no longer be in the group.

mod photos;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::done::{DONE, Done};
use crate::domain::{Account, ContactId, GroupId, Timestamp};
use crate::http::AppState;
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, Code, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::RegisteredAccount;
use crate::http::extract::params::{JsonOnly, Parameters, Text};
use crate::http::extract::recipient::NamedGroup;
use crate::sessions::{GroupRefusal, Sessions};
use crate::store::{Candidate, GroupInfo, GroupView};
use crate::upstream::{Address, GroupEdit};

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(info_all))
        .routes(routes!(info))
        .routes(routes!(subject, set_subject))
        .routes(routes!(set_subject_of))
        .routes(routes!(add_participant))
        .routes(routes!(remove_participant))
        .routes(routes!(promote_participant))
        .routes(routes!(demote_participant))
        .routes(routes!(leave))
        .routes(routes!(leave_one))
        .merge(photos::router())
}

#[derive(Deserialize, ToSchema)]
struct NewGroup {
    /// Numbers of contacts that exist, or that wrote first. The account's own and repeated ones change nothing.
    #[schema(value_type = Vec<String>)]
    participants: Vec<ContactId>,
    #[schema(value_type = String, max_length = 100)]
    subject: Text<100>,
}

#[derive(Serialize, ToSchema)]
struct CreatedGroup {
    groupid: String,
}

/// Makes a group; the account is its admin. With one who cannot be added no group is made.
#[utoipa::path(post, path = "/api/groups/create-group/", tag = "groups", request_body = NewGroup,
    responses(
        (status = 201, body = CreatedGroup),
        ApiError,
        NetworkResponses,
        (status = 400, body = Problem, description = "`participants`: those who cannot be added"),
    ))]
async fn create(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    keyed: IdempotencyClaim,
    JsonOnly(new): JsonOnly<NewGroup>,
) -> Result<(StatusCode, Json<CreatedGroup>), ApiError> {
    let subject = not_empty(new.subject)?;
    let group =
        state.sessions.create_group_of_contacts(&account, subject, &new.participants, keyed.claim()).await?;
    Ok((StatusCode::CREATED, Json(CreatedGroup { groupid: group.to_string() })))
}

#[derive(Serialize, ToSchema)]
struct GroupList {
    grouplist: Vec<Info>,
}

#[derive(Serialize, ToSchema)]
struct Info {
    groupid: String,
    /// The same.
    id: String,
    /// Who made it, where that is known.
    creator: Option<String>,
    /// When.
    #[schema(value_type = String)]
    creation: Timestamp,
    subject: String,
    /// Numbers of all who are in it, admins and creator too, in the order in which they came.
    participants: Vec<String>,
    /// Numbers of those who may add, remove, promote and demote.
    admins: Vec<String>,
}

impl From<GroupInfo> for Info {
    fn from(info: GroupInfo) -> Self {
        let GroupInfo { id, subject, creator, created_at, participants, admins } = info;
        Self {
            groupid: id.clone(),
            id,
            creator,
            creation: Timestamp(created_at),
            subject,
            participants,
            admins,
        }
    }
}

/// The groups that the account is in, oldest first.
#[utoipa::path(get, path = "/api/groups/info-all/", tag = "groups",
    responses((status = 200, body = GroupList), ApiError))]
async fn info_all(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
) -> Result<Json<GroupList>, ApiError> {
    let groups = state.store.groups(&account, None).await?;
    Ok(Json(GroupList { grouplist: groups.into_iter().map(Info::from).collect() }))
}

/// One group.
#[utoipa::path(get, path = "/api/groups/{group_id}/info/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = Info), ApiError, (status = 404, body = Problem)))]
async fn info(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
) -> Result<Json<Info>, ApiError> {
    let group = state.store.groups(&account, Some(&id)).await?.pop().ok_or_else(ApiError::no_such_group)?;
    Ok(Json(group.into()))
}

#[derive(Serialize, ToSchema)]
struct Subject {
    subject: String,
}

#[derive(Deserialize, ToSchema)]
struct NewSubject {
    #[schema(value_type = String, max_length = 100)]
    subject: Text<100>,
}

/// A group in the parameters; for the description only.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes two extractors as one body")]
struct Of<T> {
    group_id: String,
    #[schema(inline)]
    #[serde(flatten)]
    rest: T,
}

/// A group's subject.
#[utoipa::path(get, path = "/api/groups/{group_id}/subject/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = Subject), ApiError, (status = 404, body = Problem)))]
async fn subject(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
) -> Result<Json<Subject>, ApiError> {
    let group = look(&state, &account, &id, false).await?;
    Ok(Json(Subject { subject: group.subject }))
}

/// Changes a group's subject; every participant may.
#[utoipa::path(post, path = "/api/groups/{group_id}/subject/", tag = "groups", request_body = NewSubject,
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn set_subject(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    keyed: IdempotencyClaim,
    Parameters(new): Parameters<NewSubject>,
) -> Result<Json<Done>, ApiError> {
    let group = look(&state, &account, &id, Sessions::has_asked(keyed.claim())).await?;
    let wish = GroupEdit::Subject { subject: not_empty(new.subject)? };
    change(&state, &account, group, wish, &keyed).await
}

/// Changes the subject of the group that `group_id` names.
#[utoipa::path(post, path = "/api/groups/subject/", tag = "groups", request_body = inline(Of<NewSubject>),
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn set_subject_of(
    state: State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
    keyed: IdempotencyClaim,
    new: Parameters<NewSubject>,
) -> Result<Json<Done>, ApiError> {
    set_subject(state, account, group, keyed, new).await
}

#[derive(Deserialize, ToSchema)]
struct Participant {
    #[schema(value_type = String)]
    contact: ContactId,
}

/// Adds a contact to a group; admins may. One who is in it already stays in it.
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
    keyed: IdempotencyClaim,
    Parameters(Participant { contact }): Parameters<Participant>,
) -> Result<Json<Done>, ApiError> {
    let asked = Sessions::has_asked(keyed.claim());
    let group = look(&state, &account, &id, asked).await?;
    if !asked && !group.admin {
        return Err(GroupRefusal::NotAnAdmin.into());
    }
    match candidate(&state, &account, &group, &contact).await? {
        Some(candidate) if candidate.is_member && !asked => Ok(DONE),
        Some(candidate) if candidate.reachable || asked => {
            let wish = GroupEdit::Add { who: vec![Address(candidate.peer.address)] };
            change(&state, &account, group, wish, &keyed).await
        }
        Some(_) | None => Err(ApiError::not_a_contact()),
    }
}

/// Removes a participant from a group; admins may. To remove oneself is to leave.
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
    keyed: IdempotencyClaim,
    Parameters(Participant { contact }): Parameters<Participant>,
) -> Result<Json<Done>, ApiError> {
    if contact.as_str() == account.number.as_str() {
        let group = look(&state, &account, &id, Sessions::has_asked(keyed.claim())).await?;
        return change(&state, &account, group, GroupEdit::Leave, &keyed).await;
    }
    change_participant(&state, &account, (&id, &contact), &keyed, |who| GroupEdit::Remove { who }).await
}

/// Makes a participant an admin; admins may.
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
    keyed: IdempotencyClaim,
    Parameters(Participant { contact }): Parameters<Participant>,
) -> Result<Json<Done>, ApiError> {
    change_participant(&state, &account, (&id, &contact), &keyed, |who| GroupEdit::Promote { who }).await
}

/// Makes an admin an ordinary participant; admins may. A group always has an admin: instead of the last one it is then the
/// participant who came first.
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
    keyed: IdempotencyClaim,
    Parameters(Participant { contact }): Parameters<Participant>,
) -> Result<Json<Done>, ApiError> {
    change_participant(&state, &account, (&id, &contact), &keyed, |who| GroupEdit::Demote { who }).await
}

/// Leaves a group. The last admin hands over to the participant who came first; an empty group ends.
#[utoipa::path(post, path = "/api/groups/{group_id}/leave/", tag = "groups",
    params(("group_id" = String, Path, description = "the group's id")),
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn leave(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    NamedGroup(id): NamedGroup,
    keyed: IdempotencyClaim,
) -> Result<Json<Done>, ApiError> {
    let group = look(&state, &account, &id, Sessions::has_asked(keyed.claim())).await?;
    change(&state, &account, group, GroupEdit::Leave, &keyed).await
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an extractor as a body")]
struct WhichGroup {
    group_id: String,
}

/// Leaves the group that `group_id` names.
#[utoipa::path(post, path = "/api/groups/leave/", tag = "groups", request_body = WhichGroup,
    responses((status = 200, body = Done), ApiError, NetworkResponses, (status = 404, body = Problem)))]
async fn leave_one(
    state: State<AppState>,
    account: RegisteredAccount,
    group: NamedGroup,
    keyed: IdempotencyClaim,
) -> Result<Json<Done>, ApiError> {
    leave(state, account, group, keyed).await
}

/// The group, if the account is in it; when the session was `asked` already, also if it was.
pub(in crate::http) async fn look(
    state: &AppState,
    account: &Account,
    id: &GroupId,
    asked: bool,
) -> Result<GroupView, ApiError> {
    let group = state.store.group(account, id).await?;
    group.filter(|group| group.inside || asked).ok_or_else(ApiError::no_such_group)
}

async fn candidate(
    state: &AppState,
    account: &Account,
    group: &GroupView,
    contact: &ContactId,
) -> Result<Option<Candidate>, ApiError> {
    Ok(state.store.candidates(account, Some(group.peer.id), &[contact.to_string()]).await?.pop())
}

/// What only admins may do to a participant.
async fn change_participant(
    state: &AppState,
    account: &Account,
    (id, contact): (&GroupId, &ContactId),
    keyed: &IdempotencyClaim,
    wish: impl FnOnce(Address) -> GroupEdit + Send,
) -> Result<Json<Done>, ApiError> {
    let asked = Sessions::has_asked(keyed.claim());
    let group = look(state, account, id, asked).await?;
    if !asked && !group.admin {
        return Err(GroupRefusal::NotAnAdmin.into());
    }
    match candidate(state, account, &group, contact).await? {
        Some(candidate) if candidate.is_member || asked => {
            change(state, account, group, wish(Address(candidate.peer.address)), keyed).await
        }
        Some(_) | None => Err(GroupRefusal::NotAMember.into()),
    }
}

pub(in crate::http) async fn change(
    state: &AppState,
    account: &Account,
    group: GroupView,
    wish: GroupEdit,
    keyed: &IdempotencyClaim,
) -> Result<Json<Done>, ApiError> {
    state.sessions.change_group(account.id, Address(group.peer.address), wish, keyed.claim()).await?;
    Ok(DONE)
}

fn not_empty(subject: Text<100>) -> Result<String, ApiError> {
    if subject.trim().is_empty() {
        return Err(ApiError::bad_request(Code::InvalidParameter, "subject: a group's subject is not empty"));
    }
    Ok(subject.into_inner())
}
