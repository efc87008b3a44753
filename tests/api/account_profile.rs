//! An account's own status message, presence and privacy settings.

use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::client::Answer;
use crate::support::people::Person;
use crate::support::server::Server;

const STATUS: &str = "/api/account/status-message/";
const CONNECTED: &str = "/api/account/connected-status/";
const PRIVACY: &str = "/api/account/privacy-settings/";

#[track_caller]
fn is(answer: &Answer, body: Value) {
    assert_eq!((answer.status, answer.json()), (200, body));
}

#[tokio::test]
async fn a_status_message_is_stored_unchanged() {
    let anna = Person::new(server()).await;
    is(&anna.api.get(STATUS).await, json!({"status_message": ""}));
    for text in ["At work", " é & 100% 🎉 ", &"ü".repeat(256)] {
        is(&anna.api.post(STATUS, &[("status_message", text)]).await, json!({}));
        is(&anna.api.get(STATUS).await, json!({"status_message": text}));
    }
    is(&anna.api.post_json(STATUS, &json!({"status_message": "5"})).await, json!({}));
    anna.api.post_json(STATUS, &json!({"status_message": 5})).await.refused(400, "invalid_parameter");
    let long = "ü".repeat(257);
    anna.api.post(STATUS, &[("status_message", &long)]).await.refused(400, "invalid_parameter");
    anna.api.post(STATUS, &[("status_message", "")]).await.refused(400, "missing_parameter");
    anna.api.post(STATUS, &[]).await.refused(400, "missing_parameter");
    anna.api.post_json(STATUS, &json!({"status_message": null})).await.refused(400, "missing_parameter");
    is(&anna.api.get(STATUS).await, json!({"status_message": "5"}));
}

#[tokio::test]
async fn the_connected_status_is_online_or_offline_and_outlives_a_restart() {
    let mut server = Server::start();
    let mut anna = Person::new(&server).await;
    is(&anna.api.get(CONNECTED).await, json!({"connected_status": "offline"}));
    for status in ["online", "offline", "online"] {
        is(&anna.api.post(CONNECTED, &[("connected_status", status)]).await, json!({}));
        is(&anna.api.get(CONNECTED).await, json!({"connected_status": status}));
    }
    for wrong in ["Online", "away", "1"] {
        anna.api.post(CONNECTED, &[("connected_status", wrong)]).await.refused(400, "invalid_parameter");
    }
    anna.api.post(CONNECTED, &[]).await.refused(400, "missing_parameter");
    server.restart();
    anna = anna.at(&server);
    is(&anna.api.get(CONNECTED).await, json!({"connected_status": "online"}));
}

#[tokio::test]
async fn privacy_settings_change_one_by_one() {
    let anna = Person::new(server()).await;
    let mut settings = json!({"status_message": "all", "photo": "all", "last_seen": "all"});
    is(&anna.api.get(PRIVACY).await, settings.clone());
    for (name, value) in
        [("photo", "none"), ("last_seen", "contacts"), ("photo", "all"), ("status_message", "none")]
    {
        is(&anna.api.post(PRIVACY, &[(name, value)]).await, json!({name: value}));
        settings[name] = value.into();
        is(&anna.api.get(PRIVACY).await, settings.clone());
    }
    let two = [("status_message", "contacts"), ("photo", "contacts")];
    is(&anna.api.post(PRIVACY, &two).await, json!({"status_message": "contacts", "photo": "contacts"}));
    anna.api.post(PRIVACY, &[]).await.refused(400, "missing_parameter");
    anna.api.post(PRIVACY, &[("privacy", "all")]).await.refused(400, "missing_parameter");
    for wrong in ["everybody", "ALL", "None"] {
        let form = [("status_message", "all"), ("last_seen", wrong)];
        anna.api.post(PRIVACY, &form).await.refused(400, "invalid_parameter");
    }
    let all = json!({"status_message": "contacts", "photo": "contacts", "last_seen": "contacts"});
    is(&anna.api.get(PRIVACY).await, all);
}

#[tokio::test]
async fn only_real_changes_of_the_profile_are_in_the_journal() {
    let anna = Person::new(server()).await;
    for _ in 0..2 {
        anna.api.post(STATUS, &[("status_message", "Here")]).await;
        anna.api.post(CONNECTED, &[("connected_status", "online")]).await;
        anna.api.post(PRIVACY, &[("photo", "none")]).await;
    }
    let kinds = server().database().sql(&format!(
        "SELECT kind FROM event e JOIN account_counter c ON c.id = e.counter_id
         WHERE number = '{}' AND kind LIKE 'account.%' AND kind <> 'account.registered' ORDER BY e.seq",
        anna.number
    ));
    let expected =
        ["account.status_message_changed", "account.connected_status_changed", "account.privacy_changed"];
    assert_eq!(kinds.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_repeated_idempotency_key_does_not_change_the_profile_again() {
    let anna = Person::new(server()).await;
    let post = async |path: &str, key: &str, form: &[(&str, &str)]| {
        let request = anna.api.request(reqwest::Method::POST, path).header("idempotency-key", key);
        anna.api.send(request.form(form)).await
    };
    for (path, name, one, other) in [
        (STATUS, "status_message", "one", "other"),
        (CONNECTED, "connected_status", "online", "offline"),
        (PRIVACY, "photo", "none", "contacts"),
    ] {
        let first = post(path, "one", &[(name, one)]).await;
        assert_eq!(post(path, "other", &[(name, other)]).await.status, 200);
        let again = post(path, "one", &[(name, one)]).await;
        assert_eq!(again.header("idempotency-replayed"), "true", "{path}");
        assert_eq!((again.status, again.bytes), (first.status, first.bytes));
        assert_eq!(anna.api.get(path).await.json()[name], other, "{path}");
    }
}
