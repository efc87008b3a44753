//! What a connection tells.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Address, End, Group, GroupChange, ResumePoint};
use crate::domain::{Content, ProfileNews, ReceiptKind, Typing};

/// One step of a connection's life.
#[derive(Debug)]
pub enum Signal {
    /// Things that happened, in order; stored in one transaction.
    Events(Vec<Incoming>),
    /// All that came while the account was away has been told.
    CaughtUp,
    /// A round trip to the network succeeded.
    Alive,
    /// The connection has ended; nothing follows.
    End(End),
}

/// Something that happened, and what to tell the network once it is stored.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// What.
    pub event: UpstreamEvent,
    /// To hand to [`super::Connection::acknowledge`] after the commit.
    pub acknowledgement: Option<Acknowledgement>,
    /// Where the network's history stands after this.
    pub resume_point: Option<ResumePoint>,
}

/// Names something told, in the adapter's own numbering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement(pub u64);

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamEvent {
    /// Somebody sent a message.
    Message {
        /// Who.
        from: Address,
        /// The id that the sender gave it.
        id: String,
        /// What it says.
        content: Content,
        /// When the network took it.
        sent_at: DateTime<Utc>,
        /// The group that it was sent into, if it was.
        group: Option<Address>,
    },
    /// Another device of this account sent a message.
    SentElsewhere {
        /// To whom; or the group.
        to: Address,
        /// Its id.
        id: String,
        /// What it says.
        content: Content,
        /// When the network took it.
        sent_at: DateTime<Utc>,
    },
    /// Another device of this account read a chat up to this message.
    ReadElsewhere {
        /// Whose messages; or the group.
        chat: Address,
        /// The newest one read.
        id: String,
    },
    /// A message of a history that the network hands over: stored, but no news.
    History {
        /// The other side of the chat; or the group.
        chat: Address,
        /// Sent by this account.
        from_us: bool,
        /// In a group: who sent it, if it was not this account.
        participant: Option<Address>,
        /// Its id.
        id: String,
        /// What it says.
        content: Content,
        /// When the network took it.
        sent_at: DateTime<Utc>,
    },
    /// What somebody's side did with a message of ours.
    Receipt {
        /// Who.
        from: Address,
        /// The message's id.
        id: String,
        /// What.
        kind: ReceiptKind,
        /// The group that the message was sent into, if it was.
        group: Option<Address>,
    },
    /// Somebody writes, or stopped to. Not kept.
    Typing {
        /// Who.
        from: Address,
        /// Which of the two.
        typing: Typing,
        /// In which group, if in one.
        group: Option<Address>,
    },
    /// The name that somebody shows.
    Nickname {
        /// Who.
        of: Address,
        /// The name.
        nickname: String,
    },
    /// What else somebody shows to the account.
    Profile {
        /// Who.
        of: Address,
        /// What is new.
        news: ProfileNews,
    },
    /// Something came that could not be read.
    Undecryptable {
        /// From whom.
        from: Address,
        /// Its id.
        id: String,
        /// The group that it was sent into, if it was.
        group: Option<Address>,
    },
    /// A group that the account is in, or was in until now, was made or changed, by whomever.
    GroupChanged {
        /// The group after this or a later change.
        group: Arc<Group>,
        /// The revision that this change made.
        revision: i64,
        /// The subject after this change.
        subject: String,
        /// What changed.
        changes: Vec<GroupChange>,
    },
}
