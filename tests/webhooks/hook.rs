//! A webhook of a user, at a receiver.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::task::block_in_place;

use crate::support::client::Client;
use crate::support::owner::Owner;
use crate::support::postgres::Database;
use crate::support::receiver::{Receiver, Request};
use crate::support::server::{Server, Setup};
use crate::support::wait::{DEADLINE, wait_until_async};

/// A server whose webhooks may lead to this machine.
pub fn setup() -> Setup {
    Server::setup().env("WINDU_FETCH_ALLOW", "127.0.0.0/8")
}

/// A webhook of a user.
pub struct Hook {
    pub api: Client,
    pub id: String,
    pub secret: String,
    pub database: Arc<Database>,
}

impl Hook {
    /// One that gets everything from now on.
    pub async fn new(server: &Server, owner: &Owner, receiver: &Receiver) -> Self {
        Self::with(server, owner, json!({"url": receiver.url("/hook")})).await
    }

    pub async fn with(server: &Server, owner: &Owner, settings: Value) -> Self {
        let answer = owner.api.post_json("/api/webhooks/", &settings).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let hook = answer.json();
        Self {
            api: owner.api.clone(),
            id: hook["id"].as_str().expect("an id").to_owned(),
            secret: hook["secret"].as_str().expect("a secret").to_owned(),
            database: Arc::clone(server.database()),
        }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/api/webhooks/{}/{rest}", self.id)
    }

    pub async fn get(&self, rest: &str) -> Value {
        let answer = self.api.get(&self.path(rest)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub async fn post(&self, rest: &str, body: &Value) -> Value {
        let answer = self.api.post_json(&self.path(rest), body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub async fn patch(&self, body: &Value) -> Value {
        let request = self.api.request(Method::PATCH, &self.path("")).json(body);
        let answer = self.api.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub async fn waits_for(&self, what: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        wait_until_async(what, DEADLINE * 2, async || {
            let shown = self.get("").await;
            predicate(&shown).then_some(shown)
        })
        .await
    }

    /// Waits until so many attempts are listed.
    pub async fn waits_for_attempts(&self, what: &str, query: &str, count: usize) -> Vec<Value> {
        wait_until_async(what, DEADLINE * 2, async || {
            let listed = self.get(&format!("attempts/?{query}")).await;
            let attempts = listed["attempts"].as_array().expect("attempts").clone();
            (attempts.len() >= count).then_some(attempts)
        })
        .await
    }

    /// Changes the database, and lets the webhook be read anew.
    pub async fn after_sql(&self, statements: &str) {
        block_in_place(|| self.database.sql(statements));
        self.patch(&json!({"description": "read anew"})).await;
    }

    /// All retries are due now.
    pub async fn retry_now(&self) {
        self.after_sql(
            "UPDATE webhook SET retry_at = now() - interval '1 s' WHERE retry_at IS NOT NULL;
             UPDATE webhook_account SET retry_at = now() - interval '1 s' WHERE retry_at IS NOT NULL;
             UPDATE webhook_redelivery SET retry_at = now() - interval '1 s'",
        )
        .await;
    }

    /// Verifies the signature of a request with the official library.
    #[track_caller]
    pub fn verify(&self, request: &Request) {
        let verifier = Webhook::new(&self.secret).expect("a secret");
        let mut headers = http::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let value = request.header(name).parse().expect("a value");
            headers.insert(http::HeaderName::from_static(name), value);
        }
        verifier.verify(&request.body, &headers).expect("the signature is right");
        assert_eq!(request.header("webhook-id"), request.id());
    }
}
