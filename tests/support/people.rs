//! Users with registered numbers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::server::Server;
use super::wait::{DEADLINE, wait_until_async};

pub const PASSWORD: &str = "a password of some length";

/// A user with one registered number.
pub struct Person {
    /// A client with the token of the user.
    pub api: Client,
    /// At most fifteen digits; unique in this binary.
    pub number: String,
}

/// A new number, unique in this binary.
pub fn fresh_number() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("1555{:07}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The client of a new user. Its connections belong to the runtime of the test.
pub async fn login(server: &Server) -> Client {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let name = format!("user{}", COUNT.fetch_add(1, Ordering::Relaxed));
    server.run(&["user", "create", &name, "--password-stdin"], &format!("{PASSWORD}\n"));
    Client::new(server.url().to_owned()).sign_in(&name, PASSWORD).await
}

/// The newest code that was sent to a number.
pub fn code(server: &Server, number: &str) -> String {
    let codes = std::fs::read_to_string(server.folder().join("codes.log")).expect("codes.log");
    let mark = format!(" code for {number}: ");
    let line = codes.lines().rev().find(|line| line.contains(&mark)).expect("a code for this number");
    line.rsplit(' ').next().expect("a word").to_owned()
}

/// A code that differs from this one.
pub fn other_code(code: &str) -> String {
    let first = if code.starts_with('1') { '2' } else { '1' };
    format!("{first}{}", &code[1..])
}

/// Ages the last code of a number by more than a minute, so that the next one may be requested.
pub fn pass_a_minute(server: &Server, number: &str) {
    let aged = "UPDATE code_sent SET sent_at = sent_at - interval '61 seconds' WHERE number";
    server.database().sql(&format!("{aged} = '{number}'"));
}

/// Registers a number for the user: created, proved, online.
pub async fn register(server: &Server, api: &Client, number: &str) {
    pass_a_minute(server, number);
    let created = api.post("/api/account/create-account/", &[("account", number)]).await;
    assert_eq!(created.status, 201, "{}", created.text());
    prove(server, api, number).await;
}

/// Proves a number with the newest code.
pub async fn prove(server: &Server, api: &Client, number: &str) {
    let form = [("account", number), ("code", &code(server, number))];
    let registered = api.post("/api/account/register-code/", &form).await;
    assert_eq!((registered.status, registered.json()), (200, json!({"login": number})));
}

/// The user's entry for a number in the list of accounts.
pub async fn account(api: &Client, number: &str) -> Option<Value> {
    let list = api.get("/api/account/").await;
    assert_eq!(list.status, 200, "{}", list.text());
    let accounts = list.json()["accounts"].as_array().expect("accounts").clone();
    accounts.into_iter().find(|account| account["account"] == number)
}

impl Person {
    /// A new user with a fresh number, registered and online.
    pub async fn new(server: &Server) -> Self {
        let person = Self { api: login(server).await, number: fresh_number() };
        register(server, &person.api, &person.number).await;
        person
    }

    /// Two people who have each other in their contacts.
    pub async fn two_friends(server: &Server) -> (Self, Self) {
        let (one, other) = (Self::new(server).await, Self::new(server).await);
        one.adds_contact(&other.number).await;
        other.adds_contact(&one.number).await;
        (one, other)
    }

    /// The same person, through another server on the same database.
    #[must_use]
    pub fn at(&self, server: &Server) -> Self {
        Self { api: self.api.at(server.url()), number: self.number.clone() }
    }

    /// Adds a contact that exists.
    pub async fn adds_contact(&self, number: &str) {
        let added = self.api.post("/api/contacts/add-contact/", &[("contact_id", number)]).await;
        assert_eq!((added.status, added.json()), (201, json!({"contact_id": number, "exists": true})));
    }

    /// Sends a text and returns the response.
    pub async fn tries_to_send(&self, number: &str, text: &str) -> Answer {
        self.api.post("/api/messages/send-message/", &[("contact", number), ("message", text)]).await
    }

    /// Sends a text and returns its id.
    pub async fn sends(&self, to: &Person, text: &str) -> String {
        let sent = self.tries_to_send(&to.number, text).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        sent.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Sends a text, waits until the receiver has it, and returns its id.
    pub async fn delivers(&self, to: &Person, text: &str) -> String {
        let id = self.sends(to, text).await;
        to.waits_for(self, &id).await;
        id
    }

    /// The newest thousand messages of a chat, oldest first.
    pub async fn chat(&self, with: &str) -> Vec<Value> {
        self.list(&format!("/api/messages/chats/{with}/?limit=1000")).await
    }

    /// The array `messages` of an endpoint.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let answer = self.api.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["messages"].as_array().expect("messages").clone()
    }

    /// The texts in the array `messages` of an endpoint.
    pub async fn texts(&self, path: &str) -> Vec<String> {
        texts(&self.list(path).await)
    }

    /// The entry in the list of chats.
    pub async fn chat_entry(&self, with: &str) -> Option<Value> {
        let answer = self.api.get("/api/messages/chats/?limit=1000").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let chats = answer.json()["chats"].as_array().expect("chats").clone();
        chats.into_iter().find(|chat| chat["id"] == with)
    }

    /// Waits until the session of the account is online.
    pub async fn waits_until_online(&self, deadline: Duration) {
        wait_until_async("the session to be online", deadline, async || {
            let account = account(&self.api, &self.number).await.expect("listed");
            (account["session"]["state"] == "online").then_some(())
        })
        .await;
    }

    /// Waits for a message with this id.
    pub async fn waits_for(&self, from: &Person, id: &str) -> Value {
        self.waits_until(&from.number, id, |_| true).await
    }

    /// Waits for a message with this id that satisfies a predicate.
    pub async fn waits_until(&self, with: &str, id: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        wait_until_async(&format!("message {id}"), DEADLINE, async || {
            let messages = self.chat(with).await;
            messages.into_iter().find(|message| message["id"] == id && predicate(message))
        })
        .await
    }
}

/// The texts of messages.
pub fn texts(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["text"].as_str().expect("a text").to_owned()).collect()
}

