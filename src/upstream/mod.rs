//! The interface to messaging networks.
//!
//! A [`Connector`] is a network, one per process; a [`Connection`] is one life of one account's socket. No type of
//! PostgreSQL or HTTP is part of it. The adapter classifies all errors, so that nothing above it has to guess whether to
//! retry.

mod address;
mod capabilities;
mod event;
mod group;
mod group_rules;
pub mod local;
mod media;
mod profile;
mod registration;
pub mod xmpp;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use crate::domain::{Content, FailureReason, NeedsUser, PhoneNumber, Typing};

pub use address::{Address, People};
pub use capabilities::{Capabilities, Feature, Support};
pub use event::{Acknowledgement, Incoming, Signal, UpstreamEvent};
pub use group::{Group, GroupChange, GroupEdit, GroupFailure, Groups, Member};
pub use media::{BlobStorage, FileStream};
pub use profile::Profile;
pub use registration::{CodeMethod, NetworkCode, Proof, RegistrationKind, SentCode, Submitted};

/// The credentials of an account on its network. Encrypted wherever they are stored; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(pub Vec<u8>);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credentials(..)")
    }
}

/// A position in the events of an account; opaque above the adapter. It is stored in one transaction with the events up
/// to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint(pub Vec<u8>);

#[derive(Clone, Debug)]
pub struct Login {
    pub number: PhoneNumber,
    /// The result of [`Connector::register`] or [`NetworkCode::submit`].
    pub credentials: Credentials,
    /// The last one stored; `None` before the first.
    pub resume_point: Option<ResumePoint>,
}

/// Why a request to the network failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Temporary. The text is a code, such as `network_unreachable`.
    #[error("temporary failure: {0}")]
    Retry(&'static str),
    /// No request is accepted before this duration has passed.
    #[error("rate limited by the network; retry in {0:?}")]
    RateLimited(Duration),
    /// Permanent. The text is for the log and the caller.
    #[error("the network refused: {0}")]
    Refused(String),
    /// Timed out: the request may have taken effect.
    #[error("no answer in time")]
    OutcomeUnknown,
    /// The network lacks this feature.
    #[error("this network cannot {0}")]
    Unsupported(&'static str),
}

/// Why one message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// Retry under the same id.
    Retry,
    /// Retry under the same id, after this duration.
    RateLimited(Duration),
    /// Permanent.
    Refused(FailureReason),
    /// An earlier message of the same chat failed, so this one was not tried: the order is preserved.
    NotTried,
}

/// Why a connection ended, or could not be opened. Exactly one per connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Reconnect with backoff. The text is a code, such as `network_unreachable`.
    Retry(&'static str),
    /// Reconnect, but not before this moment.
    RateLimited(DateTime<Utc>),
    /// Reconnect only after the user has acted.
    NeedsUser(NeedsUser),
    /// Never reconnect with this version of the program, for example because the protocol has changed.
    Never(&'static str),
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The same on each attempt.
    pub id: String,
    /// A person or a group.
    pub to: Address,
    pub content: Content,
}

/// Bytes of an id that a network chooses.
pub const LONGEST_REMOTE_ID: usize = 255;

/// A message that the network accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The id by which the network's events name the message, if that is not [`Outgoing::id`]: unique among the messages of
    /// the account in the chat, not empty, at most [`LONGEST_REMOTE_ID`] bytes, without NUL. The same again when the same
    /// message is sent again. Only on networks with [`Capabilities::remote_ids`].
    ///
    /// Events may name the message before the call returns: they are stored until the id is known. Without an id, and
    /// without [`UpstreamEvent::Accepted`], no event can be about the message.
    pub remote_id: Option<String>,
}

/// The receipt for a received message that was read.
#[derive(Clone, Debug)]
pub struct ReadReceipt {
    /// The sender of the message.
    pub to: Address,
    /// The message's id.
    pub id: String,
    /// The group of a group message.
    pub group: Option<Address>,
}

/// Storage for an adapter: values of an account by key. Writes fail when the session has lost its lease.
#[async_trait]
pub trait AdapterState: Send + Sync {
    /// The values in the order of the keys.
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure>;
    /// Writes all values or none.
    async fn put(&self, values: &[(&str, Vec<u8>)]) -> Result<(), Failure>;
    /// Deletes these keys, or none of them.
    async fn delete(&self, keys: &[&str]) -> Result<(), Failure>;
    /// The keys that begin with `prefix`, in order, with their values. Its cost grows with all keys of the account.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure>;
}

/// A key with its new value; `None` deletes it.
pub type NetworkWrite = (String, Option<Vec<u8>>);

/// Storage for a network as a whole, which all processes share: values by key.
#[async_trait]
pub trait NetworkState: Send + Sync {
    /// The values in the order of the keys.
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure>;
    /// Writes `after` under `key` if the value is still `before` (`None`: there is none), and with it the others. False: the
    /// value is another one by now, and nothing was written.
    async fn replace(
        &self,
        key: &str,
        before: Option<&[u8]>,
        after: &[u8],
        others: &[NetworkWrite],
    ) -> Result<bool, Failure>;
    /// Deletes `key` if its value is still `before`, and with it the others. False: the value is another one by now, and
    /// nothing was deleted.
    async fn remove(&self, key: &str, before: &[u8], others: &[String]) -> Result<bool, Failure>;
    /// The keys that begin with `prefix`, which ends with a slash, in order, with their values.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        self.page(prefix, "", usize::MAX).await
    }
    /// The first of them behind the key `after`, at most `limit`.
    async fn page(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>, Failure>;
}

