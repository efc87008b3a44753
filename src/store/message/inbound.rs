//! What a network told a session, stored in one transaction with the journal and the resume point.

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::domain::{Content, GroupChangeKind, Lease, PeerId, ProfileNews, ReceiptKind};
use crate::store::writer::SessionWrite;
use crate::store::{Peer, Store};

/// One thing that happened, about one peer.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The other side of the chat: somebody, or a group.
    pub peer: Peer,
    /// Who of a group did it.
    pub participant: Option<Peer>,
    /// What happened.
    pub what: InboundKind,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum InboundKind {
    /// A message from the peer, or with `from_us` one that another device of the account sent to the peer. `live`
    /// is false for what is read from a history: it raises no event.
    Message {
        /// The id on the network.
        network_id: String,
        /// What it says.
        content: Content,
        /// What the network says of when.
        sent_at: DateTime<Utc>,
        /// Sent by the account itself, from elsewhere.
        from_us: bool,
        /// Raises an event.
        live: bool,
    },
    /// The peer's receipt for a message of ours.
    Receipt {
        /// The message's id.
        network_id: String,
        /// Delivered or read.
        kind: ReceiptKind,
    },
    /// Another device of the account read the chat up to this message.
    ReadElsewhere {
        /// The newest message read.
        network_id: String,
    },
    /// The peer's nickname.
    Nickname(String),
    /// What else the peer shows.
    Profile(ProfileNews),
    /// Something that could not be read.
    Undecryptable {
        /// Its id.
        network_id: String,
    },
    /// The group was made or changed; it has been stored by [`Store::learn_group`].
    Group {
        /// The revision that this made.
        revision: i64,
        /// The subject after it.
        subject: String,
        /// What changed.
        changes: Vec<ToldChange>,
    },
}

/// One thing that happened to a group.
#[derive(Clone, Debug)]
pub struct ToldChange {
    /// What.
    pub kind: GroupChangeKind,
    /// To whom of it, by number or public id.
    pub participants: Vec<String>,
}

impl InboundKind {
    /// A word for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Receipt { .. } => "receipt",
            Self::ReadElsewhere { .. } => "read elsewhere",
            Self::Nickname(_) => "nickname",
            Self::Profile(_) => "profile",
            Self::Undecryptable { .. } => "undecryptable",
            Self::Group { .. } => "group",
        }
    }
}

impl Store {
    /// Stores a batch: messages in order, then the rest. What is there already is left as it is: a network may repeat
    /// itself. Gives the messages (of whom, and their ids) that are not stored because the account has blocked their
    /// sender.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on; then nothing is stored.
    pub async fn ingest(
        &self,
        lease: &Lease,
        batch: Vec<Inbound>,
        resume_point: Option<&[u8]>,
    ) -> Result<Vec<(PeerId, String)>, DbError> {
        let resume_point = resume_point.map(<[u8]>::to_vec);
        self.writer.write(lease, SessionWrite::Ingest { batch, resume_point }).await
    }
}
