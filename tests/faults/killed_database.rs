//! SIGKILL of the private PostgreSQL, of the program, and of both, while clients send.

use nix::sys::signal::Signal;
use tokio::task::block_in_place;

use crate::outage::serves_again_within;
use crate::support::guarantees::{print_summary, rounds};
use crate::support::keyed_load::KeyedLoad;
use crate::support::load::Load;
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::DEADLINE;

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_the_private_postgresql_and_the_program_lose_no_message() {
    let mut server = Server::setup().on_a_fixed_port().with_own_database().start();
    let person = Person::new(&server).await;
    let load = Load::start(&server).await;
    let mut keyed_load = KeyedLoad::start(&server).await;
    let (mut databases, mut programs) = (0, 0);
    let rounds = rounds(6);
    for round in 0..rounds {
        load.wait_for_more(30).await;
        keyed_load.wait_for_more(30).await;
        let (database, program) = [(true, false), (false, true), (true, true)][round % 3];
        block_in_place(|| {
            // One after the other.
            if program && round % 2 == 0 {
                server.kill();
            }
            if database {
                server.database().cluster().signal_all(Signal::SIGKILL);
                databases += 1;
            }
            if program {
                server.kill();
                server.restart();
                programs += 1;
            }
        });
        serves_again_within(&server, &person, DEADLINE).await;
        assert!(!server.has_ended(), "{}", server.log());
    }
    load.wait_for_more(30).await;
    keyed_load.wait_for_more(30).await;
    keyed_load.stop().await;
    let tally = load.finish(&server).await + keyed_load.finish(&server).await;
    print_summary("killed-private", &[("kills", programs), ("database-kills", databases)], tally);
    server.terminate();
    assert!(block_in_place(|| server.wait()).success(), "{}", server.log());
}
