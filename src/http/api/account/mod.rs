//! Accounts: created, proved by a code, listed, named and removed.

mod capabilities;
mod network_code;
mod photo;
mod profile;
mod registration;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::done::{DONE, Done};
use crate::domain::{Account, PhoneNumber, Timestamp, UncutTimestamp};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::error::responses::NetworkResponses;
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::{OnlyAccount, RegisteredAccount, StoredAccount};
use crate::http::extract::caller::Caller;
use crate::http::extract::params::{RequestParameters, Text};
use crate::http::json::Json;

/// The routes of this folder.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(remove))
        .routes(routes!(nickname, set_nickname))
        .merge(capabilities::router())
        .merge(photo::router())
        .merge(profile::router())
        .merge(registration::router())
}

#[derive(Serialize, ToSchema)]
struct AccountList {
    accounts: Vec<AccountInfo>,
}

#[derive(Serialize, ToSchema)]
struct AccountInfo {
    /// The number.
    #[schema(value_type = String)]
    account: PhoneNumber,
    nickname: String,
    /// The upstream network, such as `local`.
    network: String,
    /// Whether the number is proved and still the caller's.
    registered: bool,
    session: SessionInfo,
}

#[derive(Serialize, ToSchema)]
struct SessionInfo {
    /// starting, connecting, catching_up, online, waiting, logged_out, replaced, banned or stopped.
    state: String,
    #[schema(value_type = String)]
    since: Timestamp,
    /// The same time, uncut and with its zone.
    #[schema(value_type = String)]
    since_timestamp: UncutTimestamp,
    /// The cause of the state, for programs.
    #[schema(required = true)]
    reason: Option<String>,
    /// While waiting: the number of consecutive failed attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    attempt: Option<u32>,
    /// The end of the state, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    until: Option<Timestamp>,
    /// The same time, uncut and with its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    until_timestamp: Option<UncutTimestamp>,
}

impl From<Account> for AccountInfo {
    fn from(account: Account) -> Self {
        let session = &account.session;
        Self {
            registered: account.is_registered(),
            session: SessionInfo {
                state: session.name().to_owned(),
                since: Timestamp(session.since),
                since_timestamp: UncutTimestamp(session.since),
                reason: session.reason.clone(),
                attempt: session.state.attempt(),
                until: session.state.until().map(Timestamp),
                until_timestamp: session.state.until().map(UncutTimestamp),
            },
            account: account.number,
            nickname: account.nickname,
            network: account.network,
        }
    }
}

/// The caller's accounts, oldest first, with the states of their sessions.
#[utoipa::path(get, path = "/api/account/", tag = "account",
    responses((status = 200, body = AccountList), ApiError))]
async fn list(State(state): State<AppState>, caller: Caller) -> Result<Json<AccountList>, ApiError> {
    let accounts = state.store.accounts(caller.user).await?;
    Ok(Json(AccountList { accounts: accounts.into_iter().map(AccountInfo::from).collect() }))
}

#[derive(Deserialize, ToSchema)]
struct RemoveAccount {
    /// The reason; not stored.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 1024)]
    feedback: Text<1024>,
}

/// Removes the number from its network, or logs it out where the account is the person's own, and deletes the account with all its data.
#[utoipa::path(post, path = "/api/account/remove-account/", tag = "account", request_body = RemoveAccount,
    responses((status = 200, body = Done), ApiError, NetworkResponses))]
async fn remove(
    State(state): State<AppState>,
    account: Result<OnlyAccount, ApiError>,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<RemoveAccount>,
) -> Result<Json<Done>, ApiError> {
    // An earlier run of this request may have removed the account; one with this number would be a new account.
    if state.sessions.has_unregistered(claim.claim()).await? {
        return Ok(DONE);
    }
    let OnlyAccount(account) = account?;
    tracing::debug!(account = %account.id, feedback = body.feedback.len(), "removing an account");
    if !account.is_registered() {
        let mut tx = state.store.begin().await?;
        if tx.remove_unregistered(&account).await? {
            return claim.commit(tx, StatusCode::OK, Done {}).await;
        }
    }
    state.sessions.unregister(account.id, claim.claim()).await?;
    Ok(DONE)
}

#[derive(Serialize, Deserialize, ToSchema)]
struct Nickname {
    /// The name that others see; may be empty.
    #[schema(max_length = 64)]
    nickname: String,
}

#[derive(Deserialize, ToSchema)]
struct NewNickname {
    /// The name that others see; may be empty.
    #[schema(value_type = String, max_length = 64)]
    nickname: Text<64>,
}

/// The account's nickname.
#[utoipa::path(get, path = "/api/account/nickname/", tag = "account",
    responses((status = 200, body = Nickname), ApiError))]
async fn nickname(StoredAccount(account): StoredAccount) -> Json<Nickname> {
    Json(Nickname { nickname: account.nickname })
}

/// Changes the account's nickname.
#[utoipa::path(post, path = "/api/account/nickname/", tag = "account", request_body = NewNickname,
    responses((status = 200, body = Done), ApiError))]
async fn set_nickname(
    State(state): State<AppState>,
    RegisteredAccount(account): RegisteredAccount,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<NewNickname>,
) -> Result<Json<Done>, ApiError> {
    let mut tx = state.store.begin().await?;
    tx.set_nickname(&account, &body.nickname).await?;
    claim.commit(tx, StatusCode::OK, Done {}).await
}
