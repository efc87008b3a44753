//! From names to addresses.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Looks up the names in callers' URLs. Tests bring answers of their own.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// The addresses of a name, best first.
    ///
    /// # Errors
    /// When the name is not known, or nobody answers.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's way. It blocks a thread, for as long as a caller's name server likes; so that this cannot
/// take all threads from everything else that blocks, only a few look up names at once.
pub(super) struct SystemLookup {
    places: Arc<Semaphore>,
}

impl SystemLookup {
    const AT_ONCE: usize = 64;

    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(Self::AT_ONCE)) }
    }
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        spawn_blocking(move || {
            // Kept to the end, also when nobody waits any more.
            let _place = place;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        })
        .await?
    }
}
