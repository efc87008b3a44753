//! The account endpoints: list, create, remove, nickname. Codes are in `account_codes`.

use serde_json::json;

use crate::shared_server::server;
use crate::support::people::{
    Person, account, assert_time, code, fresh_number, login, prove, register, without_timestamps,
};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

const CREATE: &str = "/api/account/create-account/";
const REMOVE: &str = "/api/account/remove-account/";
const NICKNAME: &str = "/api/account/nickname/";

#[tokio::test]
async fn get_account_lists_accounts_oldest_first() {
    let api = login(server()).await;
    let empty = api.get("/api/account/").await;
    assert_eq!((empty.status, empty.json()), (200, json!({"accounts": []})));

    let (first, second) = (fresh_number(), fresh_number());
    register(server(), &api, &first).await;
    api.post(CREATE, &[("account", &second), ("nickname", "Second")]).await;

    let mut list = without_timestamps(api.get("/api/account/").await.json());
    for account in list["accounts"].as_array_mut().expect("a list") {
        assert_time(&account["session"]["since"].take());
    }
    let session = |state: &str| json!({"state": state, "since": null, "reason": null});
    let expected = json!({"accounts": [
        {"account": first, "nickname": "", "network": "local", "registered": true, "session": session("online")},
        {"account": second, "nickname": "Second", "network": "local", "registered": false,
         "session": session("stopped")},
    ]});
    assert_eq!(list, expected);
}

#[tokio::test]
async fn create_account_sends_a_code_and_lists_the_account_as_unregistered() {
    let api = login(server()).await;
    let number = fresh_number();
    let pretty = format!("+1 (555) {}-{}.", &number[4..7], &number[7..]);
    let created = api.post(CREATE, &[("account", &pretty), ("nickname", "Änne")]).await;
    assert_eq!((created.status, created.json()), (201, json!({"method": "sms", "length": 6})));
    assert_eq!(code(server(), &number).len(), 6);

    let listed = account(&api, &number).await.expect("listed");
    assert_eq!((&listed["nickname"], &listed["registered"]), (&json!("Änne"), &json!(false)));

    // The caller's own number, in any spelling, registered or not.
    for spelling in [number.as_str(), &pretty] {
        api.post(CREATE, &[("account", spelling)]).await.refused(400, "account_exists");
    }
    prove(server(), &api, &number).await;
    api.post(CREATE, &[("account", &number)]).await.refused(400, "account_exists");
    api.post_json(CREATE, &json!({"account": number.parse::<u64>().expect("digits")}))
        .await
        .refused(400, "account_exists");
}

#[tokio::test]
async fn create_account_refuses_invalid_parameters() {
    let api = login(server()).await;
    let number = fresh_number();
    api.post(CREATE, &[]).await.refused(400, "missing_parameter");
    for wrong in ["1234", "1234567890123456", "1555*12345", "-"] {
        api.post(CREATE, &[("account", wrong)]).await.refused(400, "invalid_parameter");
    }
    let hint = api.post(CREATE, &[("account", "15551230000nickname=Anna")]).await;
    assert!(hint.refused(400, "invalid_parameter").contains('&'), "{}", hint.text());
    api.post_json(CREATE, &json!({"account": 1.5})).await.refused(400, "invalid_parameter");
    api.post_json(CREATE, &json!({"account": null})).await.refused(400, "missing_parameter");
    api.post(CREATE, &[("account", &number), ("network", "carrier pigeon")])
        .await
        .refused(400, "network_unknown");
    api.post(CREATE, &[("account", &number), ("nickname", &"ö".repeat(65))])
        .await
        .refused(400, "invalid_parameter");
    assert_eq!(api.get("/api/account/").await.json(), json!({"accounts": []}));
    let longest = api.post(CREATE, &[("account", &number), ("nickname", &"ö".repeat(64))]).await;
    assert_eq!(longest.status, 201, "{}", longest.text());
}

