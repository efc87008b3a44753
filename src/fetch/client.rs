//! HTTP clients. None follows redirects by itself, retries a request, or takes a proxy from the environment.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::dns::Resolve;
use rustls::pki_types::CertificateDer;

/// The time to connect, TLS included. After this timeout nothing was sent.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Below what servers close idle connections after.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// A client for URLs from the settings.
pub(super) fn operator(roots: &[CertificateDer<'_>]) -> Result<reqwest::Client, reqwest::Error> {
    builder(roots)?.build()
}

/// A client for caller-supplied URLs. The resolver checks the address of each connection; up to `idle` connections to a host
/// are used again within [`IDLE_TIMEOUT`].
pub(super) fn untrusted(
    resolver: impl Resolve + 'static,
    idle: usize,
    roots: &[CertificateDer<'_>],
) -> Result<reqwest::Client, reqwest::Error> {
    let builder = builder(roots)?.dns_resolver(resolver);
    builder.pool_max_idle_per_host(idle).pool_idle_timeout(IDLE_TIMEOUT).build()
}

/// The client in this slot, made at its first use.
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
fn builder(roots: &[CertificateDer<'_>]) -> Result<reqwest::ClientBuilder, reqwest::Error> {
    let roots =
        roots.iter().map(|root| reqwest::Certificate::from_der(root)).collect::<Result<Vec<_>, _>>()?;
    let builder = reqwest::Client::builder()
        .user_agent(concat!("windu/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT);
    Ok(if roots.is_empty() { builder } else { builder.tls_certs_merge(roots) })
}
