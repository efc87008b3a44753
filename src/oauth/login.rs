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
use super::password::LoginOutcome;
use super::{Client, OAuth, OAuthError, TokenPair, TokenRequest};
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
        for _ in 0..TRIES {
            let user = self.store.user_by_name(name).await?;
            let attempt = LoginAttempt {
                name_hash: secrets::sha256(name.as_bytes()),
                address: network(address),
                user: user.as_ref().map(|user| user.id),
            };
            self.throttle(&attempt).await?;
            let slot = self.hasher.slot().await?;
            self.throttle(&attempt).await?;
            let hash = user.as_ref().map(|user| user.password_hash.clone());
            let outcome = slot.verify(password.to_owned(), hash).await?;
            let (Some(user), LoginOutcome::Right { outdated }) =
                (user.filter(|user| !user.disabled), outcome)
            else {
                self.store.record_login_failure(&attempt).await?;
                return Err(OAuthError::WrongLogin);
            };
            let current = if outdated {
                let new = slot.hash(password.to_owned()).await?;
                self.rehash(&user, new).await?
            } else {
                Some(user.password_hash)
            };
            if let Some(password_hash) = current {
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

    async fn throttle(&self, attempt: &LoginAttempt) -> Result<(), OAuthError> {
        match self.store.login_wait(attempt).await? {
            Some(retry_after) => Err(OAuthError::TooManyFailures { retry_after }),
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

/// The unit that is throttled: an IPv4 address, or the /64 network of an IPv6 address, which belongs to one customer at
/// least.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            format!("{}/64", std::net::Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_ipv6_count_as_one() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }
}
