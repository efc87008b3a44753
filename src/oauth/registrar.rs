//! The registrar of oxide-auth, for the client of one request.

use std::borrow::Cow;
use std::sync::LazyLock;

use async_trait::async_trait;
use oxide_auth::primitives::registrar::{BoundClient, ClientUrl, PreGrant, RegisteredUrl, RegistrarError};
use oxide_auth::primitives::scope::Scope;
use oxide_auth_async::primitives::Registrar;
use url::Url;

use super::OAuthError;
use crate::db::DbError;
use crate::domain::ClientId;
use crate::secrets;
use crate::store::{ClientRecord, Store};

/// The redirect URI of all grants: oxide-auth requires one, and clients that only sign in by password have none.
static NO_REDIRECT: LazyLock<Url> =
    LazyLock::new(|| Url::parse("urn:windu:no-redirect").expect("a constant URL parses"));

/// Knows the one client of the request, or none: then every result is [`RegistrarError::Unspecified`].
pub struct ClientRegistrar(Option<ClientRecord>);

impl ClientRegistrar {
    pub async fn load(store: &Store, client_id: &str) -> Result<Self, DbError> {
        Ok(Self(store.client(client_id).await?))
    }

    /// # Errors
    /// [`OAuthError::InvalidClient`] when the client is unknown.
    pub fn id(&self) -> Result<ClientId, OAuthError> {
        self.0.as_ref().map(|client| client.id).ok_or(OAuthError::InvalidClient)
    }

    /// Whether the client has a secret.
    pub fn is_confidential(&self) -> bool {
        self.0.as_ref().is_some_and(|client| client.secret_hash.is_some())
    }

    fn named(&self, client_id: &str) -> Result<&ClientRecord, RegistrarError> {
        self.0.as_ref().filter(|client| client.client_id == client_id).ok_or(RegistrarError::Unspecified)
    }
}

#[async_trait]
impl Registrar for ClientRegistrar {
    async fn bound_redirect<'a>(&self, bound: ClientUrl<'a>) -> Result<BoundClient<'a>, RegistrarError> {
        self.named(&bound.client_id)?;
        Ok(BoundClient {
            client_id: bound.client_id,
            redirect_uri: Cow::Owned(RegisteredUrl::Semantic(no_redirect())),
        })
    }

    /// A client that requests no scope gets all that it may have. More than that is refused, never reduced.
    async fn negotiate<'a>(
        &self,
        client: BoundClient<'a>,
        scope: Option<Scope>,
    ) -> Result<PreGrant, RegistrarError> {
        let allowed: Scope =
            self.named(&client.client_id)?.scope.parse().map_err(|_| RegistrarError::PrimitiveError)?;
        let scope = match scope {
            None => allowed,
            Some(requested) if allowed.priviledged_to(&requested) => requested,
            Some(_) => return Err(RegistrarError::Unspecified),
        };
        Ok(PreGrant {
            client_id: client.client_id.into_owned(),
            redirect_uri: client.redirect_uri.into_owned(),
            scope,
        })
    }

    /// A public client needs no secret, and an empty secret counts as none; a secret for a public client is refused.
    async fn check(&self, client_id: &str, passphrase: Option<&[u8]>) -> Result<(), RegistrarError> {
        let client = self.named(client_id)?;
        let passphrase = passphrase.filter(|passphrase| !passphrase.is_empty());
        let matches = match (&client.secret_hash, passphrase) {
            (None, None) => true,
            // The time of a comparison of hashes reveals nothing about the secret.
            (Some(hash), Some(passphrase)) => secrets::sha256(passphrase).as_slice() == hash,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if matches { Ok(()) } else { Err(RegistrarError::Unspecified) }
    }
}

pub fn no_redirect() -> Url {
    NO_REDIRECT.clone()
}

/// A scope with its words sorted, as in responses and rows.
pub fn sorted(scope: &Scope) -> String {
    let mut words: Vec<&str> = scope.iter().collect();
    words.sort_unstable();
    words.join(" ")
}
