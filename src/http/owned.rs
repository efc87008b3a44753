//! Which account a request is about, checked to be the caller's.
//!
//! A handler that takes one of these cannot forget the check. Another user's number is answered exactly as one that
//! nobody has.

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use serde::Deserialize;

use super::AppState;
use super::auth::Caller;
use super::error::{ACCOUNT_UNKNOWN, ApiError};
use super::params;
use crate::domain::{Account, ChatName, PhoneNumber, UserId};
use crate::store::{Reachable, Store};

/// The registered account that `account` names, or without it the caller's oldest registered one.
pub struct RegisteredAccount(pub Account);

/// For rows that only read what is stored: like [`RegisteredAccount`], but the account that `account` names may also be
/// one whose number has moved to another user.
pub struct StoredAccount(pub Account);

/// The account that `account` names, registered or not, or without it the caller's oldest one that waits for a code.
pub struct WaitingAccount(pub Account);

/// The account that `account` names, or without it the caller's only one.
pub struct OnlyAccount(pub Account);

#[derive(Deserialize)]
struct AccountParameter {
    account: Option<PhoneNumber>,
}

impl FromRequestParts<AppState> for RegisteredAccount {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (account, _) = usable(parts, state, None, Account::is_registered).await?;
        Ok(Self(account))
    }
}

impl FromRequestParts<AppState> for StoredAccount {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (account, _) = usable(parts, state, None, |account| account.was_proved).await?;
        Ok(Self(account))
    }
}

impl FromRequestParts<AppState> for WaitingAccount {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (store, user, number) = read(parts, state).await?;
        if number.is_some() {
            return store.account(user, number.as_ref()).await?.map(Self).ok_or_else(unknown);
        }
        let accounts = store.accounts(user).await?;
        if accounts.is_empty() {
            return Err(none());
        }
        accounts.into_iter().find(|account| !account.is_registered()).map(Self).ok_or_else(|| {
            ApiError::bad_request(
                "no_account_waits",
                "none of your accounts waits for a code; name one with account=",
            )
        })
    }
}

impl FromRequestParts<AppState> for OnlyAccount {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let (store, user, number) = read(parts, state).await?;
        if number.is_some() {
            return store.account(user, number.as_ref()).await?.map(Self).ok_or_else(unknown);
        }
        let mut accounts = store.accounts(user).await?;
        match (accounts.pop(), accounts.is_empty()) {
            (Some(account), true) => Ok(Self(account)),
            (None, _) => Err(none()),
            (Some(_), false) => Err(ApiError::bad_request(
                "account_ambiguous",
                "you have several accounts; say which one by its number with account=",
            )),
        }
    }
}

/// The registered account, and whether it may write to `chat`.
pub(super) async fn addressed(
    parts: &mut Parts,
    state: &AppState,
    chat: Option<&ChatName>,
) -> Result<(Account, Option<Reachable>), ApiError> {
    usable(parts, state, chat, Account::is_registered).await
}

/// The account that is named, if it will do, or the caller's oldest registered one; and whether it may write to `chat`.
async fn usable(
    parts: &mut Parts,
    state: &AppState,
    chat: Option<&ChatName>,
    will_do: impl Fn(&Account) -> bool + Send,
) -> Result<(Account, Option<Reachable>), ApiError> {
    let (store, user, number) = read(parts, state).await?;
    match store.addressed(user, number.as_ref(), chat).await? {
        Some((account, reachable)) if will_do(&account) => Ok((account, reachable)),
        None if number.is_some() => Err(unknown()),
        None if store.accounts(user).await?.is_empty() => Err(none()),
        Some(_) | None => Err(not_registered()),
    }
}

async fn read(parts: &mut Parts, state: &AppState) -> Result<(Store, UserId, Option<PhoneNumber>), ApiError> {
    let caller = Caller::from_request_parts(parts, state).await?;
    let AccountParameter { account } = params::raw(parts)?.parse()?;
    Ok((Store::from_ref(state), caller.user, account))
}

/// The answer of a row that needs a registered account.
pub(super) fn not_registered() -> ApiError {
    ApiError::bad_request(
        "account_not_registered",
        "this account is not registered; ask for a code and send it to /api/account/register-code/",
    )
}

/// The answer of a row about an account that the caller does not have.
pub(super) fn unknown() -> ApiError {
    ApiError::bad_request("account_unknown", ACCOUNT_UNKNOWN)
}

fn none() -> ApiError {
    ApiError::bad_request(
        "no_account",
        "you have no account yet; make one with POST /api/account/create-account/",
    )
}
