//! Eight clients that send as fast as they can, and what must be true of it all afterwards.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::client::Client;
use crate::support::people::Person;
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until, wait_until_async};

const SENDERS: usize = 8;
const RECEIVERS: usize = 4;

/// Two people, by their places.
type Pair = (usize, usize);

/// Everybody, and what was acknowledged so far.
pub struct Storm {
    senders: Vec<Arc<Person>>,
    receivers: Vec<Arc<Person>>,
    tasks: JoinSet<HashMap<Pair, Vec<Sent>>>,
    shared: Arc<Shared>,
}

/// What a sender knows of a message: the server's answer, or that there was none.
struct Sent {
    number: usize,
    id: Option<String>,
}

#[derive(Default)]
struct Shared {
    acknowledged: AtomicUsize,
    stop: AtomicBool,
}

/// How many rounds a test takes: so many, or with `WINDU_TEST_SOAK=1` ten times as many.
pub fn rounds(usual: usize) -> usize {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings of their own")]
    let soak = std::env::var("WINDU_TEST_SOAK").is_ok_and(|value| value == "1");
    if soak { usual * 10 } else { usual }
}

/// A server on a port that stays the same when it is started again.
pub fn server_on_a_fixed_port() -> Server {
    Server::setup().on_a_fixed_port().start()
}

/// Makes the leases of killed programs run out at once.
pub fn forget_the_dead(database: &Database) {
    database.sql("UPDATE process SET heartbeat_at = heartbeat_at - interval '1 minute'");
}

impl Storm {
    /// Eight senders, each with chats with two of four receivers, begin to send.
    pub async fn begin(server: &Server) -> Self {
        let mut receivers = Vec::new();
        for _ in 0..RECEIVERS {
            receivers.push(Arc::new(Person::new(server).await));
        }
        let mut senders = Vec::new();
        for place in 0..SENDERS {
            let sender = Person::new(server).await;
            for receiver in receivers_of(place) {
                sender.adds(&receivers[receiver].number).await;
            }
            senders.push(Arc::new(sender));
        }
        let shared = Arc::<Shared>::default();
        let mut tasks = JoinSet::new();
        for (place, sender) in senders.iter().enumerate() {
            let to = receivers_of(place).map(|receiver| (receiver, receivers[receiver].number.clone()));
            tasks.spawn(send_on(place, sender.clone(), to, shared.clone()));
        }
        Self { senders, receivers, tasks, shared }
    }

