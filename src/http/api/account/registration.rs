//! New accounts, and the codes that prove their numbers: ours, or the network's own ([`super::network_code`]).

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::network_code;
use crate::domain::{Account, AccountId, PhoneNumber, UserId};
use crate::http::AppState;
use crate::http::error::responses::NetworkResponses;
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::account::WaitingAccount;
use crate::http::extract::caller::Caller;
use crate::http::extract::params::{Code, RequestParameters, Text};
use crate::http::json::Json;
use crate::lifecycle::Deadline;
use crate::sessions::NoSuchNetwork;
use crate::store::Tx;
use crate::upstream::{RegistrationKind, SentCode};
use crate::verification::{CODE_LENGTH, Method};

/// How long register-code waits for the session.
const ONLINE_TIMEOUT: Duration = Duration::from_secs(10);

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(request_sms_code))
        .routes(routes!(request_voice_code))
        .routes(routes!(register_code))
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
pub(super) struct CodeSent {
    /// `sms` or `voice`; where the network sends the code, perhaps another way that it has chosen, such as `app`.
    method: &'static str,
    /// How many digits the code has.
    length: usize,
}

impl CodeSent {
    fn by(method: Method) -> Self {
        Self { method: method.as_str(), length: CODE_LENGTH }
    }
}

impl From<SentCode> for CodeSent {
    fn from(sent: SentCode) -> Self {
        Self { method: sent.method.as_str(), length: sent.length }
    }
}

/// Links a number, and sends a code to it or lets the network send one.
#[utoipa::path(post, path = "/api/account/create-account/", tag = "account", request_body = CreateAccount,
    responses(
        (status = 201, body = CodeSent),
        ApiError,
        NetworkResponses,
        (status = 403, body = Problem),
        (status = 429, body = Problem),
    ))]
async fn create(
    State(state): State<AppState>,
    caller: Caller,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<CreateAccount>,
) -> Result<(StatusCode, Json<CodeSent>), ApiError> {
    let network = body.network.as_deref().unwrap_or(&state.default_network);
    let Some(connector) = state.sessions.connector(network) else {
        return Err(ApiError::bad_request(
            ErrorCode::NetworkUnknown,
            "this server has no such network; leave network out for the default",
        ));
    };
    let codes = match connector.registration() {
        RegistrationKind::OurCode => None,
        RegistrationKind::NetworkCode(codes) => Some(codes),
        RegistrationKind::Pairing => return Err(no_codes()),
    };
    let mut tx = state.store.begin().await?;
    let account = link(&state, &mut tx, caller.user, &body.account, network, &body.nickname).await?;
    let sent = match codes {
        None => send_first(&state, tx, caller.user, account, &body.account, claim).await?,
        Some(codes) => {
            let request =
                network_code::Request { user: caller.user, account, network, number: &body.account };
            network_code::send_first(&state, tx, request, codes, claim).await?
        }
    };
    Ok((StatusCode::CREATED, Json(sent)))
}

/// Sends a new code as a text message.
#[utoipa::path(post, path = "/api/account/request-sms-code/", tag = "account",
    responses(
        (status = 200, body = CodeSent),
        ApiError,
        NetworkResponses,
        (status = 429, body = Problem),
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
        NetworkResponses,
        (status = 429, body = Problem),
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
    #[schema(value_type = Option<String>, max_length = 64)]
    code: Option<Code>,
    /// Of the account on its network, if that asks for it besides the code. Alone, or with the code that was right.
    #[schema(value_type = Option<String>, max_length = 256)]
    password: Option<Text<256>>,
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
        (status = 403, body = Problem,
            description = "with `reason`: wrong, expired, none, password (needed besides) or no_account"),
        (status = 429, body = Problem),
    ))]
async fn register_code(
    State(state): State<AppState>,
    WaitingAccount(account): WaitingAccount,
    RequestParameters(body): RequestParameters<RegisterCode>,
) -> Result<Json<Registered>, ApiError> {
    match registration_of(&state, &account)? {
        RegistrationKind::OurCode => {
            let code = body.code.ok_or_else(no_code)?.digits(CODE_LENGTH);
            let _proved = state.verification.check(account.user, account.id, &account.number, &code).await?;
            state.sessions.register(&account).await?;
        }
        RegistrationKind::NetworkCode(codes) => {
            if body.code.is_none() && body.password.is_none() {
                return Err(no_code());
            }
            let password = body.password.map(Text::into_inner);
            network_code::submit(&state, &account, codes, body.code, password).await?;
        }
        RegistrationKind::Pairing => return Err(no_codes()),
    }
    state.sessions.wait_online(&account, ONLINE_TIMEOUT).await?;
    Ok(Json(Registered { login: account.number }))
}

/// Creates the account in the transaction.
async fn link(
    state: &AppState,
    tx: &mut Tx,
    user: UserId,
    number: &PhoneNumber,
    network: &str,
    nickname: &str,
) -> Result<AccountId, ApiError> {
    if !state.verification.may_create_account(tx, user).await? {
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
    Ok(account)
}

/// Commits the new account and sends its code, or does neither.
async fn send_first(
    state: &AppState,
    tx: Tx,
    user: UserId,
    account: AccountId,
    number: &PhoneNumber,
    claim: IdempotencyClaim,
) -> Result<CodeSent, ApiError> {
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
    Ok(sent)
}

/// Sends a code, once per key. If the program dies after the code was counted and may have been sent, a repeat gets the
/// response of success; a caller whose code does not arrive requests another one under another key.
async fn request_code(
    state: &AppState,
    account: &Account,
    claim: IdempotencyClaim,
    method: Method,
) -> Result<Json<CodeSent>, ApiError> {
    let tx = state.store.begin().await?;
    match registration_of(state, account)? {
        RegistrationKind::OurCode => {
            let sent = CodeSent::by(method);
            let expected = claim.answered(StatusCode::OK, &sent)?;
            let (user, number) = (account.user, &account.number);
            state.verification.request(tx, user, account.id, number, method, expected).await?;
            Ok(Json(sent))
        }
        RegistrationKind::NetworkCode(codes) => {
            let Account { user, id, network, number, .. } = account;
            let request = network_code::Request { user: *user, account: *id, network, number };
            network_code::send(state, tx, request, codes, method, &claim).await.map(Json)
        }
        RegistrationKind::Pairing => Err(no_codes()),
    }
}

fn registration_of(state: &AppState, account: &Account) -> Result<RegistrationKind, ApiError> {
    let connector = state.sessions.connector(&account.network);
    Ok(connector.ok_or_else(|| NoSuchNetwork(account.network.clone()))?.registration())
}

fn no_codes() -> ApiError {
    ApiError::unsupported("register numbers by a code")
}

fn no_code() -> ApiError {
    ApiError::bad_request(ErrorCode::MissingParameter, "code is missing")
}
