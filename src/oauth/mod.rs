//! The OAuth 2 server: oxide-auth on top of the store.
//!
//! oxide-auth has no password grant, no revocation and no introspection: the first follows the steps of its client
//! credentials flow, the others are queries. Refresh is its own flow; [`issuer`] rotates tokens, detects the reuse of an
//! old one, and repeats a lost response for 10 s. Only hashes of tokens are stored.

mod bearer;
mod bootstrap;
mod error;
mod issuer;
mod login;
mod password;
mod refresh;
mod registrar;
mod request;
mod watched;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use oxide_auth_async::primitives::Registrar as _;

use crate::config::{OAuthSettings, TrustedProxies};
use crate::db::DbError;
use crate::lifecycle::Lifecycle;
use crate::secrets;
use crate::store::{LiveToken, Store, TokenHash, topic};
use bearer::BearerCache;
use password::Hasher;
use registrar::ClientRegistrar;
use watched::WatchedTokens;

pub use bearer::Bearer;
pub use bootstrap::{BootstrapError, FirstPassword, bootstrap};
pub use error::OAuthError;
pub use password::hash_password;
pub use request::{Basic, TokenParameters, TokenRequest};
pub use watched::Watched;

/// The public client of the old documents, which a migration seeds.
pub const PUBLIC_CLIENT: &str = "RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY";

/// How long a ticket is good.
pub const TICKET_LIFETIME: Duration = Duration::from_mins(1);

/// The token server: issues, refreshes, revokes and authenticates tokens.
pub struct OAuth {
    store: Store,
    hasher: Hasher,
    bearers: BearerCache,
    access_lifetime: Duration,
    refresh_lifetime: Duration,
    trusted_proxies: TrustedProxies,
    watched: WatchedTokens,
}

/// A pair of tokens for a client; the only place where they are in clear text.
#[derive(Clone)]
pub struct TokenPair {
    pub access_token: String,
    pub refresh_token: String,
    /// The remaining lifetime of the access token.
    pub expires_in: Duration,
    /// The scopes of the access token: sorted, separated by spaces.
    pub scope: String,
}

impl OAuth {
    #[must_use]
    pub fn new(store: Store, settings: &OAuthSettings) -> Self {
        Self {
            store,
            hasher: Hasher::new(),
            bearers: BearerCache::new(),
            access_lifetime: settings.access_lifetime,
            refresh_lifetime: settings.refresh_lifetime,
            trusted_proxies: settings.trusted_proxies.clone(),
            watched: WatchedTokens::default(),
        }
    }

    /// `POST /o/token`: the password grant (RFC 6749 section 4.3) and refresh (section 6).
    pub async fn token(&self, request: &TokenRequest) -> Result<TokenPair, OAuthError> {
        let parameters = &request.parameters;
        let grant_type = parameters.required("grant_type")?;
        if grant_type != "password" && grant_type != "refresh_token" {
            return Err(OAuthError::UnsupportedGrantType);
        }
        let client = self.client(request).await?;
        if grant_type == "password" {
            self.login(request, &client).await
        } else {
            refresh::refresh(self, request, &client).await
        }
    }

    /// `POST /o/revoke-token` (RFC 7009): a token of either kind is revoked with the other one of its pair and all earlier
    /// pairs of its login. Unknown and other clients' tokens change nothing.
    pub async fn revoke(&self, request: &TokenRequest) -> Result<(), OAuthError> {
        let client = self.client(request).await?.registrar.id()?;
        let token = request.parameters.required("token")?;
        let revoked = self.store.revoke_token(client, &secrets::sha256(token.as_bytes())).await?;
        if !revoked.is_empty() {
            self.announce_revoked(&revoked);
        }
        Ok(())
    }

    /// `POST /o/introspect` (RFC 7662), for confidential clients: they may ask about any token that they hold.
    ///
    /// # Errors
    /// [`OAuthError::InvalidClient`] when the client is unknown or public.
    pub async fn introspect(&self, request: &TokenRequest) -> Result<Option<LiveToken>, OAuthError> {
        if !self.client(request).await?.registrar.is_confidential() {
            return Err(OAuthError::InvalidClient);
        }
        let token = request.parameters.required("token")?;
        Ok(self.store.live_token(&secrets::sha256(token.as_bytes())).await?)
    }

    /// The user and client of a bearer token, from a cache of at most 5 s, else by one query. `None`: the token is unknown,
    /// expired or revoked.
    pub async fn authenticate(&self, token: &str) -> Result<Option<Bearer>, DbError> {
        self.authenticate_hash(secrets::sha256(token.as_bytes())).await
    }

    /// A ticket of 60 s for one request of the caller of an access token; only its hash is stored.
    pub async fn ticket(&self, token: &TokenHash) -> Result<String, DbError> {
        let ticket = secrets::random_token();
        self.store.add_ticket(&secrets::sha256(ticket.as_bytes()), token, TICKET_LIFETIME).await?;
        Ok(ticket)
    }

    /// The user and client of a ticket, which is used up. `None`: it is unknown, late or used, or its token has ended.
    pub async fn redeem(&self, ticket: &str) -> Result<Option<Bearer>, DbError> {
        match self.store.take_ticket(&secrets::sha256(ticket.as_bytes())).await? {
            Some(token) => self.authenticate_hash(token).await,
            None => Ok(None),
        }
    }

    async fn authenticate_hash(&self, hash: TokenHash) -> Result<Option<Bearer>, DbError> {
        if let Some(bearer) = self.bearers.get(&hash) {
            return Ok(Some(bearer));
        }
        let lookup = self.bearers.begin();
        let found = self.store.bearer(&hash).await?;
        Ok(found.map(|record| self.bearers.finish(hash, &lookup, &record)))
    }

    /// Starts a task that empties the cache whenever any process revoked tokens. It ends with the lifecycle's soft token.
    pub fn follow_revocations(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let mut revocations = self.store.notifications().subscribe(topic::tokens());
        let (oauth, soft) = (Arc::clone(self), lifecycle.soft().clone());
        lifecycle.spawn(async move {
            while soft.run_until_cancelled(revocations.woken()).await.is_some() {
                oauth.forget_all();
            }
        });
    }

    /// Removes a revoked access token from the cache.
    pub fn forget(&self, access_hash: &TokenHash) {
        self.bearers.forget(access_hash);
    }

    /// Empties the cache, when tokens were revoked elsewhere.
    pub fn forget_all(&self) {
        self.bearers.forget_all();
    }

    /// The caller's address, from the peer's and the values of `X-Forwarded-For`.
    pub fn client_address<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        self.trusted_proxies.client(peer, forwarded)
    }

    /// Authenticates the client of a request (RFC 6749 section 2.3).
    async fn client(&self, request: &TokenRequest) -> Result<Client, OAuthError> {
        let (id, secret) = request.client()?;
        let registrar = ClientRegistrar::load(&self.store, id).await?;
        registrar.check(id, Some(secret.as_bytes())).await.map_err(|_| OAuthError::InvalidClient)?;
        Ok(Client { registrar, id: id.to_owned(), secret: secret.to_owned() })
    }

    /// To be called after the commit: removes the tokens from the cache of this process, and notifies the others.
    fn announce_revoked(&self, access_hashes: &[TokenHash]) {
        for hash in access_hashes {
            self.forget(hash);
        }
        self.store.notifications().wake(topic::tokens());
    }
}

/// A client that was authenticated.
struct Client {
    registrar: ClientRegistrar,
    id: String,
    secret: String,
}
