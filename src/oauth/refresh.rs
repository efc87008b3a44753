//! The refresh grant: oxide-auth's own flow, with our client and issuer.

use std::borrow::Cow;

use oxide_auth::code_grant::refresh::{Error, Request};
use oxide_auth_async::code_grant::refresh::{Endpoint, refresh as flow};
use oxide_auth_async::primitives::{Issuer, Registrar};

use super::issuer::TokenIssuer;
use super::{Client, OAuth, OAuthError, TokenPair, TokenParameters, TokenRequest};

/// Issues a new pair for a refresh token.
pub async fn refresh(
    oauth: &OAuth,
    request: &TokenRequest,
    client: &Client,
) -> Result<TokenPair, OAuthError> {
    request.parameters.required("refresh_token")?;
    let mut endpoint = RefreshEndpoint { client, issuer: TokenIssuer::new(oauth, None) };
    let request = RefreshRequest { parameters: &request.parameters, client };
    match flow(&mut endpoint, &request).await {
        Ok(_) => endpoint.issuer.into_pair(),
        Err(Error::Primitive) => Err(endpoint.issuer.take_failure()),
        Err(Error::Unauthorized(..)) => Err(OAuthError::InvalidClient),
        Err(Error::Invalid(mut description)) => Err(description.description().kind().into()),
    }
}

struct RefreshEndpoint<'a> {
    client: &'a Client,
    issuer: TokenIssuer<'a>,
}

impl Endpoint for RefreshEndpoint<'_> {
    fn registrar(&self) -> &(dyn Registrar + Sync) {
        &self.client.registrar
    }

    fn issuer(&mut self) -> &mut (dyn Issuer + Send) {
        &mut self.issuer
    }
}

struct RefreshRequest<'a> {
    parameters: &'a TokenParameters,
    client: &'a Client,
}

impl Request for RefreshRequest<'_> {
    fn valid(&self) -> bool {
        true
    }

    fn refresh_token(&self) -> Option<Cow<'_, str>> {
        self.parameters.get("refresh_token").map(Cow::Borrowed)
    }

    fn scope(&self) -> Option<Cow<'_, str>> {
        self.parameters.get("scope").map(Cow::Borrowed)
    }

    fn grant_type(&self) -> Option<Cow<'_, str>> {
        self.parameters.get("grant_type").map(Cow::Borrowed)
    }

    /// Always `Some`, also for a public client: without it the flow would not check that the token is the client's.
    fn authorization(&self) -> Option<(Cow<'_, str>, Cow<'_, [u8]>)> {
        Some((Cow::Borrowed(&self.client.id), Cow::Borrowed(self.client.secret.as_bytes())))
    }

    fn extension(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}
