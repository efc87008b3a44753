//! Who is stuck slows nobody else: an account whose network hangs, a receiver who takes nothing, a mailbox that is full.

use std::time::{Duration, Instant};

use windu::domain::Account;
use windu::sessions::Timeouts;
use windu::upstream::local::network::{Leaving, LocalNet};

use crate::scripted::{Deed, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{A_DAY, Process, World};

const BEN: &str = "15550100002";
const EACH: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_whose_network_hangs_slow_no_others() {
    let world = World::new().await;
    // Nobody notices the hanging ones while this test runs.
    let process = world.process_with(Timeouts { step: A_DAY, silence: A_DAY, ..Default::default() });
    let (mut hanging, mut others) = (Vec::new(), Vec::new());
    for place in 0..20 {
        hanging.push(process.online(&world, &format!("155501001{place:02}")).await);
    }
    for place in 0..5 {
        others.push(process.online(&world, &format!("155501002{place:02}")).await);
    }
    let before = converse(&world, &process, &others, 0).await;
    let mut waiting = Vec::new();
    for account in &hanging {
        let line = world.line(account);
        line.plan_deed("send", Deed::Hangs);
        line.plan_deed("acknowledge", Deed::Hangs);
        waiting.push(process.send(account, BEN, "waits").await);
        assert!(line.happens(vec![message(BEN, "m1", "told", 1)]).await);
        process.until_texts(account, BEN, 2).await;
    }
    let after = converse(&world, &process, &others, 1).await;
    assert!(after < before * 3 + Duration::from_secs(2), "{before:?}, then {after:?}");
    for (account, id) in hanging.iter().zip(&waiting) {
        assert_eq!(process.message(account, BEN, id).await.state.name(), "queued");
        assert!(world.line(account).sent().is_empty());
        // What they have to send is still accepted.
        process.send(account, BEN, "waits too").await;
    }
}

/// Everybody sends and receives; how long that takes.
async fn converse(world: &World, process: &Process, accounts: &[Account], round: usize) -> Duration {
    let began = Instant::now();
    let talks = accounts.iter().map(async |account| {
        let line = world.line(account);
        let mut last = String::new();
        for place in 0..EACH {
            last = process.send(account, BEN, "text").await;
            let id = round * EACH + place;
            let number = u64::try_from(id).unwrap();
            line.stores(vec![message(BEN, &format!("m{id}"), "text", number)]).await;
        }
        process.until_message(account, BEN, &last, "sent").await;
    });
    futures_util::future::join_all(talks).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_who_takes_nothing_holds_up_no_other_chat() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.local(&world, "15550100001").await;
    let (stuck, carl) = (process.local(&world, BEN).await, process.local(&world, "15550100003").await);
    process.send(&anna, BEN, "0").await;
    process.send(&anna, "15550100003", "0").await;
    process.until_texts(&stuck, "15550100001", 1).await;
    process.until_texts(&carl, "15550100001", 1).await;
    // The receiver's session can store nothing, so it acknowledges nothing.
    let lock = world.hold(&format!("SELECT FROM account_counter WHERE id = {} FOR UPDATE", stuck.counter));
    // More than may be told and not acknowledged.
    for place in 1..500 {
        process.send(&anna, BEN, &place.to_string()).await;
        if place % 10 == 0 {
            process.send(&anna, "15550100003", &place.to_string()).await;
        }
    }
    let texts = process.until_texts(&carl, "15550100001", 50).await;
    assert!(texts.into_iter().eq((0..50).map(|place| (place * 10).to_string())));
    assert_eq!(process.texts(&stuck, "15550100001").await, ["0"]);
    drop(lock);
    let texts = process.until_texts(&stuck, "15550100001", 500).await;
    assert!(texts.into_iter().eq((0..500).map(|place| place.to_string())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_that_is_full_takes_no_more_until_it_has_room() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.local(&world, "15550100001").await;
    let carl = process.local(&world, "15550100003").await;
    // On the network, but nobody reads its mailbox.
    LocalNet::new(process.store.db().clone())
        .register(
            &BEN.parse().unwrap(),
            &Leaving { gone: serde_json::Value::Null, write: |_| serde_json::Value::Null },
        )
        .await
        .unwrap();
    world.sql(
        "INSERT INTO localnet_stanza (recipient, sender, stanza)
         SELECT '15550100002', '15550100001', '{}' FROM generate_series(1, 100000)",
    );
    let (waits, behind) =
        (process.send(&anna, BEN, "waits").await, process.send(&anna, BEN, "waits behind").await);
    process.send(&anna, "15550100003", "goes").await;
    assert_eq!(process.until_texts(&carl, "15550100001", 1).await, ["goes"]);
    world.until_count("SELECT count(*) FROM outbox WHERE attempts > 0", 1).await;
    assert_eq!(process.message(&anna, BEN, &waits).await.state.name(), "queued");
    world.sql("DELETE FROM localnet_stanza WHERE id IN (SELECT min(id) FROM localnet_stanza)");
    process.until_message(&anna, BEN, &waits, "sent").await;
    process.until_message(&anna, BEN, &behind, "sent").await;
    let last = "SELECT stanza ->> 'text' FROM localnet_stanza WHERE id > 100000 ORDER BY id";
    let texts = async || (world.sql(last) == "waits\nwaits behind").then_some(());
    wait_until_async("both, in order", DEADLINE, texts).await;
}
