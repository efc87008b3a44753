//! The kinds of early events, and how they are stored.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::domain::{FailureReason, ReceiptKind};
use crate::store::message::content::{StoredContent, content, inbound_details, reply_to};
use crate::store::message::inbound::InboundMessage;

/// The kinds of events that can be early.
#[derive(Clone, Debug)]
pub enum EarlyKind {
    Receipt {
        kind: ReceiptKind,
        /// It is also about all earlier messages of the account in the chat.
        up_to: bool,
    },
    ReadElsewhere,
    Refused(FailureReason),
    /// The message with this id answers it.
    Reply {
        network_id: String,
    },
    /// A message of the account itself: one that it sends at this moment, or one from another device.
    Message(InboundMessage),
}

impl EarlyKind {
    /// The columns `kind` and `details`.
    pub(super) fn encode(&self) -> (&'static str, Value) {
        match self {
            Self::Receipt { kind, up_to } => {
                ("receipt", json!({"read": *kind == ReceiptKind::Read, "up_to": up_to}))
            }
            Self::ReadElsewhere => ("read_elsewhere", json!({})),
            Self::Refused(reason) => ("refused", json!({"reason": reason.name()})),
            Self::Reply { network_id } => ("reply", json!({"id": network_id})),
            Self::Message(message) => {
                let details = inbound_details(&message.content, message.reply_to.as_deref());
                let (letter, text) = (message.content.letter(), message.content.text());
                ("message", json!({"type": letter, "text": text, "details": details, "live": message.live}))
            }
        }
    }

    /// `None`: of a kind that only a newer version of this program knows.
    pub(super) fn decode(
        kind: &str,
        remote_id: &str,
        mut details: Value,
        sent_at: Option<DateTime<Utc>>,
    ) -> Option<Self> {
        let text = |name: &str| details.get(name).and_then(Value::as_str).map(str::to_owned);
        let flag = |name: &str| details.get(name).and_then(Value::as_bool);
        Some(match kind {
            "receipt" => {
                let kind = if flag("read")? { ReceiptKind::Read } else { ReceiptKind::Delivered };
                Self::Receipt { kind, up_to: flag("up_to")? }
            }
            "read_elsewhere" => Self::ReadElsewhere,
            "refused" => Self::Refused(FailureReason::from_name(&text("reason")?)?),
            "reply" => Self::Reply { network_id: text("id")? },
            "message" => {
                let (letter, text, live) = (text("type")?, text("text"), flag("live")?);
                let details =
                    details.get_mut("details").map(Value::take).filter(|details| !details.is_null());
                let reply_to = reply_to(details.as_ref());
                let StoredContent::Known(content) = content(letter, text, details) else { return None };
                let (network_id, sent_at) = (remote_id.to_owned(), sent_at?);
                Self::Message(InboundMessage { network_id, content, reply_to, sent_at, from_us: true, live })
            }
            _ => return None,
        })
    }

    /// When the account sent the message, by the network's clock.
    pub(super) fn sent_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Message(message) => Some(message.sent_at),
            Self::Receipt { .. } | Self::ReadElsewhere | Self::Refused(_) | Self::Reply { .. } => None,
        }
    }

    /// Whether the database can store it: no text in it contains a NUL.
    #[must_use]
    pub fn is_storable(&self) -> bool {
        !self.encode().1.to_string().contains("\\u0000")
    }
}
