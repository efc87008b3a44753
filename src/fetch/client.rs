//! How the clients are made. None follows redirects by itself, repeats a request, or takes a proxy from the
//! environment.

use std::sync::OnceLock;
use std::time::Duration;

use super::guard::CheckedLookup;

/// How long a connection may take to come about, TLS included. Failing that, nothing was sent.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For URLs from the settings.
pub(super) fn operator() -> Result<reqwest::Client, reqwest::Error> {
    builder().build()
}

/// For URLs that callers give.
pub(super) fn untrusted(lookup: CheckedLookup) -> Result<reqwest::Client, reqwest::Error> {
    // No connection is kept: each request dials, and what is dialled is checked.
    builder().dns_resolver(lookup).pool_max_idle_per_host(0).build()
}

/// The client in this place, which is made when it is first asked for.
pub(super) fn cached(
    slot: &OnceLock<reqwest::Client>,
    make: impl FnOnce() -> Result<reqwest::Client, reqwest::Error>,
) -> Result<&reqwest::Client, reqwest::Error> {
    if let Some(client) = slot.get() {
        return Ok(client);
    }
    let client = make()?;
    Ok(slot.get_or_init(|| client))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that makes HTTP clients")]
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("windu/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
}
