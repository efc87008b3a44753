//! Kills while clients send with a key each and repeat until they get a response.

use tokio::task::block_in_place;

use crate::support::guarantees::{expire_killed_processes, messages, print_summary, rounds};
use crate::support::keyed_load::KeyedLoad;
use crate::support::load::server_on_a_fixed_port;

#[tokio::test(flavor = "multi_thread")]
async fn a_send_repeated_under_its_key_until_answered_arrives_exactly_once() {
    let mut server = server_on_a_fixed_port();
    let keyed_load = KeyedLoad::start(&server).await;
    let rounds = rounds(5);
    for round in 0..rounds {
        keyed_load.wait_for_more(messages(60 + 20 * (round % 3))).await;
        block_in_place(|| {
            server.kill();
            expire_killed_processes(server.database());
            server.restart();
        });
    }
    let (repeated, replayed) = keyed_load.repeated();
    let tally = keyed_load.finish(&server).await;
    print_summary("keyed", &[("kills", rounds), ("repeated", repeated), ("replayed", replayed)], tally);
}
