//! A PostgreSQL that hangs: its processes are stopped, or a query waits for a lock that is not released.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use crate::outage::{lasting, refuses, serves_again};
use crate::support::guarantees::{print_summary, rounds};
use crate::support::keyed_load::KeyedLoad;
use crate::support::load::Load;
use crate::support::people::Person;
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_refused_while_postgresql_is_frozen_and_served_after_it() {
    let database = Arc::new(Database::create_alone());
    let mut server = Server::setup().database(Arc::clone(&database)).start();
    let person = Person::new(&server).await;
    let mut refused = sleeps(&mut server, &person, Duration::from_secs(9)).await;
    let load = Load::start(&server).await;
    let mut keyed_load = KeyedLoad::start(&server).await;
    let rounds = rounds(2).min(5);
    for round in 0..rounds {
        load.wait_for_more(50).await;
        keyed_load.wait_for_more(50).await;
        // The leases expire only in the longer outage.
        let outage = if round % 2 == 0 { Duration::from_secs(9) } else { lasting(20, 30) };
        refused += sleeps(&mut server, &person, outage).await;
    }
    load.wait_for_more(50).await;
    keyed_load.wait_for_more(50).await;
    keyed_load.stop().await;
    let tally = load.finish(&server).await;
    let keyed = keyed_load.finish(&server).await;
    print_summary("frozen", &[("outages", rounds + 1), ("refused", refused)], tally + keyed);
}

/// Freezes PostgreSQL for this time; returns the number of refused requests.
async fn sleeps(server: &mut Server, person: &Person, lasting: Duration) -> usize {
    server.database().cluster().signal_all(Signal::SIGSTOP);
    let refused = refuses(server, person, lasting).await;
    server.database().cluster().signal_all(Signal::SIGCONT);
    serves_again(server, person).await;
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_frozen_database() {
    let database = Arc::new(Database::create_alone());
    let mut server = Server::setup().database(Arc::clone(&database)).start();
    let person = Person::new(&server).await;
    database.cluster().signal_all(Signal::SIGSTOP);
    let asked = Instant::now();
    server.terminate();
    server.wait();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(35), "{took:?}");
    database.cluster().signal_all(Signal::SIGCONT);
    server.restart();
    let person = person.at(&server);
    serves_again(&server, &person).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_a_lock_times_out_and_others_are_served() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let lock = server.database().hold("LOCK TABLE contact IN ACCESS EXCLUSIVE MODE");
    let asked = Instant::now();
    let api = anna.api.clone();
    let mut waiting = JoinSet::from_iter([async move { api.get("/api/contacts/").await }]);
    let answer = loop {
        if let Some(answer) = waiting.try_join_next() {
            break answer.expect("no panic");
        }
        let began = Instant::now();
        assert_eq!(bert.api.get("/api/account/").await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    answer.refused(503, "database_unavailable");
    let took = asked.elapsed();
    // Not before the time limit of a command.
    assert!((Duration::from_secs(25)..Duration::from_secs(31)).contains(&took), "{took:?}");
    drop(lock);
    // The cancelled query ends in the database too.
    wait_until("no query to be left", DEADLINE, || {
        let left = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'windu' AND state <> 'idle'";
        (server.database().sql(left) == "0").then_some(())
    });
    assert_eq!(anna.api.get("/api/contacts/").await.status, 200);
}