    /// Waits until so many more messages were acknowledged.
    pub async fn goes_on(&self, more: usize) {
        let goal = self.shared.acknowledged.load(Ordering::Relaxed) + more;
        wait_until_async("more acknowledged messages", DEADLINE, async || {
            (self.shared.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stops sending and checks that all is as the guarantees say. The server must be running.
    pub async fn ends_well(self, server: &Server) {
        let Self { senders, receivers, tasks, shared } = self;
        shared.stop.store(true, Ordering::Relaxed);
        let mut sent = HashMap::new();
        for of_one in tasks.join_all().await {
            sent.extend(of_one);
        }
        all_is_delivered(server.database());

        let (mut acknowledged, mut unknown) = (0, 0);
        for ((from, to), sent) in &sent {
            let (sender, receiver) = (&senders[*from], &receivers[*to]);
            let out = all(&sender.api, &format!("/api/messages/chats/{}/", receiver.number)).await;
            let arrived = all(&receiver.api, &format!("/api/messages/chats/{}/", sender.number)).await;
            // In order and each once: what was sent, and what arrived.
            assert!(numbers(&arrived).is_sorted_by(|one, next| one < next), "{:?}", numbers(&arrived));
            assert_eq!(parts(&arrived), parts(&out), "what arrived is what was stored at the sender's");
            for message in &out {
                assert_eq!(message["state"], "sent", "{message}");
                assert!(message["delivered"].is_string(), "{message}");
            }
            let receipts = all(&sender.api, &format!("/api/messages/delivered/{}/", receiver.number)).await;
            assert_eq!(sorted_ids(&receipts), sorted_ids(&out));
            let stored: HashMap<usize, Value> = numbers(&arrived)
                .into_iter()
                .zip(arrived.iter().map(|message| message["id"].clone()))
                .collect();
            for Sent { number, id } in sent {
                match id {
                    Some(id) => assert_eq!(stored.get(number), Some(&id.as_str().into()), "{number} is lost"),
                    None => unknown += 1,
                }
                acknowledged += usize::from(id.is_some());
            }
            assert!(arrived.len() <= sent.len());
        }
        journals_have_no_gaps(server.database());
        println!("{acknowledged} messages were acknowledged and arrived, of {unknown} nobody could know");
    }
}

/// Nothing waits any more, and each journal tells each thing once, without a gap.
pub fn journals_have_no_gaps(database: &Database) {
    let gaps = database.sql(
        "SELECT c.id, c.seq, count(e.seq), min(e.seq), max(e.seq) FROM account_counter c
         LEFT JOIN event e ON e.counter_id = c.id GROUP BY c.id
         HAVING c.seq <> count(e.seq) OR (c.seq > 0 AND (min(e.seq) <> 1 OR max(e.seq) <> c.seq))",
    );
    assert_eq!(gaps, "", "gaps in journals");
    let backwards = database.sql(
        "SELECT counter_id, seq FROM (SELECT *, lag(at) OVER (PARTITION BY counter_id ORDER BY seq) AS before
                                      FROM event) e WHERE at <= before",
    );
    assert_eq!(backwards, "", "times that run backwards");
    let twice = database.sql(
        "SELECT counter_id, kind, payload->>'id', count(*) FROM event
         WHERE kind LIKE 'message.%' GROUP BY 1, 2, 3 HAVING count(*) > 1",
    );
    assert_eq!(twice, "", "told twice");
    let untold = database.sql(
        "SELECT m.network_id, k.kind FROM message m JOIN account a ON a.id = m.account_id
         CROSS JOIN LATERAL unnest(CASE WHEN m.sender_peer_id IS NULL
             THEN ARRAY['message.queued', 'message.sent', 'message.delivered']
             ELSE ARRAY['message.received'] END) AS k (kind)
         WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.counter_id = a.counter_id AND e.kind = k.kind
                           AND e.payload->>'id' = m.network_id)",
    );
    assert_eq!(untold, "", "not told");
    let deadlocks = database.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
    assert_eq!(deadlocks, "0", "deadlocks");
}

/// Waits until nothing is on its way any more: outboxes and mailboxes are empty.
pub fn all_is_delivered(database: &Database) {
    wait_until("outboxes and mailboxes to be empty", DEADLINE * 2, || {
        let left = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM receipt_outbox)
                         + (SELECT count(*) FROM localnet_stanza)";
        (database.sql(left) == "0").then_some(())
    });
}

fn receivers_of(sender: usize) -> [usize; 2] {
    [sender % RECEIVERS, (sender + 1) % RECEIVERS]
}

/// Sends numbers, in turn to the one and the other, until the storm ends. A number without an answer is not sent
/// again: nobody knows whether it was taken.
async fn send_on(
    place: usize,
    sender: Arc<Person>,
    to: [(usize, String); 2],
    shared: Arc<Shared>,
) -> HashMap<Pair, Vec<Sent>> {
    let mut sent: HashMap<Pair, Vec<Sent>> = HashMap::new();
    for number in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let (receiver, contact) = &to[number % 2];
        let text = number.to_string();
        let form = [("contact", contact.as_str()), ("message", &text)];
        let id = send(&sender.api, &form).await;
        match id {
            Some(_) => {
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            None => is_back(&sender.api).await,
        }
        sent.entry((place, *receiver)).or_default().push(Sent { number, id });
    }
    sent
}

/// The id of a message that was acknowledged: a whole 200.
async fn send(api: &Client, form: &[(&str, &str)]) -> Option<String> {
    let request = api.request(Method::POST, "/api/messages/send-message/").form(form);
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let body: Value = response.json().await.ok()?;
    assert!([200, 503].contains(&status), "{status}: {body}");
    (status == 200).then(|| body["id"].as_str().expect("an id").to_owned())
}

/// Waits until the server serves. Not `wait_until_async`, whose future cannot move between threads.
pub async fn is_back(api: &Client) {
    let end = Instant::now() + DEADLINE;
    while !api.request(Method::GET, "/readyz").send().await.is_ok_and(|answer| answer.status() == 200) {
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain for the server to be back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A whole list of messages, oldest first.
pub async fn all(api: &Client, row: &str) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    loop {
        let answer = api.get(&format!("{row}?limit=1000&offset={}", messages.len())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut page = answer.json()["messages"].as_array().expect("messages").clone();
        if page.is_empty() {
            return messages;
        }
        page.append(&mut messages);
        messages = page;
    }
}

pub fn numbers(messages: &[Value]) -> Vec<usize> {
    messages
        .iter()
        .map(|message| message["text"].as_str().expect("a text").parse().expect("digits"))
        .collect()
}

fn parts(messages: &[Value]) -> Vec<(&Value, &Value)> {
    messages.iter().map(|message| (&message["id"], &message["text"])).collect()
}

fn sorted_ids(messages: &[Value]) -> Vec<&str> {
    let mut ids: Vec<_> = messages.iter().map(|message| message["id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    ids
}
