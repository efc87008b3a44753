//! The password grant: the steps of oxide-auth's client credentials flow, with the user's password in between.
//!
//! Only failures are throttled. The throttle is checked before waiting for a hashing slot, and again in the slot: so a
//! burst gets at most one guess per core beyond the limits.

use std::borrow::Cow;
use std::net::IpAddr;

use oxide_auth::primitives::grant::{Extensions, Grant};
use oxide_auth::primitives::registrar::{ClientUrl, PreGrant, RegistrarError};
use oxide_auth_async::primitives::{Issuer as _, Registrar as _};

use super::issuer::{TokenIssuer, VerifiedLogin};
use super::password::{HashingSlot, LoginOutcome};
use super::{Client, OAuth, OAuthError, TokenPair, TokenRequest};
use crate::domain::{CallerNetwork, normalised};
use crate::metrics::METRICS;
use crate::store::{LoginAttempt, UserRecord};
use crate::{clock, secrets};

/// Attempts of a login; it starts anew when the stored hash changed meanwhile.
const TRIES: usize = 3;

impl OAuth {
    pub(super) async fn login(
        &self,
        request: &TokenRequest,
        client: &Client,
    ) -> Result<TokenPair, OAuthError> {
        let parameters = &request.parameters;
        let (name, password) = (parameters.required("username")?, parameters.required("password")?);
        let pre_grant = negotiate(client, parameters.get("scope")).await?;
        let login = self.verify(name, password, request.address, client).await?;
        let grant = Grant {
            owner_id: login.user.to_string(),
            client_id: pre_grant.client_id,
            scope: pre_grant.scope,
            redirect_uri: pre_grant.redirect_uri.into_url(),
            until: clock::now(),
            extensions: Extensions::new(),
        };
        let mut issuer = TokenIssuer::new(self, Some(login));
        // The issuer stores the outcome with its cause.
        let _ = issuer.issue(grant).await;
        issuer.into_pair()
    }

    async fn verify(
        &self,
        name: &str,
        password: &str,
        address: IpAddr,
        client: &Client,
    ) -> Result<VerifiedLogin, OAuthError> {
        let typed = Typed::new(name, password);
        for _ in 0..TRIES {
            let user = self.user(&typed).await?;
            let attempt = LoginAttempt {
                name_hash: secrets::sha256(typed.name.as_bytes()),
                address: CallerNetwork::from(address).to_string(),
                user: user.as_ref().map(|user| user.id),
            };
            self.throttle(&attempt, address).await?;
            let slot = self.hasher.slot().await?;
            self.throttle(&attempt, address).await?;
            let hash = user.as_ref().map(|user| user.password_hash.clone());
            let outcome = typed.verify(&slot, hash).await?;
            let (Some(user), LoginOutcome::Right { outdated }) =
                (user.filter(|user| !user.disabled), outcome)
            else {
                METRICS.login("failed");
                tracing::warn!(user = shown(&attempt), %address, "a login failed");
                self.store.record_login_failure(&attempt).await?;
                return Err(OAuthError::WrongLogin);
            };
            let current = if outdated {
                let new = slot.hash(typed.password.clone()).await?;
                self.rehash(&user, new).await?
            } else {
                Some(user.password_hash)
            };
            if let Some(password_hash) = current {
                METRICS.login("ok");
                return Ok(VerifiedLogin {
                    user: user.id,
                    password_hash,
                    client: client.registrar.id()?,
                    attempt,
                });
            }
        }
        Err(OAuthError::Busy)
    }

    /// The user of a name as it is stored: normalised, but not for a user who was created before names were.
    async fn user(&self, typed: &Typed) -> Result<Option<UserRecord>, OAuthError> {
        let user = self.store.user_by_name(&typed.name).await?;
        match &typed.other_name {
            Some(other) if user.is_none() => Ok(self.store.user_by_name(other).await?),
            _ => Ok(user),
        }
    }

    async fn throttle(&self, attempt: &LoginAttempt, address: IpAddr) -> Result<(), OAuthError> {
        match self.store.login_wait(attempt).await? {
            Some(retry_after) => {
                METRICS.login("throttled");
                tracing::warn!(user = shown(attempt), %address, ?retry_after, "a login has to wait");
                Err(OAuthError::TooManyFailures { retry_after })
            }
            None => Ok(()),
        }
    }

    /// Stores the new hash and returns it; `None` when another login or a new password came first.
    async fn rehash(&self, user: &UserRecord, new: String) -> Result<Option<String>, OAuthError> {
        let replaced = self.store.replace_password_hash(user.id, &user.password_hash, &new).await?;
        Ok(replaced.then_some(new))
    }
}

async fn negotiate(client: &Client, scope: Option<&str>) -> Result<PreGrant, OAuthError> {
    let scope = scope.map(str::parse).transpose().map_err(|_| OAuthError::InvalidScope)?;
    let url = ClientUrl { client_id: Cow::Borrowed(client.id.as_str()), redirect_uri: None };
    let bound = client.registrar.bound_redirect(url).await.map_err(|_| OAuthError::InvalidClient)?;
    client.registrar.negotiate(bound, scope).await.map_err(|error| match error {
        RegistrarError::Unspecified => OAuthError::InvalidScope,
        RegistrarError::PrimitiveError => OAuthError::Impossible("a client's scope does not parse"),
    })
}

/// A name and a password, normalised; and as they were typed, where that differs.
struct Typed {
    name: String,
    password: String,
    other_name: Option<String>,
    other_password: Option<String>,
}

impl Typed {
    fn new(name: &str, password: &str) -> Self {
        let pair = |typed: &str| {
            let normal = normalised(typed);
            let other = (normal != typed).then(|| typed.to_owned());
            (normal, other)
        };
        let ((name, other_name), (password, other_password)) = (pair(name), pair(password));
        Self { name, password, other_name, other_password }
    }

    /// Checks the password; a hash from before passwords were normalised is outdated.
    async fn verify(&self, slot: &HashingSlot, hash: Option<String>) -> Result<LoginOutcome, OAuthError> {
        let outcome = slot.verify(self.password.clone(), hash.clone()).await?;
        let Some(other) = self.other_password.as_ref().filter(|_| outcome == LoginOutcome::Wrong) else {
            return Ok(outcome);
        };
        Ok(match slot.verify(other.clone(), hash).await? {
            LoginOutcome::Right { .. } => LoginOutcome::Right { outdated: true },
            LoginOutcome::Wrong => LoginOutcome::Wrong,
        })
    }
}

/// The user in the log. A name that nobody has is not shown: people type passwords into the wrong field.
fn shown(attempt: &LoginAttempt) -> String {
    attempt.user.map_or_else(|| "unknown".to_owned(), |user| user.to_string())
}
