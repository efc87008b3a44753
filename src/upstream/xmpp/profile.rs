//! The account's profile, and the profiles that it watches.

use async_trait::async_trait;

use super::connection::XmppConnection;
use crate::domain::{Photo, Privacy};
use crate::upstream::{Address, Failure, Profile};

const UNSUPPORTED: Failure = Failure::Unsupported("show profiles");

#[async_trait]
impl Profile for XmppConnection {
    async fn set_nickname(&self, _nickname: &str) -> Result<(), Failure> {
        Err(UNSUPPORTED)
    }

    async fn set_status_message(&self, _text: &str) -> Result<(), Failure> {
        Err(UNSUPPORTED)
    }

    async fn set_photo(&self, _photo: Option<Photo>) -> Result<(), Failure> {
        Err(UNSUPPORTED)
    }

    async fn set_online(&self, _online: bool) -> Result<(), Failure> {
        Err(UNSUPPORTED)
    }

    async fn set_privacy(&self, _privacy: Privacy) -> Result<(), Failure> {
        Err(UNSUPPORTED)
    }

    async fn set_contacts(&self, _contacts: &[Address]) -> Result<(), Failure> {
        Err(UNSUPPORTED)
    }

    async fn set_blocked(&self, _blocked: &[Address]) -> Result<(), Failure> {
        Err(UNSUPPORTED)
    }

    async fn watch(&self, _peers: &[Address]) -> Result<(), Failure> {
        Err(UNSUPPORTED)
    }
}
