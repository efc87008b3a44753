//! A full disk of PostgreSQL.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use tokio::task::block_in_place;

use crate::outage::serves_again;
use crate::support::guarantees::{print_summary, rounds};
use crate::support::keyed_load::KeyedLoad;
use crate::support::load::Load;
use crate::support::not_run::not_run;
use crate::support::people::Person;
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until, wait_until_async};

/// MiB. A fresh cluster with its journal takes about 100.
const DISK: u32 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_messages_and_loses_no_acknowledged_one() {
    let Some(database) = Database::create_on_small_disk(DISK) else {
        not_run("the full disk: a small one cannot be mounted here (tmpfs, as root)");
        return;
    };
    let database = Arc::new(database);
    let mut server = Server::setup().database(Arc::clone(&database)).start();
    let (anna, bert) = Person::two_friends(&server).await;
    let load = Load::start(&server).await;
    let mut keyed_load = KeyedLoad::start(&server).await;
    let ballast = database.cluster().data().with_file_name("ballast");
    let rounds = rounds(1).min(4);
    for _ in 0..rounds {
        load.wait_for_more(50).await;
        keyed_load.wait_for_more(50).await;
        block_in_place(|| fill(&ballast));
        // PostgreSQL still has room in existing files; the senders use it up.
        wait_until_async("a send to be refused", DEADLINE, async || {
            refused(&anna, &bert).await.then_some(())
        })
        .await;
        assert!(!server.has_ended(), "{}", server.log());
        fs::remove_file(&ballast).expect("freed");
        block_in_place(|| comes_back(&database));
        serves_again(&server, &anna).await;
    }
    load.wait_for_more(50).await;
    keyed_load.wait_for_more(50).await;
    keyed_load.stop().await;
    let tally = load.finish(&server).await + keyed_load.finish(&server).await;
    print_summary("full", &[("outages", rounds)], tally);
}

/// Takes all the room that is left.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).expect("a file");
    for size in [1 << 20, 4096, 512] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

/// A PostgreSQL that could not write its WAL has crashed: it restarts by itself, or is started again here.
fn comes_back(database: &Database) {
    wait_until("PostgreSQL to run", DEADLINE, || {
        if database.cluster().processes().is_empty() {
            database.cluster().start_again();
        }
        database.try_sql("SELECT 1").ok()
    });
}

/// Whether a message that takes room is answered with 503 now.
async fn refused(from: &Person, to: &Person) -> bool {
    let answer = from.tries_to_send(&to.number, &long_text()).await;
    assert!([200, 503].contains(&answer.status), "{}", answer.text());
    answer.status == 503
}

/// 60,000 letters that cannot be compressed.
fn long_text() -> String {
    let mut state = 1_u32;
    let letters = (0..60_000).map(|_| {
        // Numerical Recipes' generator; its high bits are the random ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + u8::try_from(state >> 28).expect("four bits"))
    });
    letters.collect()
}
