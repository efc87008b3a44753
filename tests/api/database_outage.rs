//! Outages of the database: refusals during one, and recovery after it.

use std::time::Duration;

use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

/// Requests are served within this time after an outage.
const SERVES_AGAIN: Duration = Duration::from_secs(5);

/// Two friends on a server with a database of its own.
async fn world() -> (Server, Person, Person) {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.delivers(&bert, "before").await;
    (server, anna, bert)
}

/// Every kind of endpoint answers that the database is unavailable; the program lives.
async fn refuses(server: &Server, anna: &Person, bert: &Person) {
    let requests = [
        anna.api.get("/api/account/").await,
        anna.api.get("/api/contacts/").await,
        anna.api.get("/api/messages/chats/").await,
        anna.tries_to_send(&bert.number, "lost?").await,
        anna.api.post("/api/contacts/force-sync/", &[]).await,
        anna.api.post("/api/account/nickname/", &[("nickname", "A")]).await,
        server.client().get("/readyz").await,
    ];
    for answer in requests {
        answer.refused(503, "database_unavailable");
        let seconds: u32 = answer.header("retry-after").parse().expect("Retry-After in seconds");
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    assert_eq!(server.client().get("/livez").await.status, 200);
}

/// Everything works again: requests at once, sessions without help, messages in both directions.
async fn goes_on(server: &mut Server, anna: &Person, bert: &Person) {
    wait_until_async("requests to be served again", SERVES_AGAIN, async || {
        (anna.api.get("/api/account/").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(server.client().get("/readyz").await.status, 200);
    // Accepted at once, in any state of the sessions.
    let waiting = anna.sends(bert, "accepted").await;
    bert.waits_for(anna, &waiting).await;
    for person in [anna, bert] {
        person.waits_until_online(DEADLINE).await;
    }
    let id = bert.delivers(anna, "and back").await;
    bert.waits_until(&anna.number, &id, |message| message["delivered"].is_string()).await;
    assert_eq!(anna.api.post("/api/contacts/force-sync/", &[]).await.status, 200);
    assert!(!server.has_ended());
}

#[tokio::test]
async fn requests_are_refused_during_a_short_outage_and_served_after_it() {
    let (mut server, anna, bert) = world().await;
    for _ in 0..3 {
        server.database().go_away();
        refuses(&server, &anna, &bert).await;
        server.database().come_back();
        goes_on(&mut server, &anna, &bert).await;
    }
    let endpoint = format!("/api/messages/chats/{}/", anna.number);
    let expected = ["before", "accepted", "and back", "accepted", "and back", "accepted", "and back"];
    assert_eq!(bert.texts(&endpoint).await, expected);
}

#[tokio::test]
async fn sessions_come_back_after_an_outage_that_outlasts_the_leases() {
    let (mut server, anna, bert) = world().await;
    server.database().go_away();
    refuses(&server, &anna, &bert).await;
    wait_until_async("the leases to be lost", DEADLINE, async || {
        server.log().contains("the leases are lost").then_some(())
    })
    .await;
    refuses(&server, &anna, &bert).await;
    server.database().come_back();
    goes_on(&mut server, &anna, &bert).await;
}

#[tokio::test]
async fn broken_database_connections_harm_at_most_one_request() {
    let (mut server, anna, bert) = world().await;
    let broken = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for _ in 0..3 {
        server.database().sql(broken);
        goes_on(&mut server, &anna, &bert).await;
    }
}