#[tokio::test]
async fn create_account_leaves_no_account_when_the_number_had_a_code_a_moment_ago() {
    let (api, other) = (login(server()).await, login(server()).await);
    let number = fresh_number();
    assert_eq!(api.post(CREATE, &[("account", &number)]).await.status, 201);
    let soon = other.post(CREATE, &[("account", &number)]).await;
    soon.refused(429, "code_too_soon");
    let retry_after = soon.json()["retry_after"].as_u64().expect("seconds");
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    assert_eq!(soon.header("retry-after"), retry_after.to_string());
    assert_eq!(other.get("/api/account/").await.json(), json!({"accounts": []}));
}

#[tokio::test]
async fn a_user_may_have_ten_unregistered_accounts() {
    let api = login(server()).await;
    for _ in 0..10 {
        assert_eq!(api.post(CREATE, &[("account", &fresh_number())]).await.status, 201);
    }
    api.post(CREATE, &[("account", &fresh_number())]).await.refused(429, "too_many_accounts");
}

#[tokio::test]
async fn create_account_leaves_no_account_when_the_code_cannot_be_sent() {
    // Nothing listens there.
    let broken = Server::setup()
        .env("WINDU_CODE_SENDER", "webhook")
        .env("WINDU_CODE_WEBHOOK_URL", "http://127.0.0.1:1/")
        .start();
    let api = broken.client().sign_in_as_first_user().await;
    let number = fresh_number();
    for _ in 0..2 {
        api.post(CREATE, &[("account", &number)]).await.refused(502, "code_sender_failed");
        assert_eq!(api.get("/api/account/").await.json(), json!({"accounts": []}));
    }
    // The counter of the number outlives its accounts.
    broken.database().sql(&format!(
        "INSERT INTO account (user_id, number, counter_id, network)
         SELECT user_id, number, id, 'local' FROM account_counter WHERE number = '{number}'"
    ));
    for endpoint in ["sms", "voice"] {
        let endpoint = format!("/api/account/request-{endpoint}-code/");
        api.post(&endpoint, &[]).await.refused(502, "code_sender_failed");
    }
    // The account that was there before stays.
    assert!(account(&api, &number).await.is_some());
}

#[tokio::test]
async fn remove_account_deletes_the_data_and_leaves_the_network() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "one").await;
    bert.delivers(&anna, "two").await;
    anna.api.post(NICKNAME, &[("nickname", "Anna")]).await;
    bert.api.patch(&format!("/api/contacts/{}/", anna.number), &[("first_name", "A")]).await;

    let feedback = "ß".repeat(1_025);
    anna.api.post(REMOVE, &[("feedback", &feedback)]).await.refused(400, "invalid_parameter");
    let removed = anna.api.post(REMOVE, &[("feedback", &"ß".repeat(1_024))]).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    assert_eq!(anna.api.get("/api/account/").await.json(), json!({"accounts": []}));
    anna.api.get("/api/contacts/").await.refused(400, "no_account");

    // The network no longer knows the number; what others have stored of it stays.
    let synced = bert.api.post("/api/contacts/force-sync/", &[]).await;
    assert_eq!(synced.json(), json!({"existing": [], "non_existing": [anna.number]}));
    assert_eq!(bert.chat(&anna.number).await.len(), 2);

    // Registered again, it starts empty.
    register(server(), &anna.api, &anna.number).await;
    assert_eq!(anna.api.get("/api/contacts/").await.json(), json!([]));
    assert_eq!(anna.api.get("/api/messages/chats/").await.json(), json!({"chats": []}));
    assert_eq!(anna.chat(&bert.number).await, Vec::<serde_json::Value>::new());
    assert_eq!(anna.api.get(NICKNAME).await.json(), json!({"nickname": ""}));
    anna.adds_contact(&bert.number).await;
    anna.delivers(&bert, "back").await;
}

