//! The program is killed while clients send with a key each, and repeat it until they are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use reqwest::Method;
use serde_json::Value;
use tokio::task::{JoinSet, block_in_place};

use crate::storm::{
    all, all_is_delivered, forget_the_dead, is_back, journals_have_no_gaps, numbers, rounds,
    server_on_a_fixed_port,
};
use crate::support::client::Client;
use crate::support::people::Person;
use crate::support::wait::{DEADLINE, wait_until_async};

const SENDERS: usize = 8;

/// What the senders share with the test.
#[derive(Default)]
struct Shared {
    answered: AtomicUsize,
    repeated: AtomicUsize,
    replayed: AtomicUsize,
    stop: AtomicBool,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_is_repeated_under_its_key_until_it_is_answered_arrives_exactly_once() {
    let mut server = server_on_a_fixed_port();
    let receiver = Person::new(&server).await;
    let shared = Arc::<Shared>::default();
    let mut senders = Vec::new();
    let mut tasks = JoinSet::new();
    for place in 0..SENDERS {
        let sender = Arc::new(Person::new(&server).await);
        sender.adds(&receiver.number).await;
        tasks.spawn(send_on(place, sender.clone(), receiver.number.clone(), shared.clone()));
        senders.push(sender);
    }
    for round in 0..rounds(5) {
        let goal = shared.answered.load(Ordering::Relaxed) + 60 + 20 * (round % 3);
        wait_until_async("more answers", DEADLINE, async || {
            (shared.answered.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
        block_in_place(|| {
            server.kill();
            forget_the_dead(server.database());
            server.restart();
        });
    }
    shared.stop.store(true, Ordering::Relaxed);
    let mut sent = tasks.join_all().await;
    sent.sort_unstable();
    all_is_delivered(server.database());
    for (place, ids) in sent {
        let arrived = all(&receiver.api, &format!("/api/messages/chats/{}/", senders[place].number)).await;
        assert_eq!(numbers(&arrived), (0..ids.len()).collect::<Vec<_>>(), "each once, in order");
        let arrived: Vec<_> = arrived.iter().map(|message| message["id"].as_str().expect("an id")).collect();
        assert_eq!(arrived, ids, "under the ids that were answered");
    }
    journals_have_no_gaps(server.database());
    println!(
        "{} messages were answered and arrived, {} attempts were repeated, {} answers were given again",
        shared.answered.load(Ordering::Relaxed),
        shared.repeated.load(Ordering::Relaxed),
        shared.replayed.load(Ordering::Relaxed)
    );
}

/// Sends numbers until the test ends; gives the ids that were answered.
async fn send_on(
    place: usize,
    sender: Arc<Person>,
    contact: String,
    shared: Arc<Shared>,
) -> (usize, Vec<String>) {
    let mut ids = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let text = ids.len().to_string();
        let end = Instant::now() + DEADLINE;
        let id = loop {
            match send(&sender.api, &contact, &text, &shared).await {
                Some(id) => break id,
                None => is_back(&sender.api).await,
            }
            shared.repeated.fetch_add(1, Ordering::Relaxed);
            assert!(Instant::now() < end, "waited {DEADLINE:?} in vain for an answer");
        };
        ids.push(id);
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    (place, ids)
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
