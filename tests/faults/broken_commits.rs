//! Connections to PostgreSQL that break during a commit: before PostgreSQL receives it, or before the program
//! receives its confirmation.

use std::sync::Arc;

use crate::proxy::{Commits, Proxy};
use crate::support::guarantees::{print_summary, rounds};
use crate::support::keyed_load::KeyedLoad;
use crate::support::postgres::Database;
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_send_whose_commit_breaks_arrives_exactly_once_when_repeated_under_its_key() {
    cuts("cut", Commits::Spoken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_claim_breaks_does_not_stay_in_use() {
    cuts("cut-all", Commits::All).await;
}

async fn cuts(name: &str, kind: Commits) {
    let database = Arc::new(Database::create());
    let proxy = Proxy::start(&database, kind).await;
    let mut server = Server::setup().env("DATABASE_URL", proxy.url()).database(database).start();
    let keyed_load = KeyedLoad::start(&server).await;
    for round in 0..rounds(3) {
        keyed_load.wait_for_more(50).await;
        proxy.cut_one_in([7, 19, 3][round % 3]);
        keyed_load.wait_for_more(100).await;
        proxy.cut_one_in(0);
    }
    let (repeated, replayed) = keyed_load.repeated();
    let tally = keyed_load.finish(&server).await;
    let (before, after) = proxy.cuts();
    assert!(before > 10 && after > 10 && replayed > 0, "{before} {after} {replayed}");
    assert!(!server.has_ended());
    let counts =
        [("cuts-before", before), ("cuts-after", after), ("repeated", repeated), ("replayed", replayed)];
    print_summary(name, &counts, tally);
}
