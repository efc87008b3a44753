//! The values of properties that have a fixed set of them. What a newer version may add to, such as the types of messages,
//! is not among them: a client must not fail at a value that it does not know.

use serde_json::{Value, json};

const AUDIENCES: &[&str] = &["none", "contacts", "all"];
const PHOTO_STATUSES: &[&str] = &["200", "404", "401"];
const PARTS: &[&str] = &["ok", "failing"];

/// A schema, its property, and the values.
const VALUES: &[(&str, &str, &[&str])] = &[
    ("BlockChange", "text", &["already-blocked", "not-blocked"]),
    ("ChangedSettings", "last_seen", AUDIENCES),
    ("ChangedSettings", "photo", AUDIENCES),
    ("ChangedSettings", "status_message", AUDIENCES),
    ("ChatInfo", "photo_status", PHOTO_STATUSES),
    ("Checks", "database", PARTS),
    ("Checks", "media", PARTS),
    ("Checks", "migrations", PARTS),
    ("CodeSent", "method", &["sms", "voice"]),
    ("Health", "status", &["ok"]),
    ("MessageInfo", "media", &["stored", "pending", "lost"]),
    ("NewPrivacySettings", "last_seen", AUDIENCES),
    ("NewPrivacySettings", "photo", AUDIENCES),
    ("NewPrivacySettings", "status_message", AUDIENCES),
    ("PhotoUrl", "photo_status", PHOTO_STATUSES),
    ("PresenceInfo", "connected_status", &["online", "offline", "deny"]),
    ("PrivacySettings", "last_seen", AUDIENCES),
    ("PrivacySettings", "photo", AUDIENCES),
    ("PrivacySettings", "status_message", AUDIENCES),
    ("Readiness", "status", &["ok", "degraded"]),
    ("TokenAnswer", "token_type", &["Bearer"]),
    ("TokenForm", "grant_type", &["password", "refresh_token"]),
    ("WebhookInfo", "state", &["ok", "failing", "paused", "disabled"]),
];

/// Adds the values to the schemas of the document.
pub(super) fn add(schemas: &mut Value) {
    for (schema, property, values) in VALUES {
        let Some(property) = schemas.pointer_mut(&format!("/{schema}/properties/{property}")) else {
            continue;
        };
        let mut values: Vec<Value> = values.iter().map(|value| json!(value)).collect();
        let nullable = property["type"].as_array().is_some_and(|types| types.contains(&json!("null")));
        if nullable {
            values.push(Value::Null);
        }
        property["enum"] = values.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Audience;
    use crate::http::router::openapi;

    /// The schemas that only bodies have are not in the document any more.
    const OF_BODIES: [&str; 1] = ["NewPrivacySettings"];

    #[test]
    fn each_is_a_property_of_the_document() {
        let document = openapi();
        for (schema, property, values) in VALUES {
            let mut found = &document["components"]["schemas"][schema]["properties"][property]["enum"];
            if OF_BODIES.contains(schema) {
                let endpoint = &document["paths"]["/api/account/privacy-settings/"]["post"];
                let body = &endpoint["requestBody"]["content"]["application/json"]["schema"];
                found = &body["properties"][property]["enum"];
            }
            assert_eq!(found[0], values[0], "{schema} {property}");
        }
    }

    #[test]
    fn the_audiences_are_those_of_the_program() {
        for audience in AUDIENCES {
            assert_eq!(Audience::from_name(audience).map(Audience::name), Some(*audience));
        }
    }
}
