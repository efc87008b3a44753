//! The time limits of a session towards its network.

use std::time::Duration;

use tokio::time::timeout;

use super::fault::Fault;
use crate::upstream::Failure;

/// How long a session waits for its network before the connection counts as dead.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection to open.
    pub connect: Duration,
    /// For one call of a connection.
    pub step: Duration,
    /// For the next signal; adapters send one every 20 s at the latest.
    pub silence: Duration,
    /// A connection that was online for so long counts as good: the backoff begins anew.
    pub stable: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            step: Duration::from_secs(30),
            silence: Duration::from_secs(50),
            stable: Duration::from_secs(30),
        }
    }
}

/// Runs one call of a connection; a network that does not answer in time ends the connection.
pub(super) async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<Result<T, Failure>, Fault> {
    timeout(limit, call).await.map_err(|_| Fault::retry("network_silent"))
}
