//! The policy `Fetched`: where a caller's URL may lead.
//!
//! The check of a name is in the client's resolver, on the addresses that are dialled, because a second look-up may
//! find others. The resolver is asked for names only, so a literal address is checked with the rest of the URL. It is
//! not told the port either, so there are two clients: one for the usual ports, which reaches the internet, and one
//! for all others, which reaches what the settings allow.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::address::{Reach, may_be_dialled};
use super::client;
use super::error::{FetchError, NotAllowed, classify};
use super::lookup::{Lookup, SystemLookup};

/// What the policy `Fetched` goes by.
#[derive(Clone)]
pub struct GivenRules {
    /// What may be reached besides the internet, on any port: `WINDU_FETCH_ALLOW`.
    pub allow: Vec<IpNet>,
    /// How long a URL may take.
    pub limits: Limits,
    /// Who looks up names.
    pub lookup: Arc<dyn Lookup>,
}

/// How long a caller's URL may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From a request to the head of its answer; each redirect is a request.
    pub head: Duration,
    /// In all, until the last byte is taken.
    pub whole: Duration,
}

/// The rules, and the clients that keep to them.
pub(super) struct Guard {
    pub(super) rules: Arc<GivenRules>,
    internet: OnceLock<reqwest::Client>,
    allowed: OnceLock<reqwest::Client>,
}

/// A resolver that refuses a name if any of its addresses may not be dialled.
pub(super) struct CheckedLookup {
    rules: Arc<GivenRules>,
    reach: Reach,
}

impl GivenRules {
    /// The usual limits, and the names that the operating system knows.
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow, limits: Limits::default(), lookup: Arc::new(SystemLookup::new()) }
    }
}

impl Default for GivenRules {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), whole: Duration::from_mins(1) }
    }
}

impl Guard {
    pub(super) fn new(rules: GivenRules) -> Self {
        Self { rules: Arc::new(rules), internet: OnceLock::new(), allowed: OnceLock::new() }
    }

    /// Makes the clients.
    pub(super) fn prepare(&self) -> Result<(), FetchError> {
        self.client(Reach::Internet)?;
        self.client(Reach::Allowed)?;
        Ok(())
    }

    /// The client that a request to this URL goes through, if one may.
    pub(super) fn client_for(&self, url: &Url) -> Result<&reqwest::Client, FetchError> {
        self.client(self.reach(url).ok_or(FetchError::NotAllowed)?)
    }

    /// How far this URL may lead; `None`: nowhere. Its name, if it has one, is still to be checked.
    fn reach(&self, url: &Url) -> Option<Reach> {
        if !is_http(url) || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let reach = match url.port_or_known_default() {
            Some(80 | 443) => Reach::Internet,
            _ => Reach::Allowed,
        };
        // `host_str` would leave an IPv6 address in its brackets, and then it parses as none.
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
        client::cached(slot, || client::untrusted(self.checked(reach))).map_err(classify)
    }

    fn checked(&self, reach: Reach) -> CheckedLookup {
        CheckedLookup { rules: Arc::clone(&self.rules), reach }
    }
}

impl Resolve for CheckedLookup {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, reach) = (Arc::clone(&self.rules), self.reach);
        Box::pin(async move {
            let addresses = rules.lookup.addresses(name.as_str()).await?;
            if !addresses.iter().all(|address| may_be_dialled(*address, reach, &rules.allow)) {
                return Err(NotAllowed.into());
            }
            // The client puts the URL's port in.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Whether this is a URL of http or https that an HTTP request can hold (a very long one cannot be).
pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.as_str().parse::<http::Uri>().is_ok()
}

#[cfg(test)]
mod tests;
