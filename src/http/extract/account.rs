//! Which account a request is about, checked to be the caller's.
//!
//! A handler that takes one of these cannot forget the check. Another user's number is answered exactly as one that
//! nobody has.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Deserialize;

use super::params;
use crate::domain::{Account, ChatName, PhoneNumber, UserId};
use crate::http::AppState;
use crate::http::error::{ApiError, Code};
use crate::http::extract::caller::Caller;
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
                .map(Self)
                .ok_or_else(ApiError::account_unknown);
        }
        let accounts = store.accounts(user).await?;
        if accounts.is_empty() {
            return Err(none());
        }
        accounts.into_iter().find(|account| !account.is_registered()).map(Self).ok_or_else(|| {
            ApiError::bad_request(
                Code::NoAccountWaits,
                "none of your accounts waits for a code; name one with account=",
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
                .map(Self)
                .ok_or_else(ApiError::account_unknown);
        }
        let mut accounts = store.accounts(user).await?;
        match (accounts.pop(), accounts.is_empty()) {
            (Some(account), true) => Ok(Self(account)),
            (None, _) => Err(none()),
            (Some(_), false) => Err(ApiError::bad_request(
                Code::AccountAmbiguous,
                "you have several accounts; say which one by its number with account=",
            )),
        }
    }
}

/// AccountSelector account a request is about: the caller's of this number, or without one the caller's oldest registered one.
pub struct AccountSelector {
    user: UserId,
    number: Option<PhoneNumber>,
}

impl AccountSelector {
    /// The token's user, and the parameter `account`.
    ///
    /// # Errors
    /// 401 without a good token, 400 for what is no number.
    pub async fn read(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let AccountParameter { account } = params::raw(parts)?.parse()?;
        Ok(Self { user: caller.user, number: account })
    }

    /// Whether the account was named.
    pub fn is_named(&self) -> bool {
        self.number.is_some()
    }

    /// The registered account, and whether it may write to `chat`.
    pub async fn addressed(
        &self,
        store: &Store,
        chat: Option<&ChatName>,
    ) -> Result<(Account, Option<Reachable>), ApiError> {
        let found = store.addressed(self.user, self.number.as_ref(), chat).await?;
        self.usable(store, found, Account::is_registered).await
    }

    /// The same, as of a few seconds ago at most: only for what looks again when it writes.
    pub async fn addressed_lately(
        &self,
        store: &Store,
        chat: &ChatName,
    ) -> Result<(Account, Option<Reachable>), ApiError> {
        let found = store.addressed_lately(self.user, self.number.as_ref(), chat).await?;
        self.usable(store, found, Account::is_registered).await
    }

    /// What was found, if the account will do.
    async fn usable(
        &self,
        store: &Store,
        found: Option<(Account, Option<Reachable>)>,
        will_do: impl Fn(&Account) -> bool + Send,
    ) -> Result<(Account, Option<Reachable>), ApiError> {
        match found {
            Some((account, reachable)) if will_do(&account) => Ok((account, reachable)),
            None if self.is_named() => Err(ApiError::account_unknown()),
            None if store.accounts(self.user).await?.is_empty() => Err(none()),
            Some(_) | None => Err(not_registered()),
        }
    }

    /// The account alone, if it will do.
    async fn account(
        parts: &mut Parts,
        state: &AppState,
        will_do: impl Fn(&Account) -> bool + Send,
    ) -> Result<Account, ApiError> {
        let whose = Self::read(parts, state).await?;
        let found = state.store.addressed(whose.user, whose.number.as_ref(), None).await?;
        Ok(whose.usable(&state.store, found, will_do).await?.0)
    }
}

fn not_registered() -> ApiError {
    ApiError::bad_request(
        Code::AccountNotRegistered,
        "this account is not registered; ask for a code and send it to /api/account/register-code/",
    )
}

fn none() -> ApiError {
    ApiError::bad_request(
        Code::NoAccount,
        "you have no account yet; make one with POST /api/account/create-account/",
    )
}
