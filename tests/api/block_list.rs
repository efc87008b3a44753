//! The block list and its effect.

use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::people::{Person, fresh_number, texts};
use crate::support::wait::{DEADLINE, wait_until_async};

const LIST: &str = "/api/contacts/blocked-list/";

impl Person {
    async fn blocks(&self, number: &str) -> Value {
        let answer = self.api.post(&format!("/api/contacts/{number}/block/"), &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn unblocks(&self, number: &str) -> Value {
        let answer = self.api.post(&format!("/api/contacts/{number}/unblock/"), &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn blocked(&self) -> Value {
        let answer = self.api.get(LIST).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["numbers"].clone()
    }

    /// Waits until the network has `count` blocks of this person.
    async fn network_knows_blocks(&self, count: usize) {
        let query = format!("SELECT count(*) FROM localnet_block WHERE owner = '{}'", self.number);
        wait_until_async("the blocks", DEADLINE, async || {
            (server().database().sql(&query) == count.to_string()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn any_number_can_be_blocked_unblocked_and_listed() {
    let (anna, bert) = Person::two_friends(server()).await;
    let unknown = fresh_number();
    assert_eq!(anna.blocked().await, json!([]));
    let pretty = format!("+{} {}", &unknown[..4], &unknown[4..]).replace('+', "%2B").replace(' ', "%20");
    assert_eq!(anna.blocks(&pretty).await, json!({}));
    assert_eq!(anna.blocks(&unknown).await, json!({"text": "already-blocked"}));
    assert_eq!(anna.blocks(&bert.number).await, json!({}));
    assert_eq!(anna.blocked().await, json!([unknown, bert.number]));
    assert_eq!(bert.blocked().await, json!([]));
    assert_eq!(anna.unblocks(&unknown).await, json!({}));
    assert_eq!(anna.unblocks(&unknown).await, json!({"text": "not-blocked"}));
    assert_eq!(anna.unblocks(&fresh_number()).await, json!({"text": "not-blocked"}));
    assert_eq!(anna.blocked().await, json!([bert.number]));
    for endpoint in ["block", "unblock"] {
        anna.api.post(&format!("/api/contacts/anna/{endpoint}/"), &[]).await.refused(404, "not_found");
    }
    anna.api.post("/api/contacts/x999999999/block/", &[]).await.refused(400, "contact_unknown");
    let events = server().database().sql(&format!(
        "SELECT kind FROM event e JOIN account_counter c ON c.id = e.counter_id
         WHERE number = '{}' AND kind LIKE '%blocked' ORDER BY e.seq",
        anna.number
    ));
    assert_eq!(
        events.lines().collect::<Vec<_>>(),
        ["contact.blocked", "contact.blocked", "contact.unblocked"]
    );
}

#[tokio::test]
async fn post_blocked_list_replaces_the_whole_list_or_nothing() {
    let anna = Person::new(server()).await;
    let (one, two, three) = (fresh_number(), fresh_number(), fresh_number());
    let replace = async |body: Value| anna.api.post_json(LIST, &body).await;
    let digits = two.parse::<u64>().expect("digits");
    assert_eq!(replace(json!({"numbers": [one, digits, format!("+{two}")]})).await.json(), json!({}));
    assert_eq!(anna.blocked().await, json!([one, two]));
    assert_eq!(replace(json!({"contacts": [three, two]})).await.status, 200);
    let mut now = anna.blocked().await;
    now.as_array_mut().expect("a list").sort_by_key(ToString::to_string);
    assert_eq!(now, json!([two, three]));
    for wrong in [json!("anna"), json!("12"), json!(null), json!({}), json!("")] {
        let sentence = replace(json!({"numbers": [one, wrong]})).await.refused(400, "invalid_parameter");
        assert!(sentence.contains(&wrong.to_string()), "{sentence}");
    }
    replace(json!({"numbers": "anna"})).await.refused(400, "invalid_parameter");
    replace(json!({})).await.refused(400, "missing_parameter");
    anna.api.post(LIST, &[("numbers", &one)]).await.refused(415, "unsupported_media_type");
    assert_eq!(anna.blocked().await.as_array().map(Vec::len), Some(2));
    assert_eq!(replace(json!({"numbers": []})).await.json(), json!({}));
    assert_eq!(anna.blocked().await, json!([]));
}

#[tokio::test]
async fn messages_from_a_blocked_number_never_arrive() {
    let (anna, bert) = Person::two_friends(server()).await;
    bert.delivers(&anna, "before").await;
    anna.blocks(&bert.number).await;
    anna.network_knows_blocks(1).await;
    let id = bert.sends(&anna, "blocked").await;
    bert.waits_until(&anna.number, &id, |message| message["state"] == "sent").await;
    // The other direction is open.
    anna.delivers(&bert, "you are blocked").await;
    anna.unblocks(&bert.number).await;
    anna.network_knows_blocks(0).await;
    bert.delivers(&anna, "after").await;
    let chat = anna.chat(&bert.number).await;
    assert_eq!(texts(&chat), ["before", "you are blocked", "after"]);
    let lost = bert.waits_for(&anna, &id).await;
    assert_eq!((&lost["state"], &lost["delivered"]), (&json!("sent"), &Value::Null));
}

#[tokio::test]
async fn neither_side_of_a_block_sees_the_other() {
    let (anna, bert) = Person::two_friends(server()).await;
    for (person, text) in [(&anna, "Anna"), (&bert, "Bert")] {
        person.api.post("/api/account/connected-status/", &[("connected_status", "online")]).await;
        person.api.post("/api/account/status-message/", &[("status_message", text)]).await;
    }
    let sees = async |who: &Person, whom: &Person, status: Value, presence: &str| {
        let path = format!("/api/contacts/{}", whom.number);
        wait_until_async(&format!("{status} and {presence}"), DEADLINE, async || {
            let message = who.api.get(&format!("{path}/status-message/")).await.json();
            let connected = who.api.get(&format!("{path}/connected-status/")).await.json();
            (message["statuses_messages"][0]["status_message"] == status
                && connected["connected_statuses"][0]["connected_status"] == presence)
                .then_some(())
        })
        .await;
    };
    sees(&anna, &bert, "Bert".into(), "online").await;
    sees(&bert, &anna, "Anna".into(), "online").await;
    anna.blocks(&bert.number).await;
    sees(&anna, &bert, "Bert".into(), "deny").await;
    sees(&bert, &anna, Value::Null, "deny").await;
    anna.unblocks(&bert.number).await;
    sees(&anna, &bert, "Bert".into(), "online").await;
    sees(&bert, &anna, "Anna".into(), "online").await;
}

#[tokio::test]
async fn a_repeated_idempotency_key_does_not_block_again() {
    let anna = Person::new(server()).await;
    let number = fresh_number();
    let post = async |path: &str, key: &str| {
        let request = anna.api.request(reqwest::Method::POST, path).header("idempotency-key", key);
        anna.api.send(request.json(&json!({"numbers": [number]}))).await
    };
    let block = format!("/api/contacts/{number}/block/");
    let unblock = format!("/api/contacts/{number}/unblock/");
    for (path, undo, blocked) in [(block.as_str(), &unblock, json!([])), (LIST, &unblock, json!([]))] {
        let first = post(path, "once").await;
        assert_eq!((first.status, first.json()), (200, json!({})));
        assert_eq!(post(undo, path).await.json(), json!({}));
        let again = post(path, "once").await;
        assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", json!({})));
        assert_eq!(anna.blocked().await, blocked);
    }
    // The unblocking, too.
    anna.blocks(&number).await;
    let again = post(&unblock, LIST).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(anna.blocked().await, json!([number]));
}
