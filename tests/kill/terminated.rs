//! A stop (SIGTERM) while clients send.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use crate::support::guarantees::{print_summary, rounds};
use crate::support::load::{Load, server_on_a_fixed_port};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_drains_in_time_and_loses_no_message() {
    let mut server = server_on_a_fixed_port();
    let load = Load::start(&server).await;
    let rounds = rounds(2);
    for _ in 0..rounds {
        load.wait_for_more(50).await;
        block_in_place(|| {
            server.terminate();
            let asked = Instant::now();
            let status = server.wait();
            let took = asked.elapsed();
            assert!(status.success(), "{status}: {}", server.log());
            assert!(took < Duration::from_secs(30), "{took:?}");
            // It released its leases, so nothing has to expire.
            let left = "SELECT count(*) FROM account_counter WHERE owner IS NOT NULL";
            assert_eq!(server.database().sql(left), "0");
            server.restart();
        });
    }
    load.wait_for_more(50).await;
    print_summary("terminated", &[("stops", rounds)], load.finish(&server).await);
}
