//! Profiles on the local network.

use async_trait::async_trait;

use super::connection::LocalConnection;
use super::failure::failure;
use super::network::SubscriberChange;
use crate::domain::{PhoneNumber, Photo, Privacy};
use crate::upstream::{Address, Failure, Profile};

#[async_trait]
impl Profile for LocalConnection {
    async fn set_nickname(&self, nickname: &str) -> Result<(), Failure> {
        self.change(SubscriberChange::Nickname(nickname)).await
    }

    async fn set_status_message(&self, text: &str) -> Result<(), Failure> {
        self.change(SubscriberChange::StatusMessage(text)).await
    }

    async fn set_photo(&self, photo: Option<Photo>) -> Result<(), Failure> {
        self.change(SubscriberChange::Photo(photo)).await
    }

    async fn set_online(&self, online: bool) -> Result<(), Failure> {
        self.change(SubscriberChange::Online(online)).await
    }

    async fn set_privacy(&self, privacy: Privacy) -> Result<(), Failure> {
        self.change(SubscriberChange::Privacy(privacy)).await
    }

    async fn set_contacts(&self, contacts: &[Address]) -> Result<(), Failure> {
        self.change(SubscriberChange::Contacts(&numbers(contacts))).await
    }

    async fn set_blocked(&self, blocked: &[Address]) -> Result<(), Failure> {
        self.change(SubscriberChange::Blocked(&numbers(blocked))).await
    }

    async fn watch(&self, peers: &[Address]) -> Result<(), Failure> {
        self.change(SubscriberChange::Watches(&numbers(peers))).await
    }
}

impl LocalConnection {
    async fn change(&self, change: SubscriberChange<'_>) -> Result<(), Failure> {
        self.net.change(&self.subscriber, change).await.map_err(|error| failure(&error))
    }
}

fn numbers(addresses: &[Address]) -> Vec<PhoneNumber> {
    addresses.iter().filter_map(|address| PhoneNumber::from_stored(&address.0)).collect()
}
