//! Two programs on one database: each serves every request, whoever runs the session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::aftermath::all_is_well;
use crate::support::people::{Person, account, register};
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until, wait_until_async};

/// Accounts are taken over so long after their program was killed, at the latest.
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

/// So many people who have each other in their contacts.
pub async fn friends(server: &Server, count: usize) -> Vec<Person> {
    let mut people = Vec::new();
    for _ in 0..count {
        people.push(Person::new(server).await);
    }
    for person in &people {
        for other in &people {
            if person.number != other.number {
                person.adds(&other.number).await;
            }
        }
    }
    people
}

/// How many sessions each living program runs.
pub fn owners(database: &Database) -> String {
    database.sql(
        "SELECT string_agg(n::text, ' ' ORDER BY n) FROM (SELECT count(*) AS n FROM account_counter
         WHERE owner IS NOT NULL GROUP BY owner) o",
    )
}

pub async fn online(person: &Person, deadline: Duration) {
    wait_until_async("the session to be online", deadline, async || {
        let account = account(&person.api, &person.number).await.expect("listed");
        (account["session"]["state"] == "online").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_program_serves_every_request() {
    let (one, other, people) = world().await;
    for person in &people {
        online(person, DEADLINE).await;
    }
    // Everybody to everybody, through the one program, looked at through the other.
    for (send, look) in [(&one, &other), (&other, &one)] {
        for from in &people {
            for to in &people {
                if from.number == to.number {
                    continue;
                }
                let id = from.at(send).says(&to.at(send), "hello").await;
                to.at(look).waits_for(&from.at(look), &id).await;
                let delivered = |message: &serde_json::Value| message["delivered"].is_string();
                from.at(look).waits_until(&to.number, &id, delivered).await;
            }
        }
    }
    // Commands and hints reach the program that holds the lease.
    for server in [&one, &other] {
        for (place, person) in people.iter().enumerate() {
            let api = &person.at(server).api;
            let synced = api.post("/api/contacts/force-sync/", &[]).await;
            assert_eq!(synced.status, 200, "{}", synced.text());
            assert_eq!(synced.json()["existing"].as_array().map(Vec::len), Some(3));
            let friend = &people[(place + 1) % people.len()].number;
            for row in ["set-typing", "set-paused"] {
                let answer = api.post(&format!("/api/messages/{row}/"), &[("contact", friend)]).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            let read = api.post("/api/messages/update-last-read/", &[("contact", friend)]).await;
            assert_eq!(read.status, 200, "{}", read.text());
        }
    }
    // Registered through the one, online whoever runs it; removed through the other.
    let newcomer = Person { api: people[0].at(&other).api, number: "15558880000".to_owned() };
    register(&other, &newcomer.api, &newcomer.number).await;
    online(&newcomer, Duration::from_secs(1)).await;
    for person in &people {
        let row = "/api/account/remove-account/";
        let answer = person.at(&other).api.post(row, &[("account", &person.number)]).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})));
        assert_eq!(account(&person.api, &person.number).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_of_a_killed_program_run_in_the_other_within_20_seconds() {
    let (mut one, other, people) = world().await;
    one.kill();
    let people: Vec<Person> = people.iter().map(|person| person.at(&other)).collect();
    // Sends are accepted meanwhile, and arrive as soon as somebody runs both sessions.
    let mut sent = Vec::new();
    for from in &people {
        for to in &people {
            if from.number != to.number {
                sent.push((from, to, from.says(to, "hello?").await));
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
        online(person, Duration::from_secs(5)).await;
    }
    all_is_well(other.database());
}

#[tokio::test]
async fn a_killed_program_that_starts_again_has_its_accounts_at_once() {
    let mut server = Server::start();
    let (ann, ben) = Person::two_friends(&server).await;
    server.restart();
    let began = Instant::now();
    ann.at(&server).tells(&ben.at(&server), "still here").await;
    // Long before the heartbeat of the one that was killed is missed.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}