#[tokio::test]
async fn remove_account_needs_the_account_parameter_when_there_are_several() {
    let api = login(server()).await;
    let (first, second) = (fresh_number(), fresh_number());
    api.post(REMOVE, &[]).await.refused(400, "no_account");
    register(server(), &api, &first).await;
    api.post(REMOVE, &[("account", &second)]).await.refused(400, "account_unknown");
    api.post(CREATE, &[("account", &second)]).await;
    let ambiguous = api.post(REMOVE, &[]).await;
    assert!(ambiguous.refused(400, "account_ambiguous").contains("account="), "{}", ambiguous.text());
    // An unregistered account is removed without the network; then the other is the only one.
    assert_eq!(api.post(REMOVE, &[("account", &second)]).await.status, 200);
    assert_eq!(account(&api, &second).await, None);
    assert_eq!(api.post(REMOVE, &[]).await.status, 200);
    assert_eq!(api.get("/api/account/").await.json(), json!({"accounts": []}));
}

#[tokio::test]
async fn a_nickname_is_stored_and_reaches_contacts() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "hello").await;
    assert_eq!(anna.api.get(NICKNAME).await.json(), json!({"nickname": ""}));
    assert_eq!(bert.chat_entry(&anna.number).await.expect("a chat")["title"], anna.number);

    let longest = "Ä".repeat(64);
    for nickname in ["Anna", longest.as_str(), ""] {
        let set = anna.api.post(NICKNAME, &[("nickname", nickname)]).await;
        assert_eq!(set.status, 200, "{}", set.text());
        assert_eq!(anna.api.get(NICKNAME).await.json(), json!({"nickname": nickname}));
        assert_eq!(account(&anna.api, &anna.number).await.expect("listed")["nickname"], nickname);
        let title = if nickname.is_empty() { &anna.number } else { nickname };
        wait_until_async("the nickname in the chat of the contact", DEADLINE, async || {
            let chat = bert.chat_entry(&anna.number).await.expect("a chat");
            (chat["title"] == title).then_some(())
        })
        .await;
    }

    anna.api.post(NICKNAME, &[("nickname", &"Ä".repeat(65))]).await.refused(400, "invalid_parameter");
    anna.api.post(NICKNAME, &[]).await.refused(400, "missing_parameter");
    assert_eq!(anna.api.get(NICKNAME).await.json(), json!({"nickname": ""}));
}

#[tokio::test]
async fn a_nickname_set_at_creation_reaches_contacts() {
    let bert = Person::new(server()).await;
    let anna = Person { api: login(server()).await, number: fresh_number() };
    anna.api.post(CREATE, &[("account", &anna.number), ("nickname", "Anna")]).await;
    prove(server(), &anna.api, &anna.number).await;
    anna.adds_contact(&bert.number).await;
    anna.delivers(&bert, "hello").await;
    wait_until_async("the nickname in the chat of the contact", DEADLINE, async || {
        let chat = bert.chat_entry(&anna.number).await.expect("a chat");
        (chat["title"] == "Anna").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_user_has_no_more_accounts_than_the_quota_allows() {
    let server = Server::setup().env("WINDU_ACCOUNTS_PER_USER", "2").start();
    let (api, other) = (login(&server).await, login(&server).await);
    let numbers = [fresh_number(), fresh_number(), fresh_number()];
    for number in &numbers[..2] {
        assert_eq!(api.post(CREATE, &[("account", number)]).await.status, 201);
    }
    let refused = api.post(CREATE, &[("account", &numbers[2])]).await.refused(400, "too_many_accounts");
    assert!(refused.contains('2'), "{refused}");
    assert!(account(&api, &numbers[2]).await.is_none());
    // Another user's are not counted, and one that is removed makes room.
    assert_eq!(other.post(CREATE, &[("account", &numbers[2])]).await.status, 201);
    let removed = api.post("/api/account/remove-account/", &[("account", &numbers[0])]).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    assert_eq!(api.post(CREATE, &[("account", &fresh_number())]).await.status, 201);
}
