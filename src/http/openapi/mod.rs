//! The OpenAPI document: what the annotations of the endpoints say, completed by what holds for all of them.

mod bodies;
mod values;
mod webhooks;

use serde_json::{Value, json};

use crate::http::api::webhooks::PATH as WEBHOOKS;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// Endpoints that no account has to be chosen for, or that have the parameter in a meaning of its own.
const WITHOUT_ACCOUNT: [&str; 6] = [
    "/api/account/",
    "/api/account/create-account/",
    "/api/events/",
    "/api/events/stream/",
    "/api/events/ticket/",
    "/api/events/ws/",
];
/// The number of an account, as its user writes it without signs.
const NUMBER: &str = "^[1-9][0-9]{4,14}$";
/// A number, or the public id of a person without one.
const CONTACT: &str = "^([1-9][0-9]{4,14}|x[0-9]{1,19})$";
const GROUP: &str = "^[0-9]{5,15}-[0-9]{10}$";
const CHAT: &str = "^([1-9][0-9]{4,14}|x[0-9]{1,19}|[0-9]{5,15}-[0-9]{10})$";
/// The forms of texts, by the names of parameters and properties.
const PATTERNS: [(&str, &str); 6] = [
    ("account", NUMBER),
    ("contact", CONTACT),
    ("contact_id", CONTACT),
    ("group_id", GROUP),
    ("chat", CHAT),
    ("code", "^[ -]*([0-9][ -]*){6}$"),
];
/// Whole numbers of any size.
const UNBOUNDED: [&str; 3] = ["limit", "offset", "wait"];
/// Texts that are not empty.
const NOT_EMPTY: [&str; 4] = ["message", "subject", "vcard", "url"];

/// Another path of an endpoint, whose id would be the same.
const OLD_PATH: &str = "/o/revoke_token/";

const REFUSALS: [(&str, &str); 6] = [
    ("400", "the request is malformed"),
    ("404", "there is no such contact"),
    ("408", "the request did not arrive in time"),
    ("413", "the body is too large"),
    ("415", "the type of the body is not supported"),
    ("500", "a fault of the server"),
];

const TAGS: [(&str, &str); 9] = [
    ("oauth", "Tokens (OAuth2)."),
    ("account", "Your numbers: linking, profile, presence and privacy."),
    ("contacts", "The people whom an account knows, and what they show."),
    ("messages", "Sending, reading and marking messages."),
    ("groups", "Groups and their participants."),
    ("events", "What happens: as a list, as a stream and over a socket."),
    ("webhooks", "What happens, posted to your URLs."),
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
    values::add(&mut document["components"]["schemas"]);
    let schemas = document["components"]["schemas"].clone();
    for (path, methods) in members_of(document.get_mut("paths")) {
        for (method, operation) in members_of(Some(methods)) {
            complete_operation(path, method, operation, &schemas);
        }
    }
    for (_, schema) in members_of(document.pointer_mut("/components/schemas")) {
        complete_schema(schema);
    }
    webhooks::add(document);
    remove_unused(document);
}

/// Whether an endpoint is about one account.
fn takes_account(path: &str) -> bool {
    !WITHOUT_ACCOUNT.contains(&path) && !path.starts_with(WEBHOOKS)
}

