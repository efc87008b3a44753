//! What this server posts to the URLs of webhooks: each type of event.

use serde_json::{Value, json};

use super::JSON;
use crate::events::kinds;

/// The beginnings of types, with the data that their events have; the longest that fits counts.
const DATA: &[(&str, &str)] = &[
    ("account.", "The changed field as GET shows it; `photo_status` of account.photo_changed; else nothing."),
    ("chat.changed", "`chat` and what changed."),
    ("chat.deleted", "`chat`."),
    ("chat.read", "`chat`, `messages`: how many, `unread`: how many are left."),
    ("chat.typing", "Live: `chat`, in a group `participant`, `state`: typing, recording or paused."),
    ("contact.", "`contact`."),
    ("contact.added", "`contact`, and the contact as GET shows it."),
    ("contact.connected_status", "Live: the entry of the connected status."),
    ("contact.id_changed", "`contact`: the new number or id, `was`: the one before."),
    ("contact.photo_changed", "`contact`, `photo_url`, `preview_photo_url`, `photo_status`."),
    ("contact.status_message_changed", "`contact`, `status_message`."),
    ("contact.updated", "`contact`, and the contact as GET shows it."),
    ("group.changed", "`group`, `change`, `by`, `participants`, `subject`."),
    ("group.created", "`group`, `info`."),
    ("message.", "`chat`, `id`, and `message` as the list of the chat shows it."),
    ("message.delivered", "`chat`, `id`, `delivered`."),
    ("message.failed", "`chat`, `id`, `reason`."),
    ("message.read", "`chat`, `id`, `read`."),
    ("message.sent", "`chat`, `id`, `sent`."),
    ("message.sent_elsewhere", "`chat`, `id`, and `message` as the list of the chat shows it."),
    ("session.changed", "`state`, `reason`, `attempt`, `until`."),
    ("webhook.", "`webhook`: its id, `reason`, `since`."),
    ("webhook.test", "`webhook`: its id."),
];

/// Adds all types, each as a request of this server. They are components that the document refers to: generators of clients
/// would make methods of them otherwise.
pub(super) fn add(document: &mut Value) {
    for kind in kinds::all() {
        let name = format!("event_{}", kind.replace('.', "_"));
        document["webhooks"][kind] = json!({"$ref": format!("#/components/pathItems/{name}")});
        document["components"]["pathItems"][name] = webhook(kind);
    }
}

fn webhook(kind: &str) -> Value {
    let header = |name: &str, description: &str| json!({"name": name, "in": "header", "required": true, "description": description, "schema": {"type": "string"}});
    json!({"post": {
        "operationId": format!("webhook_{}", kind.replace('.', "_")),
        "summary": format!("The event {kind}"),
        "description": format!("The data: {}", data(kind)),
        "tags": ["webhooks"],
        "security": [],
        "parameters": [
            header("webhook-id", "The id of the event: the same at each attempt."),
            header("webhook-timestamp", "Unix seconds of the attempt."),
            header("webhook-signature", "v1 and HMAC-SHA256 in base64 of id, timestamp and body; while a secret is changed, of both."),
        ],
        "requestBody": {"required": true, "content": {JSON: {"schema": schema(kind)}}},
        "responses": {
            "2XX": {"description": "accepted"},
            "410": {"description": "the receiver wants no more events; the webhook is disabled"},
            "default": {"description": "not accepted; it is sent again"},
        },
    }})
}

/// Of a live event nothing is stored, so that it has no id and no place.
fn schema(kind: &str) -> Value {
    if !kinds::is_live(kind) {
        return json!({"$ref": "#/components/schemas/EventInfo"});
    }
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["type", "account", "time", "timestamp", "data"],
        "properties": {
            "type": text, "account": text, "time": text, "timestamp": {"type": "string", "format": "date-time"},
            "data": {"type": "object"},
        },
    })
}

fn data(kind: &str) -> &'static str {
    let fitting = DATA.iter().filter(|(beginning, _)| kind.starts_with(beginning));
    fitting.max_by_key(|(beginning, _)| beginning.len()).map_or("", |(_, data)| data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_data() {
        for kind in kinds::all() {
            assert!(!data(kind).is_empty(), "{kind}");
        }
        assert!(
            data("message.sent").contains("`sent`") && data("message.sent_elsewhere").contains("`message`")
        );
        for (beginning, _) in DATA {
            assert!(kinds::all().any(|kind| kind.starts_with(beginning)), "{beginning}");
        }
    }
}
