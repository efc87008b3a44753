//! Two programs on one database: each serves every request, whichever runs the session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::guarantees::assert_guarantees;
use crate::support::people::{Person, account, fresh_number, register};
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until};

/// Accounts are taken over within this time after their program was killed.
pub const TAKEN_OVER: Duration = Duration::from_secs(20);

/// Two programs, and four friends of each other, two run by each program.
async fn world() -> (Server, Server, Vec<Person>) {
    let one = Server::start();
    let people = friends(&one, 4).await;
    let other = Server::setup().database(Arc::clone(one.database())).start();
    wait_until("each program to run two sessions", DEADLINE, || {
        (owners(one.database()) == "2 2").then_some(())
    });
    (one, other, people)
}

/// `count` people who have each other in their contacts.
pub async fn friends(server: &Server, count: usize) -> Vec<Person> {
    let mut people = Vec::new();
    for _ in 0..count {
        people.push(Person::new(server).await);
    }
    for person in &people {
        for other in &people {
            if person.number != other.number {
                person.adds_contact(&other.number).await;
            }
        }
    }
    people
}

/// The number of sessions of each living program.
pub fn owners(database: &Database) -> String {
    database.sql(
        "SELECT string_agg(n::text, ' ' ORDER BY n) FROM (SELECT count(*) AS n FROM account_counter
         WHERE owner IS NOT NULL GROUP BY owner) o",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_program_serves_requests_for_every_account() {
    let (one, other, people) = world().await;
    for person in &people {
        person.waits_until_online(DEADLINE).await;
    }
    // All pairs: sent through one program, checked through the other.
    for (send, look) in [(&one, &other), (&other, &one)] {
        for from in &people {
            for to in &people {
                if from.number == to.number {
                    continue;
                }
                let id = from.at(send).sends(&to.at(send), "hello").await;
                to.at(look).waits_for(&from.at(look), &id).await;
                let delivered = |message: &serde_json::Value| message["delivered"].is_string();
                from.at(look).waits_until(&to.number, &id, delivered).await;
            }
        }
    }
    // Commands and notifications reach the program that holds the lease.
    for server in [&one, &other] {
        for (index, person) in people.iter().enumerate() {
            let api = &person.at(server).api;
            let synced = api.post("/api/contacts/force-sync/", &[]).await;
            assert_eq!(synced.status, 200, "{}", synced.text());
            assert_eq!(synced.json()["existing"].as_array().map(Vec::len), Some(3));
            let friend = &people[(index + 1) % people.len()].number;
            for endpoint in ["set-typing", "set-paused"] {
                let answer = api.post(&format!("/api/messages/{endpoint}/"), &[("contact", friend)]).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            let read = api.post("/api/messages/update-last-read/", &[("contact", friend)]).await;
            assert_eq!(read.status, 200, "{}", read.text());
        }
    }
    // Registered through one program, online in either; removed through the other.
    let newcomer = Person { api: people[0].at(&other).api, number: "15558880000".to_owned() };
    register(&other, &newcomer.api, &newcomer.number).await;
    newcomer.waits_until_online(Duration::from_secs(1)).await;
    for person in &people {
        let endpoint = "/api/account/remove-account/";
        let answer = person.at(&other).api.post(endpoint, &[("account", &person.number)]).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})));
        assert_eq!(account(&person.api, &person.number).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_account_never_decides_about_a_send() {
    let one = Server::start();
    let (anna, ben) = Person::two_friends(&one).await;
    let waiting = fresh_number();
    let other = Server::setup().database(Arc::clone(one.database())).start();
    // The other program caches the permitted receivers of Anna.
    let there = anna.at(&other);
    there.sends(&ben, "remembered").await;
    let removed = anna.api.delete(&format!("/api/contacts/{}/", ben.number)).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    there.tries_to_send(&ben.number, "no contact any more").await.refused(400, "not_a_contact");
    anna.adds_contact(&ben.number).await;
    there.sends(&ben, "again").await;

    // Without `account` the oldest registered account sends, as soon as it is registered.
    let owner = Person::new(&one).await;
    owner.adds_contact(&ben.number).await;
    let aged = "UPDATE account SET created_at = created_at + interval '1 hour' WHERE number";
    one.database().sql(&format!("{aged} = '{}'", owner.number));
    let there = owner.at(&other);
    there.sends(&ben, "from the only one").await;
    register(&one, &owner.api, &waiting).await;
    there.tries_to_send(&ben.number, "from the older one").await.refused(400, "not_a_contact");
    let form = [("account", owner.number.as_str()), ("contact", &ben.number), ("message", "by name")];
    assert_eq!(there.api.post("/api/messages/send-message/", &form).await.status, 200);

    assert_eq!(one.database().sql("SELECT count(*) FROM message WHERE text = 'no contact any more'"), "0");
    assert_guarantees(one.database());

    // A removed number cannot send.
    let left = owner.api.post("/api/account/remove-account/", &[("account", &owner.number)]).await;
    assert_eq!(left.status, 200, "{}", left.text());
    there.api.post("/api/messages/send-message/", &form).await.refused(400, "account_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_killed_program_run_in_another_within_20_seconds() {
    let (mut one, other, people) = world().await;
    one.kill();
    let people: Vec<Person> = people.iter().map(|person| person.at(&other)).collect();
    // Messages are accepted meanwhile, and arrive as soon as both sessions run again.
    let mut sent = Vec::new();
    for from in &people {
        for to in &people {
            if from.number != to.number {
                sent.push((from, to, from.sends(to, "hello?").await));
            }
        }
    }
    wait_until("the other program to run all", TAKEN_OVER, || {
        (owners(other.database()) == "4").then_some(())
    });
    for (from, to, id) in sent {
        to.waits_for(from, &id).await;
    }
    for person in &people {
        person.waits_until_online(Duration::from_secs(5)).await;
    }
    assert_guarantees(other.database());
}

#[tokio::test]
async fn a_killed_program_takes_its_sessions_back_at_once_after_a_restart() {
    let mut server = Server::start();
    let (ann, ben) = Person::two_friends(&server).await;
    server.restart();
    let began = Instant::now();
    ann.at(&server).delivers(&ben.at(&server), "still here").await;
    // Long before the heartbeat of the killed program expires.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}
