//! The issuer of token pairs for oxide-auth: creates, rotates and finds them.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use oxide_auth::primitives::grant::{Extensions, Grant};
use oxide_auth::primitives::issuer::{IssuedToken, RefreshedToken, TokenType};
use oxide_auth::primitives::scope::Scope;
use oxide_auth_async::primitives::Issuer;

use super::registrar::{no_redirect, sorted};
use super::{OAuth, OAuthError, TokenPair};
use crate::domain::{ClientId, UserId};
use crate::store::{LoginAttempt, NewGrant, NewPair, SealedPair};
use crate::{clock, secrets};

/// The purpose of the key that is derived from a refresh token to seal its successor.
const SUCCESSOR_KEY: &str = "successor of a refresh token";

/// A login whose password was verified.
pub struct VerifiedLogin {
    pub user: UserId,
    /// The hash that the password was verified against.
    pub password_hash: String,
    pub client: ClientId,
    pub attempt: LoginAttempt,
}

/// The issuer of one request. oxide-auth's errors carry no cause, so it is stored here, as is the pair for the response.
pub struct TokenIssuer<'a> {
    oauth: &'a OAuth,
    login: Option<VerifiedLogin>,
    pair: Option<TokenPair>,
    failure: Option<OAuthError>,
}

impl<'a> TokenIssuer<'a> {
    /// An issuer that refreshes, and with a login also issues.
    pub fn new(oauth: &'a OAuth, login: Option<VerifiedLogin>) -> Self {
        Self { oauth, login, pair: None, failure: None }
    }

    /// The issued pair, or the reason why there is none.
    pub fn into_pair(self) -> Result<TokenPair, OAuthError> {
        match (self.pair, self.failure) {
            (Some(pair), _) => Ok(pair),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(OAuthError::Impossible("no token pair and no reason")),
        }
    }

    /// The reason why the last call failed.
    pub fn take_failure(&mut self) -> OAuthError {
        self.failure.take().unwrap_or(OAuthError::Impossible("an issuer failed without a reason"))
    }

    /// Stores the cause of an error for [`TokenIssuer::into_pair`].
    fn store_failure<T>(&mut self, outcome: Result<T, OAuthError>) -> Result<T, ()> {
        outcome.map_err(|failure| self.failure = Some(failure))
    }

    async fn grant(&mut self, grant: &Grant) -> Result<TokenPair, OAuthError> {
        let login = self.login.take().ok_or(OAuthError::Impossible("a grant without a login"))?;
        let (pair, row) = self.new_pair(&grant.scope);
        let new = NewGrant {
            user: login.user,
            password_hash: login.password_hash,
            client: login.client,
            scope: pair.scope.clone(),
        };
        let mut tx = self.oauth.store.begin().await?;
        if !tx.grant(&new, &row).await? {
            return Err(OAuthError::WrongLogin);
        }
        tx.record_login(login.user, &login.attempt).await?;
        tx.commit().await?;
        Ok(pair)
    }

    async fn rotate(&mut self, token: &str, grant: &Grant) -> Result<TokenPair, OAuthError> {
        let (pair, row) = self.new_pair(&grant.scope);
        let hash = secrets::sha256(token.as_bytes());
        let plain = format!("{} {}", pair.access_token, pair.refresh_token);
        let key = secrets::derive(token.as_bytes(), SUCCESSOR_KEY);
        let sealed = secrets::seal_with(&key, &hash, plain.as_bytes());
        if let Some(revoked) = self.oauth.store.rotate(&hash, &sealed, &row).await? {
            self.oauth.announce_revoked(&[revoked]);
            return Ok(pair);
        }
        let Some(used) = self.oauth.store.used_token(&hash).await? else {
            return Err(OAuthError::InvalidGrant);
        };
        if let Some(pair) = used.successor.and_then(|successor| reopen(token, &hash, &successor)) {
            return Ok(pair);
        }
        tracing::warn!(user = %used.user, "a refresh token was reused: all tokens of its login are revoked");
        let revoked = self.oauth.store.revoke_grant(used.grant).await?;
        self.oauth.announce_revoked(&revoked);
        Err(OAuthError::InvalidGrant)
    }

    fn new_pair(&self, scope: &Scope) -> (TokenPair, NewPair) {
        let pair = TokenPair {
            access_token: secrets::random_token(),
            refresh_token: secrets::random_token(),
            expires_in: self.oauth.access_lifetime,
            scope: sorted(scope),
        };
        let row = NewPair {
            access_hash: secrets::sha256(pair.access_token.as_bytes()),
            access_scope: pair.scope.clone(),
            access_lifetime: self.oauth.access_lifetime,
            refresh_hash: secrets::sha256(pair.refresh_token.as_bytes()),
            refresh_lifetime: self.oauth.refresh_lifetime,
        };
        (pair, row)
    }
}

#[async_trait]
impl Issuer for TokenIssuer<'_> {
    async fn issue(&mut self, grant: Grant) -> Result<IssuedToken, ()> {
        let outcome = self.grant(&grant).await;
        let pair = self.store_failure(outcome)?;
        let issued = IssuedToken {
            token: pair.access_token.clone(),
            refresh: Some(pair.refresh_token.clone()),
            until: clock::now() + delta(pair.expires_in),
            token_type: TokenType::Bearer,
        };
        self.pair = Some(pair);
        Ok(issued)
    }

    async fn refresh(&mut self, token: &str, grant: Grant) -> Result<RefreshedToken, ()> {
        let outcome = self.rotate(token, &grant).await;
        let pair = self.store_failure(outcome)?;
        let refreshed = RefreshedToken {
            token: pair.access_token.clone(),
            refresh: Some(pair.refresh_token.clone()),
            until: clock::now() + delta(pair.expires_in),
            token_type: TokenType::Bearer,
        };
        self.pair = Some(pair);
        Ok(refreshed)
    }

    /// Not used: [`OAuth::authenticate`] needs less and has a cache.
    async fn recover_token(&mut self, _: &str) -> Result<Option<Grant>, ()> {
        Ok(None)
    }

    /// Also finds a token that was used before: the rotation decides what follows from that.
    async fn recover_refresh(&mut self, token: &str) -> Result<Option<Grant>, ()> {
        let found = self.oauth.store.refresh_grant(&secrets::sha256(token.as_bytes())).await;
        let Some(found) = self.store_failure(found.map_err(OAuthError::from))? else { return Ok(None) };
        let scope = found.scope.parse().map_err(|_| OAuthError::Impossible("a stored scope does not parse"));
        Ok(Some(Grant {
            owner_id: found.user.to_string(),
            client_id: found.client_id,
            scope: self.store_failure(scope)?,
            redirect_uri: no_redirect(),
            // oxide-auth compares it with our clock; the database has checked the expiry already.
            until: clock::now() + delta(found.remaining),
            extensions: Extensions::new(),
        }))
    }
}

fn reopen(token: &str, hash: &[u8; 32], successor: &SealedPair) -> Option<TokenPair> {
    let key = secrets::derive(token.as_bytes(), SUCCESSOR_KEY);
    let plain = String::from_utf8(secrets::open_with(&key, hash, &successor.sealed)?).ok()?;
    let (access_token, refresh_token) = plain.split_once(' ')?;
    Some(TokenPair {
        access_token: access_token.to_owned(),
        refresh_token: refresh_token.to_owned(),
        expires_in: successor.remaining,
        scope: successor.scope.clone(),
    })
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
