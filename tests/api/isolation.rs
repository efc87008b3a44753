//! Isolation of users: missing tokens, wrong tokens, and the data of other users.

use reqwest::Method;
use serde_json::json;

use crate::shared_server::server;
use crate::support::client::{Answer, Client};
use crate::support::people::{Person, account, fresh_number, login};

/// Method, path and form.
type Endpoint = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Every endpoint with valid parameters. `{contact}` stands for a number.
const ENDPOINTS: &[Endpoint] = &[
    ("GET", "/api/account/", &[]),
    ("POST", "/api/account/create-account/", &[("account", "15559990000")]),
    ("POST", "/api/account/request-sms-code/", &[]),
    ("POST", "/api/account/request-voice-code/", &[]),
    ("POST", "/api/account/register-code/", &[("code", "123456")]),
    ("POST", "/api/account/remove-account/", &[]),
    ("GET", "/api/account/nickname/", &[]),
    ("POST", "/api/account/nickname/", &[("nickname", "mine now")]),
    ("GET", "/api/account/status-message/", &[]),
    ("POST", "/api/account/status-message/", &[("status_message", "mine now")]),
    ("GET", "/api/account/connected-status/", &[]),
    ("POST", "/api/account/connected-status/", &[("connected_status", "online")]),
    ("GET", "/api/account/privacy-settings/", &[]),
    ("POST", "/api/account/privacy-settings/", &[("photo", "none")]),
    ("GET", "/api/account/profile-photo/", &[]),
    ("POST", "/api/account/profile-photo/", &[("url", "http://127.0.0.1:9/")]),
    ("DELETE", "/api/account/profile-photo/", &[]),
    ("GET", "/api/contacts/", &[]),
    ("POST", "/api/contacts/add-contact/", &[("contact_id", "{contact}")]),
    ("POST", "/api/contacts/force-sync/", &[]),
    ("GET", "/api/contacts/{contact}/", &[]),
    ("PATCH", "/api/contacts/{contact}/", &[("first_name", "mine now")]),
    ("DELETE", "/api/contacts/{contact}/", &[]),
    ("GET", "/api/contacts/{contact}/status-message/", &[]),
    ("GET", "/api/contacts/{contact}/status-message-history/", &[]),
    ("GET", "/api/contacts/statuses-messages/", &[]),
    ("GET", "/api/contacts/{contact}/connected-status/", &[]),
    ("GET", "/api/contacts/connected-statuses/", &[]),
    ("GET", "/api/contacts/{contact}/photo/", &[]),
    ("GET", "/api/contacts/{contact}/preview-photo/", &[]),
    ("GET", "/api/contacts/{contact}/photo-url/", &[]),
    ("GET", "/api/contacts/{contact}/preview-photo-url/", &[]),
    ("GET", "/api/contacts/{contact}/photo-history-urls/", &[]),
    ("GET", "/api/contacts/{contact}/preview-photo-history-urls/", &[]),
    ("GET", "/api/contacts/photos-urls/", &[]),
    ("GET", "/api/contacts/preview-photos-urls/", &[]),
    ("POST", "/api/contacts/{contact}/block/", &[]),
    ("POST", "/api/contacts/{contact}/unblock/", &[]),
    ("GET", "/api/contacts/blocked-list/", &[]),
    ("POST", "/api/messages/send-message/", &[("contact", "{contact}"), ("message", "not mine")]),
    ("POST", "/api/messages/send-image/", &[("contact", "{contact}")]),
    ("POST", "/api/messages/send-video/", &[("contact", "{contact}")]),
    ("POST", "/api/messages/send-audio/", &[("contact", "{contact}")]),
    ("POST", "/api/messages/send-voice/", &[("contact", "{contact}")]),
    ("POST", "/api/messages/send-vcard/", &[("contact", "{contact}"), ("vcard", "BEGIN:VCARD\nEND:VCARD")]),
    (
        "POST",
        "/api/messages/send-location/",
        &[("contact", "{contact}"), ("latitude", "1"), ("longitude", "2")],
    ),
    ("GET", "/api/groups/info-all/", &[]),
    ("POST", "/api/messages/set-typing/", &[("contact", "{contact}")]),
    ("POST", "/api/messages/set-paused/", &[("contact", "{contact}")]),
    ("GET", "/api/messages/chats/", &[]),
    ("GET", "/api/message/chats/", &[]),
    ("GET", "/api/messages/chats/{contact}/", &[]),
    ("GET", "/api/messages/delivered/{contact}/", &[]),
    ("GET", "/api/messages/read/{contact}/", &[]),
    ("POST", "/api/messages/update-last-read/", &[("contact", "{contact}")]),
];

/// Calls an endpoint about a contact, for the own account or the given one.
async fn ask(api: &Client, (method, path, form): &Endpoint, contact: &str, account: Option<&str>) -> Answer {
    let put = |text: &str| text.replace("{contact}", contact);
    let mut form: Vec<(&str, String)> = form.iter().map(|(name, value)| (*name, put(value))).collect();
    form.extend(account.map(|account| ("account", account.to_owned())));
    let method: Method = method.parse().expect("a method");
    api.send(api.request(method, &put(path)).form(&form)).await
}

