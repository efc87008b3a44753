//! The types of events, as clients name them.

use crate::store::KindFilter;

/// The types that are stored, also those that only later versions write: a client may name them before.
const STORED: &[&str] = &[
    "message.received",
    "message.queued",
    "message.sent_elsewhere",
    "message.media",
    "message.undecryptable",
    "message.scheduled",
    "message.edited",
    "message.reaction",
    "message.vote",
    "message.poll_closed",
    "message.sent",
    "message.delivered",
    "message.read",
    "message.failed",
    "message.cancelled",
    "message.deleted",
    "message.removed",
    "message.action_failed",
    "chat.changed",
    "chat.deleted",
    "chat.read",
    "contact.added",
    "contact.updated",
    "contact.id_changed",
    "contact.removed",
    "contact.blocked",
    "contact.unblocked",
    "contact.status_message_changed",
    "contact.photo_changed",
    "account.nickname_changed",
    "account.status_message_changed",
    "account.connected_status_changed",
    "account.privacy_changed",
    "account.photo_changed",
    "account.registered",
    "account.unregistered",
    "account.removed",
    "session.changed",
    "group.created",
    "group.changed",
    "webhook.failing",
    "webhook.disabled",
    "webhook.test",
];

/// The types that are not stored.
const LIVE: &[&str] = &[CHAT_TYPING, CONTACT_CONNECTED_STATUS];
pub const CHAT_TYPING: &str = "chat.typing";
pub const CONTACT_CONNECTED_STATUS: &str = "contact.connected_status";

/// A word that names no type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no type of event")]
pub struct UnknownKind(pub String);

/// All types, the stored ones first.
pub fn all() -> impl Iterator<Item = &'static str> {
    STORED.iter().chain(LIVE).copied()
}

/// Whether events of a type are given out as they happen, and not stored.
#[must_use]
pub fn is_live(kind: &str) -> bool {
    LIVE.contains(&kind)
}

/// Reads a list of types with commas; `message.*` means all of a group, later ones too.
///
/// # Errors
/// The first word that is neither.
pub fn parse(list: &str) -> Result<KindFilter, UnknownKind> {
    let mut filter = KindFilter::default();
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let unknown = || UnknownKind(word.chars().take(64).collect());
        match word.strip_suffix(".*") {
            Some(group) => {
                let prefix = format!("{group}.");
                if !all().any(|kind| kind.starts_with(&prefix)) {
                    return Err(unknown());
                }
                filter.groups.push(group.to_owned());
            }
            None if all().any(|kind| kind == word) => filter.names.push(word.to_owned()),
            None => return Err(unknown()),
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_groups_are_read() {
        let filter = parse("message.*, contact.added").expect("types");
        for (kind, taken) in [
            ("message.received", true),
            ("message.of_tomorrow", true),
            ("contact.added", true),
            ("contact.removed", false),
            ("chat.read", false),
        ] {
            assert_eq!(filter.takes(kind), taken, "{kind}");
        }
        for wrong in ["message", "messages.*", "message.recieved", "*", ".*", "message.received.*"] {
            assert_eq!(parse(wrong), Err(UnknownKind(wrong.to_owned())), "{wrong}");
        }
    }
}
