//! Kills during messages to a group: each member gets each message once, in order.

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::guarantees::{assert_guarantees, expire_killed_processes};
use crate::support::load::{all, server_on_a_fixed_port};
use crate::support::people::Person;
use crate::support::wait::{DEADLINE, wait_until_async};

#[tokio::test(flavor = "multi_thread")]
async fn group_messages_arrive_once_and_in_order_although_the_program_is_killed() {
    let mut server = server_on_a_fixed_port();
    let (anna, bert, carl) =
        (Person::new(&server).await, Person::new(&server).await, Person::new(&server).await);
    for other in [&bert, &carl] {
        anna.adds_contact(&other.number).await;
    }
    let body = json!({"subject": "Killed", "participants": [bert.number, carl.number]});
    let made = anna.api.post_json("/api/groups/create-group/", &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let group = made.json()["groupid"].as_str().expect("an id").to_owned();
    let mut sent_ids: Vec<Value> = Vec::new();
    for _ in 0..3 {
        for _ in 0..40 {
            let text = sent_ids.len().to_string();
            let form = [("group_id", group.as_str()), ("message", text.as_str())];
            let sent = anna.api.post("/api/messages/send-message/", &form).await;
            assert_eq!(sent.status, 200, "{}", sent.text());
            sent_ids.push(sent.json()["id"].clone());
        }
        // The last messages are not delivered yet.
        block_in_place(|| {
            server.kill();
            expire_killed_processes(server.database());
            server.restart();
        });
    }
    let endpoint = format!("/api/messages/chats/{group}/?limit=1000");
    for person in [&bert, &carl] {
        let arrived = wait_until_async("all messages", DEADLINE * 3, async || {
            // One page only: messages may arrive between two pages.
            let answer = person.api.get(&endpoint).await;
            let arrived = answer.json()["messages"].as_array().cloned().unwrap_or_default();
            (arrived.len() >= sent_ids.len()).then_some(arrived)
        })
        .await;
        let ids: Vec<Value> = arrived.iter().map(|message| message["id"].clone()).collect();
        assert_eq!(ids, sent_ids);
    }
    wait_until_async("all to be delivered", DEADLINE * 3, async || {
        let delivered = all(&anna.api, &format!("/api/messages/delivered/{group}/")).await;
        (delivered.len() == sent_ids.len()).then_some(())
    })
    .await;
    assert_guarantees(server.database());
}
