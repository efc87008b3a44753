//! The client of one request, as oxide-auth's registrar knows it.

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

/// Grants must have a redirect URI; clients that only sign in by password have none.
static NO_REDIRECT: LazyLock<Url> =
    LazyLock::new(|| Url::parse("urn:windu:no-redirect").expect("a constant URL parses"));

/// Knows one client, loaded by one query, or none: then every answer is "unspecified".
pub struct ClientRegistrar(Option<ClientRecord>);

impl ClientRegistrar {
    /// Looks the client up.
    pub async fn load(store: &Store, client_id: &str) -> Result<Self, DbError> {
        Ok(Self(store.client(client_id).await?))
    }

    /// The row of the client.
    ///
    /// # Errors
    /// [`OAuthError::InvalidClient`] when there is none.
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

    /// Without a wish the client gets all that it may have; more than that is refused, never cut.
    async fn negotiate<'a>(
        &self,
        client: BoundClient<'a>,
        scope: Option<Scope>,
    ) -> Result<PreGrant, RegistrarError> {
        let allowed: Scope =
            self.named(&client.client_id)?.scope.parse().map_err(|_| RegistrarError::PrimitiveError)?;
        let scope = match scope {
            None => allowed,
            Some(wish) if allowed.priviledged_to(&wish) => wish,
            Some(_) => return Err(RegistrarError::Unspecified),
        };
        Ok(PreGrant {
            client_id: client.client_id.into_owned(),
            redirect_uri: client.redirect_uri.into_owned(),
            scope,
        })
    }

    /// A public client proves nothing, and an empty secret is none; a secret that it cannot have is refused.
    async fn check(&self, client_id: &str, passphrase: Option<&[u8]>) -> Result<(), RegistrarError> {
        let client = self.named(client_id)?;
        let passphrase = passphrase.filter(|given| !given.is_empty());
        let proved = match (&client.secret_hash, passphrase) {
            (None, None) => true,
            // A comparison of hashes tells nothing about the secret, however long it takes.
            (Some(hash), Some(given)) => secrets::sha256(given).as_slice() == hash,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if proved { Ok(()) } else { Err(RegistrarError::Unspecified) }
    }
}

/// What stands in grants for the redirect URI.
pub fn no_redirect() -> Url {
    NO_REDIRECT.clone()
}

/// The words of a scope in order, as answers and rows hold them.
pub fn sorted(scope: &Scope) -> String {
    let mut words: Vec<&str> = scope.iter().collect();
    words.sort_unstable();
    words.join(" ")
}
