//! The events in the journal, for clients. They carry ids, no contents.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{FailureReason, GroupChangeKind, SessionState, Timestamp, UncutTimestamp};

/// One entry of an account's journal. `chat` is the number or the public id of the other side, or a group's id; `id` the
/// message's id on the network.
#[derive(Clone, Debug)]
pub enum Event {
    /// The number was proved and its account made on the network.
    AccountRegistered,
    /// Another user has proved the number.
    AccountUnregistered,
    /// The account and its data were deleted.
    AccountRemoved,
    /// The session's state changed to one that clients care about.
    SessionChanged { state: SessionState, reason: Option<String> },
    /// A message was accepted from the API.
    MessageQueued { chat: String, id: String },
    /// The network accepted a message.
    MessageSent { chat: String, id: String },
    /// The receiver's device has stored a message.
    MessageDelivered { chat: String, id: String },
    /// The receiver has seen a message.
    MessageRead { chat: String, id: String },
    /// A message will never be sent.
    MessageFailed { chat: String, id: String, reason: FailureReason },
    /// A message came in.
    MessageReceived {
        chat: String,
        id: String,
        /// The kind of content: the letter of the message list.
        kind: &'static str,
        /// In a group: the sender's number or public id.
        participant: Option<String>,
    },
    /// The file of a received message was stored, or is lost for good.
    MessageMedia { chat: String, id: String, stored: bool },
    /// A message was sent from another device of the same number.
    MessageSentElsewhere { chat: String, id: String },
    /// A message came in that could not be decrypted or stored.
    MessageUndecryptable { chat: String, id: String },
    /// Received messages were marked read, here or on another device.
    ChatRead {
        chat: String,
        /// Their number.
        messages: usize,
        /// How many are left unread.
        unread: i32,
    },
    /// A contact was added.
    ContactAdded {
        /// The number or public id.
        contact: String,
    },
    /// A contact's name, or whether the network knows it, changed.
    ContactUpdated {
        /// The number or public id.
        contact: String,
    },
    /// A person is known by another number or public id from now on, in the contact list or not.
    ContactIdChanged {
        /// The new number or public id.
        contact: String,
        /// The earlier one.
        was: String,
    },
    /// A contact was removed.
    ContactRemoved {
        /// The number or public id.
        contact: String,
    },
    /// A contact was blocked.
    ContactBlocked {
        /// The number or public id.
        contact: String,
    },
    /// A contact is no longer blocked.
    ContactUnblocked {
        /// The number or public id.
        contact: String,
    },
    /// A person's status message, as the account sees it, changed: another one, hidden, or visible again.
    ContactStatusChanged {
        /// The number or public id.
        contact: String,
    },
    /// A person's photo, as the account sees it, changed: another one, none, hidden, or visible again.
    ContactPhotoChanged {
        /// The number or public id.
        contact: String,
    },
    /// The account's own nickname changed.
    NicknameChanged,
    /// The account's own status message changed.
    StatusMessageChanged,
    /// The account's own photo changed, or was removed.
    PhotoChanged,
    /// Whether the account is shown as online changed.
    ConnectedStatusChanged,
    /// The account's privacy settings changed.
    PrivacyChanged,
    /// A group changed that the account is in, or was in until then.
    GroupChanged {
        /// The group's id.
        group: String,
        change: GroupChangeKind,
        /// The members concerned, by number or public id; empty when the group itself changed.
        participants: Vec<String>,
        /// Who made the change, by number or public id, if the network says so.
        by: Option<String>,
    },
    /// No event was accepted for an hour.
    WebhookFailing {
        /// The public id.
        webhook: String,
        /// The error of the last attempt.
        reason: String,
        since: DateTime<Utc>,
    },
    /// The server made a webhook inactive.
    WebhookDisabled {
        /// The public id.
        webhook: String,
        /// `gone` or `failing`.
        reason: &'static str,
        since: DateTime<Utc>,
    },
    /// A test of a webhook.
    WebhookTest {
        /// The public id.
        webhook: String,
    },
}

impl Event {
    // The kinds that statements of the store write.
    pub const CONTACT_UPDATED: &str = "contact.updated";
    pub const MESSAGE_DELIVERED: &str = "message.delivered";
    pub const MESSAGE_FAILED: &str = "message.failed";
    pub const MESSAGE_QUEUED: &str = "message.queued";
    pub const MESSAGE_READ: &str = "message.read";
    pub const MESSAGE_SENT: &str = "message.sent";
    /// Of this kind is what a webhook's owner asks for, and nothing that is sent by itself.
    pub const WEBHOOK_TEST: &str = "webhook.test";

