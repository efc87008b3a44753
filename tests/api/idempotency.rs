//! `Idempotency-Key`: a repeated request is done once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::Form;
use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::client::{Answer, Client};
use crate::support::people::{Person, account, code, fresh_number, login, other_code, texts};
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until, wait_until_async};

const SEND: &str = "/api/messages/send-message/";
const ADD: &str = "/api/contacts/add-contact/";
const REPLAYED: &str = "idempotency-replayed";

async fn post(api: &Client, path: &str, key: &str, form: &[(&str, &str)]) -> Answer {
    api.send(api.request(Method::POST, path).header("idempotency-key", key).form(form)).await
}

async fn send(from: &Person, to: &Person, key: &str, text: &str) -> Answer {
    post(&from.api, SEND, key, &[("contact", &to.number), ("message", text)]).await
}

#[track_caller]
fn assert_first(answer: &Answer) -> Value {
    assert!(answer.status < 300, "{}", answer.text());
    assert!(!answer.headers.contains_key(REPLAYED), "{:?}", answer.headers);
    answer.json()
}

#[track_caller]
fn assert_replayed(answer: &Answer, first: &Answer) {
    assert_eq!((answer.status, answer.text()), (first.status, first.text()));
    assert_eq!(answer.header("content-type"), first.header("content-type"));
    assert_eq!(answer.header(REPLAYED), "true");
}

/// Waits until a request runs under a key.
async fn wait_for_claim(database: &Database, key: &str) {
    let count = format!("SELECT count(*) FROM idempotency_key WHERE key = '{key}' AND status IS NULL");
    wait_until_async("the claim", DEADLINE, async || (database.sql(&count) == "1").then_some(())).await;
}

