//! Load of clients that send with a key each and repeat until they get a response.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use super::client::Client;
use super::guarantees::{Tally, assert_guarantees};
use super::load::{all, numbers, wait_until_ready};
use super::people::Person;
use super::server::Server;
use super::wait::{DEADLINE, wait_until_async};

const SENDERS: usize = 8;

/// Eight senders, all to one receiver.
pub struct KeyedLoad {
    senders: Vec<Arc<Person>>,
    receiver: Person,
    tasks: JoinSet<(usize, Vec<String>)>,
    /// The ids of each sender, after the stop.
    sent: Vec<(usize, Vec<String>)>,
    shared: Arc<Shared>,
}

/// The state that the senders share with the test.
#[derive(Default)]
struct Shared {
    answered: AtomicUsize,
    repeated: AtomicUsize,
    replayed: AtomicUsize,
    stop: AtomicBool,
}

impl KeyedLoad {
    pub async fn start(server: &Server) -> Self {
        let receiver = Person::new(server).await;
        let shared = Arc::<Shared>::default();
        let mut senders = Vec::new();
        let mut tasks = JoinSet::new();
        for index in 0..SENDERS {
            let sender = Arc::new(Person::new(server).await);
            sender.adds_contact(&receiver.number).await;
            tasks.spawn(send_on(index, sender.clone(), receiver.number.clone(), shared.clone()));
            senders.push(sender);
        }
        Self { senders, receiver, tasks, sent: Vec::new(), shared }
    }

    /// Waits for `more` further answered messages.
    pub async fn wait_for_more(&self, more: usize) {
        let goal = self.shared.answered.load(Ordering::Relaxed) + more;
        wait_until_async("more responses", DEADLINE * 3, async || {
            (self.shared.answered.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stops sending.
    pub async fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(sent) = self.tasks.join_next().await {
            self.sent.push(sent.expect("no panic"));
        }
    }

    /// Stops sending and checks the guarantees. The server must be running, and there must be no other load.
    pub async fn finish(mut self, server: &Server) -> Tally {
        self.stop().await;
        let Self { senders, receiver, sent, .. } = self;
        assert_guarantees(server.database());
        let mut tally = Tally::default();
        for (index, ids) in sent {
            tally = tally + arrived(&receiver, &senders[index].number, ids).await;
        }
        tally
    }

    /// The numbers of repeated requests and of replayed responses.
    pub fn repeated(&self) -> (usize, usize) {
        (self.shared.repeated.load(Ordering::Relaxed), self.shared.replayed.load(Ordering::Relaxed))
    }
}

/// Checks that the numbers of one sender arrived, with the ids of the responses.
pub async fn arrived(receiver: &Person, sender: &str, answered: Vec<String>) -> Tally {
    let arrived = all(&receiver.api, &format!("/api/messages/chats/{sender}/")).await;
    assert_eq!(numbers(&arrived), (0..answered.len()).collect::<Vec<_>>(), "each once, in order");
    let arrived: Vec<_> = arrived.iter().map(|message| message["id"].as_str().expect("an id")).collect();
    assert_eq!(arrived, answered, "with the ids of the responses");
    Tally { acknowledged: answered.len(), arrived: arrived.len() }
}

/// Sends numbers until the test ends; returns their ids.
async fn send_on(
    index: usize,
    sender: Arc<Person>,
    contact: String,
    shared: Arc<Shared>,
) -> (usize, Vec<String>) {
    let mut ids = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let text = ids.len().to_string();
        let end = Instant::now() + DEADLINE * 3;
        let id = loop {
            match send(&sender.api, &contact, &text, &shared).await {
                Some(id) => break id,
                None => wait_until_ready(&sender.api).await,
            }
            shared.repeated.fetch_add(1, Ordering::Relaxed);
            assert!(Instant::now() < end, "timed out waiting for a response to {text}");
        };
        ids.push(id);
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    (index, ids)
}

/// The id of an answered message; `None` when the request has to be repeated.
async fn send(api: &Client, contact: &str, text: &str, shared: &Shared) -> Option<String> {
    let request = api
        .request(Method::POST, "/api/messages/send-message/")
        .header("idempotency-key", format!("message-{text}"))
        .form(&[("contact", contact), ("message", text)]);
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    if response.headers().contains_key("idempotency-replayed") {
        shared.replayed.fetch_add(1, Ordering::Relaxed);
    }
    let body: Value = response.json().await.ok()?;
    assert!([200, 409, 503].contains(&status), "{status}: {body}");
    (status == 200).then(|| body["id"].as_str().expect("an id").to_owned())
}
