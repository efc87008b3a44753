//! Requests that are given up at their deadline: nothing happens for them afterwards, and only a silent database is blamed.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::client::Answer;
use crate::support::people::Person;
use crate::support::server::Server;

const SEND: &str = "/api/messages/send-message/";
/// A request is refused before this time.
const DEADLINE: Duration = Duration::from_secs(31);

/// The URL of a file that arrives a byte at a time and never ends.
async fn endless_file() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let url = format!("http://{}/endless.png", listener.local_addr().expect("an address"));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
    });
    url
}

/// The response, and that it came in time.
async fn in_time(answer: impl Future<Output = Answer>) -> Answer {
    let began = Instant::now();
    let answer = answer.await;
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_url_is_given_up_by_its_own_name_and_sends_nothing_later() {
    let server = Server::setup().env("WINDU_FETCH_ALLOW", "127.0.0.1/32").start();
    let (anna, bert) = Person::two_friends(&server).await;
    let url = endless_file().await;
    let send = |key: Option<&str>| {
        let form = [("contact", bert.number.as_str()), ("url", url.as_str())];
        let request = anna.api.request(Method::POST, "/api/messages/send-image/").form(&form);
        match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        }
    };
    let photo = anna.api.request(Method::POST, "/api/account/profile-photo/").form(&[("url", url.as_str())]);
    let (plain, keyed, photo) = tokio::join!(
        in_time(anna.api.send(send(None))),
        in_time(anna.api.send(send(Some("slow")))),
        in_time(anna.api.send(photo)),
    );
    for answer in [plain, keyed, photo] {
        let sentence = answer.refused(400, "url_failed");
        assert!(sentence.contains("did not answer in time"), "{sentence}");
    }
    // A message that was sent all the same would be there before this one.
    anna.delivers(&bert, "the only one").await;
    assert_eq!(bert.texts(&format!("/api/messages/chats/{}/", anna.number)).await, ["the only one"]);
    anna.api.get("/api/account/profile-photo/").await.refused(404, "photo_not_found");
    assert!(!server.log().contains("a request was given up"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_because_of_a_lock_does_not_happen_when_the_lock_is_free() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.delivers(&bert, "before").await;
    let number = bert.number.as_str();
    let locked = server.database().lock_number(&anna.number);
    let send = |text: &'static str| {
        anna.api.request(Method::POST, SEND).form(&[("contact", number), ("message", text)])
    };
    let answers = tokio::join!(
        in_time(anna.api.send(send("refused"))),
        in_time(anna.api.send(send("keyed").header("Idempotency-Key", "locked"))),
    );
    for answer in [answers.0, answers.1] {
        answer.refused(503, "database_unavailable");
    }
    drop(locked);
    let again = anna.api.send(send("keyed").header("Idempotency-Key", "locked")).await;
    assert_eq!(again.status, 200, "{}", again.text());
    let id = again.json()["id"].as_str().expect("an id").to_owned();
    bert.waits_for(&anna, &id).await;
    anna.delivers(&bert, "after").await;
    let texts = bert.texts(&format!("/api/messages/chats/{}/", anna.number)).await;
    assert_eq!(texts, ["before", "keyed", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_creation_was_refused_is_not_made_later() {
    let server = Server::start();
    let anna = Person::new(&server).await;
    // Requests of codes take turns by this lock.
    let locked = server.database().hold("SELECT pg_advisory_lock(x'636f646573'::bigint)");
    let number = crate::support::people::fresh_number();
    let created = in_time(anna.api.post("/api/account/create-account/", &[("account", &number)])).await;
    created.refused(503, "database_unavailable");
    drop(locked);
    // The next code waits for the turn of every earlier one.
    let other = crate::support::people::fresh_number();
    let created = anna.api.post("/api/account/create-account/", &[("account", &other)]).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert!(crate::support::people::account(&anna.api, &number).await.is_none());
    let codes = std::fs::read_to_string(server.folder().join("codes.log")).expect("codes.log");
    assert!(!codes.contains(&number), "{codes}");
}
