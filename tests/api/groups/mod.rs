//! The group endpoints.

mod administration;
mod contract;
mod idempotency;
mod messages;
mod number_changes;
mod photos;

use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::client::Answer;
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

const CREATE: &str = "/api/groups/create-group/";

/// `COUNT` people; the first has all others as contacts.
async fn people<const COUNT: usize>(server: &Server) -> [Person; COUNT] {
    let mut people = Vec::new();
    for _ in 0..COUNT {
        people.push(Person::new(server).await);
    }
    for other in &people[1..] {
        people[0].adds_contact(&other.number).await;
    }
    people.try_into().unwrap_or_else(|_| panic!("so many"))
}

/// Three people in a group that the first one created and that all see.
async fn group_of_three() -> ([Person; 3], String) {
    let people = people(server()).await;
    let group = people[0].creates_group("Three", &[&people[1], &people[2]]).await;
    (people, group)
}

impl Person {
    /// Asks for a group of these.
    async fn tries_to_create_group(&self, subject: &str, participants: &[&str]) -> Answer {
        self.api.post_json(CREATE, &json!({"subject": subject, "participants": participants})).await
    }

    /// Creates a group, waits until all participants see it, and returns its id.
    async fn creates_group(&self, subject: &str, with: &[&Person]) -> String {
        let numbers: Vec<&str> = with.iter().map(|person| person.number.as_str()).collect();
        let made = self.tries_to_create_group(subject, &numbers).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let group = made.json()["groupid"].as_str().expect("an id").to_owned();
        for person in with {
            person.waits_for_group(&group, |_| true).await;
        }
        group
    }

    /// Calls an endpoint of a group.
    async fn posts_to_group(&self, group: &str, endpoint: &str, form: &[(&str, &str)]) -> Answer {
        self.api.post(&format!("/api/groups/{group}/{endpoint}/"), form).await
    }

    /// Calls an endpoint of a group that must succeed.
    async fn changes(&self, group: &str, endpoint: &str, form: &[(&str, &str)]) {
        let answer = self.posts_to_group(group, endpoint, form).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})), "{endpoint}");
    }

    /// The info of a group that this one is in.
    async fn info(&self, group: &str) -> Option<Value> {
        let answer = self.api.get(&format!("/api/groups/{group}/info/")).await;
        if answer.status == 200 {
            return Some(answer.json());
        }
        answer.refused(404, "group_not_found");
        None
    }

    /// Waits until the group is as expected.
    async fn waits_for_group(&self, group: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        wait_until_async("an event of the group", DEADLINE, async || {
            self.info(group).await.filter(|info| predicate(info))
        })
        .await
    }

    /// Waits until this one is in the group no more.
    async fn waits_for_removal(&self, group: &str) {
        wait_until_async("the end of a membership", DEADLINE, async || {
            self.info(group).await.is_none().then_some(())
        })
        .await;
    }

    /// Sends a text to a group and returns its id.
    async fn sends_to_group(&self, group: &str, text: &str) -> String {
        let sent =
            self.api.post("/api/messages/send-message/", &[("group_id", group), ("message", text)]).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        sent.json()["id"].as_str().expect("an id").to_owned()
    }
}

/// The numbers of people.
fn numbers(people: &[&Person]) -> Vec<Value> {
    people.iter().map(|person| json!(person.number)).collect()
}
