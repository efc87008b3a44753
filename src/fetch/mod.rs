//! The one place that makes HTTP clients. A [`Policy`] says where a request may go.

mod address;
mod answer;
mod client;
mod error;
mod guard;
mod lookup;
mod post;
mod untrusted;

use std::fmt;
use std::sync::OnceLock;

use url::Url;

pub use answer::Answer;
pub use client::CONNECT_TIMEOUT;
pub use error::{Cause, FetchError, UntrustedError};
pub use guard::{GivenRules, Limits};
pub use lookup::Lookup;
pub use post::Post;
pub use untrusted::{Fetched, Sink};

use error::classify;
use guard::Guard;

/// Where a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A URL from the settings: any address and port, because the operator chose it.
    Operator,
    /// A URL that a caller gave: to the internet, on the usual ports of http and https, and to what the operator
    /// allows besides. See [`GivenRules`].
    Untrusted,
}

/// The clients, one or more per policy.
pub struct Fetch {
    operator: OnceLock<reqwest::Client>,
    untrusted: Guard,
}

impl Fetch {
    /// Installs the TLS provider of this program. The clients are made when they are first used: a machine
    /// without CA certificates can run everything that fetches nothing.
    #[must_use]
    pub fn new(rules: GivenRules) -> Self {
        // Fails only when one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { operator: OnceLock::new(), untrusted: Guard::new(rules) }
    }

    /// Makes the clients of a policy now, so that a machine that cannot is found at the start.
    ///
    /// # Errors
    /// [`FetchError::Unusable`].
    pub fn prepare(&self, policy: Policy) -> Result<(), FetchError> {
        match policy {
            Policy::Operator => self.operator().map(|_| ()),
            Policy::Untrusted => self.untrusted.prepare(),
        }
    }

    /// Sends a request and waits for the head of its answer, whatever its status. A redirect is not followed.
    ///
    /// # Errors
    /// See [`FetchError`]; [`FetchError::TooLong`] comes from reading the body only.
    pub async fn post(&self, policy: Policy, post: Post) -> Result<Answer, FetchError> {
        let client = self.client(policy, &post.url)?;
        let response = post.request(client).send().await.map_err(classify)?;
        Ok(Answer { response })
    }

    /// The client for a request to this URL.
    fn client(&self, policy: Policy, url: &Url) -> Result<&reqwest::Client, FetchError> {
        match policy {
            Policy::Operator => self.operator(),
            Policy::Untrusted => self.untrusted.client_for(url),
        }
    }

    fn operator(&self) -> Result<&reqwest::Client, FetchError> {
        client::cached(&self.operator, client::operator).map_err(classify)
    }

    fn limits(&self) -> Limits {
        self.untrusted.rules.limits
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fetch(..)")
    }
}
