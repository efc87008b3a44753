//! The OpenAPI document: what the annotations of the endpoints say, completed by what holds for all of them.

use serde_json::{Value, json};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// The component with the parameter `account`.
const ACCOUNT: &str = "AccountChoice";
/// Endpoints that no account has to be chosen for, or that have the parameter in a meaning of its own.
const WITHOUT_ACCOUNT: [&str; 2] = ["/api/account/", "/api/account/create-account/"];
/// Endpoints that take lists or objects, and so no forms.
const JSON_ONLY: [&str; 4] = [
    "/api/contacts/blocked-list/",
    "/api/contacts/import-contacts/",
    "/api/contacts/remove-contacts/",
    "/api/groups/create-group/",
];
/// Endpoints whose form has a file; see [`crate::http::extract::upload`].
const WITH_FILE: [&str; 4] = [
    "/api/messages/send-image/",
    "/api/messages/send-video/",
    "/api/messages/send-audio/",
    "/api/messages/send-voice/",
];

/// Another path of an endpoint, whose id would be the same.
const OLD_PATH: &str = "/o/revoke_token/";

const TAGS: [(&str, &str); 7] = [
    ("oauth", "Tokens (OAuth2)."),
    ("account", "Your numbers: linking, profile, presence and privacy."),
    ("contacts", "The people whom an account knows, and what they show."),
    ("messages", "Sending, reading and marking messages."),
    ("groups", "Groups and their participants."),
    ("media", "Files, by signed URLs."),
    ("health", "Probes."),
];

/// Completes the document.
pub fn complete(document: &mut Value) {
    document["info"]["description"] = "A phone number on a messaging network as a REST API. Sign in at /o/token/, link \
        a number with create-account and register-code, then send and receive. Parameters may come as a form, as \
        multipart or as JSON, in the body or in the query. Errors are always an object with error and code."
        .into();
    document["info"]["license"] = json!({"name": "Proprietary", "identifier": "LicenseRef-Proprietary"});
    document["servers"] = json!([{"url": "/", "description": "This server"}]);
    document["tags"] = TAGS.iter().map(|(name, text)| json!({"name": name, "description": text})).collect();
    document["components"]["securitySchemes"]["password"] = json!({
        "type": "oauth2",
        "flows": {"password": {
            "tokenUrl": "/o/token/",
            "refreshUrl": "/o/token/",
            "scopes": {"read": "GET and HEAD", "write": "all other methods"},
        }},
    });
    document["security"] = json!([{"bearer": []}, {"password": []}]);
    document["components"]["schemas"][ACCOUNT] = json!({
        "type": "object",
        "properties": {"account": account_schema()},
    });
    for (path, methods) in members_of(document.get_mut("paths")) {
        for (method, operation) in members_of(Some(methods)) {
            complete_operation(path, method, operation);
        }
    }
    for (_, schema) in members_of(document.pointer_mut("/components/schemas")) {
        complete_schema(schema);
    }
}

fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    operation["operationId"] = operation_id(path, method).into();
    if path == OLD_PATH {
        operation["deprecated"] = true.into();
        operation["operationId"] = format!("{}_old", operation_id(path, method)).into();
    }
    if operation.get("description").is_none() {
        operation["description"] = operation["summary"].clone();
    }
    let in_body = method == "post" || method == "patch";
    if path.starts_with("/api/") && !WITHOUT_ACCOUNT.contains(&path) {
        if in_body {
            add_account_to_body(operation);
        } else {
            add_account_to_query(operation);
        }
    }
    if in_body && path.starts_with("/api/") && !JSON_ONLY.contains(&path) {
        add_forms(operation);
    }
    if path.starts_with("/api/") && operation.pointer("/responses/429").is_none() {
        operation["responses"]["429"] = json!({
            "description": "too many requests, connections or sends; see Retry-After",
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        });
    }
    if WITH_FILE.contains(&path) {
        add_file(operation);
    }
    for (_, response) in members_of(operation.get_mut("responses")) {
        if response.get("description").is_none() {
            response["description"] = "done".into();
        }
        for (kind, content) in members_of(response.get_mut("content")) {
            if kind != JSON {
                content["schema"] = json!({"type": "string", "format": "binary"});
            }
        }
    }
}

/// The method and the path in one word, which generators make a function's name of: `post_messages_send_message`.
fn operation_id(path: &str, method: &str) -> String {
    let mut id = method.to_owned();
    let path = path.strip_prefix("/api").unwrap_or(path);
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        id.push('_');
        match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
            Some(parameter) => id.extend(["by_", parameter]),
            None => id.push_str(&segment.replace('-', "_")),
        }
    }
    id
}

fn account_schema() -> Value {
    json!({
        "type": "string",
        "pattern": "^[0-9]{5,15}$",
        "examples": ["15550100001"],
        "description": "The number of the account; without it, your oldest registered one.",
    })
}

