//! The list of all endpoints: each is served, and described in the OpenAPI document.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::shared_server::server;
use crate::support::client::Client;

/// The methods and the path of each endpoint. `N` is a number, `G` a group.
const ENDPOINTS: &[(&str, &str)] = &[
    ("POST", "/o/token/"),
    ("POST", "/o/revoke-token/"),
    ("POST", "/o/revoke_token/"),
    ("GET", "/api/account/"),
    ("POST", "/api/account/create-account/"),
    ("POST", "/api/account/request-sms-code/"),
    ("POST", "/api/account/request-voice-code/"),
    ("POST", "/api/account/register-code/"),
    ("POST", "/api/account/remove-account/"),
    ("GET POST", "/api/account/status-message/"),
    ("GET POST DELETE", "/api/account/profile-photo/"),
    ("GET POST", "/api/account/connected-status/"),
    ("GET POST", "/api/account/nickname/"),
    ("GET POST", "/api/account/privacy-settings/"),
    ("GET", "/api/contacts/"),
    ("POST", "/api/contacts/add-contact/"),
    ("POST", "/api/contacts/import-contacts/"),
    ("GET PATCH DELETE", "/api/contacts/N/"),
    ("POST", "/api/contacts/remove-contacts/"),
    ("POST", "/api/contacts/force-sync/"),
    ("GET", "/api/contacts/N/status-message/"),
    ("GET", "/api/contacts/N/status-message-history/"),
    ("GET", "/api/contacts/statuses-messages/"),
    ("GET", "/api/contacts/N/connected-status/"),
    ("GET", "/api/contacts/connected-statuses/"),
    ("GET", "/api/contacts/N/preview-photo/"),
    ("GET", "/api/contacts/N/photo/"),
    ("GET", "/api/contacts/N/preview-photo-url/"),
    ("GET", "/api/contacts/N/photo-url/"),
    ("GET", "/api/contacts/N/preview-photo-history-urls/"),
    ("GET", "/api/contacts/N/photo-history-urls/"),
    ("GET", "/api/contacts/preview-photos-urls/"),
    ("GET", "/api/contacts/photos-urls/"),
    ("POST", "/api/contacts/N/block/"),
    ("POST", "/api/contacts/N/unblock/"),
    ("GET POST", "/api/contacts/blocked-list/"),
    ("POST", "/api/messages/send-message/"),
    ("POST", "/api/messages/send-image/"),
    ("POST", "/api/messages/send-voice/"),
    ("POST", "/api/messages/send-audio/"),
    ("POST", "/api/messages/send-video/"),
    ("POST", "/api/messages/send-location/"),
    ("POST", "/api/messages/send-vcard/"),
    ("POST", "/api/messages/set-typing/"),
    ("POST", "/api/messages/set-paused/"),
    ("GET", "/api/messages/chats/"),
    ("GET", "/api/messages/chats/N/"),
    ("POST", "/api/messages/update-last-read/"),
    ("GET", "/api/messages/delivered/N/"),
    ("GET", "/api/messages/read/N/"),
    ("POST", "/api/groups/create-group/"),
    ("GET", "/api/groups/info-all/"),
    ("GET", "/api/groups/G/info/"),
    ("GET POST", "/api/groups/G/subject/"),
    ("POST", "/api/groups/subject/"),
    ("GET POST DELETE", "/api/groups/G/photo/"),
    ("GET", "/api/groups/G/preview-photo/"),
    ("GET", "/api/groups/G/photo-url/"),
    ("GET", "/api/groups/G/preview-photo-url/"),
    ("POST", "/api/groups/G/add-participant/"),
    ("POST", "/api/groups/G/remove-participant/"),
    ("POST", "/api/groups/G/promote-participant/"),
    ("POST", "/api/groups/G/demote-participant/"),
    ("POST", "/api/groups/G/leave/"),
    ("POST", "/api/groups/leave/"),
    ("GET", "/api/events/"),
    ("GET", "/api/events/stream/"),
    ("POST", "/api/events/ticket/"),
];

/// Each method with its path.
fn endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    ENDPOINTS.iter().flat_map(|(methods, path)| methods.split(' ').map(move |method| (method, *path)))
}

/// The path with an unknown number and group.
fn filled(path: &str) -> String {
    let words = path.split('/').map(|word| match word {
        "N" => "15550009999",
        "G" => "15550009999-1466000000",
        word => word,
    });
    words.collect::<Vec<_>>().join("/")
}

#[test]
fn the_openapi_document_describes_every_endpoint_with_a_success_response() {
    let described = windu::http::router::openapi();
    let paths = described["paths"].as_object().expect("paths");
    // Without the names of path parameters.
    let shape = |path: &str| {
        let words = path.split('/').map(|word| match word {
            "N" | "G" => "{}",
            word if word.starts_with('{') => "{}",
            word => word,
        });
        words.collect::<Vec<_>>().join("/")
    };
    let operations: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| (method.to_uppercase(), shape(path)))
        })
        .collect();
    let missing: Vec<_> = endpoints()
        .filter(|(method, path)| !operations.contains(&((*method).to_owned(), shape(path))))
        .collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            let answers = operation["responses"].as_object().expect("responses");
            // A socket is a success, too.
            let is_success = |status: &String| status.starts_with('2') || status == "101";
            assert!(answers.keys().any(is_success), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_server_has_every_endpoint_with_and_without_its_last_slash() {
    let stranger = Client::new(server().url().to_owned());
    let ask = async |method: &str, path: &str| {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        stranger.send(stranger.request(method, path)).await
    };
    for (method, path) in endpoints() {
        let path = filled(path);
        let (expected, code) = if path.starts_with("/o/") {
            (if path == "/o/token/" { 400 } else { 401 }, None)
        } else {
            (401, Some("token_missing"))
        };
        let mut paths = vec![path.trim_end_matches('/').to_owned(), path.clone()];
        if let Some(rest) = path.strip_prefix("/api/messages/") {
            paths.push(format!("/api/message/{rest}"));
        }
        if let Some(rest) = path.strip_prefix("/api/groups/") {
            paths.push(format!("/groups/{rest}"));
        }
        for path in paths {
            let answer = ask(method, &path).await;
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text());
            if let Some(code) = code {
                answer.refused(401, code);
            }
        }
    }
}

#[tokio::test]
async fn a_method_that_an_endpoint_does_not_have_is_answered_with_the_allowed_ones() {
    let api = crate::support::people::login(server()).await;
    for (methods, path) in ENDPOINTS {
        let wrong = if path.starts_with("/o/") { Method::GET } else { Method::PUT };
        let answer = api.send(api.request(wrong, &filled(path))).await;
        assert_eq!(answer.status, 405, "{path}: {}", answer.text());
        let allowed: BTreeSet<&str> = answer.header("allow").split(',').map(str::trim).collect();
        for method in methods.split(' ') {
            assert!(allowed.contains(method), "{path} allows {allowed:?}");
        }
        let body: Value = answer.json();
        assert!(body["error"].is_string(), "{body}");
    }
}