fn complete_operation(path: &str, method: &str, operation: &mut Value, schemas: &Value) {
    operation["operationId"] = operation_id(path, method).into();
    if path == OLD_PATH {
        operation["deprecated"] = true.into();
        operation["operationId"] = format!("{}_old", operation_id(path, method)).into();
    }
    if operation.get("description").is_none() {
        operation["description"] = operation["summary"].clone();
    }
    let in_body = method == "post" || method == "patch";
    if path.starts_with("/api/") {
        if in_body {
            bodies::complete(path, operation, schemas);
        } else if takes_account(path) {
            add_account_to_query(operation);
        }
    }
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        // Of events, `account` is a list.
        if !path.starts_with("/api/events/") {
            add_pattern(&name, &mut parameter["schema"]);
        }
        // A number that is too large counts as the largest.
        if let Some(schema) =
            parameter["schema"].as_object_mut().filter(|_| UNBOUNDED.contains(&name.as_str()))
        {
            schema.remove("format");
        }
    }
    for (_, content) in members_of(operation.pointer_mut("/requestBody/content")) {
        complete_schema(&mut content["schema"]);
        for (name, property) in members_of(content.pointer_mut("/schema/properties")) {
            add_pattern(name, property);
            if NOT_EMPTY.contains(&name.as_str()) {
                property["minLength"] = 1.into();
            }
            if name == "url" {
                property["format"] = "uri".into();
            }
        }
    }
    add_refusals(path, operation);
    if path.starts_with("/api/") && operation.pointer("/responses/429").is_none() {
        operation["responses"]["429"] = json!({
            "description": "too many requests, connections or sends; see Retry-After",
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        });
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
        "pattern": NUMBER,
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

fn add_pattern(name: &str, schema: &mut Value) {
    if let Some((_, pattern)) = PATTERNS.iter().find(|(of, _)| *of == name) {
        schema["pattern"] = (*pattern).into();
    }
}

/// The refusals that all endpoints of a kind have, where their annotations do not describe them.
fn add_refusals(path: &str, operation: &mut Value) {
    let (statuses, like): (&[&str], _) = match path {
        _ if path.contains("{contact_id}") => (&["404"], "400"),
        _ if path.starts_with("/o/") => (&["408", "413", "415", "500"], "400"),
        _ if path.starts_with("/media/") => (&["400"], "404"),
        _ => return,
    };
    let Some(model) = operation["responses"].get(like).cloned() else { return };
    for status in statuses {
        let described = operation["responses"].get(*status).is_some();
        if !described {
            let mut refusal = model.clone();
            refusal["description"] =
                REFUSALS.iter().find(|(of, _)| of == status).map(|(_, text)| *text).into();
            operation["responses"][status] = refusal;
        }
    }
}

/// Removes the schemas that only bodies had, which are put together of them.
fn remove_unused(document: &mut Value) {
    loop {
        let text = document.to_string();
        let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else {
            return;
        };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
        if schemas.len() == before {
            return;
        }
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
            let chooses = text.contains("your oldest registered one");
            let expected = path.starts_with("/api/") && takes_account(path);
            assert_eq!(chooses, expected, "{method} {path}");
        });
    }

    #[test]
    fn forms_are_described_beside_json_and_files_are_binary() {
        let document = openapi();
        let content = |path: &str| document["paths"][path]["post"]["requestBody"]["content"].clone();
        let send = content("/api/messages/send-message/");
        assert!([JSON, FORM, MULTIPART].iter().all(|kind| send[kind].is_object()), "{send}");
        // A form has no null.
        assert_eq!(send[FORM]["schema"]["properties"]["group_id"]["type"], "string");
        each(&document, |path, method, operation| {
            assert!(!operation["requestBody"].to_string().contains("\"null\""), "{method} {path}");
        });
        let wait = &document["paths"]["/api/events/"]["get"]["parameters"];
        let wait = wait.as_array().and_then(|all| all.iter().find(|parameter| parameter["name"] == "wait"));
        assert!(wait.expect("wait")["schema"]["format"].is_null(), "any number: more than 50 count as 50");
        assert!(content(bodies::JSON_ONLY[1])[FORM].is_null());
        for (path, name, _) in bodies::WITH_FILE {
            let content = content(path);
            assert_eq!(content[MULTIPART]["schema"]["properties"][name]["format"], "binary", "{content}");
            assert!(content[JSON].is_null());
        }
        let photo = &document["paths"]["/api/contacts/{contact_id}/photo/"]["get"]["responses"]["200"];
        assert_eq!(photo["content"]["image/jpeg"]["schema"]["format"], "binary");
        let message = &document["components"]["schemas"]["MessageInfo"]["properties"];
        assert_eq!(message["timestamp"]["format"], "date-time");
    }

    #[test]
    fn each_body_is_one_object_with_a_name_of_its_own() {
        let mut titles = BTreeSet::new();
        each(&openapi(), |path, method, operation| {
            let Some(content) = operation["requestBody"]["content"].as_object() else { return };
            if path.starts_with("/api/") {
                let mut of_operation: Vec<_> =
                    content.values().map(|kind| &kind["schema"]["title"]).collect();
                of_operation.dedup();
                assert_eq!(of_operation.len(), 1, "{method} {path}");
                assert!(titles.insert(of_operation[0].to_string()), "{method} {path}");
                assert!(content.values().all(|kind| kind["schema"]["properties"].is_object()), "{path}");
            }
        });
    }
}
