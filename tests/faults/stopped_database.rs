//! PostgreSQL is stopped, in good order or not, and started again after a while.

use std::sync::Arc;

use tokio::task::block_in_place;

use crate::outage::{lasting, refuses, serves_again};
use crate::support::guarantees::{rounds, summary};
use crate::support::keyed_load::Repeaters;
use crate::support::load::Storm;
use crate::support::people::Person;
use crate::support::postgres::Database;
use crate::support::server::Server;

async fn a_stop(mode: &str) {
    let database = Arc::new(Database::create_alone());
    let mut server = Server::setup().database(Arc::clone(&database)).start();
    let person = Person::new(&server).await;
    let storm = Storm::begin(&server).await;
    let mut repeaters = Repeaters::begin(&server).await;
    let rounds = rounds(1).min(5);
    let mut refused = 0;
    for _ in 0..rounds {
        storm.goes_on(50).await;
        repeaters.go_on(50).await;
        block_in_place(|| database.cluster().stop(mode));
        refused += refuses(&mut server, &person, lasting(5, 20)).await;
        block_in_place(|| database.cluster().start_again());
        serves_again(&server, &person).await;
    }
    storm.goes_on(50).await;
    repeaters.go_on(50).await;
    repeaters.stop().await;
    let tally = storm.ends_well(&server).await;
    let keyed = repeaters.end_well(&server).await;
    summary(&format!("stopped-{mode}"), &[("outages", rounds), ("refused", refused)], tally + keyed);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_stopped_in_good_order() {
    a_stop("fast").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_stopped_at_once() {
    a_stop("immediate").await;
}
