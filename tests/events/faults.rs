//! Programs are killed, two of them run, and PostgreSQL is away, while clients follow: they miss nothing, get nothing twice,
//! and each account's events in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::task::{JoinSet, block_in_place};

use crate::follower::Followed;
use crate::sse::Sse;
use crate::support::client::Client;
use crate::support::guarantees::{expire_killed_processes, rounds};
use crate::support::load::{server_on_a_fixed_port, wait_until_ready};
use crate::support::owner::Owner;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until, wait_until_async};
use crate::websocket::{Frame, Socket};

/// The numbers of an owner.
pub const NUMBERS: usize = 4;

#[derive(Default)]
struct Shared {
    accepted: AtomicUsize,
    stop: AtomicBool,
}

/// Numbers that send in a circle, and clients that follow.
pub struct Load {
    shared: Arc<Shared>,
    senders: JoinSet<()>,
    followers: JoinSet<Followed>,
}

impl Load {
    /// Each of `ways` is followed at the server at its base URL.
    pub fn start(
        owner: &Owner,
        database: &Arc<crate::support::postgres::Database>,
        bases: &[Vec<String>],
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let mut senders = JoinSet::new();
        for index in 0..NUMBERS {
            let owner = Owner { api: owner.api.clone(), numbers: owner.numbers.clone() };
            let shared = Arc::clone(&shared);
            senders.spawn(async move {
                let mut number = 0;
                while !shared.stop.load(Ordering::Relaxed) {
                    number += 1;
                    let to = (index + 1 + number % (NUMBERS - 1)) % NUMBERS;
                    if owner.tries_to_send(index, to, &number.to_string()).await.is_some() {
                        shared.accepted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        wait_until_ready(&owner.api).await;
                    }
                }
            });
        }
        let mut followers = JoinSet::new();
        for bases in bases {
            let clients: Vec<Client> = bases.iter().map(|base| owner.api.at(base)).collect();
            followers.spawn(follow(clients.clone(), Arc::clone(&shared), Arc::clone(database)));
            followers.spawn(follow_streams(clients.clone(), Arc::clone(&shared), Arc::clone(database)));
            followers.spawn(follow_sockets(clients, Arc::clone(&shared), Arc::clone(database)));
        }
        Self { shared, senders, followers }
    }

