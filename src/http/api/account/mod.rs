//! Accounts: created, proved by a code, listed, named and removed.

mod capabilities;
mod photo;
mod profile;

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::done::{DONE, Done};
use crate::domain::{Account, PhoneNumber, Timestamp, UncutTimestamp, UserId};
use crate::http::AppState;
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::{OnlyAccount, RegisteredAccount, StoredAccount, WaitingAccount};
use crate::http::extract::caller::Caller;
use crate::http::extract::params::{Code, RequestParameters, Text};
use crate::http::json::Json;
use crate::lifecycle::Deadline;
use crate::verification::{CODE_LENGTH, Method};

/// How long register-code waits for the session.
const ONLINE_TIMEOUT: Duration = Duration::from_secs(10);

/// The routes of this folder.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(create))
        .routes(routes!(request_sms_code))
        .routes(routes!(request_voice_code))
        .routes(routes!(register_code))
        .routes(routes!(remove))
        .routes(routes!(nickname, set_nickname))
        .merge(capabilities::router())
        .merge(photo::router())
        .merge(profile::router())
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
struct CreateAccount {
    /// The number to link.
    #[schema(value_type = String)]
    account: PhoneNumber,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 64)]
    nickname: Text<64>,
    /// The upstream network; without it the server's first.
    #[schema(value_type = Option<String>)]
    network: Option<Text<32>>,
}

#[derive(Serialize, ToSchema)]
struct CodeSent {
    /// `sms` or `voice`.
    method: &'static str,
    /// How many digits the code has.
    length: usize,
}

impl CodeSent {
    fn by(method: Method) -> Self {
        Self { method: method.as_str(), length: CODE_LENGTH }
    }
}

/// Links a number and sends a code to it.
#[utoipa::path(post, path = "/api/account/create-account/", tag = "account", request_body = CreateAccount,
    responses(
        (status = 201, body = CodeSent),
        ApiError,
        (status = 403, body = Problem),
        (status = 429, body = Problem),
        (status = 502, body = Problem),
    ))]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<CreateAccount>,
) -> Result<(StatusCode, Json<CodeSent>), ApiError> {
    let network = body.network.as_deref().unwrap_or(&state.default_network);
    if state.sessions.connector(network).is_none() {
        return Err(ApiError::bad_request(
            ErrorCode::NetworkUnknown,
            "this server has no such network; leave network out for the default",
        ));
    }
    let sent = link(&state, caller.user, claim, &body.account, network, &body.nickname).await?;
    Ok((StatusCode::CREATED, sent))
}

/// Sends a new code as a text message.
#[utoipa::path(post, path = "/api/account/request-sms-code/", tag = "account",
    responses(
        (status = 200, body = CodeSent),
        ApiError,
        (status = 429, body = Problem),
        (status = 502, body = Problem),
    ))]
async fn request_sms_code(
    State(state): State<AppState>,
    WaitingAccount(account): WaitingAccount,
    claim: IdempotencyClaim,
) -> Result<Json<CodeSent>, ApiError> {
    request_code(&state, &account, claim, Method::Sms).await
}

/// Sends a new code by a voice call.
#[utoipa::path(post, path = "/api/account/request-voice-code/", tag = "account",
    responses(
        (status = 200, body = CodeSent),
        ApiError,
        (status = 429, body = Problem),
        (status = 502, body = Problem),
    ))]
async fn request_voice_code(
    State(state): State<AppState>,
    WaitingAccount(account): WaitingAccount,
    claim: IdempotencyClaim,
) -> Result<Json<CodeSent>, ApiError> {
    request_code(&state, &account, claim, Method::Voice).await
}

#[derive(Deserialize, ToSchema)]
struct RegisterCode {
    /// Dashes and blanks are ignored. A JSON integer is padded with zeros on the left.
    #[schema(value_type = String)]
    code: Code,
}

#[derive(Serialize, ToSchema)]
struct Registered {
    /// The number.
    #[schema(value_type = String)]
    login: PhoneNumber,
}

/// Proves the number. Answers when the session is online, or after ten seconds.
#[utoipa::path(post, path = "/api/account/register-code/", tag = "account", request_body = RegisterCode,
    responses(
        (status = 200, body = Registered),
        ApiError,
        NetworkResponses,
        (status = 403, body = Problem, description = "with `reason`: wrong, expired or none"),
        (status = 429, body = Problem),
    ))]
async fn register_code(
    State(state): State<AppState>,
    WaitingAccount(account): WaitingAccount,
    RequestParameters(body): RequestParameters<RegisterCode>,
) -> Result<Json<Registered>, ApiError> {
    let _proved =
        state.verification.check(account.user, account.id, &account.number, body.code.as_str()).await?;
    state.sessions.register(&account).await?;
    state.sessions.wait_online(&account, ONLINE_TIMEOUT).await?;
    Ok(Json(Registered { login: account.number }))
}

#[derive(Deserialize, ToSchema)]
struct RemoveAccount {
    /// The reason; not stored.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 1024)]
    feedback: Text<1024>,
}

/// Removes the number from its network and deletes the account with all its data.
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

/// Creates the account and sends its code, or does neither.
async fn link(
    state: &AppState,
    user: UserId,
    claim: IdempotencyClaim,
    number: &PhoneNumber,
    network: &str,
    nickname: &str,
) -> Result<Json<CodeSent>, ApiError> {
    let mut tx = state.store.begin().await?;
    if !state.verification.may_create_account(&mut tx, user).await? {
        return Err(ApiError::too_many(
            ErrorCode::TooManyAccounts,
            "ten of your accounts are waiting for their codes; register or remove some of them first",
            60,
        ));
    }
    let created = tx.create_account(user, number, network, nickname).await?;
    let Some(account) = created else {
        return Err(ApiError::bad_request(
            ErrorCode::AccountExists,
            "you already have an account with this number",
        ));
    };
    if let Some(most) = state.quotas.accounts
        && tx.has_accounts(user, most.get().saturating_add(1)).await?
    {
        return Err(ApiError::bad_request(
            ErrorCode::TooManyAccounts,
            format!("this server allows {most} accounts for each user; remove one of yours first"),
        ));
    }
    let sent = CodeSent::by(Method::Sms);
    let expected = claim.answered(StatusCode::CREATED, &sent)?;
    let reserved = state.verification.reserve(tx, user, account, number, Method::Sms, expected).await?;
    // A task of its own, because a client that hangs up must not leave an account behind whose code was not sent.
    let store = state.store.clone();
    let sending = async move {
        let outcome = reserved.send().await;
        if outcome.is_err() {
            // No code, no account: the number can be tried again.
            store.delete_unproved(user, account, claim.claim()).await?;
        }
        outcome.map_err(ApiError::from)
    };
    let done = state.lifecycle.spawn(Deadline::carry(sending)).await;
    done.map_err(|error| ApiError::internal(&error))??;
    Ok(Json(sent))
}

/// Sends a code, once per key. If the program dies after the code was counted and may have been sent, a repeat gets the
/// response of success; a caller whose code does not arrive requests another one under another key.
async fn request_code(
    state: &AppState,
    account: &Account,
    claim: IdempotencyClaim,
    method: Method,
) -> Result<Json<CodeSent>, ApiError> {
    let sent = CodeSent::by(method);
    let expected = claim.answered(StatusCode::OK, &sent)?;
    let tx = state.store.begin().await?;
    state.verification.request(tx, account.user, account.id, &account.number, method, expected).await?;
    Ok(Json(sent))
}
