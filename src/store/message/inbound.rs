//! Inbound items: what a session stores of the events of its network.

use chrono::{DateTime, Utc};

use crate::domain::{Content, FailureReason, GroupChangeKind, MediaFile, ProfileNews, ReceiptKind, Visible};
use crate::store::Peer;

/// One thing that happened in one chat. `Who` names people and groups: by their address on the network first, then as
/// peers of the store, see [`Inbound::resolve`].
#[derive(Clone, Debug)]
pub struct Inbound<Who = Peer> {
    /// The other side of the chat: a person or a group.
    pub peer: Who,
    /// In a group: the member that did it.
    pub participant: Option<Who>,
    /// What happened.
    pub what: InboundKind<Who>,
}

/// The kinds of what can happen, each stored by a part of the writer of its own.
#[derive(Clone, Debug)]
pub enum InboundKind<Who = Peer> {
    /// A message.
    Message(InboundMessage),
    /// The peer's, or the participant's, receipt for a message of the account.
    Receipt { network_id: String, kind: ReceiptKind },
    /// The peer shows something else in its profile.
    Profile(ProfileNews),
    /// The chat itself changed.
    Chat(ChatNews<Who>),
}

/// A message from the peer, or with `from_us` one that another device of the account sent to the peer.
#[derive(Clone, Debug)]
pub struct InboundMessage {
    pub network_id: String,
    pub content: Content,
    /// The id of the message that it answers.
    pub reply_to: Option<String>,
    /// The network's time.
    pub sent_at: DateTime<Utc>,
    pub from_us: bool,
    /// Raises an event; false for what is read from a history.
    pub live: bool,
}

/// What can happen to a chat.
#[derive(Clone, Debug)]
pub enum ChatNews<Who = Peer> {
    /// Another device of the account read the chat up to this message.
    ReadElsewhere { network_id: String },
    /// A message came that could not be read.
    Undecryptable { network_id: String },
    /// A message of the account was refused after the network had taken it.
    Refused { network_id: String, reason: FailureReason },
    /// The network accepted a message of the account under an id of its own.
    Accepted { network_id: String, remote_id: String },
    /// A message of the account is known that another one answers or refers to, by an id of the network.
    Answered {
        /// The other message.
        network_id: String,
        remote_id: String,
        /// Our id of the message of the account.
        message: String,
    },
    /// The group was made or changed; it has been stored by [`crate::store::Store::save_group`]. Revision and subject are those after
    /// the changes.
    Group { revision: i64, subject: String, changes: Vec<InboundGroupChange<Who>> },
}

/// One thing that happened to a group.
#[derive(Clone, Debug)]
pub struct InboundGroupChange<Who = Peer> {
    pub kind: GroupChangeKind,
    /// The members that it happened to.
    pub participants: Vec<Who>,
    /// The member who made it, if the network says so.
    pub by: Option<Who>,
}

impl<Who> Inbound<Who> {
    /// All people and groups that are named.
    pub fn names(&self) -> impl Iterator<Item = &Who> {
        let changes = match &self.what {
            InboundKind::Chat(ChatNews::Group { changes, .. }) => changes.as_slice(),
            _ => &[],
        };
        let participants = changes.iter().flat_map(|change| change.participants.iter().chain(&change.by));
        std::iter::once(&self.peer).chain(&self.participant).chain(participants)
    }

    /// The same with other names.
    pub fn resolve<Other, E>(&self, by: impl Fn(&Who) -> Result<Other, E>) -> Result<Inbound<Other>, E> {
        let what = match &self.what {
            InboundKind::Message(message) => InboundKind::Message(message.clone()),
            InboundKind::Receipt { network_id, kind } => {
                InboundKind::Receipt { network_id: network_id.clone(), kind: *kind }
            }
            InboundKind::Profile(news) => InboundKind::Profile(news.clone()),
            InboundKind::Chat(news) => InboundKind::Chat(news.resolve(&by)?),
        };
        let participant = self.participant.as_ref().map(&by).transpose()?;
        Ok(Inbound { peer: by(&self.peer)?, participant, what })
    }
}

impl<Who> ChatNews<Who> {
    fn resolve<Other, E>(&self, by: impl Fn(&Who) -> Result<Other, E>) -> Result<ChatNews<Other>, E> {
        Ok(match self {
            Self::ReadElsewhere { network_id } => ChatNews::ReadElsewhere { network_id: network_id.clone() },
            Self::Undecryptable { network_id } => ChatNews::Undecryptable { network_id: network_id.clone() },
            Self::Refused { network_id, reason } => {
                ChatNews::Refused { network_id: network_id.clone(), reason: *reason }
            }
            Self::Accepted { network_id, remote_id } => {
                ChatNews::Accepted { network_id: network_id.clone(), remote_id: remote_id.clone() }
            }
            Self::Answered { network_id, remote_id, message } => ChatNews::Answered {
                network_id: network_id.clone(),
                remote_id: remote_id.clone(),
                message: message.clone(),
            },
            Self::Group { revision, subject, changes } => {
                let change = |change: &InboundGroupChange<Who>| {
                    let participants = change.participants.iter().map(&by).collect::<Result<_, E>>()?;
                    let by = change.by.as_ref().map(&by).transpose()?;
                    Ok(InboundGroupChange { kind: change.kind, participants, by })
                };
                let changes = changes.iter().map(change).collect::<Result<_, E>>()?;
                ChatNews::Group { revision: *revision, subject: subject.clone(), changes }
            }
        })
    }
}

impl InboundMessage {
    /// Whether its file is still to be fetched from the network.
    #[must_use]
    pub fn has_remote_file(&self) -> bool {
        matches!(self.content.file(), Some(MediaFile::Remote(_)))
    }
}

/// Whether a photo is still to be fetched from the network.
pub(in crate::store) fn has_photo(news: &ProfileNews) -> bool {
    matches!(news, ProfileNews::Photo(Visible::Value(Some(_))))
}
