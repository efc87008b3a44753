//! What is published of an event: its subject, and a smaller form of its object.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::events::RenderedEvent;

/// The subjects of all events.
pub const SUBJECTS: &str = "windu.>";

/// The bytes of a small object at most, with its headers.
pub const LARGEST_SMALL: usize = 8 * 1024;
/// Facts of `data` that the small object has at most, and the bytes of each.
const FACTS: usize = 20;
const LARGEST_FACT: usize = 200;

/// What stays as it is in a token of a subject.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// `windu.USER.ACCOUNT.TYPE`: the user's name, in which all but `A-Z a-z 0-9 - _` are percent-encoded; the account's
/// number, or `-`; and the type, whose dot parts two tokens.
pub fn subject(user_name: &str, event: &RenderedEvent) -> String {
    let (user, account) = (utf8_percent_encode(user_name, PLAIN), event.account.as_deref().unwrap_or("-"));
    format!("windu.{user}.{account}.{}", event.kind)
}

/// The object with nothing in its `data` but the short facts, such as `chat` and `id`, and `"too_large": true`. `None`: this
/// is no object.
pub fn small(json: &str) -> Option<String> {
    let mut object: Map<String, Value> = serde_json::from_str(json).ok()?;
    let is_short = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= LARGEST_FACT,
        Value::Array(_) | Value::Object(_) => false,
    };
    let data = object.get("data").and_then(Value::as_object);
    let facts = data.into_iter().flatten().filter(|(_, value)| is_short(value)).take(FACTS);
    let mut facts: Map<String, Value> = facts.map(|(name, value)| (name.clone(), value.clone())).collect();
    facts.insert("too_large".to_owned(), true.into());
    object.insert("data".to_owned(), facts.into());
    serde_json::to_string(&object).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CounterId;

    #[test]
    fn a_name_is_one_token_of_the_subject() {
        let of = |name, account: Option<&str>| {
            let event = RenderedEvent {
                place: 1,
                counter: CounterId(1),
                id: "e-1-1".to_owned(),
                kind: "message.received".to_owned(),
                seq: 1,
                account: account.map(str::to_owned),
                at: chrono::DateTime::UNIX_EPOCH,
                json: "{}".into(),
            };
            subject(name, &event)
        };
        assert_eq!(of("Ann-2_b", Some("15550100001")), "windu.Ann-2_b.15550100001.message.received");
        assert_eq!(of("ann@example.org", None), "windu.ann%40example%2Eorg.-.message.received");
        assert_eq!(of("Ä *>", None), "windu.%C3%84%20%2A%3E.-.message.received");
    }

    #[test]
    fn of_a_large_object_the_short_facts_are_left() {
        let object = serde_json::json!({
            "id": "e-1-5", "seq": 5,
            "data": {"chat": "15550100002", "id": "5a", "unread": 3, "note": "x".repeat(300), "message": {"text": "long"}},
        });
        let small: Value =
            serde_json::from_str(&small(&object.to_string()).expect("an object")).expect("JSON");
        assert_eq!(
            small,
            serde_json::json!({
                "id": "e-1-5", "seq": 5,
                "data": {"chat": "15550100002", "id": "5a", "unread": 3, "too_large": true},
            })
        );
    }
}