#[tokio::test]
async fn the_same_request_in_any_body_format_is_done_once() {
    let (anna, bert) = Person::two_friends(server()).await;
    let text = "hello & good day";
    let answer = send(&anna, &bert, "once", text).await;
    let id = assert_first(&answer)["id"].clone();
    assert_replayed(&send(&anna, &bert, "once", text).await, &answer);
    let number: u64 = bert.number.parse().expect("digits");
    let keyed = || anna.api.request(Method::POST, SEND).header("idempotency-key", "once");
    let as_json = keyed().json(&json!({"message": text, "contact": number, "group_id": null}));
    assert_replayed(&anna.api.send(as_json).await, &answer);
    let form = Form::new().text("message", text).text("contact", bert.number.clone());
    assert_replayed(&anna.api.send(keyed().multipart(form)).await, &answer);
    let query = anna.api.request(Method::POST, &format!("/api/message/send-message?contact={}", bert.number));
    let query = query.header("idempotency-key", "once").form(&[("message", text)]);
    assert_replayed(&anna.api.send(query).await, &answer);
    bert.waits_for(&anna, id.as_str().expect("an id")).await;
    assert_eq!(texts(&bert.chat(&anna.number).await), [text]);
    assert_eq!(texts(&anna.chat(&bert.number).await), [text]);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_user() {
    let (anna, bert) = Person::two_friends(server()).await;
    let answer = send(&anna, &bert, "shared", "one").await;
    let id = assert_first(&answer)["id"].clone();
    send(&anna, &bert, "shared", "two").await.refused(422, "idempotency_key_reused");
    let form = [("contact", bert.number.as_str()), ("message", "one"), ("account", &anna.number)];
    post(&anna.api, SEND, "shared", &form).await.refused(422, "idempotency_key_reused");
    // The same key of another user, of another endpoint, and of another path of the same endpoint.
    assert_ne!(assert_first(&send(&bert, &anna, "shared", "one").await)["id"], id);
    let typing = [("contact", bert.number.as_str()), ("message", "one")];
    assert_first(&post(&anna.api, "/api/messages/set-typing/", "shared", &typing).await);
    assert_first(&send(&anna, &bert, "another", "one").await);
    // A key has no effect on an endpoint that only reads.
    let reads = anna.api.request(Method::GET, "/api/contacts/").header("idempotency-key", "shared");
    assert_first(&anna.api.send(reads).await);
    assert_replayed(&send(&anna, &bert, "shared", "one").await, &answer);
}

#[tokio::test]
async fn an_invalid_idempotency_key_is_refused() {
    let (anna, bert) = Person::two_friends(server()).await;
    for key in ["", "a b", "ä", &"k".repeat(256)] {
        send(&anna, &bert, key, "never").await.refused(400, "idempotency_key_invalid");
    }
    let twice = anna.api.request(Method::POST, SEND).header("idempotency-key", "a");
    let twice =
        twice.header("idempotency-key", "a").form(&[("contact", &*bert.number), ("message", "never")]);
    anna.api.send(twice).await.refused(400, "idempotency_key_invalid");
    assert_first(&send(&anna, &bert, &"k".repeat(255), "the longest").await);
    assert_eq!(texts(&anna.chat(&bert.number).await), ["the longest"]);
}

#[tokio::test]
async fn errors_of_the_caller_are_replayed() {
    let (anna, bert) = (Person::new(server()).await, Person::new(server()).await);
    let refused = send(&anna, &bert, "refused", "hello").await;
    refused.refused(400, "not_a_contact");
    let added = post(&anna.api, ADD, "add", &[("contact_id", &bert.number)]).await;
    assert_eq!(assert_first(&added), json!({"contact_id": bert.number, "exists": true}));
    assert_replayed(&post(&anna.api, ADD, "add", &[("contact_id", &bert.number)]).await, &added);
    post(&anna.api, ADD, "add-again", &[("contact_id", &bert.number)]).await.refused(400, "contact_exists");
    assert_replayed(&send(&anna, &bert, "refused", "hello").await, &refused);
    assert_first(&send(&anna, &bert, "new", "hello").await);
}

#[tokio::test]
async fn every_endpoint_stores_its_response_except_register_code() {
    let (api, number) = (login(server()).await, fresh_number());
    let form = [("account", number.as_str())];
    let created = post(&api, "/api/account/create-account/", "k", &form).await;
    assert_first(&created);
    assert_replayed(&post(&api, "/api/account/create-account/", "k", &form).await, &created);
    // Too soon: not stored.
    let endpoint = "/api/account/request-sms-code/";
    post(&api, endpoint, "k", &form).await.refused(429, "code_too_soon");
    crate::support::people::pass_a_minute(server(), &number);
    assert_first(&post(&api, endpoint, "k", &form).await);
    let right = code(server(), &number);
    let endpoint = "/api/account/register-code/";
    for (key, code) in [("k", &other_code(&right)), ("not a key", &other_code(&right))] {
        post(&api, endpoint, key, &[form[0], ("code", code)]).await.refused(403, "code_wrong");
    }
    assert_first(&post(&api, endpoint, "k", &[form[0], ("code", &right)]).await);
    let removed = post(&api, "/api/account/remove-account/", "k", &form).await;
    assert_first(&removed);
    assert_replayed(&post(&api, "/api/account/remove-account/", "k", &form).await, &removed);
    assert_eq!(account(&api, &number).await, None);
}

#[tokio::test]
async fn a_key_is_in_use_until_its_request_ends_even_if_the_caller_hangs_up() {
    let (anna, bert) = Person::two_friends(server()).await;
    let database = server().database();
    let lock = database.lock_number(&anna.number);
    let form = [("contact", bert.number.as_str()), ("message", "slow")];
    let request = anna.api.request(Method::POST, SEND).header("idempotency-key", "taken").form(&form);
    let impatient = request.timeout(Duration::from_secs(1)).send().await;
    assert!(impatient.is_err_and(|error| error.is_timeout()));
    wait_for_claim(database, "taken").await;
    send(&anna, &bert, "taken", "slow").await.refused(409, "idempotency_key_in_use");
    send(&anna, &bert, "taken", "hurry").await.refused(422, "idempotency_key_reused");
    drop(lock);
    let answer = wait_until_async("the first answer", DEADLINE, async || {
        let answer = send(&anna, &bert, "taken", "slow").await;
        (answer.status != 409).then_some(answer)
    })
    .await;
    assert_eq!((answer.status, answer.header(REPLAYED)), (200, "true"));
    bert.waits_for(&anna, answer.json()["id"].as_str().expect("an id")).await;
    assert_eq!(texts(&anna.chat(&bert.number).await), ["slow"]);
}

#[tokio::test]
async fn a_key_whose_caller_hangs_up_during_the_claim_does_not_stay_in_use() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let database = server.database();
    // Claims wait for this lock; PostgreSQL completes them after it is released.
    let lock = database.hold("LOCK TABLE idempotency_key IN SHARE MODE");
    let form = [("contact", bert.number.as_str()), ("message", "hello")];
    let request = anna.api.request(Method::POST, SEND).header("idempotency-key", "gone").form(&form);
    let impatient = request.timeout(Duration::from_secs(1)).send().await;
    assert!(impatient.is_err_and(|error| error.is_timeout()));
    drop(lock);
    let answer = wait_until_async("the first answer", DEADLINE, async || {
        let answer = send(&anna, &bert, "gone", "hello").await;
        (answer.status != 409).then_some(answer)
    })
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    bert.waits_for(&anna, answer.json()["id"].as_str().expect("an id")).await;
    assert_eq!(texts(&anna.chat(&bert.number).await), ["hello"]);
}