/// The parts of a response that must not differ.
fn comparable(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    headers.sort();
    (answer.status, headers, answer.text())
}

#[tokio::test]
async fn every_endpoint_requires_a_token() {
    let anonymous = Client::new(server().url().to_owned());
    let stranger = anonymous.with_token("0123456789abcdefghijklmnopqrstuvwxyzABCDEFG");
    for endpoint in ENDPOINTS {
        let answer = ask(&anonymous, endpoint, "15551230000", None).await;
        answer.refused(401, "token_missing");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{endpoint:?}");
        let answer = ask(&stranger, endpoint, "15551230000", None).await;
        answer.refused(401, "token_invalid");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{endpoint:?}: {challenge}");
    }
    // A token in the query or in the body does not count.
    let api = login(server()).await;
    let token = api.get("/api/account/").await;
    assert_eq!(token.status, 200);
    anonymous.get("/api/account/?access_token=x&token=x").await.refused(401, "token_missing");
    anonymous.post("/api/account/nickname/", &[("access_token", "x")]).await.refused(401, "token_missing");
}

#[tokio::test]
async fn another_users_account_is_answered_like_an_unknown_one() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "private").await;
    let eve = Person::new(server()).await;
    let unknown = fresh_number();
    for endpoint in ENDPOINTS {
        let (_, path, _) = endpoint;
        // These two are about the caller, or about any number.
        if ["/api/account/", "/api/account/create-account/"].contains(path) {
            continue;
        }
        let of_another = ask(&eve.api, endpoint, &bert.number, Some(&anna.number)).await;
        of_another.refused(400, "account_unknown");
        let of_unknown = ask(&eve.api, endpoint, &bert.number, Some(&unknown)).await;
        assert_eq!(comparable(&of_another), comparable(&of_unknown), "{path}");
    }
    assert_unchanged(&anna, &bert).await;
}

#[tokio::test]
async fn another_users_contacts_messages_and_chats_are_answered_like_unknown_ones() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "private").await;
    let eve = Person::new(server()).await;
    let unknown = fresh_number();
    for endpoint in ENDPOINTS {
        let (_, path, form) = endpoint;
        if !path.contains("{contact}") && !form.iter().any(|(_, value)| *value == "{contact}") {
            continue;
        }
        // The existence of a number is public on the network.
        if path.ends_with("add-contact/") {
            continue;
        }
        let about_anothers = ask(&eve.api, endpoint, &bert.number, None).await;
        let about_unknown = ask(&eve.api, endpoint, &unknown, None).await;
        // Some responses contain the number of the request.
        let comparable = |answer: &Answer, number: &str| {
            let (status, headers, text) = comparable(answer);
            (status, headers, text.replace(number, "N"))
        };
        assert_eq!(comparable(&about_anothers, &bert.number), comparable(&about_unknown, &unknown), "{path}");
    }
    assert_unchanged(&anna, &bert).await;
}

#[tokio::test]
async fn creating_an_account_with_another_users_number_reveals_and_changes_nothing() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "private").await;
    crate::support::people::pass_a_minute(server(), &anna.number);
    let eve = login(server()).await;
    let create = "/api/account/create-account/";
    let of_another = eve.post(create, &[("account", &anna.number)]).await;
    let of_unknown = eve.post(create, &[("account", &fresh_number())]).await;
    assert_eq!(comparable(&of_another), comparable(&of_unknown));
    assert_eq!(of_another.status, 201);
    let waiting = account(&eve, &anna.number).await.expect("listed");
    assert_eq!((&waiting["registered"], &waiting["nickname"]), (&json!(false), &json!("")));
    // Before the proof the account cannot be used to read.
    let contacts = eve.get(&format!("/api/contacts/?account={}", anna.number)).await;
    contacts.refused(400, "account_not_registered");
    let chats = eve.get(&format!("/api/messages/chats/?account={}", anna.number)).await;
    chats.refused(400, "account_not_registered");
    // Removing it again does not affect the owner's account.
    let removed = eve.post("/api/account/remove-account/", &[("account", &anna.number)]).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    assert_unchanged(&anna, &bert).await;
    anna.delivers(&bert, "still here").await;
}

/// Checks that the data of these two is unchanged.
async fn assert_unchanged(anna: &Person, bert: &Person) {
    let contact = json!({"contact_id": bert.number, "first_name": "", "last_name": "", "exists": true});
    assert_eq!(anna.api.get("/api/contacts/").await.json(), json!([contact]));
    assert_eq!(anna.texts(&format!("/api/messages/chats/{}/", bert.number)).await, ["private"]);
    let listed = account(&anna.api, &anna.number).await.expect("listed");
    assert_eq!((&listed["registered"], &listed["nickname"]), (&json!(true), &json!("")));
    assert_eq!(bert.chat_entry(&anna.number).await.expect("a chat")["unread"], 1);
}
