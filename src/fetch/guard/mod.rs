//! The check of [`super::Policy::Untrusted`]: the addresses and ports that a caller-supplied URL may lead to.
//!
//! A host name is checked in the client's resolver, on the addresses that the client connects to, because a second
//! lookup may return others. The resolver is called for names only, so a literal address is checked with the rest of
//! the URL. It does not know the port either, so there are two clients: one for ports 80 and 443, which reaches the
//! internet, and one for all other ports, which reaches only the networks of the settings.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use url::{Host, Url};

use super::address::{Reach, may_be_dialled};
use super::client;
use super::error::{Busy, FetchError, NotAllowed, Unresolved, classify};
use super::resolver::{Resolver, SystemResolver};

/// Connections to a host that wait for the next request to a webhook.
const IDLE: usize = 8;

/// The settings of [`super::Policy::Untrusted`].
#[derive(Clone)]
pub struct UntrustedRules {
    /// Networks that may be reached besides the internet, on any port: `WINDU_FETCH_ALLOW`.
    pub allow: Vec<IpNet>,
    pub timeouts: FetchTimeouts,
    pub resolver: Arc<dyn Resolver>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchTimeouts {
    /// From a request to the headers of its response; each redirect is a request.
    pub head: Duration,
    /// From the first request to the last byte.
    pub total: Duration,
}

/// Where the internet may be reached, and whether connections are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Files that are fetched: http and https on their ports; each request connects anew.
    Files,
    /// Webhooks: https on its port; a connection may serve several requests, because it leads to an address that was
    /// checked.
    Webhooks,
}

/// The rules, and the clients that enforce them.
pub(super) struct Guard {
    pub(super) rules: Arc<UntrustedRules>,
    purpose: Purpose,
    roots: Arc<[CertificateDer<'static>]>,
    internet: OnceLock<reqwest::Client>,
    allowed: OnceLock<reqwest::Client>,
}

/// A resolver that refuses a name if any of its addresses may not be dialled.
pub(super) struct CheckedResolver {
    rules: Arc<UntrustedRules>,
    reach: Reach,
}

impl UntrustedRules {
    /// The default timeouts, and the resolver of the operating system.
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow, timeouts: FetchTimeouts::default(), resolver: Arc::new(SystemResolver::new()) }
    }
}

impl Default for UntrustedRules {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Default for FetchTimeouts {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), total: Duration::from_mins(1) }
    }
}

impl Guard {
    pub(super) fn new(
        rules: Arc<UntrustedRules>,
        purpose: Purpose,
        roots: Arc<[CertificateDer<'static>]>,
    ) -> Self {
        Self { rules, purpose, roots, internet: OnceLock::new(), allowed: OnceLock::new() }
    }

    pub(super) fn prepare(&self) -> Result<(), FetchError> {
        self.client(Reach::Internet)?;
        self.client(Reach::Allowed)?;
        Ok(())
    }

    /// The client for a request to this URL, if the URL is allowed.
    pub(super) fn client_for(&self, url: &Url) -> Result<&reqwest::Client, FetchError> {
        self.client(self.reach(url).ok_or(FetchError::NotAllowed)?)
    }

    /// The addresses that this URL may lead to; `None`: it is refused. A host name is not checked yet.
    fn reach(&self, url: &Url) -> Option<Reach> {
        if !is_http(url) || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let reach = match (self.purpose, url.scheme(), url.port_or_known_default()) {
            (Purpose::Files, _, Some(80 | 443)) | (Purpose::Webhooks, "https", Some(443)) => Reach::Internet,
            _ => Reach::Allowed,
        };
        // `host_str` would return an IPv6 address in brackets, which does not parse.
        let literal: Option<IpAddr> = match url.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        };
        let allowed = literal.is_none_or(|address| may_be_dialled(address, reach, &self.rules.allow));
        allowed.then_some(reach)
    }

    fn client(&self, reach: Reach) -> Result<&reqwest::Client, FetchError> {
        let slot = match reach {
            Reach::Internet => &self.internet,
            Reach::Allowed => &self.allowed,
        };
        let idle = match self.purpose {
            Purpose::Files => 0,
            Purpose::Webhooks => IDLE,
        };
        client::cached(slot, || client::untrusted(self.checked(reach), idle, &self.roots)).map_err(classify)
    }

    /// Whether a request to this URL would be allowed now. A name that has no address now may have one later.
    pub(super) async fn check(&self, url: &Url) -> Result<(), FetchError> {
        let reach = self.reach(url).ok_or(FetchError::NotAllowed)?;
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        match timeout(client::CONNECT_TIMEOUT, self.rules.resolver.addresses(name)).await {
            Ok(Ok(addresses)) => {
                let allowed = |address: &IpAddr| may_be_dialled(*address, reach, &self.rules.allow);
                if addresses.iter().all(allowed) { Ok(()) } else { Err(FetchError::NotAllowed) }
            }
            Ok(Err(error)) if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<Busy>) => {
                Err(FetchError::Busy)
            }
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    fn checked(&self, reach: Reach) -> CheckedResolver {
        CheckedResolver { rules: Arc::clone(&self.rules), reach }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, reach) = (Arc::clone(&self.rules), self.reach);
        Box::pin(async move {
            let addresses = rules.resolver.addresses(name.as_str()).await.map_err(Unresolved)?;
            if !addresses.iter().all(|address| may_be_dialled(*address, reach, &rules.allow)) {
                return Err(NotAllowed.into());
            }
            // The client sets the URL's port.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Whether this is an http or https URL that fits into an HTTP request: a very long one does not.
pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.as_str().parse::<http::Uri>().is_ok()
}

#[cfg(test)]
mod tests;
