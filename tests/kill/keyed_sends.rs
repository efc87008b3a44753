//! The program is killed while clients send with a key each, and repeat it until they are answered.

use tokio::task::block_in_place;

use crate::support::guarantees::{forget_the_dead, messages, rounds, summary};
use crate::support::keyed_load::Repeaters;
use crate::support::load::server_on_a_fixed_port;

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_is_repeated_under_its_key_until_it_is_answered_arrives_exactly_once() {
    let mut server = server_on_a_fixed_port();
    let repeaters = Repeaters::begin(&server).await;
    let rounds = rounds(5);
    for round in 0..rounds {
        repeaters.go_on(messages(60 + 20 * (round % 3))).await;
        block_in_place(|| {
            server.kill();
            forget_the_dead(server.database());
            server.restart();
        });
    }
    let (repeated, replayed) = repeaters.repeated();
    let tally = repeaters.end_well(&server).await;
    summary("keyed", &[("kills", rounds), ("repeated", repeated), ("replayed", replayed)], tally);
}
