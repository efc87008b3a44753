//! A PostgreSQL that is shut down and started again.

use std::sync::Arc;

use tokio::task::block_in_place;

use crate::outage::{lasting, refuses, serves_again};
use crate::support::guarantees::{print_summary, rounds};
use crate::support::keyed_load::KeyedLoad;
use crate::support::load::Load;
use crate::support::people::Person;
use crate::support::postgres::Database;
use crate::support::server::Server;

async fn a_stop(mode: &str) {
    let database = Arc::new(Database::create_alone());
    let mut server = Server::setup().database(Arc::clone(&database)).start();
    let person = Person::new(&server).await;
    let load = Load::start(&server).await;
    let mut keyed_load = KeyedLoad::start(&server).await;
    let rounds = rounds(1).min(5);
    let mut refused = 0;
    for _ in 0..rounds {
        load.wait_for_more(50).await;
        keyed_load.wait_for_more(50).await;
        block_in_place(|| database.cluster().stop(mode));
        refused += refuses(&mut server, &person, lasting(5, 20)).await;
        block_in_place(|| database.cluster().start_again());
        serves_again(&server, &person).await;
    }
    load.wait_for_more(50).await;
    keyed_load.wait_for_more(50).await;
    keyed_load.stop().await;
    let tally = load.finish(&server).await;
    let keyed = keyed_load.finish(&server).await;
    print_summary(&format!("stopped-{mode}"), &[("outages", rounds), ("refused", refused)], tally + keyed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_shutdown_of_postgresql_loses_no_message() {
    a_stop("fast").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immediate_shutdown_of_postgresql_loses_no_message() {
    a_stop("immediate").await;
}