    pub async fn wait_for_more(&self, more: usize) {
        let goal = self.shared.accepted.load(Ordering::Relaxed) + more;
        wait_until_async("more accepted messages", DEADLINE * 3, async || {
            (self.shared.accepted.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stops sending. Each follower must get all events that are stored.
    pub async fn finish(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.senders.join_all().await;
        for followed in self.followers.join_all().await {
            assert!(followed.count > self.shared.accepted.load(Ordering::Relaxed), "{}", followed.count);
        }
    }
}

/// Polls one server after the other, whichever answers, until everything was read after the load.
async fn follow(
    clients: Vec<Client>,
    shared: Arc<Shared>,
    database: Arc<crate::support::postgres::Database>,
) -> Followed {
    let (mut followed, mut after) = (Followed::default(), "oldest".to_owned());
    let mut idle = 0;
    for turn in 0.. {
        let stopped = shared.stop.load(Ordering::Relaxed);
        let path = format!("/api/events/?after={after}&wait=1&limit=200");
        let answer = clients[turn % clients.len()].request(Method::GET, &path).send().await;
        let page: Option<Value> = match answer {
            Ok(answer) if answer.status() == 200 => answer.json().await.ok(),
            Ok(answer) => {
                let status = answer.status();
                assert_eq!(status, 503, "{}", answer.text().await.unwrap_or_default());
                None
            }
            Err(_) => None,
        };
        let Some(page) = page else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let events = page["events"].as_array().expect("events");
        for event in events {
            followed.take(event);
        }
        page["cursor"].as_str().expect("a cursor").clone_into(&mut after);
        // After the load deliveries and receipts come still, and what killed programs held.
        idle = if stopped && events.is_empty() { idle + 1 } else { 0 };
        if idle >= 3 && block_in_place(|| followed.has_all(&database)) && is_quiet(&database) {
            return followed;
        }
        assert!(idle < 90, "{} events were read, not all that are stored", followed.count);
    }
    followed
}

/// The same by streams: it opens the next one with the last id.
async fn follow_streams(
    clients: Vec<Client>,
    shared: Arc<Shared>,
    database: Arc<crate::support::postgres::Database>,
) -> Followed {
    let (mut followed, mut last) = (Followed::default(), String::new());
    for turn in 0.. {
        assert!(turn < 10_000, "the server is away");
        let path = "/api/events/stream/?after=oldest";
        let request = clients[turn % clients.len()].request(Method::GET, path).header("last-event-id", &last);
        let opened = request.timeout(Duration::from_mins(5)).send().await;
        let Some(response) = opened.ok().filter(|response| response.status() == 200) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut stream = Sse::over(response);
        loop {
            let next = tokio::time::timeout(Duration::from_secs(1), stream.next()).await;
            match next {
                Ok(Some(frame)) if frame.is_event() => {
                    let Some(id) = &frame.id else { continue };
                    followed.take(&frame.json());
                    last.clone_from(id);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    let stopped = shared.stop.load(Ordering::Relaxed);
                    if stopped && is_quiet(&database) && block_in_place(|| followed.has_all(&database)) {
                        return followed;
                    }
                }
            }
        }
    }
    followed
}

/// The same by sockets.
async fn follow_sockets(
    clients: Vec<Client>,
    shared: Arc<Shared>,
    database: Arc<crate::support::postgres::Database>,
) -> Followed {
    let (mut followed, mut last) = (Followed::default(), "oldest".to_owned());
    for turn in 0.. {
        assert!(turn < 10_000, "the server is away");
        let client = &clients[turn % clients.len()];
        let token = format!("Bearer {}", client.token());
        let opened =
            Socket::try_open(client.base(), &format!("after={last}"), &[("authorization", &token)]).await;
        let Ok(mut socket) = opened else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        loop {
            match socket.next_within(Duration::from_secs(1)).await {
                Some(Frame::Json(event)) => {
                    if event["id"].is_string() {
                        followed.take(&event);
                    }
                    if let Some(cursor) = event["cursor"].as_str() {
                        cursor.clone_into(&mut last);
                    }
                }
                Some(Frame::Closed(..) | Frame::Lost) => break,
                None => {
                    let stopped = shared.stop.load(Ordering::Relaxed);
                    if stopped && is_quiet(&database) && block_in_place(|| followed.has_all(&database)) {
                        return followed;
                    }
                }
            }
        }
    }
    followed
}

pub fn is_quiet(database: &crate::support::postgres::Database) -> bool {
    block_in_place(|| database.sql("SELECT count(*) FROM outbox") == "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_misses_nothing_although_the_program_is_killed() {
    let mut server = server_on_a_fixed_port();
    let owner = Owner::new(&server, NUMBERS).await;
    let load = Load::start(
        &owner,
        server.database(),
        &[vec![server.url().to_owned()], vec![server.url().to_owned()]],
    );
    for round in 0..rounds(8) {
        load.wait_for_more(20 + 20 * (round % 4)).await;
        block_in_place(|| {
            server.kill();
            expire_killed_processes(server.database());
            server.restart();
        });
    }
    load.wait_for_more(20).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_two_programs_miss_nothing_although_one_is_killed() {
    let one = server_on_a_fixed_port();
    let owner = Owner::new(&one, NUMBERS).await;
    let mut other = Server::setup().on_a_fixed_port().database(Arc::clone(one.database())).start();
    let (here, there) = (one.url().to_owned(), other.url().to_owned());
    let bases = [vec![here.clone()], vec![there.clone()], vec![here, there]];
    let load = Load::start(&owner, one.database(), &bases);
    for round in 0..rounds(6) {
        load.wait_for_more(30 + 20 * (round % 3)).await;
        block_in_place(|| {
            other.kill();
            expire_killed_processes(one.database());
            other.restart();
        });
    }
    load.wait_for_more(20).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_misses_nothing_although_the_database_goes_away() {
    let server = server_on_a_fixed_port();
    let owner = Owner::new(&server, NUMBERS).await;
    let load = Load::start(&owner, server.database(), &[vec![server.url().to_owned()]]);
    for _ in 0..rounds(3) {
        load.wait_for_more(40).await;
        block_in_place(|| {
            server.database().go_away();
            std::thread::sleep(Duration::from_millis(300));
            server.database().come_back();
        });
    }
    load.wait_for_more(20).await;
    load.finish().await;
}

/// A notification may be lost: of what another program wrote just before it was killed.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_notification_is_given_out_within_a_second() {
    let server = Server::start();
    let owner = Owner::new(&server, 1).await;
    let number = owner.numbers[0].clone();
    for _ in 0..5 {
        let after = owner.now().await;
        let poll = owner.page_later(&format!("after={after}&wait=20&types=contact.removed"));
        tokio::time::sleep(Duration::from_millis(300)).await;
        block_in_place(|| {
            server.database().sql(&format!(
                "WITH counter AS (
                     UPDATE account_counter SET seq = seq + 1, stored_at = clock_timestamp()
                     WHERE number = '{number}' RETURNING id, seq, stored_at)
                 INSERT INTO event (counter_id, seq, at, kind, payload)
                 SELECT id, seq, stored_at, 'contact.removed', '{{\"contact\": \"15550009999\"}}' FROM counter"
            ))
        });
        // It was committed when psql has ended.
        let written = std::time::Instant::now();
        let page = poll.await.expect("a page");
        assert_eq!(page["events"][0]["data"]["contact"], "15550009999", "{page}");
        assert!(written.elapsed() < Duration::from_secs(1), "{:?}", written.elapsed());
    }
    wait_until("its place", DEADLINE, || {
        (server.database().sql("SELECT count(*) FROM event_sequence") == "1").then_some(())
    });
}
