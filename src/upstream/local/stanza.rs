//! What lies in the mailboxes of the local network.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{Content, PeerPresence, ProfileNews, ReceiptKind, Shown, Typing};
use crate::store::localnet::News;

/// One thing that a subscriber's connection is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "stanza", rename_all = "snake_case")]
pub(super) enum Stanza {
    /// A text message.
    Text { id: String, text: String },
    /// The recipient's message was stored at the other side.
    Delivered { id: String },
    /// The recipient's message was seen.
    Read { id: String },
    /// The nickname of a watched profile changed.
    Profile { nickname: String },
    /// What the recipient sees of a watched status message changed.
    StatusMessage { shown: Shown<String> },
    /// What the recipient sees of a watched presence changed.
    Presence { presence: PeerPresence },
    /// A watched number has left.
    Gone,
}

/// What is shown but not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TypingHint {
    pub from: String,
    pub composing: bool,
}

impl Stanza {
    /// The stanza that carries a message.
    pub fn message(id: &str, content: &Content) -> Self {
        match content {
            Content::Text(text) => Self::Text { id: id.to_owned(), text: text.clone() },
        }
    }

    /// The stanza that tells a watcher news, as the store keeps it.
    pub fn news(news: &News) -> Value {
        let stanza = match news {
            News::Nickname(nickname) => Self::Profile { nickname: nickname.clone() },
            News::Profile(ProfileNews::StatusMessage(shown)) => Self::StatusMessage { shown: shown.clone() },
            News::Profile(ProfileNews::Presence(presence)) => Self::Presence { presence: *presence },
            News::Profile(ProfileNews::Gone) => Self::Gone,
        };
        stanza.to_json()
    }

    /// As the store keeps it.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// A receipt for a message.
    pub fn receipt(kind: ReceiptKind, id: &str) -> Self {
        match kind {
            ReceiptKind::Delivered => Self::Delivered { id: id.to_owned() },
            ReceiptKind::Read => Self::Read { id: id.to_owned() },
        }
    }
}

impl TypingHint {
    /// Which of the two.
    pub fn typing(&self) -> Typing {
        if self.composing { Typing::Composing } else { Typing::Paused }
    }
}