#[tokio::test]
async fn a_temporary_failure_frees_the_key() {
    let (anna, bert) = (Person::new(server()).await, Person::new(server()).await);
    let form = [("contact_id", bert.number.as_str())];
    // The session cannot take the command.
    let lock = server().database().lock_number(&anna.number);
    post(&anna.api, ADD, "later", &form).await.refused(503, "session_not_ready");
    drop(lock);
    // Free, but for this request only.
    let other = [form[0], ("first_name", "Bert")];
    post(&anna.api, ADD, "later", &other).await.refused(422, "idempotency_key_reused");
    let added = post(&anna.api, ADD, "later", &form).await;
    assert_eq!(
        (added.status, assert_first(&added)),
        (201, json!({"contact_id": bert.number, "exists": true}))
    );
}

#[tokio::test]
async fn a_database_outage_during_a_request_leaves_the_key_free() {
    let server = Server::start();
    let database = server.database();
    let (anna, bert) = Person::two_friends(&server).await;
    let lock = database.lock_number(&anna.number);
    let (answer, ()) = tokio::join!(send(&anna, &bert, "away", "hello"), async {
        wait_for_claim(database, "away").await;
        database.go_away();
    });
    answer.refused(503, "database_unavailable");
    send(&anna, &bert, "away", "hello").await.refused(503, "database_unavailable");
    drop(lock);
    database.come_back();
    let answer = wait_until_async("an answer", DEADLINE, async || {
        let answer = send(&anna, &bert, "away", "hello").await;
        (answer.status != 409 && answer.status != 503).then_some(answer)
    })
    .await;
    assert_first(&answer);
    assert_eq!(texts(&anna.chat(&bert.number).await), ["hello"]);
}

#[tokio::test]
async fn a_key_expires_after_a_day() {
    let (anna, bert) = Person::two_friends(server()).await;
    let answer = send(&anna, &bert, "daily", "one").await;
    assert_first(&answer);
    let age = |hours: f64| {
        server().database().sql(&format!(
            "UPDATE idempotency_key SET created_at = created_at - interval '{hours} hours' WHERE key = 'daily'"
        ));
    };
    age(23.9);
    assert_replayed(&send(&anna, &bert, "daily", "one").await, &answer);
    age(0.2);
    assert_first(&send(&anna, &bert, "daily", "two").await);
    assert_eq!(texts(&anna.chat(&bert.number).await), ["one", "two"]);
}