/// Asserts that this is a time in the format of responses: `2016-05-20T05:52:45`.
#[track_caller]
pub fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("a time, not {value}"));
    let pattern: String = text.chars().map(|sign| if sign.is_ascii_digit() { '0' } else { sign }).collect();
    assert_eq!(pattern, "0000-00-00T00:00:00", "{text}");
}

/// Removes the uncut times from an object and from the objects in it. Each must stand beside its time, `timestamp` beside
/// `time` and `NAME_timestamp` beside any other, and be the same moment.
///
/// # Panics
/// When one is missing, or there without its time.
pub fn without_timestamps(mut value: Value) -> Value {
    take_timestamps(&mut value);
    value
}

fn take_timestamps(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(take_timestamps),
        Value::Object(fields) => {
            for time in
                ["time", "sent", "delivered", "read", "updated", "last_seen", "creation", "since", "until"]
            {
                let name = if time == "time" { "timestamp".to_owned() } else { format!("{time}_timestamp") };
                let uncut = fields.remove(&name);
                match fields.get(time).filter(|value| is_time(value)) {
                    Some(cut) => {
                        assert_uncut(uncut.as_ref().unwrap_or_else(|| panic!("{name} is missing")), cut);
                    }
                    None => assert_eq!(uncut, None, "{name} without {time}"),
                }
            }
            assert!(!fields.keys().any(|name| name.ends_with("timestamp")), "{fields:?}");
            fields.values_mut().for_each(take_timestamps);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether this is a time in the format of responses.
fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 19 && text.contains('T'))
}

#[track_caller]
fn assert_uncut(uncut: &Value, cut: &Value) {
    let text = uncut.as_str().unwrap_or_else(|| panic!("a time, not {uncut}"));
    let pattern: String = text.chars().map(|sign| if sign.is_ascii_digit() { '0' } else { sign }).collect();
    assert_eq!(pattern, "0000-00-00T00:00:00.000000Z", "{text}");
    assert_eq!(Some(&text[..19]), cut.as_str());
}
