//! The check of [`super::Policy::Untrusted`]: the addresses and ports that a caller-supplied URL may lead to.
//!
//! A host name is checked in the client's resolver, on the addresses that the client connects to, because a second
//! lookup may return others. The resolver is called for names only, so a literal address is checked with the rest of
//! the URL. It does not know the port either, so there are two clients: one for ports 80 and 443, which reaches the
//! internet, and one for all other ports, which reaches only the networks of the settings.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use url::{Host, Url};

use super::address::{Reach, may_be_dialled};
use super::client;
use super::error::{FetchError, NotAllowed, classify};
use super::resolver::{Resolver, SystemResolver};

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

/// The rules, and the clients that enforce them.
pub(super) struct Guard {
    pub(super) rules: Arc<UntrustedRules>,
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
    pub(super) fn new(rules: UntrustedRules, roots: Arc<[CertificateDer<'static>]>) -> Self {
        Self { rules: Arc::new(rules), roots, internet: OnceLock::new(), allowed: OnceLock::new() }
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
        let reach = match url.port_or_known_default() {
            Some(80 | 443) => Reach::Internet,
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
        client::cached(slot, || client::untrusted(self.checked(reach), &self.roots)).map_err(classify)
    }

    fn checked(&self, reach: Reach) -> CheckedResolver {
        CheckedResolver { rules: Arc::clone(&self.rules), reach }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, reach) = (Arc::clone(&self.rules), self.reach);
        Box::pin(async move {
            let addresses = rules.resolver.addresses(name.as_str()).await?;
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
