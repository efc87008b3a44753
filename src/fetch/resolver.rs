//! Name resolution for caller-supplied URLs.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Resolves the host names of caller-supplied URLs. Tests implement it too.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of a name, best first.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system. It blocks a thread for as long as a caller's name server likes; the limit
/// leaves threads for everything else that blocks.
pub(super) struct SystemResolver {
    permits: Arc<Semaphore>,
}

impl SystemResolver {
    const CONCURRENCY: usize = 64;

    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(Self::CONCURRENCY)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        spawn_blocking(move || {
            // Held to the end, even when the caller has stopped waiting.
            let _permit = permit;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        })
        .await?
    }
}
