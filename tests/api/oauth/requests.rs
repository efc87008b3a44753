//! Rules for all endpoints under `/o`: methods, parameters and bodies.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use super::{LOGIN, PUBLIC, Pair, failed};
use crate::support::client::Answer;
use crate::support::postgres::Database;
use crate::support::server::{PASSWORD, Server, USER};

const ENDPOINTS: [&str; 4] = ["/o/token/", "/o/revoke-token/", "/o/revoke_token/", "/o/introspect/"];

async fn post_raw(server: &Server, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = server.client().request(Method::POST, "/o/token/").header("content-type", content_type);
    server.client().send(request.body(body)).await
}

#[tokio::test]
async fn parameters_in_the_url_are_refused() {
    let server = Server::start();
    for endpoint in ENDPOINTS {
        let answer = server.client().post(&format!("{endpoint}?client_id={PUBLIC}"), &LOGIN).await;
        failed(&answer, 400, "invalid_request");
    }
}

#[tokio::test]
async fn only_post_is_allowed() {
    let server = Server::start();
    for endpoint in ENDPOINTS {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            let answer = server.client().send(server.client().request(method.clone(), endpoint)).await;
            assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method} {endpoint}");
            if method != Method::HEAD {
                assert_eq!(answer.json()["error"], "invalid_request");
            }
        }
    }
}

#[tokio::test]
async fn form_multipart_and_json_bodies_are_accepted() {
    let server = Server::start();
    let body = json!({
        "grant_type": "password", "username": USER, "password": PASSWORD, "client_id": PUBLIC, "scope": null
    });
    Pair::of(&server.client().post_json("/o/token/", &body).await);
    let form =
        LOGIN.into_iter().fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(name, value));
    let request = server.client().request(Method::POST, "/o/token/").multipart(form);
    Pair::of(&server.client().send(request).await);
    let text = format!("grant_type=password&username={USER}&password={PASSWORD}&client_id={PUBLIC}");
    let form = "application/x-www-form-urlencoded; charset=UTF-8";
    Pair::of(&post_raw(&server, form, text).await);
}

#[tokio::test]
async fn a_repeated_parameter_is_refused() {
    let server = Server::start();
    let form = "application/x-www-form-urlencoded";
    let text = format!("grant_type=password&username={USER}&password={PASSWORD}&client_id={PUBLIC}");
    for more in ["&scope=read&scope=read", "&client_id=", "&other=1&other=2"] {
        failed(&post_raw(&server, form, format!("{text}{more}")).await, 400, "invalid_request");
    }
    let json = r#"{"grant_type": "password", "token": "a", "token": "b"}"#;
    failed(&post_raw(&server, "application/json", json).await, 400, "invalid_request");
    let parts = reqwest::multipart::Form::new().text("token", "a").text("token", "b");
    let request = server.client().request(Method::POST, "/o/token/").multipart(parts);
    failed(&server.client().send(request).await, 400, "invalid_request");
}

#[tokio::test]
async fn malformed_and_unsupported_bodies_are_refused() {
    let server = Server::start();
    let form = "application/x-www-form-urlencoded";
    for body in [&b"username=\xff"[..], b"username=%ff", b"username=%00", b"username=a\0", b"%C3=1"] {
        failed(&post_raw(&server, form, body).await, 400, "invalid_request");
    }
    for body in ["[]", "{", r#"{"token": ["a"]}"#, r#"{"token": "\u0000"}"#] {
        failed(&post_raw(&server, "application/json", body).await, 400, "invalid_request");
    }
    failed(&post_raw(&server, "text/plain", "token=a").await, 415, "invalid_request");
    failed(&post_raw(&server, form, "a".repeat(3 * 1024 * 1024)).await, 413, "invalid_request");
    failed(&server.client().post("/o/token/", &[]).await, 400, "invalid_request");
}

#[tokio::test]
async fn errors_outside_of_the_endpoints_have_the_oauth_format() {
    let database = Arc::new(Database::create());
    database.go_away();
    let starting = Server::setup().database(Arc::clone(&database)).start_early();
    let answer = starting.client().post("/o/token/", &LOGIN).await;
    assert!(failed(&answer, 503, "temporarily_unavailable").contains("starting"));
    assert_eq!(answer.header("retry-after"), "1");
    database.come_back();
    let server = Server::start();
    failed(&server.client().post("/o/%ff/", &LOGIN).await, 400, "invalid_request");
    failed(&server.client().post("/o/nothing/", &LOGIN).await, 404, "invalid_request");
}

#[tokio::test]
async fn a_login_during_a_database_outage_is_answered_with_503() {
    let server = Server::start();
    server.database().go_away();
    let answer = server.client().post("/o/token/", &LOGIN).await;
    failed(&answer, 503, "temporarily_unavailable");
    assert!(answer.header("retry-after").parse::<u32>().expect("seconds") > 0);
    server.database().come_back();
    crate::support::wait::wait_until_async("a login", crate::support::wait::DEADLINE, async || {
        (server.client().post("/o/token/", &LOGIN).await.status == 200).then_some(())
    })
    .await;
}
