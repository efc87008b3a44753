//! Programs are killed, two of them run, PostgreSQL goes away, and the receiver fails, while numbers write to each other:
//! every event arrives, and the first arrivals of each account are in order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{JoinSet, block_in_place};

use crate::hook::{Hook, setup};
use crate::support::guarantees::{expire_killed_processes, rounds};
use crate::support::load::wait_until_ready;
use crate::support::owner::Owner;
use crate::support::postgres::Database;
use crate::support::receiver::{Answer, Receiver};
use crate::support::wait::{DEADLINE, wait_until_async};

const NUMBERS: usize = 4;

/// Numbers that send in a circle.
struct Load {
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    senders: JoinSet<()>,
}

impl Load {
    fn start(owner: &Owner) -> Self {
        let (accepted, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut senders = JoinSet::new();
        for index in 0..NUMBERS {
            let owner = Owner { api: owner.api.clone(), numbers: owner.numbers.clone() };
            let (accepted, stop) = (Arc::clone(&accepted), Arc::clone(&stop));
            senders.spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let to = (index + 1 + number % (NUMBERS - 1)) % NUMBERS;
                    if owner.tries_to_send(index, to, &number.to_string()).await.is_some() {
                        accepted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        wait_until_ready(&owner.api).await;
                    }
                }
            });
        }
        Self { accepted, stop, senders }
    }

    async fn wait_for_more(&self, more: usize) {
        let goal = self.accepted.load(Ordering::Relaxed) + more;
        wait_until_async("more accepted messages", DEADLINE * 3, async || {
            (self.accepted.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stops sending, and waits until everything has arrived.
    async fn finish(self, hook: &Hook, receiver: &Receiver, database: &Database) {
        self.stop.store(true, Ordering::Relaxed);
        self.senders.join_all().await;
        wait_until_async("the outbox is empty", DEADLINE * 3, async || {
            (block_in_place(|| database.sql("SELECT count(*) FROM outbox")) == "0").then_some(())
        })
        .await;
        wait_until_async("nothing waits", DEADLINE * 4, async || {
            let shown = hook.get("").await;
            (shown["waiting"] == 0 && arrived(receiver) == stored(database)).then_some(())
        })
        .await;
        in_order(receiver);
    }
}

/// The events that are stored, by account.
fn stored(database: &Database) -> BTreeMap<String, i64> {
    let rows = block_in_place(|| database.sql("SELECT number, seq FROM account_counter WHERE seq > 0"));
    let rows = rows.lines().filter_map(|row| row.split_once('|'));
    rows.map(|(number, seq)| (number.to_owned(), seq.parse().expect("a number"))).collect()
}

/// Different events that have been accepted, by account.
fn arrived(receiver: &Receiver) -> BTreeMap<String, i64> {
    let (mut ids, mut counts) = (HashSet::new(), BTreeMap::new());
    for request in receiver.accepted() {
        if ids.insert(request.id().to_owned()) {
            *counts.entry(request.account().to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Of each account the first arrivals have no gap.
fn in_order(receiver: &Receiver) {
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut again = 0;
    for request in receiver.accepted() {
        let seq = request.event["seq"].as_i64().expect("a number");
        let last = last.entry(request.account().to_owned()).or_default();
        assert!(seq <= *last + 1, "a gap before {} of {}", seq, request.account());
        if seq <= *last {
            again += 1;
        }
        *last = seq.max(*last);
    }
    println!("webhook: arrived={} again={again}", receiver.accepted().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_although_the_program_is_killed() {
    let mut server = setup().on_a_fixed_port().start();
    let (owner, receiver) = (Owner::new(&server, NUMBERS).await, Receiver::start().await);
    let settings = serde_json::json!({"url": receiver.url("/"), "after": "oldest"});
    let hook = Hook::with(&server, &owner, settings).await;
    let load = Load::start(&owner);
    for round in 0..rounds(6) {
        load.wait_for_more(20 + 20 * (round % 4)).await;
        block_in_place(|| {
            server.kill();
            expire_killed_processes(server.database());
            server.restart();
        });
    }
    load.wait_for_more(20).await;
    load.finish(&hook, &receiver, server.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_goes_on_when_one_is_killed() {
    let one = setup().on_a_fixed_port().start();
    let (owner, receiver) = (Owner::new(&one, NUMBERS).await, Receiver::start().await);
    let settings = serde_json::json!({"url": receiver.url("/"), "after": "oldest"});
    let hook = Hook::with(&one, &owner, settings).await;
    let mut other = setup().on_a_fixed_port().database(Arc::clone(one.database())).start();
    let load = Load::start(&owner);
    for round in 0..rounds(4) {
        load.wait_for_more(40).await;
        // The one that has the webhook, whichever it is: each time the lease is moved to the other.
        block_in_place(|| {
            one.database().sql(
                "UPDATE webhook SET owner = (SELECT max(id) FROM process), fence = fence + 1 WHERE owner IS NOT NULL",
            );
            other.kill();
            if round % 2 == 0 {
                expire_killed_processes(one.database());
            }
            other.restart();
        });
    }
    load.wait_for_more(20).await;
    load.finish(&hook, &receiver, one.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_although_the_database_goes_away_and_the_receiver_fails() {
    let server = setup().on_a_fixed_port().start();
    let (owner, receiver) = (Owner::new(&server, NUMBERS).await, Receiver::start().await);
    let settings = serde_json::json!({"url": receiver.url("/"), "after": "oldest"});
    let hook = Hook::with(&server, &owner, settings).await;
    let count = AtomicUsize::new(0);
    // Some are refused, some are to come later: each for a second.
    receiver.answers(move |_| match count.fetch_add(1, Ordering::Relaxed) % 40 {
        7 => Answer::With(500, "retry-after", "1".to_owned()),
        23 => Answer::With(503, "retry-after", "1".to_owned()),
        _ => Answer::Status(200),
    });
    let load = Load::start(&owner);
    for _ in 0..rounds(3) {
        load.wait_for_more(40).await;
        block_in_place(|| {
            server.database().go_away();
            std::thread::sleep(Duration::from_millis(300));
            server.database().come_back();
        });
    }
    load.wait_for_more(20).await;
    receiver.answers(|_| Answer::Status(200));
    load.finish(&hook, &receiver, server.database()).await;
}
