//! A user with several numbers that write to each other.

use reqwest::Method;
use serde_json::Value;

use super::client::Client;
use super::people::{fresh_number, login, register};
use super::server::Server;

/// A user with several registered numbers, each in the contacts of the others.
pub struct Owner {
    pub api: Client,
    pub numbers: Vec<String>,
}

impl Owner {
    pub async fn new(server: &Server, count: usize) -> Self {
        let owner = Self { api: login(server).await, numbers: (0..count).map(|_| fresh_number()).collect() };
        for number in &owner.numbers {
            register(server, &owner.api, number).await;
        }
        for number in &owner.numbers {
            for other in owner.numbers.iter().filter(|other| *other != number) {
                let form = [("account", number.as_str()), ("contact_id", other)];
                let added = owner.api.post("/api/contacts/add-contact/", &form).await;
                assert_eq!(added.status, 201, "{}", added.text());
            }
        }
        owner
    }

    /// Sends from one number to another; the indexes of both. Returns the id.
    pub async fn sends(&self, from: usize, to: usize, text: &str) -> String {
        self.tries_to_send(from, to, text).await.expect("accepted")
    }

    /// `None`: there was no whole answer, or a 503.
    pub async fn tries_to_send(&self, from: usize, to: usize, text: &str) -> Option<String> {
        let form =
            [("account", self.numbers[from].as_str()), ("contact", &self.numbers[to]), ("message", text)];
        let request = self.api.request(Method::POST, "/api/messages/send-message/").form(&form);
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let body: Value = response.json().await.ok()?;
        assert!([200, 503].contains(&status), "{status}: {body}");
        (status == 200).then(|| body["id"].as_str().expect("an id").to_owned())
    }

    /// A page of the list of events.
    pub async fn page(&self, query: &str) -> Value {
        let answer = self.api.get(&format!("/api/events/?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()
    }

    /// All events that there are.
    pub async fn all(&self, query: &str) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), "oldest".to_owned());
        loop {
            let page = self.page(&format!("after={after}&{query}")).await;
            events.extend(page["events"].as_array().expect("events").iter().cloned());
            page["cursor"].as_str().expect("a cursor").clone_into(&mut after);
            if page["more"] == false {
                return events;
            }
        }
    }

    /// The cursor of now.
    pub async fn now(&self) -> String {
        self.page("after=newest&limit=0").await["cursor"].as_str().expect("a cursor").to_owned()
    }

    /// Waits for the first event of a type after a cursor that satisfies a predicate.
    pub async fn waits_for(&self, after: &str, kind: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        let mut after = after.to_owned();
        for _ in 0..100 {
            let page = self.page(&format!("after={after}&types={kind}&wait=10")).await;
            let events = page["events"].as_array().expect("events");
            if let Some(event) = events.iter().find(|event| predicate(event)) {
                return event.clone();
            }
            page["cursor"].as_str().expect("a cursor").clone_into(&mut after);
        }
        panic!("no {kind}");
    }
}

impl Owner {
    /// A page of the list of events, asked for in a task of its own.
    pub fn page_later(&self, query: &str) -> tokio::task::JoinHandle<Value> {
        let owner = Self { api: self.api.clone(), numbers: self.numbers.clone() };
        let query = query.to_owned();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move { owner.page(&query).await })
    }
}