/// An open connection, for requests, and its signals in order, on a bounded channel. The last signal is the end.
pub struct Opened {
    pub connection: Arc<dyn Connection>,
    pub signals: mpsc::Receiver<Signal>,
}

/// A line of [`Connector::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub is_good: bool,
    /// What was found; of what is missing, what does not work without it.
    pub text: String,
}

/// A network.
#[async_trait]
pub trait Connector: Send + Sync {
    /// The name of the network in settings, tables and responses: `local`, `xmpp`.
    fn network(&self) -> &'static str;

    fn capabilities(&self) -> Capabilities;

    fn registration(&self) -> RegistrationKind;

    /// Whose knowledge the people of this network are. It never changes.
    fn people(&self) -> People {
        People::Shared
    }

    /// The address of a number. Where only the network knows it, a provisional one, until [`Connection::existing`] or
    /// [`UpstreamEvent::Resolved`] reports the other; requests to a connection may name people by either.
    fn address_of(&self, number: &PhoneNumber) -> Address {
        Address::provisional(number)
    }

    /// The number of an address; `None` for a group, or an address without a number.
    fn number_of(&self, address: &Address) -> Option<PhoneNumber> {
        address.provisional_number()
    }

    fn is_group(&self, address: &Address) -> bool;

    /// The size of a text in this network's encoding, which [`Capabilities::text_bytes`] limits.
    fn text_bytes(&self, text: &str) -> usize {
        text.len()
    }

    /// Creates the number's account, on a network whose accounts are ours ([`RegistrationKind::OurCode`]). Everything of an
    /// earlier owner is deleted, and the number is in no group.
    async fn register(&self, _number: &PhoneNumber) -> Result<Credentials, Failure> {
        Err(Failure::Unsupported("create accounts"))
    }

    /// Deletes the number's account, which leaves all its groups, on a network whose accounts are ours. Succeeds for a number
    /// without an account.
    async fn unregister(&self, _number: &PhoneNumber) -> Result<(), Failure> {
        Err(Failure::Unsupported("delete accounts"))
    }

    /// Ends this login, on a network where accounts are their persons' ([`RegistrationKind::is_persons`]). The account stays,
    /// and so does every other login of it, also a newer one of the same number. Its session may still be connected.
    /// Succeeds for a login that has ended. What is written to `state` need not be kept.
    async fn log_out(&self, _login: Login, _state: Arc<dyn AdapterState>) -> Result<(), Failure> {
        Err(Failure::Unsupported("log out"))
    }

    /// The numbers that have an account, of these. With [`People::PerAccount`] accounts ask [`Connection::existing`], and
    /// this is asked about no number, to see whether the network answers.
    async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, Failure>;

    /// What works for this program and what does not, found by asking the network.
    async fn check(&self) -> Vec<Finding> {
        vec![match self.existing(&[]).await {
            Ok(_) => Finding { is_good: true, text: "answers".to_owned() },
            Err(failure) => Finding { is_good: false, text: failure.to_string() },
        }]
    }

    /// Opens a connection, which ends when it is dropped.
    async fn open(&self, login: Login, state: Arc<dyn AdapterState>) -> Result<Opened, End>;
}

/// One life of an account's socket. Methods may be called concurrently; the caller sets the timeouts.
#[async_trait]
pub trait Connection: Profile + Groups + Send + Sync {
    /// Sends messages in order and returns the outcome of each, in the same order.
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<Sent, SendFailure>>;

    /// These events are stored: the network may delete them, and sends delivered receipts if it has them. They may come
    /// again as long as no connection has caught up since.
    async fn acknowledge(&self, stored: &[Acknowledgement]) -> Result<(), Failure>;

    /// These events are not to be stored: the network may delete them, and sends no receipts.
    async fn discard(&self, dropped: &[Acknowledgement]) -> Result<(), Failure>;

    /// Sends read receipts.
    async fn read(&self, receipts: &[ReadReceipt]) -> Result<(), Failure>;

    /// The numbers that have an account, of these, as this account may know them, with their addresses. Only asked with
    /// [`People::PerAccount`].
    async fn existing(&self, _: &[PhoneNumber]) -> Result<Vec<(PhoneNumber, Address)>, Failure> {
        Err(Failure::Unsupported("look up numbers"))
    }

    /// Shows a person, or a group's other members, that the account is typing or has stopped.
    async fn typing(&self, to: &Address, typing: Typing) -> Result<(), Failure>;

    /// The file of a received message or a photo, by the reference in the event. [`Failure::Refused`] when the network
    /// does not have it any more.
    async fn fetch(&self, reference: &str) -> Result<FileStream, Failure>;
}
