//! Codes that the account's network sends and checks: the limits of this server, and the network's answers.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::registration::CodeSent;
use crate::domain::{Account, AccountId, PhoneNumber, UserId};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::params::Code;
use crate::lifecycle::Deadline;
use crate::sessions::{CodeRequestError, Entered, RegisterError, SubmitError};
use crate::store::Tx;
use crate::telemetry::chain;
use crate::upstream::{CodeMethod, Failure, NetworkCode, SentCode};
use crate::verification::{Method, NetworkOutcome, ReservedRequest};

/// The account whose network is to send a code.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub user: UserId,
    pub account: AccountId,
    pub network: &'a str,
    pub number: &'a PhoneNumber,
}

/// Commits the new account and lets the network send its first code, or does neither.
pub async fn send_first(
    state: &AppState,
    tx: Tx,
    request: Request<'_>,
    codes: Arc<dyn NetworkCode>,
    claim: IdempotencyClaim,
) -> Result<CodeSent, ApiError> {
    let reserved = reserve(state, tx, request, &*codes, Method::Sms, StatusCode::CREATED, &claim).await?;
    let sending = ask(state, reserved, request, codes, CodeMethod::Sms);
    let (store, Request { user, account, .. }) = (state.store.clone(), request);
    let sending = async move {
        let sent = sending.await;
        if sent.is_err() {
            // No code, no account: the number can be tried again.
            store.delete_unproved(user, account, claim.claim()).await?;
        }
        sent
    };
    run_to_the_end(state, sending).await
}

/// Lets the network send a code, once per key, see [`super::registration`].
pub async fn send(
    state: &AppState,
    tx: Tx,
    request: Request<'_>,
    codes: Arc<dyn NetworkCode>,
    method: Method,
    claim: &IdempotencyClaim,
) -> Result<CodeSent, ApiError> {
    let reserved = reserve(state, tx, request, &*codes, method, StatusCode::OK, claim).await?;
    run_to_the_end(state, ask(state, reserved, request, codes, asked(method))).await
}

/// Registers the number with what its user has entered.
pub async fn submit(
    state: &AppState,
    account: &Account,
    codes: Arc<dyn NetworkCode>,
    code: Option<Code>,
    password: Option<String>,
) -> Result<(), ApiError> {
    let length = state.sessions.network_code_length(account.id).await?;
    let length = length.unwrap_or_else(|| codes.usual_length());
    let entered = Entered { code: code.map(|code| code.digits(length)), password };
    let guess = state.verification.guess_at_network(account.user, account.id, &account.number).await?;
    let (sessions, account) = (state.sessions.clone(), account.clone());
    run_to_the_end(state, async move {
        let submitted = sessions.submit_to_network(&account, &*codes, &entered).await;
        if submitted.as_ref().is_err_and(may_be_wrong) {
            guess.was_wrong();
        } else {
            guess.give_back().await;
        }
        Ok(submitted?)
    })
    .await
}

/// Counts the request. If the program dies before the network's answer is stored, a repeat under the same key is answered
/// with the method that was asked for and the usual length.
async fn reserve(
    state: &AppState,
    tx: Tx,
    request: Request<'_>,
    codes: &dyn NetworkCode,
    method: Method,
    status: StatusCode,
    claim: &IdempotencyClaim,
) -> Result<ReservedRequest, ApiError> {
    let usual = SentCode { method: asked(method), length: codes.usual_length(), again_after: Duration::ZERO };
    let expected = claim.answered(status, &CodeSent::from(usual))?;
    let Request { user, account, number, .. } = request;
    Ok(state.verification.reserve_at_network(tx, user, account, number, method, expected).await?)
}

/// Asks the network and stores whether it has sent a code.
fn ask(
    state: &AppState,
    reserved: ReservedRequest,
    request: Request<'_>,
    codes: Arc<dyn NetworkCode>,
    method: CodeMethod,
) -> impl Future<Output = Result<CodeSent, ApiError>> + use<> {
    let (sessions, account) = (state.sessions.clone(), request.account);
    let (network, number) = (request.network.to_owned(), request.number.clone());
    async move {
        let counted = reserved.commit().await?;
        let sent = sessions.request_network_code(account, &network, &number, &*codes, method).await;
        counted
            .settle(match &sent {
                Ok(_) => NetworkOutcome::Sent,
                Err(error) if is_unknown(error) => NetworkOutcome::Unknown(chain(error)),
                Err(error) => NetworkOutcome::NotSent(chain(error)),
            })
            .await;
        Ok(sent?.into())
    }
}

/// Runs a request to the network in a task of its own: a client that hangs up must not leave it half done.
async fn run_to_the_end<T: Send + 'static>(
    state: &AppState,
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = state.lifecycle.spawn(Deadline::carry(work)).await;
    done.map_err(|error| ApiError::internal(&error))?
}

fn asked(method: Method) -> CodeMethod {
    match method {
        Method::Sms => CodeMethod::Sms,
        Method::Voice => CodeMethod::Voice,
    }
}

/// Whether the network may have sent a code all the same. A database that failed afterwards counts, too.
fn is_unknown(error: &CodeRequestError) -> bool {
    matches!(
        error,
        CodeRequestError::Register(RegisterError::Network(Failure::OutcomeUnknown) | RegisterError::Store(_))
    )
}

/// Whether the network may have found that the guess was wrong.
fn may_be_wrong(error: &SubmitError) -> bool {
    match error {
        SubmitError::WrongCode
        | SubmitError::WrongPassword
        | SubmitError::Register(RegisterError::Network(Failure::OutcomeUnknown)) => true,
        SubmitError::Expired
        | SubmitError::NoneAsked
        | SubmitError::NeedsPassword
        | SubmitError::NeedsCode
        | SubmitError::NoSuchAccount
        | SubmitError::TooMany { .. }
        | SubmitError::Register(_) => false,
    }
}
