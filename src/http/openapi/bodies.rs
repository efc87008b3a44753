//! The bodies of requests: each one object with all its properties, under a name of its own, so that generators make one type
//! of each, and tools see which property is a file.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{FORM, JSON, MULTIPART, account_schema, members_of, takes_account};

/// Endpoints that take lists or objects, and so no forms.
pub(super) const JSON_ONLY: [&str; 4] = [
    "/api/contacts/blocked-list/",
    "/api/contacts/import-contacts/",
    "/api/contacts/remove-contacts/",
    "/api/groups/create-group/",
];
/// Endpoints whose form has a file, and what names it; see [`crate::http::extract::upload`]. Only the form is described: a
/// description of other bodies beside it is more than generators of clients understand.
pub(super) const WITH_FILE: [(&str, &str, &str); 7] = [
    ("/api/account/profile-photo/", "photo", "The picture, unless url names one."),
    ("/api/groups/{group_id}/photo/", "photo", "The picture, unless url names one."),
    ("/api/messages/send-image/", "filename", "The file, unless url names one."),
    ("/api/messages/send-video/", "filename", "The file, unless url names one."),
    ("/api/messages/send-audio/", "filename", "The file, unless url names one."),
    ("/api/messages/send-voice/", "filename", "The file, unless url names one."),
    ("/api/messages/send-vcard/", "filename", "The card as a file, unless vcard has its text."),
];

/// An object that is put together of several schemas.
#[derive(Default)]
struct Body {
    properties: Map<String, Value>,
    required: BTreeSet<String>,
}

/// Completes the body of an operation below `/api`.
pub(super) fn complete(path: &str, operation: &mut Value, schemas: &Value) {
    let mut body = Body::default();
    for (_, content) in members_of(operation.pointer_mut("/requestBody/content")) {
        body.add(&content["schema"], schemas);
    }
    if takes_account(path) {
        body.properties.insert("account".to_owned(), account_schema());
    }
    let file = WITH_FILE.iter().find(|(of, ..)| *of == path);
    if let Some((_, name, text)) = file {
        let part = json!({"type": "string", "format": "binary", "description": text});
        body.properties.insert((*name).to_owned(), part);
        body.required.remove(*name);
    }
    if body.properties.is_empty() {
        return;
    }
    let is_required = !body.required.is_empty() || file.is_some();
    let schema = body.schema(&title(path));
    // The same schema for each: generators do not understand alternatives.
    let content = match file {
        Some(_) => json!({MULTIPART: {"schema": schema}}),
        None if JSON_ONLY.contains(&path) => json!({JSON: {"schema": schema}}),
        None => json!({JSON: {"schema": schema}, FORM: {"schema": schema}, MULTIPART: {"schema": schema}}),
    };
    operation["requestBody"] = json!({"required": is_required, "content": content});
    if file.is_none() {
        // The name of the parameter in clients that openapi-generator makes.
        operation["x-codegen-request-body-name"] = "body".into();
    }
}

impl Body {
    fn add(&mut self, schema: &Value, schemas: &Value) {
        let schema = match schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            Some(name) => &schemas[name],
            None => schema,
        };
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.add(part, schemas);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            self.properties.insert(name.clone(), without_null(property.clone()));
        }
        let required = schema["required"].as_array().into_iter().flatten();
        self.required.extend(required.filter_map(Value::as_str).map(str::to_owned));
    }

    fn schema(self, title: &str) -> Value {
        let mut schema = json!({"title": title, "type": "object", "properties": self.properties});
        if !self.required.is_empty() {
            schema["required"] = self.required.into_iter().collect();
        }
        schema
    }
}

/// A form has no null, and in JSON it counts as a property that is left out.
fn without_null(mut property: Value) -> Value {
    let types = property["type"].as_array().map(|types| types.iter().find(|of| **of != "null").cloned());
    if let Some(Some(only)) = types {
        property["type"] = only;
    }
    let mut choices = property["oneOf"].as_array().into_iter().flatten().filter(|of| of["type"] != "null");
    if let (Some(only), None) = (choices.next(), choices.next()) {
        property = only.clone();
    }
    if let Some(values) = property.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    property
}

/// All words of the path: `MessagesSendMessageBody`.
fn title(path: &str) -> String {
    let mut title = String::new();
    let words = path.strip_prefix("/api").unwrap_or(path).split(['/', '-', '_', '{', '}']);
    for word in words.filter(|word| !word.is_empty()) {
        title.push_str(&word[..1].to_ascii_uppercase());
        title.push_str(&word[1..]);
    }
    title + "Body"
}
