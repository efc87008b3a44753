//! Rolling upgrades: programs are replaced one by one while clients send, and an older one runs with the tables of a
//! newer one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use tokio::task::{JoinSet, block_in_place};

use crate::processes::{friends, owners};
use crate::support::guarantees::{Tally, assert_guarantees, print_summary, rounds};
use crate::support::keyed_load::arrived;
use crate::support::load::server_on_a_fixed_port;
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until, wait_until_async};

/// The next version may have added nullable columns, tables and indexes while an older program still runs:
/// this adds them to one table after the other, as an upgrade with running programs does.
const NEXT_VERSION: &str = "
    DO $$ DECLARE t regclass; BEGIN
        FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                                            AND relname <> '_sqlx_migrations' LOOP
            EXECUTE format('ALTER TABLE %s ADD COLUMN of_the_next_version text, ADD COLUMN and_one_more bigint DEFAULT 7', t);
            COMMIT;
            EXECUTE format('CREATE INDEX ON %s (of_the_next_version)', t);
            COMMIT;
        END LOOP;
        CREATE TABLE thing_of_the_next_version (id bigint PRIMARY KEY REFERENCES account ON DELETE CASCADE);
        INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (99991231000000, 'of the next version', true, '', 0);
    END $$";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_runs_and_starts_with_the_tables_of_the_next_version() {
    let mut server = server_on_a_fixed_port();
    let people = friends(&server, 2).await;
    let database = Arc::clone(server.database());
    everything_works(&people).await;
    database.sql(NEXT_VERSION);
    // Its statements were prepared before the change.
    everything_works(&people).await;
    no_query_failed(&server);
    server.restart();
    everything_works(&people).await;
    no_query_failed(&server);
    let beside = Server::setup().env("WINDU_MIGRATE", "off").database(Arc::clone(&database)).start();
    wait_until("each program to run one session", DEADLINE, || (owners(&database) == "1 1").then_some(()));
    let through_it: Vec<Person> = people.iter().map(|person| person.at(&beside)).collect();
    everything_works(&through_it).await;
    no_query_failed(&server);
    no_query_failed(&beside);
    assert_guarantees(&database);
}

/// Messages, receipts, lists, commands and desired state of two friends.
async fn everything_works(people: &[Person]) {
    for person in people {
        person.waits_until_online(DEADLINE).await;
    }
    for (from, to) in [(&people[0], &people[1]), (&people[1], &people[0])] {
        let id = from.delivers(to, "hello").await;
        for (endpoint, form) in [
            ("/api/messages/update-last-read/", vec![("contact", from.number.as_str())]),
            ("/api/contacts/force-sync/", vec![]),
            ("/api/account/nickname/", vec![("nickname", id.as_str())]),
        ] {
            let answer = to.api.post(endpoint, &form).await;
            assert_eq!(answer.status, 200, "{endpoint}: {}", answer.text());
        }
        from.waits_until(&to.number, &id, |message| message["read"].is_string()).await;
        assert!(from.chat_entry(&to.number).await.is_some());
    }
}

/// A statement that the tables do not take is logged as an error.
fn no_query_failed(server: &Server) {
    let log = server.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_replaced_one_by_one_lose_and_duplicate_nothing() {
    let mut one = server_on_a_fixed_port();
    let mut other = Server::setup().on_a_fixed_port().database(Arc::clone(one.database())).start();
    let clients = Clients::start([&one, &other]).await;
    let rounds = rounds(2);
    for _ in 0..rounds {
        for server in [&mut one, &mut other] {
            clients.wait_for_more(50).await;
            block_in_place(|| {
                server.terminate();
                let asked = Instant::now();
                let status = server.wait();
                assert!(status.success(), "{status}: {}", server.log());
                assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
            });
            // The other program runs all sessions before this one is back.
            clients.wait_for_more(20).await;
            block_in_place(|| server.restart());
        }
    }
    clients.wait_for_more(50).await;
    for server in [&one, &other] {
        no_query_failed(server);
    }
    let tally = clients.finish(&one).await;
    print_summary("rolling", &[("stops", rounds * 2)], tally);
}

const SENDERS: usize = 4;

/// Clients that know both programs: each sends numbers to one receiver, with a key each, and repeats a request at the
/// other program until it is answered.
struct Clients {
    receiver: Person,
    senders: Vec<Arc<[Person; 2]>>,
    tasks: JoinSet<(usize, Vec<String>)>,
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Clients {
    async fn start(servers: [&Server; 2]) -> Self {
        let receiver = Person::new(servers[0]).await;
        let (answered, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (mut senders, mut tasks) = (Vec::new(), JoinSet::new());
        for index in 0..SENDERS {
            let sender = Person::new(servers[0]).await;
            sender.adds_contact(&receiver.number).await;
            let sender = Arc::new(servers.map(|server| sender.at(server)));
            let (answered, stop) = (answered.clone(), stop.clone());
            tasks.spawn(send_on(index, sender.clone(), receiver.number.clone(), answered, stop));
            senders.push(sender);
        }
        Self { receiver, senders, tasks, answered, stop }
    }

    /// Waits for `more` further answered messages.
    async fn wait_for_more(&self, more: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        wait_until_async("more responses", DEADLINE, async || {
            (self.answered.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stops sending and checks that answered messages arrived once and in order.
    async fn finish(self, server: &Server) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.tasks.join_all().await;
        assert_guarantees(server.database());
        let receiver = self.receiver.at(server);
        let mut tally = Tally::default();
        for (index, ids) in sent {
            tally = tally + arrived(&receiver, &self.senders[index][0].number, ids).await;
        }
        tally
    }
}

async fn send_on(
    index: usize,
    sender: Arc<[Person; 2]>,
    contact: String,
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> (usize, Vec<String>) {
    let mut ids = Vec::new();
    let mut at = index;
    while !stop.load(Ordering::Relaxed) {
        let end = Instant::now() + DEADLINE;
        let id = loop {
            let number = ids.len();
            let first = send(&sender[at % 2], &contact, number);
            // Some requests go to both programs at once.
            let (first, second) = if number.is_multiple_of(5) {
                tokio::join!(first, send(&sender[(at + 1) % 2], &contact, number))
            } else {
                (first.await, None)
            };
            if let (Some(first), Some(second)) = (&first, &second) {
                assert_eq!(first, second, "two different responses for one key");
            }
            match first.or(second) {
                Some(id) => break id,
                None => at += 1,
            }
            assert!(Instant::now() < end, "timed out waiting for a response to {}", ids.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        ids.push(id);
        at += 1;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    (index, ids)
}

/// The id of an answered message; `None` when the request has to be repeated.
async fn send(person: &Person, contact: &str, number: usize) -> Option<String> {
    let request = person
        .api
        .request(Method::POST, "/api/messages/send-message/")
        .header("idempotency-key", format!("message-{number}"))
        .form(&[("contact", contact), ("message", &number.to_string())]);
    let response = request.send().await.ok()?;
    let (status, retry) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
    let body: Value = response.json().await.ok()?;
    match status {
        200 => Some(body["id"].as_str().expect("an id").to_owned()),
        // It is stopping.
        503 if retry => None,
        // An earlier attempt still runs in the other program.
        409 => None,
        _ => panic!("{status}: {body}"),
    }
}
