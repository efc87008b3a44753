//! Routing: probes, both spellings of a path, unknown paths, and methods that an endpoint does not have.

use reqwest::Method;
use serde_json::json;

use crate::shared_server::server;
use crate::support::people::Person;
use crate::support::server::Server;

const SEND: &str = "/api/messages/send-message/";
const CONTACTS: &str = "/api/contacts/";

#[tokio::test]
async fn livez_and_readyz_answer() {
    let server = Server::start();
    let checks = json!({"database": "ok", "migrations": "ok", "media": "ok", "networks": {"local": "ok"}});
    let ready = json!({"status": "ok", "checks": checks});
    let alive = json!({"status": "ok"});
    for (path, body) in [("/livez", &alive), ("/readyz", &ready), ("/livez/", &alive), ("/readyz/", &ready)] {
        let answer = server.client().get(path).await;
        assert_eq!((answer.status, &answer.json()), (200, body), "{path}");
        let head = server.client().send(server.client().request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_with_an_error_object() {
    let server = Server::start();
    for path in ["/nothing", "/api/nothing/", "/api/nothing", "/api", "/LIVEZ"] {
        server.client().get(path).await.refused(404, "not_found");
        server.client().post(path, &[("a", "b")]).await.refused(404, "not_found");
    }
    for path in ["/api/%ff", "/api/%00/", "/%c3%28"] {
        server.client().get(path).await.refused(400, "invalid_path");
    }
    let answer = server.client().delete("/livez").await;
    answer.refused(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "GET,HEAD");
    let answer = server.client().get("/o/nothing/").await;
    assert_eq!((answer.status, &answer.json()["error"]), (404, &json!("invalid_request")));
}

#[tokio::test]
async fn paths_work_with_and_without_a_slash_and_in_the_old_spelling() {
    let (anna, bert) = Person::two_friends(server()).await;
    for endpoint in ["/api/messages", "/api/message"] {
        for slash in ["/", ""] {
            let form = [("contact", bert.number.as_str()), ("message", "hello")];
            assert_eq!(anna.api.post(&format!("{endpoint}/send-message{slash}"), &form).await.status, 200);
            for word in ["chats", &format!("chats/{}", bert.number)] {
                let answer = anna.api.get(&format!("{endpoint}/{word}{slash}?limit=5")).await;
                assert_eq!(answer.status, 200, "{endpoint}/{word}{slash}");
            }
        }
    }
    assert_eq!(anna.chat(&bert.number).await.len(), 4);
    for slash in ["", "/"] {
        let path = format!("{CONTACTS}{}{slash}", bert.number);
        assert_eq!(anna.api.patch(&path, &[("first_name", "B")]).await.status, 200);
        assert_eq!(anna.api.get(&path).await.status, 200);
        let head = anna.api.send(anna.api.request(Method::HEAD, &path)).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0));
        assert_eq!(anna.api.delete(&path).await.status, 200);
        anna.adds_contact(&bert.number).await;
    }
    assert_eq!(anna.api.get("/api/account").await.status, 200);
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_allowed_ones() {
    let anna = Person::new(server()).await;
    for (method, path, allowed) in [
        (Method::GET, SEND, &["POST"][..]),
        (Method::POST, "/api/messages/chats/", &["GET", "HEAD"]),
        (Method::PUT, "/api/account/nickname/", &["GET", "HEAD", "POST"]),
        (Method::POST, "/api/contacts/15551230000/", &["GET", "HEAD", "PATCH", "DELETE"]),
        (Method::GET, "/api/contacts/force-sync", &["POST"]),
        (Method::GET, "/api/contacts/add-contact", &["POST"]),
        (Method::DELETE, "/api/account/", &["GET", "HEAD"]),
    ] {
        let answer = anna.api.send(anna.api.request(method, path)).await;
        answer.refused(405, "method_not_allowed");
        let mut methods: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        methods.sort_unstable();
        let mut expected = allowed.to_vec();
        expected.sort_unstable();
        assert_eq!(methods, expected, "{path}");
    }
    for path in ["/api/", "/api/nothing/", "/api/contacts/1555123000a/", "/api/messages/"] {
        assert_eq!(anna.api.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_path_word_that_is_neither_a_number_nor_a_known_path_is_not_found() {
    let anna = Person::new(server()).await;
    for word in ["add-contacts", "statuses_messages", "1555123000a", "01555123000", "1234", "x", "5%0A"] {
        for path in [
            format!("/api/contacts/{word}/"),
            format!("/api/contacts/{word}/block/"),
            format!("/api/contacts/{word}/photo/"),
            format!("/api/messages/chats/{word}/"),
            format!("/api/messages/delivered/{word}/"),
            format!("/api/messages/read/{word}/"),
        ] {
            // Whether or not the path would accept the method.
            for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
                let answer = anna.api.send(anna.api.request(method.clone(), &path)).await;
                assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
                answer.refused(404, "not_found");
            }
        }
    }
    // A number in any spelling, and a group.
    for word in ["+1%20555%20123-0000", "0015551230000", "%E2%80%8E15551230000", "x100000"] {
        let path = format!("/api/contacts/{word}/");
        anna.api.get(&path).await.refused(404, "contact_not_found");
        anna.api.send(anna.api.request(Method::PUT, &path)).await.refused(405, "method_not_allowed");
    }
    let path = "/api/messages/chats/15551230000-1466000000/";
    anna.api.get(path).await.refused(404, "group_not_found");
    anna.api.delete(path).await.refused(405, "method_not_allowed");
}
