//! The group that a request is about, and changes of it over the account's session.
//!
//! Rights are checked here first, so that most refusals need no request to the network; the network decides. A request
//! that asked its session before it was cut off skips the check: its change may have happened, and then the account may no
//! longer be in the group.

use crate::domain::{Account, GroupId};
use crate::http::AppState;
use crate::http::api::done::{DONE, Done};
use crate::http::error::ApiError;
use crate::http::extract::IdempotencyClaim;
use crate::http::json::Json;
use crate::store::GroupView;
use crate::upstream::{Address, GroupEdit};

/// The group, if the account is in it; if the session was `asked` already, also if it was.
pub async fn visible_group(
    state: &AppState,
    account: &Account,
    id: &GroupId,
    asked: bool,
) -> Result<GroupView, ApiError> {
    let group = state.store.group(account, id).await?;
    group.filter(|group| group.inside || asked).ok_or_else(ApiError::no_such_group)
}

/// Waits until the network has made the change.
pub async fn change_group(
    state: &AppState,
    account: &Account,
    group: GroupView,
    edit: GroupEdit,
    claim: &IdempotencyClaim,
) -> Result<Json<Done>, ApiError> {
    state.sessions.change_group(account.id, Address(group.peer.address), edit, claim.claim()).await?;
    Ok(DONE)
}
