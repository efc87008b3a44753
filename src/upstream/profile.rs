//! What an account shows on its network, and what it wants to see.

use async_trait::async_trait;

use super::{Address, Failure};
use crate::domain::{Photo, Privacy};

/// The part of a [`super::Connection`] that is about profiles. Each method says how things should be, not what changed:
/// the session repeats it with each fresh connection, what keeps people from seeing something before what there is to
/// see.
#[async_trait]
pub trait Profile: Send + Sync {
    /// Sets the name that others see.
    async fn set_nickname(&self, nickname: &str) -> Result<(), Failure>;

    /// Sets the status message; empty: none.
    async fn set_status_message(&self, text: &str) -> Result<(), Failure>;

    /// Sets the photo: the hashes under which the adapter's [`super::BlobSource`] has it. `None`: none.
    async fn set_photo(&self, photo: Option<Photo>) -> Result<(), Failure>;

    /// Shows the account as online or offline. Messages come in either way; who is offline is not told who else is
    /// online.
    async fn set_online(&self, online: bool) -> Result<(), Failure>;

    /// Says who may see what.
    async fn set_privacy(&self, privacy: Privacy) -> Result<(), Failure>;

    /// Whom the account has in its contact list, whether or not they exist: for `Audience::Contacts`. Replaces the list.
    async fn set_contacts(&self, contacts: &[Address]) -> Result<(), Failure>;

    /// Whom the account has blocked: what they send is taken and never arrives, and nothing of the account is shown to
    /// them, nor of them to it. Replaces the list.
    async fn set_blocked(&self, blocked: &[Address]) -> Result<(), Failure>;

    /// Whose profile the account wants to hear of; replaces the list.
    async fn watch(&self, peers: &[Address]) -> Result<(), Failure>;
}
