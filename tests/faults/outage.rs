//! Checks during and after a database outage.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::client::Client;
use crate::support::guarantees::soak;
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::wait_until_async;

/// The time limit of a request while the database refuses connections or does not answer.
pub const PROMPT: Duration = Duration::from_secs(9);
/// Requests are served within this time after an outage (guarantee G9).
pub const SERVES_AGAIN: Duration = Duration::from_secs(5);

/// The duration of an outage in seconds: `usual`, or `soaking` in a soak.
pub fn lasting(usual: u64, soaking: u64) -> Duration {
    Duration::from_secs(if soak() { soaking } else { usual })
}

/// Checks for this time that every kind of request, many at once, is answered with 503 in time, and that the program
/// lives.
pub async fn refuses(server: &mut Server, person: &Person, lasting: Duration) -> usize {
    let began = Instant::now();
    let mut refused = 0;
    while began.elapsed() < lasting {
        let mut asked = JoinSet::new();
        // More requests than the program has database connections.
        for index in 0..20 {
            asked.spawn(ask(person.api.clone(), person.number.clone(), index));
        }
        refused += asked.join_all().await.len();
        assert_eq!(person.api.get("/livez").await.status, 200);
        assert!(!server.has_ended(), "{}", server.log());
        sleep(Duration::from_millis(200)).await;
    }
    refused
}

async fn ask(api: Client, number: String, index: usize) {
    let request = match index % 5 {
        0 => api.request(Method::GET, "/api/messages/chats/"),
        1 => api.request(Method::GET, "/readyz"),
        2 => api.request(Method::POST, "/api/contacts/force-sync/"),
        3 => api.request(Method::POST, "/api/account/nickname/").form(&[("nickname", "A")]),
        _ => api
            .request(Method::POST, "/api/messages/send-message/")
            .form(&[("contact", number.as_str()), ("message", "to nobody")])
            .header("idempotency-key", format!("never-{index}")),
    };
    let began = Instant::now();
    let answer = api.send(request).await;
    let took = began.elapsed();
    assert!(took < PROMPT, "{index} took {took:?}");
    if !["starting", "database_unavailable"].contains(&answer.json()["code"].as_str().unwrap_or_default()) {
        answer.refused(503, "database_unavailable");
    }
    assert_eq!(answer.status, 503);
    let seconds: u32 = answer.header("retry-after").parse().expect("Retry-After in seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

/// Waits until requests are served again, soon after the outage, with correct responses.
pub async fn serves_again(server: &Server, person: &Person) {
    serves_again_within(server, person, SERVES_AGAIN).await;
}

/// [`serves_again`] when the database itself needs a while to come back.
pub async fn serves_again_within(server: &Server, person: &Person, timeout: Duration) {
    wait_until_async("requests to be served again", timeout, async || {
        (person.api.get("/api/account/").await.status == 200).then_some(())
    })
    .await;
    // Tests all connections of the pool, not only the first one.
    for _ in 0..3 {
        let mut asked = JoinSet::new();
        for _ in 0..20 {
            let api = person.api.clone();
            asked.spawn(async move { api.get("/api/account/").await });
        }
        for answer in asked.join_all().await {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["accounts"][0]["account"], person.number.as_str());
        }
    }
    assert_eq!(server.client().get("/readyz").await.status, 200);
}
