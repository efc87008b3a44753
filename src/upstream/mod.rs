//! What a messaging network must be able to do for us.
//!
//! A [`Connector`] is a network, one per process; a [`Connection`] is one life of one account's socket. No type of
//! PostgreSQL or HTTP crosses this line. Errors are classified by the adapter: above this line nobody guesses
//! whether to try again.

mod event;
mod group;
pub mod local;
mod media;
mod profile;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::domain::{Content, FailureReason, NeedsUser, PhoneNumber, Typing};

pub use event::{Acknowledgement, Incoming, Signal, UpstreamEvent};
pub use group::{Group, GroupChange, GroupEdit, GroupFailure, Groups, Member};
pub use media::{BlobSource, FileStream};
pub use profile::Profile;

/// Where a network reaches somebody or a group, in the network's own words. Opaque above the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(pub String);

/// What a network gave an account to log in with. Sealed wherever it is kept; its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(pub Vec<u8>);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credentials(..)")
    }
}

/// A position in what the network tells an account; opaque above the adapter. It is stored in one transaction with
/// what was told up to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint(pub Vec<u8>);

/// How a number gets onto a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationKind {
    /// We prove the number by a code of ours, then make the account.
    OurCode,
    /// The network shows a code that the user enters on the phone. It needs a live connection.
    Pairing,
}

/// What a network can do beyond what all must.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The most members of a group; 0: no groups.
    pub largest_group: usize,
    /// What was not acknowledged is told again on the next connection, and acknowledging includes the delivered
    /// receipt. Without it, delivered receipts need a queue of their own.
    pub tells_again: bool,
}

/// What a connection needs to log in.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who.
    pub number: PhoneNumber,
    /// What the registration gave.
    pub credentials: Credentials,
    /// Where the last connection left off.
    pub resume_point: Option<ResumePoint>,
}

/// Why something asked of the network did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Not now; the word is for programs, such as `network_unreachable`.
    #[error("not now: {0}")]
    Retry(&'static str),
    /// Not before so long has passed.
    #[error("too much was asked; try again in {0:?}")]
    RateLimited(Duration),
    /// The network said no, for good.
    #[error("the network refused: {0}")]
    Refused(String),
    /// The network did not answer in time: nobody knows whether it happened.
    #[error("no answer in time")]
    OutcomeUnknown,
    /// This network has no such thing.
    #[error("this network cannot {0}")]
    Unsupported(&'static str),
}

/// Why one message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// Try again, under the same id.
    Retry,
    /// Try again after so long, under the same id.
    RateLimited(Duration),
    /// Never.
    Refused(FailureReason),
    /// An earlier one of the same chat failed, so this one was not tried: order is kept.
    NotTried,
}

/// Why a connection ended, or could not be opened. Exactly one per connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Connect again, with backoff. The word is for programs, such as `network_unreachable`.
    Retry(&'static str),
    /// Connect again, but not before.
    RateLimited(DateTime<Utc>),
    /// Only the user can mend this.
    NeedsUser(NeedsUser),
    /// Never connect again, as this program is: for example the network speaks a version we do not.
    Never(&'static str),
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The id, the same on each attempt.
    pub id: String,
    /// To whom; or the group.
    pub to: Address,
    /// What it says.
    pub content: Content,
}

/// That a received message was read.
#[derive(Clone, Debug)]
pub struct ReadReceipt {
    /// Who sent the message.
    pub to: Address,
    /// Its id.
    pub id: String,
    /// The group that it was sent into, if it was.
    pub group: Option<Address>,
}

/// What an adapter must keep for an account, by key, under the session's lease.
#[async_trait]
pub trait AdapterState: Send + Sync {
    /// The values of these keys, `None` where there is none.
    async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Failure>;
    /// Writes all of these or none.
    async fn put(&self, values: &[(&str, Vec<u8>)]) -> Result<(), Failure>;
}

/// An open connection and what it tells, in order, on a bounded channel. The last signal is the end.
pub struct Opened {
    /// Takes what is asked.
    pub connection: Arc<dyn Connection>,
    /// Yields what happens.
    pub signals: mpsc::Receiver<Signal>,
}

/// A network.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Its name in settings, rows and answers: `local`, `xmpp`.
    fn network(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// How a number gets onto it.
    fn registration(&self) -> RegistrationKind;

    /// Where it reaches a number.
    fn address_of(&self, number: &PhoneNumber) -> Address;

    /// The number behind an address, if it is one of the network's own.
    fn number_of(&self, address: &Address) -> Option<PhoneNumber>;

    /// Whether an address is a group's.
    fn is_group(&self, address: &Address) -> bool;

    /// Makes the number's account anew: whatever an earlier owner left is gone, and it is in no group.
    async fn register(&self, number: &PhoneNumber) -> Result<Credentials, Failure>;

    /// Removes the number's account, which leaves all its groups. A number that is not there is no failure.
    async fn unregister(&self, number: &PhoneNumber) -> Result<(), Failure>;

    /// Which of these numbers the network knows.
    async fn existing(&self, numbers: &[PhoneNumber]) -> Result<Vec<PhoneNumber>, Failure>;

    /// Opens a connection. It ends when it is dropped.
    async fn open(&self, login: Login, state: Arc<dyn AdapterState>) -> Result<Opened, End>;
}

/// One life of an account's socket. All methods may be called at once; each is bounded in time by the caller.
#[async_trait]
pub trait Connection: Profile + Groups + Send + Sync {
    /// Sends messages in order and says of each what became of it.
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<(), SendFailure>>;

    /// Everything up to these was stored: the network may forget it, and tells the senders where it has delivered
    /// receipts.
    async fn acknowledge(&self, stored: &[Acknowledgement]) -> Result<(), Failure>;

    /// These were told and are not kept: the network may forget them, and tells their senders nothing.
    async fn discard(&self, dropped: &[Acknowledgement]) -> Result<(), Failure>;

    /// Tells senders that their messages were read.
    async fn read(&self, receipts: &[ReadReceipt]) -> Result<(), Failure>;

    /// Shows somebody, or a group's other members, that the account writes, or stopped to.
    async fn typing(&self, to: &Address, typing: Typing) -> Result<(), Failure>;

    /// The file that a received message carries, by the reference that came with it.
    ///
    /// # Errors
    /// [`Failure::Refused`] when the network does not have it any more.
    async fn fetch(&self, reference: &str) -> Result<FileStream, Failure>;
}
