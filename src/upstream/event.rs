//! The signals of a connection, and the events in them.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Address, End, Group, GroupChange, ResumePoint};
use crate::domain::{Content, FailureReason, PhoneNumber, ProfileNews, ReceiptKind, Typing};

#[derive(Debug)]
pub enum Signal {
    /// Events in their order, to be stored in one transaction.
    Events(Vec<Incoming>),
    /// All events from before the connection have been sent. The position is the one after them, where no event has it.
    CaughtUp(Option<ResumePoint>),
    /// A round trip to the network succeeded.
    Alive,
    /// The connection has ended; nothing follows.
    End(End),
}

/// An event, and how to confirm it once it is stored.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub event: UpstreamEvent,
    /// For [`super::Connection::acknowledge`], after the commit.
    pub acknowledgement: Option<Acknowledgement>,
    /// The position after this event.
    pub resume_point: Option<ResumePoint>,
}

/// Identifies an event, in the adapter's own numbering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement(pub u64);

/// An event of a network. An address that stands for a chat is a person's or a group's, never a provisional one.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamEvent {
    Message {
        from: Address,
        /// Chosen by the sender.
        id: String,
        content: Content,
        /// The id of the message of the chat that it answers.
        reply_to: Option<String>,
        /// By the network's clock.
        sent_at: DateTime<Utc>,
        /// The group of a group message.
        group: Option<Address>,
    },
    /// Another device of this account sent a message.
    SentElsewhere {
        to: Address,
        id: String,
        content: Content,
        /// The id of the message of the chat that it answers.
        reply_to: Option<String>,
        /// By the network's clock.
        sent_at: DateTime<Utc>,
    },
    /// Another device of this account read a chat.
    ReadElsewhere {
        chat: Address,
        /// The newest message that was read.
        id: String,
    },
    /// A message of a history transfer: stored, but published as no event.
    History {
        chat: Address,
        /// Sent by this account.
        from_us: bool,
        /// In a group: the sender, unless it is this account.
        participant: Option<Address>,
        id: String,
        content: Content,
        /// By the network's clock.
        sent_at: DateTime<Utc>,
    },
    /// A receipt for a message of this account.
    Receipt {
        from: Address,
        /// The message's id.
        id: String,
        kind: ReceiptKind,
        /// The group of a group message.
        group: Option<Address>,
        /// It is also about all earlier messages of this account in the chat.
        up_to: bool,
    },
    /// Somebody is typing, or has stopped. Not stored.
    Typing { from: Address, typing: Typing, group: Option<Address> },
    /// A person's profile changed, or its visibility to this account.
    Profile { of: Address, news: ProfileNews },
    /// The network accepted a message of this account under an id of its own. It counts as an outcome of
    /// [`super::Connection::send`], which may come before this, after it or not at all.
    Accepted {
        /// A person or a group.
        to: Address,
        /// Our id.
        id: String,
        /// As [`super::Sent::remote_id`].
        remote_id: String,
    },
    /// A message of this account, which the network had taken, was refused later: by the receiver's own server, for example.
    Refused {
        /// The receiver.
        to: Address,
        /// The message's id.
        id: String,
        /// The group of a group message.
        group: Option<Address>,
        reason: FailureReason,
    },
    /// The address of a number, as the network lets this account know it ([`super::People::PerAccount`]): the account's own
    /// number too, before its first group. The person known by the number and the one known by the address are one from then
    /// on. If the number was another person's before, that person keeps the chat, under a public id.
    Resolved { number: PhoneNumber, address: Address },
    /// A message that could not be decrypted.
    Undecryptable { from: Address, id: String, group: Option<Address> },
    /// A group that the account is in, or was in until now, was created or changed by any member, this account too.
    GroupChanged {
        /// The group at this revision or a later one.
        group: Arc<Group>,
        /// The revision that this change made.
        revision: i64,
        /// The subject after this change.
        subject: String,
        changes: Vec<GroupChange>,
    },
}
