//! The message endpoints: sending, receipts, typing, permitted receivers. Pages are in `paging`.

use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::people::{Person, assert_time, fresh_number, login, register, texts, without_timestamps};
use crate::support::wait::{DEADLINE, wait_until_async};

const SEND: &str = "/api/messages/send-message/";
const LAST_READ: &str = "/api/messages/update-last-read/";
const GROUP: &str = "15551230000-1466000000";

/// The message without its times, which must be written as all times are.
fn timeless(message: Value) -> Value {
    let mut message = without_timestamps(message);
    for name in ["time", "sent", "delivered", "read"] {
        if let Some(time) = message.get_mut(name) {
            assert_time(time);
            *time = "T".into();
        }
    }
    message
}

#[tokio::test]
async fn a_message_has_one_id_everywhere() {
    let (anna, bert) = Person::two_friends(server()).await;
    let sent = anna.tries_to_send(&bert.number, "Hällo 🦜\nsecond line").await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let id = sent.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(sent.json(), json!({"message_id": id, "id": id}));

    let received = bert.waits_for(&anna, &id).await;
    let expected = json!({"id": id, "type": "t", "received": true, "text": "Hällo 🦜\nsecond line",
        "time": "T", "sent": "T", "state": "received"});
    assert_eq!(timeless(received), expected);

    // The receipt may arrive before the network confirms the message.
    let settled = |message: &Value| message["delivered"].is_string() && message["state"] == "sent";
    let delivered = anna.waits_until(&bert.number, &id, settled).await;
    let expected = json!({"id": id, "type": "t", "received": false, "text": "Hällo 🦜\nsecond line",
        "time": "T", "sent": "T", "delivered": "T", "state": "sent"});
    let delivered_at = delivered["delivered"].clone();
    assert_eq!(timeless(delivered), expected);
    let endpoint = format!("/api/messages/delivered/{}/", bert.number);
    let listed: Vec<Value> = anna.list(&endpoint).await.into_iter().map(without_timestamps).collect();
    assert_eq!(listed, [json!({"id": id, "delivered": delivered_at})]);
    let endpoint = format!("/api/messages/read/{}/", bert.number);
    assert_eq!(anna.list(&endpoint).await, [] as [Value; 0]);

    assert_eq!(bert.chat_entry(&anna.number).await.expect("a chat")["unread"], 1);
    let updated = bert.api.post(LAST_READ, &[("contact", &anna.number)]).await;
    assert_eq!(updated.status, 200, "{}", updated.text());
    assert_eq!(updated.json().get("message"), None);
    assert_eq!(bert.chat_entry(&anna.number).await.expect("a chat")["unread"], 0);
    let read = anna.waits_until(&bert.number, &id, |message| message["read"].is_string()).await;
    let listed: Vec<Value> = anna.list(&endpoint).await.into_iter().map(without_timestamps).collect();
    assert_eq!(listed, [json!({"id": id, "read": read["read"]})]);
    // These endpoints are about sent messages.
    for endpoint in ["delivered", "read"] {
        assert_eq!(bert.list(&format!("/api/messages/{endpoint}/{}/", anna.number)).await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn messages_keep_their_order_in_both_directions() {
    let (anna, bert) = Person::two_friends(server()).await;
    let mut last = String::new();
    for number in 0..30 {
        last = anna.sends(&bert, &number.to_string()).await;
    }
    bert.waits_for(&anna, &last).await;
    let expected: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    assert_eq!(texts(&bert.chat(&anna.number).await), expected);
    assert_eq!(texts(&anna.chat(&bert.number).await), expected);
}

#[tokio::test]
async fn messages_go_only_to_existing_contacts_and_to_numbers_that_wrote_first() {
    let (anna, bert) = (Person::new(server()).await, Person::new(server()).await);
    let unknown = fresh_number();
    let endpoints = [SEND, "/api/messages/set-typing/", "/api/messages/set-paused/"];
    let write = async |to: &str| {
        let mut answers = Vec::new();
        for endpoint in endpoints {
            answers.push(anna.api.post(endpoint, &[("contact", to), ("message", "hi")]).await);
        }
        answers
    };
    // A registered number that is no contact; an unknown number; a contact that does not exist; an unknown public id.
    anna.api.post("/api/contacts/add-contact/", &[("contact_id", &unknown)]).await;
    for stranger in [&bert.number, &fresh_number(), &unknown, &"x424242424242".to_owned()] {
        for answer in write(stranger).await {
            answer.refused(400, "not_a_contact");
        }
    }
    bert.adds_contact(&anna.number).await;
    bert.delivers(&anna, "hello").await;
    for answer in write(&bert.number).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(anna.api.get("/api/contacts/").await.json().as_array().expect("a list").len(), 1);
    // Bert has Anna in his list, so Anna's answer reaches him.
    wait_until_async("the answer", DEADLINE, async || {
        (bert.chat(&anna.number).await.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn history_and_receipts_need_no_contact() {
    let (anna, bert) = Person::two_friends(server()).await;
    let id = anna.delivers(&bert, "hello").await;
    anna.waits_until(&bert.number, &id, |message| message["delivered"].is_string()).await;
    for (one, other) in [(&anna, &bert), (&bert, &anna)] {
        one.api.delete(&format!("/api/contacts/{}/", other.number)).await;
    }
    assert_eq!(anna.chat(&bert.number).await.len(), 1);
    assert_eq!(anna.list(&format!("/api/messages/delivered/{}/", bert.number)).await.len(), 1);
    assert_eq!(bert.api.post(LAST_READ, &[("contact", &anna.number)]).await.status, 200);
    wait_until_async("the read receipt", DEADLINE, async || {
        (anna.list(&format!("/api/messages/read/{}/", bert.number)).await.len() == 1).then_some(())
    })
    .await;

    // A number that never wrote, registered or not.
    for stranger in [Person::new(server()).await.number, fresh_number(), "x424242".to_owned()] {
        for endpoint in ["chats", "delivered", "read"] {
            let answer = anna.api.get(&format!("/api/messages/{endpoint}/{stranger}/")).await;
            assert_eq!((answer.status, answer.json()), (200, json!({"messages": []})), "{endpoint}");
        }
        let none = anna.api.post(LAST_READ, &[("contact", &stranger)]).await;
        assert_eq!(none.status, 200);
        assert!(none.json()["message"].is_string(), "{}", none.text());
    }
}

#[tokio::test]
async fn unknown_and_malformed_groups_are_not_found() {
    let (anna, bert) = Person::two_friends(server()).await;
    let long = "1".repeat(100);
    for group in [GROUP, "15551230000-14660000001", "junk", "15551230000", "x-1", long.as_str()] {
        for endpoint in ["send-message", "set-typing", "set-paused", "update-last-read"] {
            let form = [("group_id", group), ("message", "hi")];
            let answer = anna.api.post(&format!("/api/messages/{endpoint}/"), &form).await;
            assert_eq!(answer.status, 404, "{endpoint} {group}: {}", answer.text());
        }
    }
    for endpoint in ["chats", "delivered", "read"] {
        let answer = anna.api.get(&format!("/api/messages/{endpoint}/{GROUP}/")).await;
        answer.refused(404, "group_not_found");
        for word in ["junk", "15551230000-x", "1234", "a%20b"] {
            let answer = anna.api.get(&format!("/api/messages/{endpoint}/{word}/")).await;
            assert_eq!(answer.status, 404, "{endpoint} {word}: {}", answer.text());
        }
    }
    // With both, the contact wins.
    let form = [("group_id", GROUP), ("contact", bert.number.as_str()), ("message", "both")];
    assert_eq!(anna.api.post(SEND, &form).await.status, 200);
    for endpoint in ["send-message", "set-typing", "set-paused", "update-last-read"] {
        let answer = anna.api.post(&format!("/api/messages/{endpoint}/"), &[("message", "hi")]).await;
        answer.refused(400, "missing_parameter");
        let form = [("contact", "15551230000message=hi"), ("message", "hi")];
        let hint = anna.api.post(&format!("/api/messages/{endpoint}/"), &form).await;
        assert!(hint.refused(400, "invalid_parameter").contains('&'), "{}", hint.text());
    }
}

#[tokio::test]
async fn a_text_may_have_65536_characters() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.api.post(SEND, &[("contact", &bert.number)]).await.refused(400, "missing_parameter");
    anna.tries_to_send(&bert.number, "").await.refused(400, "missing_parameter");
    let longest = "€".repeat(65_536);
    anna.tries_to_send(&bert.number, &format!("{longest}€")).await.refused(400, "invalid_parameter");
    let id = anna.sends(&bert, &longest).await;
    assert_eq!(bert.waits_for(&anna, &id).await["text"], longest);
    let body = json!({"contact": bert.number, "message": longest});
    assert_eq!(anna.api.post_json(SEND, &body).await.status, 200);
    let number = json!({"contact": bert.number, "message": 42});
    anna.api.post_json(SEND, &number).await.refused(400, "invalid_parameter");
    // Whitespace is preserved.
    let id = anna.delivers(&bert, "  \t two blanks \n").await;
    assert_eq!(bert.waits_for(&anna, &id).await["text"], "  \t two blanks \n");
}

#[tokio::test]
async fn a_message_to_a_removed_number_fails() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "here").await;
    assert_eq!(bert.api.post("/api/account/remove-account/", &[]).await.status, 200);
    let id = anna.sends(&bert, "gone?").await;
    let failed = anna.waits_until(&bert.number, &id, |message| message["state"] == "failed").await;
    assert_eq!((&failed["failure"], failed.get("sent")), (&json!("recipient_gone"), None));
    // A new owner of the number sees nothing of the old one.
    let carl = Person { api: login(server()).await, number: bert.number.clone() };
    register(server(), &carl.api, &carl.number).await;
    let id = anna.delivers(&carl, "to the new one").await;
    let messages = carl.chat(&anna.number).await;
    assert_eq!((messages.len(), &messages[0]["id"]), (1, &json!(id)));
}

#[tokio::test]
async fn set_typing_and_set_paused_accept_a_contact() {
    let (anna, bert) = Person::two_friends(server()).await;
    for endpoint in ["set-typing", "set-paused"] {
        let answer = anna.api.post(&format!("/api/messages/{endpoint}/"), &[("contact", &bert.number)]).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})), "{endpoint}");
    }
    assert_eq!(bert.chat(&anna.number).await, [] as [Value; 0]);
}

#[tokio::test]
async fn messages_to_oneself_arrive() {
    let anna = Person::new(server()).await;
    anna.adds_contact(&anna.number).await;
    let id = anna.sends(&anna, "note").await;
    let messages = wait_until_async("the sent and the received message", DEADLINE, async || {
        let messages = anna.chat(&anna.number).await;
        (messages.len() == 2).then_some(messages)
    })
    .await;
    assert!(messages.iter().all(|message| message["id"] == id), "{messages:?}");
}
