//! Stuck accounts: a hanging network, a receiver that reads nothing and a full mailbox delay nobody else.

use std::time::{Duration, Instant};

use windu::domain::Account;
use windu::sessions::Timeouts;
use windu::upstream::local::network::LocalNet;

use crate::scripted::{Fault, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{A_DAY, Process, World};

const BEN: &str = "15550100002";
const EACH: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_whose_network_hangs_do_not_slow_others() {
    let world = World::new().await;
    // The timeouts of the hanging accounts are longer than this test.
    let process = world.process_with(Timeouts { step: A_DAY, silence: A_DAY, ..Default::default() });
    let (mut hanging, mut others) = (Vec::new(), Vec::new());
    for index in 0..20 {
        hanging.push(process.online(&world, &format!("155501001{index:02}")).await);
    }
    for index in 0..5 {
        others.push(process.online(&world, &format!("155501002{index:02}")).await);
    }
    let before = converse(&world, &process, &others, 0).await;
    let mut waiting = Vec::new();
    for account in &hanging {
        let line = world.line(account);
        line.plan_fault("send", Fault::Hangs);
        line.plan_fault("acknowledge", Fault::Hangs);
        waiting.push(process.send(account, BEN, "waits").await);
        assert!(line.receives(vec![message(BEN, "m1", "inbound", 1)]).await);
        process.until_texts(account, BEN, 2).await;
    }
    let after = converse(&world, &process, &others, 1).await;
    assert!(after < before * 3 + Duration::from_secs(2), "{before:?}, then {after:?}");
    for (account, id) in hanging.iter().zip(&waiting) {
        assert_eq!(process.message(account, BEN, id).await.state.name(), "queued");
        assert!(world.line(account).sent().is_empty());
        // Their new messages are still accepted.
        process.send(account, BEN, "waits too").await;
    }
}

/// Lets all accounts send and receive; returns the time.
async fn converse(world: &World, process: &Process, accounts: &[Account], round: usize) -> Duration {
    let began = Instant::now();
    let talks = accounts.iter().map(async |account| {
        let line = world.line(account);
        let mut last = String::new();
        for index in 0..EACH {
            last = process.send(account, BEN, "text").await;
            let id = round * EACH + index;
            let number = u64::try_from(id).unwrap();
            line.stores(vec![message(BEN, &format!("m{id}"), "text", number)]).await;
        }
        process.until_message(account, BEN, &last, "sent").await;
    });
    futures_util::future::join_all(talks).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_reads_nothing_does_not_delay_other_chats() {
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
    // More than the limit of unacknowledged messages.
    for index in 1..500 {
        process.send(&anna, BEN, &index.to_string()).await;
        if index % 10 == 0 {
            process.send(&anna, "15550100003", &index.to_string()).await;
        }
    }
    let texts = process.until_texts(&carl, "15550100001", 50).await;
    assert!(texts.into_iter().eq((0..50).map(|index| (index * 10).to_string())));
    assert_eq!(process.texts(&stuck, "15550100001").await, ["0"]);
    drop(lock);
    let texts = process.until_texts(&stuck, "15550100001", 500).await;
    assert!(texts.into_iter().eq((0..500).map(|index| index.to_string())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_accepts_messages_again_when_it_has_room() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.local(&world, "15550100001").await;
    let carl = process.local(&world, "15550100003").await;
    // On the network, but nobody reads its mailbox.
    LocalNet::new(process.store.db().clone()).register(&BEN.parse().unwrap()).await.unwrap();
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
