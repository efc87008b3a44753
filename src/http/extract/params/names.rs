//! The names of all parameters. A parameter that no endpoint knows is not kept, so that it costs no memory.

/// Sorted. A test compares them with the description of the API.
pub const KNOWN: &[&str] = &[
    "account",
    "accounts",
    "active",
    "after",
    "caption",
    "code",
    "connected_status",
    "contact",
    "contact_id",
    "contacts",
    "date_limit",
    "dead",
    "description",
    "epoch",
    "event_id",
    "failed",
    "feedback",
    "filename",
    "first_name",
    "group_id",
    "keep_old",
    "last_name",
    "last_seen",
    "latitude",
    "limit",
    "longitude",
    "message",
    "name",
    "named",
    "network",
    "nickname",
    "numbers",
    "offset",
    "participants",
    "password",
    "photo",
    "received_only",
    "secret",
    "status_message",
    "subject",
    "ticket",
    "types",
    "until",
    "url",
    "vcard",
    "wait",
];

/// The parameters whose empty value is a value; an empty value of every other one counts as not given.
const MAY_BE_EMPTY: &[&str] =
    &["caption", "description", "feedback", "first_name", "last_name", "name", "nickname"];

/// The name, if an endpoint knows it.
pub fn known(name: &str) -> Option<&'static str> {
    KNOWN.binary_search(&name).ok().map(|place| KNOWN[place])
}

/// Whether an empty text is a value of this parameter.
pub fn may_be_empty(name: &str) -> bool {
    MAY_BE_EMPTY.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(KNOWN.is_sorted());
        assert!(KNOWN.iter().all(|name| known(name) == Some(name)));
        assert_eq!(known("contact_ids"), None);
        assert!(MAY_BE_EMPTY.iter().all(|name| known(name).is_some()));
    }
}
