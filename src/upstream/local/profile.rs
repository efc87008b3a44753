//! Profiles on the local network.

use async_trait::async_trait;

use super::connection::LocalConnection;
use super::failure;
use super::stanza::Stanza;
use crate::domain::{BlobHash, PhoneNumber, Photo, PhotoReference, Privacy, Visible};
use crate::upstream::local::network::Change;
use crate::upstream::{Address, Failure, Profile};

#[async_trait]
impl Profile for LocalConnection {
    async fn set_nickname(&self, nickname: &str) -> Result<(), Failure> {
        self.change(Change::Nickname(nickname)).await
    }

    async fn set_status_message(&self, text: &str) -> Result<(), Failure> {
        self.change(Change::StatusMessage(text)).await
    }

    async fn set_photo(&self, photo: Option<Photo>) -> Result<(), Failure> {
        self.change(Change::Photo(photo)).await
    }

    async fn set_online(&self, online: bool) -> Result<(), Failure> {
        self.change(Change::Online(online)).await
    }

    async fn set_privacy(&self, privacy: Privacy) -> Result<(), Failure> {
        self.change(Change::Privacy(privacy)).await
    }

    async fn set_contacts(&self, contacts: &[Address]) -> Result<(), Failure> {
        self.change(Change::Contacts(&numbers(contacts))).await
    }

    async fn set_blocked(&self, blocked: &[Address]) -> Result<(), Failure> {
        self.change(Change::Blocked(&numbers(blocked))).await
    }

    async fn watch(&self, peers: &[Address]) -> Result<(), Failure> {
        self.change(Change::Watches(&numbers(peers))).await
    }
}

impl LocalConnection {
    async fn change(&self, change: Change<'_>) -> Result<(), Failure> {
        self.net.change(&self.subscriber, change, Stanza::news).await.map_err(|error| failure(&error))
    }
}

/// What stands before the number and the hash in a photo's reference.
const PHOTO: &str = "photo/";

/// The photo as its watchers fetch it.
pub(super) fn photo_reference(
    of: &Address,
    shown: Visible<Option<Photo>>,
) -> Visible<Option<PhotoReference>> {
    let reference = |hash: BlobHash| format!("{PHOTO}{}/{hash}", of.0);
    match shown {
        Visible::Hidden => Visible::Hidden,
        Visible::Value(photo) => Visible::Value(photo.map(|photo| PhotoReference {
            photo: reference(photo.photo),
            preview: Some(reference(photo.preview)),
        })),
    }
}

impl LocalConnection {
    /// The file of a photo that somebody shows to the subscriber; `None` when the reference is of something else.
    pub(super) async fn shown_photo(&self, reference: &str) -> Option<Result<BlobHash, Failure>> {
        let (number, hash) = reference.strip_prefix(PHOTO)?.split_once('/')?;
        let (number, hash) = (number.parse().ok()?, hash.parse().ok()?);
        Some(match self.net.shows_photo(&number, &self.subscriber, &hash).await {
            Ok(true) => Ok(hash),
            Ok(false) => Err(Failure::Refused("this photo is not shown any more".to_owned())),
            Err(error) => Err(failure(&error)),
        })
    }
}

fn numbers(addresses: &[Address]) -> Vec<PhoneNumber> {
    addresses.iter().filter_map(|address| address.0.parse().ok()).collect()
}
