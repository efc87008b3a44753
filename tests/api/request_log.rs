//! Request ids, and the log line of each request.

use reqwest::Method;

use crate::support::people::{PASSWORD, Person, code};
use crate::support::server::{SECRET_KEY, Server, mentions};

#[tokio::test]
async fn every_response_and_its_log_line_have_a_request_id() {
    let server = Server::start();
    let with_id = async |path: &str, id: &str| {
        let request = server.client().request(Method::GET, path).header("X-Request-Id", id);
        server.client().send(request).await.header("x-request-id").to_owned()
    };
    assert_eq!(with_id("/livez", "mine-1").await, "mine-1");
    assert_eq!(with_id("/nothing", &"a".repeat(128)).await, "a".repeat(128));
    for insane in ["", "a b", "\u{e9}", &"a".repeat(129)] {
        let made = with_id("/livez", insane).await;
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
    let first = server.client().get("/livez").await.header("x-request-id").to_owned();
    assert_ne!(first, server.client().get("/livez").await.header("x-request-id"));
    let refused = server.client().delete("/livez").await.header("x-request-id").to_owned();
    for id in ["mine-1", &first, &refused] {
        server.wait_for_log(&format!("id=\"{id}\""));
    }
}

#[tokio::test]
async fn the_log_contains_no_query_no_token_and_no_full_number() {
    let server = Server::start();
    let client = server.client().with_token("token-of-alice");
    client.get("/api/contacts/15551230000/?password=in-the-query").await;
    client.post("/api/nothing/15551230000/", &[("message", "in-the-body")]).await;
    server.wait_for_log("route=/api/contacts/{contact_id}/");
    server.wait_for_log("route=/api/nothing/…000/");
    for secret in ["in-the-query", "in-the-body", "token-of-alice", "15551230000"] {
        assert!(!server.log().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_json_log_has_one_object_per_line() {
    let server = Server::setup().env("WINDU_LOG_FORMAT", "json").start();
    let request = server.client().request(Method::GET, "/livez").header("X-Request-Id", "mine-2");
    server.client().send(request).await;
    server.wait_for_log("mine-2");
    for line in server.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["level"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn the_line_of_a_request_names_status_code_user_and_account() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.sends(&bert, "a secret text").await;
    anna.api.get("/api/contacts/15550009999/status-message/").await.refused(400, "not_a_contact");
    server.wait_for_log("not_a_contact");
    let log = server.log();
    let line =
        |text: &str| log.lines().find(|line| line.contains("answered") && line.contains(text)).expect(text);
    let sent = line("route=/api/messages/send-message/");
    for part in ["user=", "account=", "status=200", "milliseconds=", "id=\"", "method=\"POST\""] {
        assert!(sent.contains(part), "{part}: {sent}");
    }
    let refused = line("not_a_contact");
    assert!(refused.contains("status=400") && refused.contains("code=\"not_a_contact\""), "{refused}");
    assert!(!log.contains("a secret text") && !log.contains(&bert.number), "{log}");
    server.client().get("/livez").await;
    server.client().get("/nothing").await;
    server.wait_for_log("route=/nothing");
    assert!(
        !server.log().lines().any(|line| line.contains("/livez") && line.contains("INFO")),
        "{}",
        server.log()
    );
}

#[tokio::test]
async fn the_log_of_a_whole_run_contains_nothing_secret() {
    let server = Server::setup().env("WINDU_LOG", "trace,sqlx=info,hyper=info,hyper_util=info").start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.delivers(&bert, "the-secret-text").await;
    anna.api.post("/api/account/status-message/", &[("status_message", "the-secret-status")]).await;
    bert.api.get(&format!("/api/contacts/{}/status-message/", anna.number)).await;
    let request = anna.api.request(Method::POST, "/api/messages/send-message/");
    let form = [("contact", bert.number.as_str()), ("message", "a-keyed-text")];
    anna.api.send(request.header("Idempotency-Key", "the-secret-key-of-a-request").form(&form)).await;
    let wrong = [("username", "alice"), ("password", "a-wrong-password"), ("grant_type", "password")];
    server.client().post("/o/token/", &wrong).await;
    let json = serde_json::json!({"contact": bert.number, "message": {"unexpected": "the-secret-object"}});
    anna.api.post_json("/api/messages/send-message/", &json).await;
    let refused = server.client().with_token("an-unknown-token").get("/api/account/").await;
    assert_eq!(refused.status, 401);
    let id = refused.header("x-request-id").to_owned();
    server.wait_for_log(&id);
    let codes = [code(&server, &anna.number), code(&server, &bert.number)];
    let key = server.database().sql("SELECT value FROM deployment WHERE key = 'key_fingerprint'");
    let log = server.log();
    for secret in [
        anna.api.token(),
        bert.api.token(),
        &anna.number,
        &bert.number,
        &codes[0],
        &codes[1],
        &key,
        SECRET_KEY,
        PASSWORD,
        "the-secret-text",
        "the-secret-status",
        "a-keyed-text",
        "the-secret-key-of-a-request",
        "a-wrong-password",
        "the-secret-object",
        "an-unknown-token",
    ] {
        let found = log.lines().find(|line| mentions(line, secret));
        assert_eq!(found, None, "{secret}");
    }
}
