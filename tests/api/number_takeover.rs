//! Takeover of a number by the user who proved it last.

use serde_json::json;

use crate::shared_server::server;
use crate::support::people::{Person, account, login, pass_a_minute, prove, register};
use crate::support::wait::{DEADLINE, wait_until_async};

const SEND: &str = "/api/messages/send-message/";

#[tokio::test]
async fn a_proved_number_moves_without_the_data_of_its_old_owner() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "from Anna").await;
    bert.delivers(&anna, "to Anna").await;
    anna.api.post("/api/account/nickname/", &[("nickname", "Anna")]).await;

    let carl = Person { api: login(server()).await, number: anna.number.clone() };
    register(server(), &carl.api, &carl.number).await;

    // The new owner starts empty.
    let listed = account(&carl.api, &carl.number).await.expect("listed");
    assert_eq!((&listed["registered"], &listed["nickname"]), (&json!(true), &json!("")));
    assert_eq!(listed["session"]["state"], "online");
    assert_eq!(carl.api.get("/api/contacts/").await.json(), json!([]));
    assert_eq!(carl.api.get("/api/messages/chats/").await.json(), json!({"chats": []}));
    carl.tries_to_send(&bert.number, "no contact yet").await.refused(400, "not_a_contact");

    // The old one keeps the history and nothing else.
    let listed = account(&anna.api, &anna.number).await.expect("listed");
    assert_eq!(listed["registered"], false);
    assert_eq!(
        (&listed["session"]["state"], &listed["session"]["reason"]),
        (&json!("logged_out"), &json!("moved"))
    );
    let named = ("account", anna.number.as_str());
    for form in [&[("contact", bert.number.as_str()), ("message", "late")][..], &[named]] {
        let form: Vec<_> = form.iter().copied().chain([named]).collect();
        anna.api.post(SEND, &form).await.refused(400, "account_not_registered");
    }
    anna.tries_to_send(&bert.number, "late").await.refused(400, "account_not_registered");
    let stored = server().database().sql(&format!(
        "SELECT count(*) FROM message m JOIN account a ON a.id = m.account_id JOIN windu_user u ON u.id = a.user_id
         WHERE a.number = '{}' AND a.registered_at IS NULL",
        anna.number
    ));
    assert_eq!(stored, "2");
    let chat = format!("/api/messages/chats/{}/?account={}", bert.number, anna.number);
    assert_eq!(anna.texts(&chat).await, ["from Anna", "to Anna"]);

    // Messages reach the new owner only.
    bert.delivers(&carl, "to Carl").await;
    carl.delivers(&bert, "from Carl").await;
    assert_eq!(anna.texts(&chat).await, ["from Anna", "to Anna"]);
    assert_eq!(carl.chat(&bert.number).await.len(), 2);

    // The number moves back: the first user has the history and continues.
    pass_a_minute(server(), &anna.number);
    let code = anna.api.post("/api/account/request-sms-code/", &[named]).await;
    assert_eq!(code.status, 200, "{}", code.text());
    prove(server(), &anna.api, &anna.number).await;
    assert_eq!(account(&carl.api, &carl.number).await.expect("listed")["registered"], false);
    assert_eq!(anna.texts(&chat).await, ["from Anna", "to Anna"]);
    anna.delivers(&bert, "Anna again").await;
    assert_eq!(anna.chat(&bert.number).await.len(), 3);
}

#[tokio::test]
async fn unsent_messages_of_the_old_owner_fail() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "sent").await;
    // Simulates a message that the network has refused for now.
    let id = anna.sends(&bert, "waits").await;
    bert.waits_for(&anna, &id).await;
    let number = &anna.number;
    server().database().sql(&format!(
        "WITH back AS (UPDATE message SET state = 'queued', sent_at = NULL
                       WHERE network_id = '{id}' AND sender_peer_id IS NULL RETURNING id, account_id, chat_id)
         INSERT INTO outbox (message_id, account_id, chat_id, retry_at, expires_at)
         SELECT id, account_id, chat_id, now() + interval '1 hour', now() + interval '1 day' FROM back"
    ));
    let carl = login(server()).await;
    register(server(), &carl, number).await;
    let chat = format!("/api/messages/chats/{}/?account={number}", bert.number);
    let failed = wait_until_async("the message to fail", DEADLINE, async || {
        anna.list(&chat).await.into_iter().find(|message| message["state"] == "failed")
    })
    .await;
    assert_eq!((&failed["id"], &failed["failure"]), (&json!(id), &json!("unregistered")));
    // Its account can be removed without the network, and the new owner keeps the number.
    let removed = anna.api.post("/api/account/remove-account/", &[]).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    assert_eq!(anna.api.get("/api/account/").await.json(), json!({"accounts": []}));
    let listed = account(&carl, number).await.expect("listed");
    assert_eq!((&listed["registered"], &listed["session"]["state"]), (&json!(true), &json!("online")));
}
