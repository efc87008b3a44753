//! Extractors for the account that a request is about, checked to be the caller's.
//!
//! A handler that takes one of these cannot forget the check. Another user's number gets the same response as a number
//! that nobody has.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Deserialize;
use tracing::Span;

use super::caller::Caller;
use super::params;
use crate::domain::{Account, ChatName, PhoneNumber, UserId};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::store::{Reachable, Store};

/// The registered account that `account` names, or without it the caller's oldest registered one.
pub struct RegisteredAccount(pub Account);

/// For endpoints that only read stored data: like [`RegisteredAccount`], or an account whose number has moved to another
/// user.
pub struct StoredAccount(pub Account);

/// The account that `account` names, registered or not, or without it the caller's oldest one that is waiting for a code.
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
        AccountSelector::account(parts, state, Account::is_registered).await.map(Self)
    }
}

impl FromRequestParts<AppState> for StoredAccount {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        AccountSelector::account(parts, state, |account| account.was_proved).await.map(Self)
    }
}

impl FromRequestParts<AppState> for WaitingAccount {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let AccountSelector { user, number } = AccountSelector::read(parts, state).await?;
        let store = &state.store;
        if number.is_some() {
            return store
                .account(user, number.as_ref())
                .await?
                .map(logged)
                .map(Self)
                .ok_or_else(ApiError::account_unknown);
        }
        let accounts = store.accounts(user).await?;
        if accounts.is_empty() {
            return Err(none());
        }
        accounts.into_iter().find(|account| !account.is_registered()).map(logged).map(Self).ok_or_else(|| {
            ApiError::bad_request(
                ErrorCode::NoAccountWaits,
                "none of your accounts is waiting for a code; name one with account=",
            )
        })
    }
}

impl FromRequestParts<AppState> for OnlyAccount {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let AccountSelector { user, number } = AccountSelector::read(parts, state).await?;
        let store = &state.store;
        if number.is_some() {
            return store
                .account(user, number.as_ref())
                .await?
                .map(logged)
                .map(Self)
                .ok_or_else(ApiError::account_unknown);
        }
        let mut accounts = store.accounts(user).await?;
        match (accounts.pop(), accounts.is_empty()) {
            (Some(account), true) => Ok(Self(logged(account))),
            (None, _) => Err(none()),
            (Some(_), false) => Err(ApiError::bad_request(
                ErrorCode::AccountAmbiguous,
                "you have several accounts; name one by its number with account=",
            )),
        }
    }
}

/// The account, whose id stands in the request's log lines from now on.
fn logged(account: Account) -> Account {
    Span::current().record("account", account.id.0);
    account
}

/// The caller, and the number of one of its accounts; without a number, its oldest registered account.
pub struct AccountSelector {
    user: UserId,
    number: Option<PhoneNumber>,
}

impl AccountSelector {
    /// Reads the token and the parameter `account`.
    ///
    /// # Errors
    /// 401 for a missing or invalid token, 400 for an invalid number.
    pub async fn read(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let AccountParameter { account } = params::raw(parts)?.parse()?;
        Ok(Self { user: caller.user, number: account })
    }

    /// Whether the account was named.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.number.is_some()
    }

    /// The registered account, and whether it may write to `chat`.
    pub async fn addressed(
        &self,
        store: &Store,
        chat: Option<&ChatName>,
    ) -> Result<(Account, Option<Reachable>), ApiError> {
        let found = store.account_with_recipient(self.user, self.number.as_ref(), chat).await?;
        self.usable(store, found, Account::is_registered).await
    }

    /// The same from a cache that is a few seconds old at most: only for writes that check it again.
    pub async fn addressed_lately(
        &self,
        store: &Store,
        chat: &ChatName,
    ) -> Result<(Account, Option<Reachable>), ApiError> {
        let found = store.recent_account_with_recipient(self.user, self.number.as_ref(), chat).await?;
        self.usable(store, found, Account::is_registered).await
    }

    /// The found account, if it is usable.
    async fn usable(
        &self,
        store: &Store,
        found: Option<(Account, Option<Reachable>)>,
        is_usable: impl Fn(&Account) -> bool + Send,
    ) -> Result<(Account, Option<Reachable>), ApiError> {
        match found {
            Some((account, reachable)) if is_usable(&account) => Ok((logged(account), reachable)),
            None if self.is_named() => Err(ApiError::account_unknown()),
            None if store.accounts(self.user).await?.is_empty() => Err(none()),
            Some(_) | None => Err(not_registered()),
        }
    }

    /// The account without a chat, if it is usable.
    async fn account(
        parts: &mut Parts,
        state: &AppState,
        is_usable: impl Fn(&Account) -> bool + Send,
    ) -> Result<Account, ApiError> {
        let selector = Self::read(parts, state).await?;
        let found = state.store.account_with_recipient(selector.user, selector.number.as_ref(), None).await?;
        Ok(selector.usable(&state.store, found, is_usable).await?.0)
    }
}

fn not_registered() -> ApiError {
    ApiError::bad_request(
        ErrorCode::AccountNotRegistered,
        "this account is not registered; ask for a code and send it to /api/account/register-code/",
    )
}

fn none() -> ApiError {
    ApiError::bad_request(
        ErrorCode::NoAccount,
        "you have no account yet; create one with POST /api/account/create-account/",
    )
}
