//! Outgoing HTTP requests. A [`Policy`] says which URLs are allowed; no other module makes an HTTP client.

mod address;
mod client;
mod error;
mod get;
mod guard;
mod post;
mod put;
mod resolver;
mod response;
mod untrusted;

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use url::Url;

use crate::metrics::METRICS;

pub use client::CONNECT_TIMEOUT;
pub use error::{Cause, FetchError, UntrustedError};
pub use get::ResponseStream;
pub use guard::{FetchTimeouts, UntrustedRules};
pub use post::Post;
pub use put::{BodyStream, Put};
pub use resolver::{Resolver, on_behalf_of};
pub use response::FetchResponse;
pub use untrusted::{Fetched, Sink};

use error::classify;
use guard::{Guard, Purpose};

/// The URLs that a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A URL from the settings: any address and port, because the operator chose it.
    Operator,
    /// A caller-supplied URL: addresses of the internet on ports 80 and 443, and the networks of [`UntrustedRules`].
    Untrusted,
    /// The URL of a webhook: as the one before, but the internet by https on port 443 alone.
    Webhook,
}

/// Sends requests. It has one or more HTTP clients per policy.
pub struct Fetch {
    operator: OnceLock<reqwest::Client>,
    untrusted: Guard,
    webhooks: Guard,
    /// Certificates that are trusted besides those of the system.
    roots: Arc<[CertificateDer<'static>]>,
}

impl Fetch {
    /// Installs the TLS provider of this program. The clients are made at their first use: a machine without CA
    /// certificates can run everything that sends no requests.
    #[must_use]
    pub fn new(rules: UntrustedRules) -> Self {
        Self::trusting(rules, &[])
    }

    /// As [`Self::new`]; these certificates are trusted besides those of the system, under all policies.
    #[must_use]
    pub fn trusting(rules: UntrustedRules, roots: &[CertificateDer<'static>]) -> Self {
        // Fails only when one is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots: Arc<[_]> = roots.into();
        let rules = Arc::new(rules);
        Self {
            operator: OnceLock::new(),
            untrusted: Guard::new(Arc::clone(&rules), Purpose::Files, Arc::clone(&roots)),
            webhooks: Guard::new(rules, Purpose::Webhooks, Arc::clone(&roots)),
            roots,
        }
    }

    /// Makes the clients of a policy now. [`FetchError::Unusable`] when this machine cannot.
    pub fn prepare(&self, policy: Policy) -> Result<(), FetchError> {
        match policy {
            Policy::Operator => self.operator().map(|_| ()),
            Policy::Untrusted => self.untrusted.prepare(),
            Policy::Webhook => self.webhooks.prepare(),
        }
    }

    /// Sends a request and returns the response, whatever its status. A redirect is not followed.
    pub async fn post(&self, policy: Policy, post: Post) -> Result<FetchResponse, FetchError> {
        Self::send(self.client(policy, &post.url), |client| post.request(client)).await
    }

    /// Sends a request and returns the response, whatever its status. A redirect is not followed.
    pub async fn put(&self, policy: Policy, put: Put) -> Result<FetchResponse, FetchError> {
        Self::send(self.client(policy, &put.url), |client| put.request(client)).await
    }

    /// Whether a webhook may have this URL: [`FetchError::NotAllowed`], or [`FetchError::Busy`] when its name cannot be
    /// resolved now.
    pub async fn check_webhook(&self, url: &Url) -> Result<(), FetchError> {
        self.webhooks.check(url).await
    }

    async fn send(
        client: Result<&reqwest::Client, FetchError>,
        request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<FetchResponse, FetchError> {
        let sent = match client {
            Ok(client) => request(client).send().await.map_err(classify),
            Err(error) => Err(error),
        };
        METRICS.fetch(sent.as_ref().map_or_else(FetchError::outcome, |_| "ok"));
        Ok(FetchResponse { response: sent? })
    }

    /// The client for a request to this URL.
    fn client(&self, policy: Policy, url: &Url) -> Result<&reqwest::Client, FetchError> {
        match policy {
            Policy::Operator => self.operator(),
            Policy::Untrusted => self.untrusted.client_for(url),
            Policy::Webhook => self.webhooks.client_for(url),
        }
    }

    fn operator(&self) -> Result<&reqwest::Client, FetchError> {
        client::cached(&self.operator, || client::operator(&self.roots)).map_err(classify)
    }

    fn timeouts(&self) -> FetchTimeouts {
        self.untrusted.rules.timeouts
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fetch(..)")
    }
}
