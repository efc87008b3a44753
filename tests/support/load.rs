//! Load of eight clients that send as fast as they can, and the checks after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use super::client::Client;
use super::guarantees::{Tally, assert_guarantees};
use super::people::Person;
use super::server::Server;
use super::wait::{DEADLINE, wait_until_async};

const SENDERS: usize = 8;
const RECEIVERS: usize = 4;

/// The indexes of a sender and a receiver.
type Pair = (usize, usize);

/// The senders, the receivers and the running tasks.
pub struct Load {
    senders: Vec<Arc<Person>>,
    receivers: Vec<Arc<Person>>,
    tasks: JoinSet<HashMap<Pair, Vec<Sent>>>,
    shared: Arc<Shared>,
}

/// A sent message; `id` is `None` when there was no response.
struct Sent {
    number: usize,
    id: Option<String>,
}

#[derive(Default)]
struct Shared {
    acknowledged: AtomicUsize,
    stop: AtomicBool,
}

/// A server on a port that stays the same when it is started again.
pub fn server_on_a_fixed_port() -> Server {
    Server::setup().on_a_fixed_port().start()
}

impl Load {
    /// Eight senders, each with chats with two of four receivers, begin to send.
    pub async fn start(server: &Server) -> Self {
        let mut receivers = Vec::new();
        for _ in 0..RECEIVERS {
            receivers.push(Arc::new(Person::new(server).await));
        }
        let mut senders = Vec::new();
        for index in 0..SENDERS {
            let sender = Person::new(server).await;
            for receiver in receivers_of(index) {
                sender.adds_contact(&receivers[receiver].number).await;
            }
            senders.push(Arc::new(sender));
        }
        let shared = Arc::<Shared>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(ask_on(senders[0].clone(), shared.clone()));
        for (index, sender) in senders.iter().enumerate() {
            let to = receivers_of(index).map(|receiver| (receiver, receivers[receiver].number.clone()));
            tasks.spawn(send_on(index, sender.clone(), to, shared.clone()));
        }
        Self { senders, receivers, tasks, shared }
    }

    /// Waits for `more` further acknowledged messages.
    pub async fn wait_for_more(&self, more: usize) {
        let goal = self.shared.acknowledged.load(Ordering::Relaxed) + more;
        wait_until_async("more acknowledged messages", DEADLINE * 3, async || {
            (self.shared.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stops sending and checks the guarantees. The server must be running.
    pub async fn finish(self, server: &Server) -> Tally {
        let Self { senders, receivers, tasks, shared } = self;
        shared.stop.store(true, Ordering::Relaxed);
        let mut sent = HashMap::new();
        for of_one in tasks.join_all().await {
            sent.extend(of_one);
        }
        assert_guarantees(server.database());

        let mut tally = Tally::default();
        for ((from, to), sent) in &sent {
            let (sender, receiver) = (&senders[*from], &receivers[*to]);
            let out = all(&sender.api, &format!("/api/messages/chats/{}/", receiver.number)).await;
            let arrived = all(&receiver.api, &format!("/api/messages/chats/{}/", sender.number)).await;
            // Each message is there once and in order, on both sides.
            assert!(numbers(&arrived).is_sorted_by(|one, next| one < next), "{:?}", numbers(&arrived));
            assert_eq!(parts(&arrived), parts(&out), "the receiver has what the sender stored");
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
                if let Some(id) = id {
                    assert_eq!(stored.get(number), Some(&id.as_str().into()), "{number} is lost");
                    tally.acknowledged += 1;
                }
            }
            assert!(arrived.len() <= sent.len());
            tally.arrived += arrived.len();
        }
        tally
    }
}

fn receivers_of(sender: usize) -> [usize; 2] {
    [sender % RECEIVERS, (sender + 1) % RECEIVERS]
}

/// Sends numbers to two receivers in turn, until the load ends. A number without a response is not sent again: it may
/// have been accepted.
async fn send_on(
    index: usize,
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
            None => wait_until_ready(&sender.api).await,
        }
        sent.entry((index, *receiver)).or_default().push(Sent { number, id });
    }
    sent
}

/// Sends a command to the network now and then, until the load ends.
async fn ask_on(person: Arc<Person>, shared: Arc<Shared>) -> HashMap<Pair, Vec<Sent>> {
    while !shared.stop.load(Ordering::Relaxed) {
        let asked = person.api.request(Method::POST, "/api/contacts/force-sync/").send().await;
        if let Ok(answer) = asked {
            assert!([200, 503, 504].contains(&answer.status().as_u16()), "{}", answer.status());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    HashMap::new()
}

/// The id of an acknowledged message: the response was a complete 200.
async fn send(api: &Client, form: &[(&str, &str)]) -> Option<String> {
    let request = api.request(Method::POST, "/api/messages/send-message/").form(form);
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let body: Value = response.json().await.ok()?;
    assert!([200, 503].contains(&status), "{status}: {body}");
    (status == 200).then(|| body["id"].as_str().expect("an id").to_owned())
}

/// Waits until the server is ready. Not `wait_until_async`, whose future is not `Send`.
pub async fn wait_until_ready(api: &Client) {
    // Longer than any outage.
    let end = Instant::now() + DEADLINE * 3;
    while !api.request(Method::GET, "/readyz").send().await.is_ok_and(|answer| answer.status() == 200) {
        assert!(Instant::now() < end, "timed out waiting for the server");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A whole list of messages, oldest first.
pub async fn all(api: &Client, endpoint: &str) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    loop {
        let answer = api.get(&format!("{endpoint}?limit=1000&offset={}", messages.len())).await;
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
