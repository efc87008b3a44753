//! What a network can, feature by feature.

/// How well a network supports a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Full,
    /// It works, but something of it is lost on the way.
    Lossy,
    /// A request for it is refused before anything is stored.
    None,
}

impl Support {
    /// The name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lossy => "lossy",
            Self::None => "none",
        }
    }
}

/// The features that not every network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    Reply,
    Reaction,
    Edit,
    DeleteForEveryone,
    DeleteOthers,
    Forward,
    Document,
    Sticker,
    Poll,
    PollClose,
    Mention,
    MentionAll,
    LinkPreview,
    Animated,
    Recording,
    ReceiptsOfMembers,
    Disappearing,
    Groups,
    GroupDescription,
    GroupSettings,
    InviteLink,
    JoinRequests,
}

impl Feature {
    /// All, with their names in the API.
    pub const ALL: [(Self, &'static str); 22] = [
        (Self::Reply, "reply"),
        (Self::Reaction, "reaction"),
        (Self::Edit, "edit"),
        (Self::DeleteForEveryone, "delete_for_everyone"),
        (Self::DeleteOthers, "delete_others"),
        (Self::Forward, "forward"),
        (Self::Document, "document"),
        (Self::Sticker, "sticker"),
        (Self::Poll, "poll"),
        (Self::PollClose, "poll_close"),
        (Self::Mention, "mention"),
        (Self::MentionAll, "mention_all"),
        (Self::LinkPreview, "link_preview"),
        (Self::Animated, "animated"),
        (Self::Recording, "recording"),
        (Self::ReceiptsOfMembers, "receipts_of_members"),
        (Self::Disappearing, "disappearing"),
        (Self::Groups, "groups"),
        (Self::GroupDescription, "group_description"),
        (Self::GroupSettings, "group_settings"),
        (Self::InviteLink, "invite_link"),
        (Self::JoinRequests, "join_requests"),
    ];
}

/// What a network can, and up to which size.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// Features that are not listed are not supported.
    pub supported: &'static [(Feature, Support)],
    /// Bytes of a text at the most, as [`super::Connector::text_bytes`] counts; `None`: as many as the API takes.
    pub text_bytes: Option<usize>,
    /// Bytes of a file at the most; `None`: as many as the API takes, or not known yet.
    pub file_bytes: Option<u64>,
    /// The letters of the messages that can be sent ([`crate::domain::Content::letter`]). A request for another one is refused.
    pub kinds: &'static [&'static str],
    /// A person may be written to for so many seconds after their last message; `None`: at any time. Groups always may.
    pub reply_seconds: Option<u64>,
    /// Members of a group at the most.
    pub group_size: usize,
    /// A message may be edited for so many seconds; `None`: without an end.
    pub edit_seconds: Option<u64>,
    /// A message may be deleted for everyone for so many seconds; `None`: without an end.
    pub delete_seconds: Option<u64>,
    /// Options of a poll at the most.
    pub poll_options: usize,
    /// Events that were not acknowledged are repeated on the next connection, and acknowledging a message sends its
    /// delivered receipt. Without this, delivered receipts need a queue of their own.
    pub tells_again: bool,
    /// The network chooses the ids of messages, see [`super::Sent`].
    pub remote_ids: bool,
}

impl Capabilities {
    #[must_use]
    pub fn support(&self, feature: Feature) -> Support {
        let listed = self.supported.iter().find(|(listed, _)| *listed == feature);
        listed.map_or(Support::None, |(_, support)| *support)
    }
}
