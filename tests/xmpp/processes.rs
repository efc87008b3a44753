//! Two programs on one database and one XMPP server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use crate::support::guarantees::print_summary;
use crate::support::people::Person;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::Software;
use crate::traffic::Traffic;
use crate::world::{setup, shared};

/// Accounts run in another program within this time after theirs was killed.
const TAKEN_OVER: Duration = Duration::from_secs(20);
/// For what the server kept for them meanwhile, on a busy machine.
const CAUGHT_UP: Duration = Duration::from_secs(10);

on_both_servers!(accounts_of_a_killed_program_run_in_another_within_20_seconds);

async fn accounts_of_a_killed_program_run_in_another_within_20_seconds(software: Software) {
    let xmpp = shared(software);
    let mut one = setup(xmpp).start();
    let (anna, ben) = Person::two_friends(&one).await;
    let other = setup(xmpp).database(Arc::clone(one.database())).start();
    wait_until_async("each program to run one session", DEADLINE, async || {
        let owners = "SELECT count(DISTINCT owner) FROM account_counter";
        (other.database().sql(owners) == "2").then_some(())
    })
    .await;
    let (anna, ben) = (anna.at(&other), ben.at(&other));
    for person in [&anna, &ben] {
        person.waits_until_online(DEADLINE).await;
    }
    let traffic = Traffic::between(anna, ben, xmpp).await;
    traffic.wait_for_more(5).await;
    let killed = Instant::now();
    block_in_place(|| one.kill());
    wait_until_async("the other program to run both", TAKEN_OVER, async || {
        let owners = "SELECT count(DISTINCT owner), count(*) FROM account_counter WHERE owner IS NOT NULL";
        (other.database().sql(owners) == "1|2").then_some(())
    })
    .await;
    // They read what has come meanwhile.
    for person in traffic.people() {
        person.waits_until_online(CAUGHT_UP).await;
    }
    let seconds = killed.elapsed().as_secs();
    traffic.wait_for_more(5).await;
    let faults = [("kills", 1), ("seconds_until_online", usize::try_from(seconds).expect("few"))];
    print_summary("xmpp_taken_over", &faults, traffic.finish(&other).await);
}
