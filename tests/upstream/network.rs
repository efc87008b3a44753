//! The trait that a network implements to join the suite.

use std::sync::Arc;

use async_trait::async_trait;
use windu::domain::{PhoneNumber, StoredMedia};
use windu::upstream::Connector;

/// A running network without numbers of other cases.
#[async_trait]
pub trait Network: Send + Sync {
    /// The limit of unacknowledged events of a connection.
    const UNACKNOWLEDGED: usize;

    /// Acknowledged messages may come again on the next connection, although the one before had caught up.
    const REPEATS: bool = false;

    /// The network reports the state of a watched person, also when it has not changed.
    const STATES: bool = false;

    /// The reason of the failure of a change of a group over a connection whose account was deleted.
    const DELETED: &'static str = "logged_out";

    /// What the network does in another way than the case requires of others: `file::case`, and how.
    const LOSSY: &[(&str, &str)] = &[];

    /// What this machine lacks to run it.
    fn missing() -> Option<String> {
        None
    }

    /// Starts it, or a new part of a running one.
    async fn start() -> Self;

    /// A connector of another process: it shares only the network itself with the others.
    async fn connector(&self) -> Arc<dyn Connector>;

    /// Stores a file, as if it was uploaded through the API.
    async fn store(&self, bytes: &[u8], mimetype: &str) -> StoredMedia;

    /// What arrives of a text. Not every network carries every character.
    fn carried(text: &str) -> String {
        text.to_owned()
    }

    /// An unused number.
    fn number(&self) -> PhoneNumber;
}