#[tokio::test]
async fn a_claim_ends_with_the_heartbeat_of_a_killed_program() {
    let mut server = Server::setup().on_a_fixed_port().start();
    let (anna, bert) = Person::two_friends(&server).await;
    let lock = server.database().lock_number(&anna.number);
    let request = anna.api.request(Method::POST, SEND).header("idempotency-key", "killed");
    let request = request.form(&[("contact", &*bert.number), ("message", "hello")]);
    let database = server.database().clone();
    let (unanswered, ()) = tokio::join!(request.send(), async {
        wait_for_claim(&database, "killed").await;
        server.kill();
    });
    assert!(unanswered.is_err());
    drop(lock);
    // Simulates a program on another machine, whose end is not visible here.
    database.sql(
        "WITH p AS (INSERT INTO process (name) VALUES ('elsewhere') RETURNING id)
         UPDATE idempotency_key SET process_id = p.id FROM p WHERE key = 'killed'",
    );
    server.restart();
    send(&anna, &bert, "killed", "hello").await.refused(409, "idempotency_key_in_use");
    database.sql("UPDATE process SET heartbeat_at = heartbeat_at - interval '15 s' WHERE name = 'elsewhere'");
    // Free, but for this request only.
    send(&anna, &bert, "killed", "something else").await.refused(422, "idempotency_key_reused");
    assert_first(&send(&anna, &bert, "killed", "hello").await);
    assert_eq!(texts(&anna.chat(&bert.number).await), ["hello"]);
}

#[tokio::test]
async fn of_two_requests_under_one_key_only_the_last_claim_has_an_effect() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let lock = server.database().lock_number(&anna.number);
    let (earlier, later) = tokio::join!(send(&anna, &bert, "twice", "hello"), async {
        wait_for_claim(server.database(), "twice").await;
        // Simulates a program that was paused until its claims expired, and then continues.
        server.database().sql("UPDATE process SET heartbeat_at = heartbeat_at - interval '1 minute'");
        let claim = "SELECT claim FROM idempotency_key WHERE key = 'twice'";
        let first = server.database().sql(claim);
        let (later, ()) = tokio::join!(send(&anna, &bert, "twice", "hello"), async {
            wait_until_async("the second claim", DEADLINE, async || {
                (server.database().sql(claim) != first).then_some(())
            })
            .await;
            drop(lock);
        });
        later
    });
    earlier.refused(409, "idempotency_key_in_use");
    assert_first(&later);
    assert_replayed(&send(&anna, &bert, "twice", "hello").await, &later);
    assert_eq!(texts(&anna.chat(&bert.number).await), ["hello"]);
}

#[tokio::test]
async fn a_request_in_flight_is_served_when_the_program_stops() {
    let mut server = Server::setup().on_a_fixed_port().start();
    let (anna, bert) = Person::two_friends(&server).await;
    let body = format!("contact={}&message=goodbye", bert.number);
    let request = anna.api.request(Method::POST, SEND).build().expect("a request");
    let token = request.headers()["authorization"].to_str().expect("a token");
    let head = format!(
        "POST {SEND} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nIdempotency-Key: stop\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(server.address()).expect("a connection");
    socket.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    socket.write_all(head.as_bytes()).expect("sent");
    // The handler waits for the body.
    let mut answer = [0; 25];
    socket.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, *b"HTTP/1.1 100 Continue\r\n\r\n");
    server.terminate();
    let left = "SELECT count(*) FROM process";
    wait_until("the program to unregister its process", DEADLINE, || {
        (server.database().sql(left) == "0").then_some(())
    });
    socket.write_all(body.as_bytes()).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(server.wait().success(), "{}", server.log());
    server.restart();
    // Over a new connection, because the client has not noticed the end of the old ones yet.
    let api = server.client().with_token(token.trim_start_matches("Bearer "));
    let again = send(&Person { api, number: anna.number }, &bert, "stop", "goodbye").await;
    assert_eq!((again.status, again.header(REPLAYED)), (200, "true"));
    assert!(answer.ends_with(&again.text()), "{answer}");
}
