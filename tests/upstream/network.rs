//! What the suite needs of a network that it runs against.

use std::sync::Arc;

use async_trait::async_trait;
use windu::domain::{PhoneNumber, StoredMedia};
use windu::upstream::Connector;

/// A network that runs, with nobody on it that a case could meet by chance.
#[async_trait]
pub trait Network: Send + Sync {
    /// The most that a connection may tell before anything is acknowledged.
    const UNACKNOWLEDGED: usize;

    /// Starts it, or a fresh part of one that runs.
    async fn start() -> Self;

    /// A connector as another process would have: nothing is shared with the earlier ones but the network itself.
    async fn connector(&self) -> Arc<dyn Connector>;

    /// Stores a file, as one that the API took from its caller.
    async fn store(&self, bytes: &[u8], mimetype: &str) -> StoredMedia;

    /// A number that nobody had yet.
    fn number(&self) -> PhoneNumber;
}
