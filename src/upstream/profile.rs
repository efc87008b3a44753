//! The profile of an account on its network, and the profiles that it watches.

use async_trait::async_trait;

use super::{Address, Failure};
use crate::domain::{Photo, Privacy};

/// The part of a [`super::Connection`] that is about profiles. Each method sets a desired state; it does not describe a
/// change. The session repeats all of them on each new connection, restrictions before the content that they hide.
#[async_trait]
pub trait Profile: Send + Sync {
    /// The name that others see.
    async fn set_nickname(&self, nickname: &str) -> Result<(), Failure>;

    /// Empty: no status message.
    async fn set_status_message(&self, text: &str) -> Result<(), Failure>;

    /// The hashes are those of files in the adapter's [`super::BlobStorage`]. `None`: no photo.
    async fn set_photo(&self, photo: Option<Photo>) -> Result<(), Failure>;

    /// Shows the account as online or offline. It receives messages in both states; offline, it receives no presence of
    /// others.
    async fn set_online(&self, online: bool) -> Result<(), Failure>;

    async fn set_privacy(&self, privacy: Privacy) -> Result<(), Failure>;

    /// Replaces the contact list, on which `Audience::Contacts` depends. It may contain addresses that do not exist.
    async fn set_contacts(&self, contacts: &[Address]) -> Result<(), Failure>;

    /// Replaces the block list. Messages of blocked persons are accepted and dropped; they see nothing of the account,
    /// and it sees no changes of theirs.
    async fn set_blocked(&self, blocked: &[Address]) -> Result<(), Failure>;

    /// Replaces the list of persons whose profile changes the account receives.
    async fn watch(&self, peers: &[Address]) -> Result<(), Failure>;
}