    /// The kind as clients see it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AccountRegistered => "account.registered",
            Self::AccountUnregistered => "account.unregistered",
            Self::AccountRemoved => "account.removed",
            Self::SessionChanged { .. } => "session.changed",
            Self::MessageQueued { .. } => Self::MESSAGE_QUEUED,
            Self::MessageSent { .. } => Self::MESSAGE_SENT,
            Self::MessageDelivered { .. } => Self::MESSAGE_DELIVERED,
            Self::MessageRead { .. } => Self::MESSAGE_READ,
            Self::MessageFailed { .. } => Self::MESSAGE_FAILED,
            Self::MessageReceived { .. } => "message.received",
            Self::MessageMedia { .. } => "message.media",
            Self::MessageSentElsewhere { .. } => "message.sent_elsewhere",
            Self::MessageUndecryptable { .. } => "message.undecryptable",
            Self::ChatRead { .. } => "chat.read",
            Self::ContactAdded { .. } => "contact.added",
            Self::ContactUpdated { .. } => Self::CONTACT_UPDATED,
            Self::ContactIdChanged { .. } => "contact.id_changed",
            Self::ContactRemoved { .. } => "contact.removed",
            Self::ContactBlocked { .. } => "contact.blocked",
            Self::ContactUnblocked { .. } => "contact.unblocked",
            Self::ContactStatusChanged { .. } => "contact.status_message_changed",
            Self::ContactPhotoChanged { .. } => "contact.photo_changed",
            Self::NicknameChanged => "account.nickname_changed",
            Self::PhotoChanged => "account.photo_changed",
            Self::StatusMessageChanged => "account.status_message_changed",
            Self::ConnectedStatusChanged => "account.connected_status_changed",
            Self::PrivacyChanged => "account.privacy_changed",
            Self::GroupChanged { change: GroupChangeKind::Created, .. } => "group.created",
            Self::GroupChanged { .. } => "group.changed",
            Self::WebhookFailing { .. } => "webhook.failing",
            Self::WebhookDisabled { .. } => "webhook.disabled",
            Self::WebhookTest { .. } => Self::WEBHOOK_TEST,
        }
    }

    /// The event's data, as a JSON object.
    #[must_use]
    pub fn payload(&self) -> Value {
        match self {
            Self::AccountRegistered
            | Self::AccountUnregistered
            | Self::AccountRemoved
            | Self::NicknameChanged
            | Self::StatusMessageChanged
            | Self::PhotoChanged
            | Self::ConnectedStatusChanged
            | Self::PrivacyChanged => json!({}),
            Self::SessionChanged { state, reason } => json!({
                "state": state.name(), "reason": reason, "attempt": state.attempt(), "until": state.until(),
            }),
            Self::MessageQueued { chat, id }
            | Self::MessageSent { chat, id }
            | Self::MessageDelivered { chat, id }
            | Self::MessageRead { chat, id }
            | Self::MessageSentElsewhere { chat, id }
            | Self::MessageUndecryptable { chat, id } => json!({"chat": chat, "id": id}),
            Self::MessageFailed { chat, id, reason } => {
                json!({"chat": chat, "id": id, "reason": reason.name()})
            }
            Self::MessageReceived { chat, id, kind, participant: None } => {
                json!({"chat": chat, "id": id, "type": kind})
            }
            Self::MessageReceived { chat, id, kind, participant: Some(participant) } => {
                json!({"chat": chat, "id": id, "type": kind, "participant": participant})
            }
            Self::MessageMedia { chat, id, stored } => {
                json!({"chat": chat, "id": id, "state": if *stored { "stored" } else { "lost" }})
            }
            Self::ChatRead { chat, messages, unread } => {
                json!({"chat": chat, "messages": messages, "unread": unread})
            }
            Self::ContactAdded { contact }
            | Self::ContactUpdated { contact }
            | Self::ContactRemoved { contact }
            | Self::ContactBlocked { contact }
            | Self::ContactUnblocked { contact }
            | Self::ContactStatusChanged { contact }
            | Self::ContactPhotoChanged { contact } => {
                json!({"contact": contact})
            }
            Self::ContactIdChanged { contact, was } => json!({"contact": contact, "was": was}),
            Self::GroupChanged { group, change: GroupChangeKind::Created, .. } => json!({"group": group}),
            Self::GroupChanged { group, change, participants, by } => {
                json!({"group": group, "change": change.name(), "by": by, "participants": participants})
            }
            Self::WebhookFailing { webhook, reason, since } => webhook_payload(webhook, reason, *since),
            Self::WebhookDisabled { webhook, reason, since } => webhook_payload(webhook, reason, *since),
            Self::WebhookTest { webhook } => json!({"webhook": webhook}),
        }
    }
}

fn webhook_payload(webhook: &str, reason: &str, since: DateTime<Utc>) -> Value {
    json!({
        "webhook": webhook, "reason": reason, "since": Timestamp(since), "since_timestamp": UncutTimestamp(since),
    })
}
