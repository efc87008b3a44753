//! Kills (SIGKILL) and restarts while clients send.

use tokio::task::block_in_place;

use crate::support::guarantees::{expire_killed_processes, messages, print_summary, rounds};
use crate::support::load::{Load, server_on_a_fixed_port};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_messages_arrive_once_and_in_order_although_the_program_is_killed() {
    let mut server = server_on_a_fixed_port();
    let load = Load::start(&server).await;
    let rounds = rounds(10);
    for round in 0..rounds {
        // Most kills hit running sessions; every fourth hits before they are back.
        if round % 4 != 3 {
            let received = received(&server);
            wait_until("messages to arrive again", DEADLINE, || {
                (self::received(&server) > received + 10).then_some(())
            });
        }
        load.wait_for_more(messages(60 + 20 * (round % 5))).await;
        block_in_place(|| {
            server.kill();
            expire_killed_processes(server.database());
            server.restart();
        });
    }
    print_summary("killed", &[("kills", rounds)], load.finish(&server).await);
}

fn received(server: &Server) -> u64 {
    let count = server.database().sql("SELECT count(*) FROM message WHERE sender_peer_id IS NOT NULL");
    count.parse().expect("a count")
}
