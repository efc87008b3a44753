//! Name resolution for caller-supplied URLs.

use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::error::Busy;
use crate::domain::UserId;
use crate::fair_share::FairShare;

tokio::task_local! {
    /// The user whose request the current task works on.
    static USER: UserId;
}

/// Runs requests to URLs that this user supplied: the threads for name resolution are shared fairly among users.
pub async fn on_behalf_of<F: Future>(user: UserId, requests: F) -> F::Output {
    USER.scope(user, requests).await
}

/// Resolves the host names of caller-supplied URLs. Tests implement it too.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of a name, best first.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system. It blocks a thread for as long as a caller's name server likes; the limit
/// leaves threads for everything else that blocks, and the shares leave some for other users.
pub(super) struct SystemResolver {
    threads: FairShare<Option<UserId>>,
}

impl SystemResolver {
    const THREADS: u64 = 64;

    pub(super) fn new() -> Self {
        Self { threads: FairShare::new(Self::THREADS) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let user = USER.try_with(|user| *user).ok();
        let thread = self.threads.take(user, 1).ok_or_else(|| io::Error::other(Busy))?;
        let name = name.to_owned();
        spawn_blocking(move || {
            // Held to the end, even when the caller has stopped waiting.
            let _thread = thread;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        })
        .await?
    }
}
