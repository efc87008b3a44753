//! `Idempotency-Key` on the group endpoints.

use reqwest::Method;
use serde_json::{Value, json};

use super::{CREATE, group_of_three, numbers};
use crate::shared_server::server;
use crate::support::client::Answer;
use crate::support::people::Person;

async fn post(person: &Person, path: &str, key: &str, body: &Value) -> Answer {
    let request = person.api.request(Method::POST, path).header("idempotency-key", key).json(body);
    person.api.send(request).await
}

/// Sends a request twice under one key; the second response equals the first.
async fn twice(person: &Person, path: &str, key: &str, body: Value) -> Answer {
    let first = post(person, path, key, &body).await;
    let second = post(person, path, key, &body).await;
    assert_eq!((first.status, first.text()), (second.status, second.text()), "{path}");
    assert!(!first.headers.contains_key("idempotency-replayed"), "{path}");
    assert_eq!(second.header("idempotency-replayed"), "true", "{path}");
    first
}

#[tokio::test]
async fn every_group_endpoint_is_done_once_under_a_key() {
    let ([anna, bert, carl], group) = group_of_three().await;
    let made = twice(&anna, CREATE, "make", json!({"subject": "Once", "participants": [bert.number]})).await;
    assert_eq!(made.status, 201);
    let all = anna.api.get("/api/groups/info-all/").await.json();
    assert_eq!(all["grouplist"].as_array().expect("a list").len(), 2);
    let endpoint = |endpoint: &str| format!("/api/groups/{group}/{endpoint}/");
    let done = |answer: Answer| assert_eq!((answer.status, answer.json()), (200, json!({})));
    done(twice(&anna, &endpoint("subject"), "subject", json!({"subject": "New"})).await);
    done(
        twice(&anna, "/api/groups/subject/", "subject", json!({"subject": "Newer", "group_id": group})).await,
    );
    for (key, name, number) in [
        ("remove", "remove-participant", &carl.number),
        ("add", "add-participant", &carl.number),
        ("promote", "promote-participant", &bert.number),
        ("demote", "demote-participant", &bert.number),
    ] {
        done(twice(&anna, &endpoint(name), key, json!({"contact": number})).await);
    }
    let info = anna.info(&group).await.expect("hers");
    assert_eq!((&info["subject"], &info["admins"]), (&json!("Newer"), &json!(numbers(&[&anna]))));
    assert_eq!(info["participants"], json!(numbers(&[&anna, &bert, &carl])));
    let read = json!({"group_id": group});
    assert_eq!(twice(&anna, "/api/messages/update-last-read/", "read", read).await.status, 200);
    let text = json!({"group_id": group, "message": "once"});
    let sent = twice(&anna, "/api/messages/send-message/", "send", text).await.json();
    bert.waits_until(&group, sent["id"].as_str().expect("an id"), |_| true).await;
    assert_eq!(bert.chat(&group).await.len(), 1);
    // Errors are replayed too, and changes that removed the caller from the group.
    let refused =
        twice(&bert, &endpoint("add-participant"), "refused", json!({"contact": anna.number})).await;
    refused.refused(403, "not_an_admin");
    done(twice(&bert, &endpoint("leave"), "leave", json!({})).await);
    done(twice(&anna, "/api/groups/leave/", "leave", json!({"group_id": group})).await);
    carl.waits_for_group(&group, |info| info["participants"] == json!(numbers(&[&carl]))).await;
    post(&anna, CREATE, "make", &json!({"subject": "Other", "participants": []}))
        .await
        .refused(422, "idempotency_key_reused");
}

/// As if the program was killed after the network had made the change, or after the session's answer was stored: the
/// key is free again, and the repeat waits_for_group what was done.
#[tokio::test]
async fn a_repeat_gets_the_response_of_a_change_that_was_done_but_not_answered() {
    let ([anna, bert, carl], group) = group_of_three().await;
    let endpoint = |endpoint: &str| format!("/api/groups/{group}/{endpoint}/");
    let requests = [
        (CREATE.to_owned(), json!({"subject": "Once", "participants": [bert.number]})),
        (endpoint("subject"), json!({"subject": "New"})),
        (endpoint("remove-participant"), json!({"contact": carl.number})),
        (endpoint("promote-participant"), json!({"contact": bert.number})),
        (endpoint("leave"), json!({})),
    ];
    for (index, (path, body)) in requests.into_iter().enumerate() {
        for answered in [true, false] {
            let key = format!("cut-{index}-{answered}");
            let (path, body) = match (answered, index) {
                // Changes that can be made only once are cut off at one of the two moments.
                (true, 2..) => continue,
                _ => (path.clone(), body.clone()),
            };
            let first = post(&anna, &path, &key, &body).await;
            assert!(first.status < 300, "{path}: {}", first.text());
            let command = "(SELECT id FROM command WHERE account_id = (
                SELECT id FROM account WHERE number = '{number}') ORDER BY id DESC LIMIT 1)"
                .replace("{number}", &anna.number);
            // The fence of an earlier process.
            let unanswered =
                format!("UPDATE command SET state = 'taken', answer = NULL, fence = -1 WHERE id = {command}");
            let cut = format!(
                "UPDATE idempotency_key SET status = NULL, body = NULL, content_type = NULL, process_id = 0,
                        command_id = {command} WHERE key = '{key}'; {}",
                if answered { "" } else { &unanswered }
            );
            server().database().sql(&cut);
            let again = post(&anna, &path, &key, &body).await;
            assert_eq!((again.status, again.text()), (first.status, first.text()), "{path} {answered}");
        }
    }
    assert_eq!(anna.info(&group).await, None);
    let all = anna.api.get("/api/groups/info-all/").await.json();
    assert_eq!(all["grouplist"].as_array().expect("a list").len(), 2, "{all}");
    let info = bert.waits_for_group(&group, |info| info["participants"] == json!(numbers(&[&bert]))).await;
    assert_eq!((&info["subject"], &info["admins"]), (&json!("New"), &json!(numbers(&[&bert]))));
}