fn add_account_to_query(operation: &mut Value) {
    let mut schema = account_schema();
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let parameter = json!({
        "name": "account", "in": "query", "required": false, "description": description, "schema": schema,
    });
    match operation.get_mut("parameters").and_then(Value::as_array_mut) {
        Some(parameters) => parameters.push(parameter),
        None => operation["parameters"] = json!([parameter]),
    }
}

fn add_account_to_body(operation: &mut Value) {
    let reference = json!({"$ref": format!("#/components/schemas/{ACCOUNT}")});
    if operation.get("requestBody").is_none() {
        operation["requestBody"] = json!({"required": false, "content": {JSON: {"schema": reference}}});
        return;
    }
    for (_, content) in members_of(operation.pointer_mut("/requestBody/content")) {
        let schema = content["schema"].take();
        content["schema"] = json!({"allOf": [schema, reference]});
    }
}

/// A form with or without files instead of JSON.
fn add_forms(operation: &mut Value) {
    if let Some(content) = operation.pointer_mut("/requestBody/content")
        && let Some(json) = content.get(JSON).cloned()
    {
        content[FORM] = json.clone();
        content[MULTIPART] = json;
    }
}

/// The file, or its URL: a form without a file has the other parameters.
fn add_file(operation: &mut Value) {
    let Some(content) = operation.pointer_mut("/requestBody/content") else { return };
    let Some(form) = content.get(MULTIPART).cloned() else { return };
    content[JSON] = form.clone();
    content[FORM] = form;
    if let Some(parts) =
        content.pointer_mut("/multipart~1form-data/schema/allOf").and_then(Value::as_array_mut)
    {
        parts.push(json!({
            "type": "object",
            "properties": {"filename": {
                "type": "string",
                "format": "binary",
                "description": "The file, unless url names one.",
            }},
        }));
    }
}

/// The format of times: those with their zone are date-times of RFC 3339.
fn complete_schema(schema: &mut Value) {
    for (name, property) in members_of(schema.get_mut("properties")) {
        if name.ends_with("timestamp") {
            property["format"] = "date-time".into();
        }
        complete_schema(property);
    }
    for part in schema.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        complete_schema(part);
    }
}

/// The members of an object, if it is there.
fn members_of(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::router::openapi;
    use std::collections::BTreeSet;

    /// Calls `check` with the path, the method and the operation of each endpoint; returns how many there are.
    fn each(document: &Value, mut check: impl FnMut(&str, &str, &Value)) -> usize {
        let mut count = 0;
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                check(path, method, operation);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn every_operation_is_described_and_has_an_id_of_its_own() {
        let document = openapi();
        let mut ids = BTreeSet::new();
        let tags: Vec<&str> = TAGS.iter().map(|(name, _)| *name).collect();
        let count = each(&document, |path, method, operation| {
            ids.insert(operation["operationId"].as_str().expect("an id").to_owned());
            assert!(operation["description"].is_string(), "{method} {path}");
            assert!(operation["tags"][0].as_str().is_some_and(|tag| tags.contains(&tag)), "{method} {path}");
            for (status, response) in operation["responses"].as_object().expect("responses") {
                assert!(response["description"].is_string(), "{method} {path} {status}");
            }
            if path.starts_with("/api/") {
                assert!(operation["responses"]["400"].is_object(), "{method} {path}");
                assert!(operation["responses"]["401"].is_object(), "{method} {path}");
            }
        });
        assert_eq!(ids.len(), count);
        assert!(
            ids.contains("post_messages_send_message") && ids.contains("delete_contacts_by_contact_id"),
            "{ids:?}"
        );
    }

    #[test]
    fn the_account_can_be_chosen_everywhere() {
        each(&openapi(), |path, method, operation| {
            let text = operation.to_string();
            let chooses = text.contains(ACCOUNT) || text.contains("\"name\":\"account\"");
            let expected = path.starts_with("/api/") && !WITHOUT_ACCOUNT.contains(&path);
            assert_eq!(chooses, expected, "{method} {path}");
        });
    }

    #[test]
    fn forms_are_described_beside_json_and_files_are_binary() {
        let document = openapi();
        let content = |path: &str| document["paths"][path]["post"]["requestBody"]["content"].clone();
        let send = content("/api/messages/send-message/");
        assert!([JSON, FORM, MULTIPART].iter().all(|kind| send[kind].is_object()), "{send}");
        assert!(content(JSON_ONLY[1])[FORM].is_null());
        let file = content(WITH_FILE[0])[MULTIPART]["schema"].to_string();
        assert!(file.contains("\"filename\"") && file.contains("\"binary\""), "{file}");
        let photo = &document["paths"]["/api/contacts/{contact_id}/photo/"]["get"]["responses"]["200"];
        assert_eq!(photo["content"]["image/jpeg"]["schema"]["format"], "binary");
        let message = &document["components"]["schemas"]["MessageInfo"]["properties"];
        assert_eq!(message["timestamp"]["format"], "date-time");
    }
}
