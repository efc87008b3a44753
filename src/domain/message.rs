//! Messages, receipts and typing.

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Plain text.
    Text(String),
}

impl Content {
    /// The letter that the message list shows: t text.
    #[must_use]
    pub fn letter(&self) -> &'static str {
        match self {
            Self::Text(_) => "t",
        }
    }

    /// The text of the message, where it has one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
        }
    }
}

/// Why a message will never be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// The network did not take it before its time to live ended.
    Expired,
    /// The network refused it for good.
    Refused,
    /// The receiver left the network.
    RecipientGone,
    /// The account was unregistered while the message waited.
    Unregistered,
}

impl FailureReason {
    /// The reason's name in the database and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::RecipientGone => "recipient_gone",
            Self::Unregistered => "unregistered",
        }
    }
}

/// What a receipt says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// The receiver's side has stored it.
    Delivered,
    /// The receiver has seen it.
    Read,
}

/// Whether somebody is writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// Writing now.
    Composing,
    /// Stopped writing.
    Paused,
}
