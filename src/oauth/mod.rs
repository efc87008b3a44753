//! OAuth 2: all of oxide-auth, on the store.
//!
//! oxide-auth has no password grant, no revocation and no introspection: the first follows the steps of its client
//! credentials flow, the others are queries. Refresh is its own flow; rotation, the notice of a second use and the
//! 10 s in which a lost answer is given again are in [`issuer`]. Only hashes of tokens are kept.

mod bearer;
mod bootstrap;
mod error;
mod issuer;
mod login;
mod password;
mod refresh;
mod registrar;
mod request;

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

pub use bearer::Bearer;
pub use bootstrap::{BootstrapError, FirstPassword, bootstrap};
pub use error::OAuthError;
pub use password::hash_password;
pub use request::{Basic, Parameters, TokenRequest};

/// The public client of the old documents, which a migration seeds.
pub const PUBLIC_CLIENT: &str = "RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY";

/// The token server: grants, refreshes, revokes and recognises tokens.
pub struct OAuth {
    store: Store,
    hasher: Hasher,
    bearers: BearerCache,
    access_lifetime: Duration,
    refresh_lifetime: Duration,
    trusted_proxies: TrustedProxies,
}

/// A pair of tokens for a client; the only place where they stand in clear.
#[derive(Clone)]
pub struct TokenPair {
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// How long the access token still lives.
    pub expires_in: Duration,
    /// What the access token may be used for: sorted, separated by blanks.
    pub scope: String,
}

impl OAuth {
    /// A token server on the store.
    #[must_use]
    pub fn new(store: Store, settings: &OAuthSettings) -> Self {
        Self {
            store,
            hasher: Hasher::new(),
            bearers: BearerCache::new(),
            access_lifetime: settings.access_lifetime,
            refresh_lifetime: settings.refresh_lifetime,
            trusted_proxies: settings.trusted_proxies.clone(),
        }
    }

    /// `POST /o/token`: the password grant (RFC 6749 section 4.3) and refresh (section 6).
    ///
    /// # Errors
    /// Why no token is given.
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

    /// `POST /o/revoke-token` (RFC 7009): a token of either kind takes the other one of its pair, and all that came
    /// before, with it. Unknown and other clients' tokens change nothing.
    ///
    /// # Errors
    /// When the client is not known, no token is given, or the database is away.
    pub async fn revoke(&self, request: &TokenRequest) -> Result<(), OAuthError> {
        let client = self.client(request).await?.registrar.id()?;
        let token = request.parameters.required("token")?;
        let dead = self.store.revoke_token(client, &secrets::sha256(token.as_bytes())).await?;
        if !dead.is_empty() {
            self.revoked(&dead);
        }
        Ok(())
    }

    /// `POST /o/introspect` (RFC 7662), for confidential clients: they may ask about any token that they hold.
    ///
    /// # Errors
    /// When the client is not known or has no secret, no token is given, or the database is away.
    pub async fn introspect(&self, request: &TokenRequest) -> Result<Option<LiveToken>, OAuthError> {
        if !self.client(request).await?.registrar.is_confidential() {
            return Err(OAuthError::InvalidClient);
        }
        let token = request.parameters.required("token")?;
        Ok(self.store.live_token(&secrets::sha256(token.as_bytes())).await?)
    }

    /// Whom a bearer token speaks for: from a cache of at most 5 s, else by one query. `None`: the token is
    /// unknown, expired or revoked.
    pub async fn authenticate(&self, token: &str) -> Result<Option<Bearer>, DbError> {
        let hash = secrets::sha256(token.as_bytes());
        if let Some(bearer) = self.bearers.get(&hash) {
            return Ok(Some(bearer));
        }
        let lookup = self.bearers.begin();
        let found = self.store.bearer(&hash).await?;
        Ok(found.map(|record| self.bearers.finish(hash, &lookup, &record)))
    }

    /// Starts a task that forgets all that is remembered whenever any process revoked tokens. Ends with the soft
    /// token.
    pub fn follow_revocations(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let mut revocations = self.store.notifications().subscribe(topic::tokens());
        let (oauth, soft) = (Arc::clone(self), lifecycle.soft().clone());
        lifecycle.spawn(async move {
            while soft.run_until_cancelled(revocations.woken()).await.is_some() {
                oauth.forget_all();
            }
        });
    }

    /// Drops what is remembered of an access token that was revoked.
    pub fn forget(&self, access_hash: &TokenHash) {
        self.bearers.forget(access_hash);
    }

    /// Drops all that is remembered, when it is not known what was revoked elsewhere.
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

    /// The client that a request names and proves to be (RFC 6749 section 2.3).
    async fn client(&self, request: &TokenRequest) -> Result<Client, OAuthError> {
        let (id, secret) = request.client()?;
        let registrar = ClientRegistrar::load(&self.store, id).await?;
        registrar.check(id, Some(secret.as_bytes())).await.map_err(|_| OAuthError::InvalidClient)?;
        Ok(Client { registrar, id: id.to_owned(), secret: secret.to_owned() })
    }

    /// After the commit: this process forgets at once, the others as soon as they hear of it.
    fn revoked(&self, access_hashes: &[TokenHash]) {
        for hash in access_hashes {
            self.forget(hash);
        }
        self.store.notifications().wake(topic::tokens());
    }
}

/// A client that proved itself.
struct Client {
    registrar: ClientRegistrar,
    id: String,
    secret: String,
}
