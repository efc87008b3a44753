//! Messages in groups and their receipts.

use serde_json::{Value, json};

use super::group_of_three;
use crate::support::people::{Person, assert_time, texts, without_timestamps};
use crate::support::wait::{DEADLINE, wait_until_async};

/// Waits until the second list holds these ids.
async fn receipts(person: &Person, endpoint: &str, group: &str, ids: &[&str]) -> Vec<Value> {
    wait_until_async(endpoint, DEADLINE, async || {
        let list = person.list(&format!("/api/messages/{endpoint}/{group}/")).await;
        list.iter()
            .map(|message| message["id"].as_str().expect("an id"))
            .eq(ids.iter().copied())
            .then_some(list)
    })
    .await
}

#[tokio::test]
async fn a_message_reaches_all_participants_with_its_author() {
    let ([anna, bert, carl], group) = group_of_three().await;
    let id = anna.sends_to_group(&group, "Hello, all").await;
    for person in [&bert, &carl] {
        let message = person.waits_until(&group, &id, |_| true).await;
        assert_eq!((&message["text"], &message["received"]), (&json!("Hello, all"), &json!(true)));
        assert_eq!((&message["participant"], &message["state"]), (&json!(anna.number), &json!("received")));
    }
    let answer = carl.sends_to_group(&group, "Hello, Anna").await;
    let message = anna.waits_until(&group, &answer, |_| true).await;
    assert_eq!(message["participant"], json!(carl.number));
    let own = anna.waits_until(&group, &id, |message| message["delivered"].is_string()).await;
    assert_eq!((own.get("participant"), &own["state"]), (None, &json!("sent")));
    bert.waits_until(&group, &answer, |_| true).await;
    assert_eq!(texts(&bert.chat(&group).await), ["Hello, all", "Hello, Anna"]);
    let received = anna.texts(&format!("/api/messages/chats/{group}/?received_only=1")).await;
    assert_eq!(received, ["Hello, Anna"]);

    let entry = anna.chat_entry(&group).await.expect("a chat");
    let expected = json!({
        "id": group, "title": "Three", "is_group": true, "snippet": "Hello, Anna", "type": "t",
        "time": entry["time"], "unread": 1, "received": true, "state": "received", "participant": carl.number,
        "preview_photo_url": null, "photo_status": "404",
    });
    assert_eq!(without_timestamps(entry), expected);
    assert_eq!(bert.chat_entry(&group).await.expect("a chat")["unread"], 2);
    // A group message neither permits direct messages nor opens a chat with its author.
    carl.tries_to_send(&anna.number, "alone").await.refused(400, "not_a_contact");
    assert_eq!(bert.chat(&carl.number).await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_message_is_delivered_and_read_when_all_others_have_it() {
    let ([anna, bert, carl], group) = group_of_three().await;
    let (one, two) = (anna.sends_to_group(&group, "one").await, anna.sends_to_group(&group, "two").await);
    for message in receipts(&anna, "delivered", &group, &[&one, &two]).await {
        assert_time(&message["delivered"]);
    }
    let read = |person: &Person| {
        let (api, form) = (person.api.clone(), [("group_id", group.clone())]);
        async move {
            let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = api.post("/api/messages/update-last-read/", &form).await;
            (answer.status, answer.json())
        }
    };
    assert_eq!(read(&bert).await, (200, json!({"read": 2})));
    assert!(read(&bert).await.1["message"].is_string());
    // Bert's receipts come before his next message. The group message stays unread until all have read it.
    let fence = bert.sends_to_group(&group, "fence").await;
    anna.waits_until(&group, &fence, |_| true).await;
    assert_eq!(anna.list(&format!("/api/messages/read/{group}/")).await, [] as [Value; 0]);
    assert_eq!(bert.chat_entry(&group).await.expect("a chat")["unread"], 0);
    carl.waits_until(&group, &two, |_| true).await;
    let carls = read(&carl).await.1["read"].as_u64().expect("a number");
    assert!((2..=3).contains(&carls), "{carls}");
    for message in receipts(&anna, "read", &group, &[&one, &two]).await {
        assert_time(&message["read"]);
    }
    let message = anna.waits_until(&group, &one, |_| true).await;
    assert!(message["read"].is_string() && message["delivered"].is_string(), "{message}");
}

#[tokio::test]
async fn removed_participants_do_not_delay_receipts() {
    let ([anna, bert, carl], group) = group_of_three().await;
    let id = anna.sends_to_group(&group, "who reads this?").await;
    receipts(&anna, "delivered", &group, &[&id]).await;
    assert_eq!(bert.api.post("/api/messages/update-last-read/", &[("group_id", &group)]).await.status, 200);
    // His receipt comes before his next message.
    let fence = bert.sends_to_group(&group, "fence").await;
    anna.waits_until(&group, &fence, |_| true).await;
    anna.changes(&group, "remove-participant", &[("contact", &carl.number)]).await;
    receipts(&anna, "read", &group, &[&id]).await;
    // Receipts do not wait for a participant who was added later.
    let last = anna.sends_to_group(&group, "for Bert").await;
    receipts(&anna, "delivered", &group, &[&id, &last]).await;
    anna.changes(&group, "add-participant", &[("contact", &carl.number)]).await;
    assert_eq!(bert.api.post("/api/messages/update-last-read/", &[("group_id", &group)]).await.status, 200);
    receipts(&anna, "read", &group, &[&id, &last]).await;
}

#[tokio::test]
async fn a_removed_participant_keeps_old_messages_and_gets_no_new_ones() {
    let ([anna, bert, carl], group) = group_of_three().await;
    let id = anna.sends_to_group(&group, "before").await;
    carl.waits_until(&group, &id, |_| true).await;
    anna.changes(&group, "remove-participant", &[("contact", &carl.number)]).await;
    carl.waits_for_removal(&group).await;
    anna.changes(&group, "subject", &[("subject", "Without Carl")]).await;
    let after = anna.sends_to_group(&group, "after").await;
    bert.waits_until(&group, &after, |_| true).await;
    bert.waits_for_group(&group, |info| info["subject"] == "Without Carl").await;
    assert_eq!(texts(&carl.chat(&group).await), ["before"]);
    let entry = carl.chat_entry(&group).await.expect("the old chat");
    assert_eq!(
        (&entry["title"], &entry["snippet"], &entry["unread"]),
        (&json!("Three"), &json!("before"), &json!(1))
    );
    let read = carl.api.post("/api/messages/update-last-read/", &[("group_id", &group)]).await;
    assert_eq!((read.status, read.json()), (200, json!({"read": 1})));
    for endpoint in ["send-message", "set-typing", "set-paused"] {
        let form = [("group_id", group.as_str()), ("message", "still here")];
        carl.api.post(&format!("/api/messages/{endpoint}/"), &form).await.refused(404, "group_not_found");
    }
    // After he is added again, the chat continues.
    anna.changes(&group, "add-participant", &[("contact", &carl.number)]).await;
    carl.waits_for_group(&group, |_| true).await;
    let again = anna.sends_to_group(&group, "again").await;
    carl.waits_until(&group, &again, |_| true).await;
    assert_eq!(texts(&carl.chat(&group).await), ["before", "again"]);
    assert_eq!(carl.chat_entry(&group).await.expect("the chat")["title"], "Without Carl");
}

#[tokio::test]
async fn the_contact_parameter_wins_over_group_id() {
    let ([anna, bert, carl], group) = group_of_three().await;
    let form = [("group_id", group.as_str()), ("contact", bert.number.as_str()), ("message", "to Bert")];
    let sent = anna.api.post("/api/messages/send-message/", &form).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    bert.waits_for(&anna, sent.json()["id"].as_str().expect("an id")).await;
    let id = anna.sends_to_group(&group, "to all").await;
    carl.waits_until(&group, &id, |_| true).await;
    assert_eq!(texts(&carl.chat(&group).await), ["to all"]);
    for endpoint in ["set-typing", "set-paused"] {
        let answer = anna.api.post(&format!("/api/messages/{endpoint}/"), &[("group_id", &group)]).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})), "{endpoint}");
    }
}

#[tokio::test]
async fn a_block_does_not_affect_groups() {
    let ([anna, bert, _], group) = group_of_three().await;
    let blocked = bert.api.post(&format!("/api/contacts/{}/block/", anna.number), &[]).await;
    assert_eq!(blocked.status, 200, "{}", blocked.text());
    let id = anna.sends_to_group(&group, "to all of you").await;
    bert.waits_until(&group, &id, |_| true).await;
    anna.waits_until(&group, &id, |message| message["delivered"].is_string()).await;
}
