//! The program, the broker and PostgreSQL are killed and away during load: the stream has every event once, and each
//! account's in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::block_in_place;

use super::nats_server::NatsServer;
use super::{assert_complete, wait_until_published};
use crate::faults::{Load, NUMBERS};
use crate::support::guarantees::{expire_killed_processes, rounds};
use crate::support::owner::Owner;
use crate::support::postgres::Database;
use crate::support::proxy::Proxy;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

/// Two users, each with several numbers that send.
struct Users {
    loads: [Load; 2],
}

impl Users {
    async fn start(server: &Server) -> Self {
        let (one, two) = (Owner::new(server, NUMBERS).await, Owner::new(server, NUMBERS).await);
        let start = |owner| Load::start(owner, server.database(), &[]);
        Self { loads: [start(&one), start(&two)] }
    }

    async fn wait_for_more(&self, more: usize) {
        for load in &self.loads {
            load.wait_for_more(more).await;
        }
    }

    async fn finish(self) {
        for load in self.loads {
            load.finish().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_complete_although_the_program_is_killed() {
    let Some(nats) = NatsServer::start() else { return };
    let mut server = nats.setup("").on_a_fixed_port().start();
    let users = Users::start(&server).await;
    for round in 0..rounds(8) {
        users.wait_for_more(15 + 15 * (round % 4)).await;
        block_in_place(|| {
            server.kill();
            expire_killed_processes(server.database());
            server.restart();
        });
    }
    users.wait_for_more(20).await;
    users.finish().await;
    assert_complete(&nats, server.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_complete_although_one_of_two_programs_is_killed() {
    let Some(nats) = NatsServer::start() else { return };
    let mut one = nats.setup("").on_a_fixed_port().start();
    let mut other = nats.setup("").on_a_fixed_port().database(Arc::clone(one.database())).start();
    let users = Users::start(&one).await;
    for round in 0..rounds(6) {
        users.wait_for_more(20 + 10 * (round % 3)).await;
        block_in_place(|| {
            let killed = if round % 2 == 0 { &mut one } else { &mut other };
            killed.kill();
            expire_killed_processes(killed.database());
            killed.restart();
        });
    }
    users.wait_for_more(20).await;
    users.finish().await;
    assert_complete(&nats, one.database()).await;
}

/// Another program goes on soon after a kill, and at once after an orderly stop.
#[tokio::test(flavor = "multi_thread")]
async fn another_program_takes_over() {
    let Some(nats) = NatsServer::start() else { return };
    let start = |database: &Arc<Database>| nats.setup("").database(Arc::clone(database)).start();
    let mut first = nats.setup("").start();
    first.wait_for_log("publishing events to the broker");
    let mut second = start(first.database());
    let owner = Owner::new(&first, 2).await;
    wait_until_published(&nats, first.database()).await;
    let owner = Owner { api: owner.api.at(second.url()), numbers: owner.numbers };
    for (is_orderly, limit) in [(false, Duration::from_secs(20)), (true, Duration::from_secs(4))] {
        let began = Instant::now();
        let before = nats.count().await.expect("the stream");
        let third = block_in_place(|| {
            if is_orderly {
                first.terminate();
                assert!(first.wait().success());
            } else {
                first.kill();
            }
            owner.api.at(second.url())
        });
        let owner = Owner { api: third, numbers: owner.numbers.clone() };
        owner.sends(0, 1, "to the other").await;
        wait_until_async("events of the other program", DEADLINE, async || {
            (nats.count().await? > before).then_some(())
        })
        .await;
        assert!(began.elapsed() < limit, "{is_orderly}: {:?}", began.elapsed());
        // The next one to end publishes now.
        first = second;
        second = block_in_place(|| start(first.database()));
    }
}

/// One that is paused for longer than its lease lasts publishes nothing more when it wakes up.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_was_paused_leaves_the_stream_to_the_other() {
    let Some(nats) = NatsServer::start() else { return };
    let sleeper = nats.setup("").start();
    sleeper.wait_for_log("publishing events to the broker");
    let awake = nats.setup("").on_a_fixed_port().database(Arc::clone(sleeper.database())).start();
    let users = Users::start(&awake).await;
    users.wait_for_more(20).await;
    let pid = Pid::from_raw(sleeper.id().try_into().expect("a process id"));
    kill(pid, Signal::SIGSTOP).expect("it runs");
    awake.wait_for_log("publishing events to the broker");
    nats.wait_for_more().await;
    kill(pid, Signal::SIGCONT).expect("it is paused");
    sleeper.wait_for_log("another process publishes events to the broker by now");
    users.finish().await;
    assert_complete(&nats, awake.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_complete_although_the_broker_is_killed() {
    let Some(mut nats) = NatsServer::start() else { return };
    let server = nats.setup("").on_a_fixed_port().start();
    let users = Users::start(&server).await;
    for round in 0..rounds(4) {
        users.wait_for_more(20).await;
        nats.wait_for_more().await;
        block_in_place(|| nats.kill());
        // Nobody else notices.
        users.wait_for_more(20 + 20 * (round % 2)).await;
        block_in_place(|| nats.start_again());
        nats.wait_for_more().await;
    }
    // One that is slow keeps the events waiting as long as one that is away.
    nats.signal(Signal::SIGSTOP);
    users.wait_for_more(20).await;
    server.wait_for_log("did not answer in time");
    nats.signal(Signal::SIGCONT);
    nats.wait_for_more().await;
    users.finish().await;
    assert_complete(&nats, server.database()).await;
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("no events are published to the broker")).count();
    assert!(lines <= 2 * (rounds(4) + 1), "{lines} lines");
    server.wait_for_log("events are published to the broker again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_complete_although_postgresql_is_restarted() {
    let Some(nats) = NatsServer::start() else { return };
    let database = Arc::new(Database::create_alone());
    let server = nats.setup("").on_a_fixed_port().database(Arc::clone(&database)).start();
    let users = Users::start(&server).await;
    for round in 0..rounds(3) {
        users.wait_for_more(30).await;
        block_in_place(|| {
            database.cluster().stop(if round % 2 == 0 { "immediate" } else { "fast" });
            database.cluster().start_again();
        });
    }
    users.wait_for_more(20).await;
    users.finish().await;
    assert_complete(&nats, &database).await;
}

/// A broken connection is noticed at once, also while an acknowledgement is waited for, and the next one is used soon.
#[tokio::test(flavor = "multi_thread")]
async fn publishing_goes_on_soon_after_a_connection_broke() {
    let Some(nats) = NatsServer::start() else { return };
    let proxy = Proxy::start(nats.address().parse().expect("an address"));
    let url = format!("nats://{}", proxy.address());
    let server = Server::setup().env("WINDU_EVENTS_NATS_URL", url).start();
    let owner = Owner::new(&server, 2).await;
    for is_waiting in [false, true, true] {
        wait_until_published(&nats, server.database()).await;
        if is_waiting {
            proxy.black_hole();
            owner.sends(0, 1, "on its way").await;
            // It is, or will be soon: the next lines hold either way.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let (before, accepted) = (nats.count().await.expect("the stream"), proxy.accepted());
        proxy.reset().await;
        proxy.heal().await;
        let broken = Instant::now();
        owner.sends(0, 1, "after it").await;
        wait_until_async("another connection", DEADLINE, async || {
            (proxy.accepted() > accepted && nats.count().await? > before).then_some(())
        })
        .await;
        assert!(broken.elapsed() < Duration::from_secs(5), "{is_waiting}: {:?}", broken.elapsed());
    }
    assert_complete(&nats, server.database()).await;
    let log = server.log();
    assert!(log.contains("cannot be reached (the connection broke)"), "{log}");
    assert!(!log.contains("did not answer in time"), "{log}");
}
