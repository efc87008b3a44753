//! Status messages and presence of contacts, and their privacy.

use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::people::{Person, assert_time, fresh_number, login, register, without_timestamps};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

const STATUSES: &str = "/api/contacts/statuses-messages/";
const PRESENCES: &str = "/api/contacts/connected-statuses/";

impl Person {
    async fn sets(&self, path: &str, form: &[(&str, &str)]) {
        let answer = self.api.post(path, form).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }

    async fn sets_status_message(&self, text: &str) {
        self.sets("/api/account/status-message/", &[("status_message", text)]).await;
    }

    async fn sets_presence(&self, status: &str) {
        self.sets("/api/account/connected-status/", &[("connected_status", status)]).await;
    }

    async fn sets_privacy(&self, what: &str, audience: &str) {
        self.sets("/api/account/privacy-settings/", &[(what, audience)]).await;
    }

    /// The only entry of an endpoint about a person.
    async fn sees(&self, of: &Person, endpoint: &str) -> Value {
        let answer = self.api.get(&format!("/api/contacts/{}/{endpoint}/", of.number)).await;
        assert_eq!(answer.status, 200, "{endpoint}: {}", answer.text());
        let body = answer.json();
        let list = body.as_object().expect("an object").values().next().expect("a list");
        assert_eq!(list.as_array().expect("a list").len(), 1, "{body}");
        list[0].clone()
    }

    async fn waits_until_it_sees(
        &self,
        of: &Person,
        endpoint: &str,
        field: &str,
        value: impl Into<Value>,
    ) -> Value {
        let value = value.into();
        wait_until_async(&format!("{field} of {endpoint} to be {value}"), DEADLINE, async || {
            Some(self.sees(of, endpoint).await).filter(|entry| entry[field] == value)
        })
        .await
    }

    async fn history(&self, of: &Person) -> Vec<Value> {
        let answer = self.api.get(&format!("/api/contacts/{}/status-message-history/", of.number)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["values"].as_array().expect("values").clone()
    }
}

#[tokio::test]
async fn a_contacts_status_message_is_shown_with_its_history() {
    let (anna, bert) = Person::two_friends(server()).await;
    let endpoint = "status-message";
    assert_eq!(anna.sees(&bert, endpoint).await, json!({"contact_id": bert.number, "status_message": ""}));
    assert_eq!(anna.history(&bert).await, [] as [Value; 0]);
    for text in ["At work", "At home"] {
        bert.sets_status_message(text).await;
        anna.waits_until_it_sees(&bert, endpoint, "status_message", text).await;
    }
    let whole = anna.api.get(&format!("/api/contacts/{}/{endpoint}/", bert.number)).await.json();
    let entry = json!({"contact_id": bert.number, "status_message": "At home"});
    assert_eq!(whole, json!({"statuses_messages": [entry]}));
    // Hiding and showing it again is no change.
    bert.sets_privacy("status_message", "none").await;
    anna.waits_until_it_sees(&bert, endpoint, "status_message", Value::Null).await;
    assert_eq!(anna.history(&bert).await, [] as [Value; 0], "nothing is shown while it is hidden");
    bert.sets_privacy("status_message", "contacts").await;
    anna.waits_until_it_sees(&bert, endpoint, "status_message", "At home").await;
    // A text that was set while hidden appears when it is shown again.
    bert.sets_privacy("status_message", "none").await;
    bert.sets_status_message("Secret").await;
    bert.sets_status_message("Not secret").await;
    bert.sets_privacy("status_message", "all").await;
    anna.waits_until_it_sees(&bert, endpoint, "status_message", "Not secret").await;
    let history = anna.history(&bert).await;
    let texts: Vec<&str> = history.iter().filter_map(|entry| entry["status_message"].as_str()).collect();
    assert_eq!(texts, ["Not secret", "At home", "At work"]);
    for entry in &history {
        assert_eq!(entry["contact_id"], bert.number);
        assert_time(&entry["updated"]);
        without_timestamps(entry.clone());
    }
}

#[tokio::test]
async fn presence_of_contacts_is_updated_while_the_account_is_online() {
    let (anna, bert) = Person::two_friends(server()).await;
    let endpoint = "connected-status";
    let unseen = json!({"contact_id": bert.number, "connected_status": "offline", "last_seen": null});
    assert_eq!(anna.sees(&bert, endpoint).await, unseen);
    anna.sets_presence("online").await;
    bert.sets_presence("online").await;
    let online = anna.waits_until_it_sees(&bert, endpoint, "connected_status", "online").await;
    assert_time(&online["last_seen"]);
    bert.sets_presence("offline").await;
    let offline = anna.waits_until_it_sees(&bert, endpoint, "connected_status", "offline").await;
    assert_time(&offline["last_seen"]);
    assert!(offline["last_seen"].as_str() >= online["last_seen"].as_str());
    // An offline account keeps its last state.
    anna.sets_presence("offline").await;
    bert.sets_presence("online").await;
    bert.sets_status_message("I am here").await;
    anna.waits_until_it_sees(&bert, "status-message", "status_message", "I am here").await;
    assert_eq!(anna.sees(&bert, endpoint).await, offline);
    anna.sets_presence("online").await;
    anna.waits_until_it_sees(&bert, endpoint, "connected_status", "online").await;
    // Hidden presence does not reveal whether the contact is online.
    bert.sets_privacy("last_seen", "none").await;
    let hidden = anna.waits_until_it_sees(&bert, endpoint, "connected_status", "deny").await;
    assert_eq!(hidden["last_seen"], Value::Null);
    bert.sets_privacy("last_seen", "contacts").await;
    anna.waits_until_it_sees(&bert, endpoint, "connected_status", "online").await;
    let whole = anna.api.get(&format!("/api/contacts/{}/{endpoint}/", bert.number)).await.json();
    assert_eq!(whole["connected_statuses"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn contacts_see_what_strangers_do_not() {
    let (anna, bert) = Person::two_friends(server()).await;
    let carl = Person::new(server()).await;
    carl.adds_contact(&bert.number).await;
    for person in [&anna, &carl] {
        person.sets_presence("online").await;
    }
    bert.sets_privacy("status_message", "contacts").await;
    bert.sets_privacy("last_seen", "contacts").await;
    bert.sets_status_message("For friends").await;
    bert.sets_presence("online").await;
    anna.waits_until_it_sees(&bert, "status-message", "status_message", "For friends").await;
    anna.waits_until_it_sees(&bert, "connected-status", "connected_status", "online").await;
    carl.waits_until_it_sees(&bert, "status-message", "status_message", Value::Null).await;
    carl.waits_until_it_sees(&bert, "connected-status", "connected_status", "deny").await;
    // One person becomes a contact; another is removed.
    bert.adds_contact(&carl.number).await;
    carl.waits_until_it_sees(&bert, "status-message", "status_message", "For friends").await;
    bert.api.delete(&format!("/api/contacts/{}/", anna.number)).await;
    anna.waits_until_it_sees(&bert, "connected-status", "connected_status", "deny").await;
    anna.waits_until_it_sees(&bert, "status-message", "status_message", Value::Null).await;
}

#[tokio::test]
async fn profile_endpoints_accept_existing_contacts_and_numbers_that_wrote_first() {
    let (anna, bert) = (Person::new(server()).await, Person::new(server()).await);
    let unknown = fresh_number();
    anna.api.post("/api/contacts/add-contact/", &[("contact_id", &unknown)]).await;
    for number in [&bert.number, &unknown, &fresh_number()] {
        for endpoint in ["status-message", "connected-status"] {
            anna.api.get(&format!("/api/contacts/{number}/{endpoint}/")).await.refused(400, "not_a_contact");
        }
        let history = anna.api.get(&format!("/api/contacts/{number}/status-message-history/")).await;
        assert_eq!((history.status, history.json()), (200, json!({"values": []})));
    }
    for endpoint in ["status-message", "connected-status", "status-message-history", "nothing"] {
        anna.api.get(&format!("/api/contacts/anna/{endpoint}/")).await.refused(404, "not_found");
    }
    bert.sets_status_message("Hello").await;
    bert.adds_contact(&anna.number).await;
    bert.delivers(&anna, "first").await;
    anna.waits_until_it_sees(&bert, "status-message", "status_message", "Hello").await;
}

#[tokio::test]
async fn list_endpoints_show_every_contact_that_exists() {
    let anna = Person::new(server()).await;
    for endpoint in [STATUSES, PRESENCES] {
        let empty = anna.api.get(endpoint).await;
        assert_eq!(empty.status, 200);
        assert!(empty.json().as_object().expect("an object").values().all(|list| *list == json!([])));
    }
    let (bert, carl, stranger) =
        (Person::new(server()).await, Person::new(server()).await, Person::new(server()).await);
    anna.sets_presence("online").await;
    anna.adds_contact(&carl.number).await;
    anna.api.post("/api/contacts/add-contact/", &[("contact_id", &fresh_number())]).await;
    anna.adds_contact(&bert.number).await;
    stranger.adds_contact(&anna.number).await;
    stranger.delivers(&anna, "I am none of them").await;
    bert.sets_status_message("Bert").await;
    carl.sets_privacy("status_message", "none").await;
    carl.sets_presence("online").await;
    anna.waits_until_it_sees(&bert, "status-message", "status_message", "Bert").await;
    anna.waits_until_it_sees(&carl, "status-message", "status_message", Value::Null).await;
    anna.waits_until_it_sees(&carl, "connected-status", "connected_status", "online").await;
    // The contacts first, then who wrote first.
    let list = json!([
        {"contact_id": carl.number, "status_message": null}, {"contact_id": bert.number, "status_message": "Bert"},
        {"contact_id": stranger.number, "status_message": ""},
    ]);
    assert_eq!(anna.api.get(STATUSES).await.json(), json!({"statuses_messages": list}));
    let mut presences = without_timestamps(anna.api.get(PRESENCES).await.json());
    assert_time(&presences["connected_statuses"][0]["last_seen"].take());
    let list = json!([
        {"contact_id": carl.number, "connected_status": "online", "last_seen": null},
        {"contact_id": bert.number, "connected_status": "offline", "last_seen": null},
        {"contact_id": stranger.number, "connected_status": "offline", "last_seen": null},
    ]);
    assert_eq!(presences, json!({"connected_statuses": list}));
    let photos = json!([
        {"contact_id": carl.number, "photo_url": null, "photo_status": "404"},
        {"contact_id": bert.number, "photo_url": null, "photo_status": "404"},
        {"contact_id": stranger.number, "photo_url": null, "photo_status": "404"},
    ]);
    for endpoint in ["photos-urls", "preview-photos-urls"] {
        let answer = anna.api.get(&format!("/api/contacts/{endpoint}/")).await;
        assert_eq!(answer.json(), json!({"photo_urls": photos}), "{endpoint}");
    }
    // Who wrote first is shown by the endpoints of one person, too, and stands once in the lists as a contact.
    anna.waits_until_it_sees(&stranger, "status-message", "status_message", "").await;
    stranger.sets_status_message("A stranger").await;
    anna.waits_until_it_sees(&stranger, "status-message", "status_message", "A stranger").await;
    anna.adds_contact(&stranger.number).await;
    let statuses = anna.api.get(STATUSES).await.json();
    let strangers = statuses["statuses_messages"].as_array().expect("a list").iter();
    let strangers: Vec<&Value> = strangers.filter(|entry| entry["contact_id"] == stranger.number).collect();
    assert_eq!(strangers, [&json!({"contact_id": stranger.number, "status_message": "A stranger"})]);
}

#[tokio::test]
async fn a_removed_number_and_its_new_owner_show_nothing_of_the_old_profile() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.sets_presence("online").await;
    bert.sets_status_message("Bert").await;
    bert.sets_presence("online").await;
    anna.waits_until_it_sees(&bert, "connected-status", "connected_status", "online").await;
    anna.waits_until_it_sees(&bert, "status-message", "status_message", "Bert").await;
    assert_eq!(bert.api.post("/api/account/remove-account/", &[]).await.status, 200);
    anna.waits_until_it_sees(&bert, "status-message", "status_message", "").await;
    let nothing = json!({"contact_id": bert.number, "connected_status": "offline", "last_seen": null});
    assert_eq!(anna.sees(&bert, "connected-status").await, nothing);
    assert_eq!(anna.history(&bert).await, [] as [Value; 0]);

    let carl = Person { api: login(server()).await, number: bert.number.clone() };
    register(server(), &carl.api, &carl.number).await;
    assert_eq!(carl.api.get("/api/account/status-message/").await.json(), json!({"status_message": ""}));
    carl.adds_contact(&anna.number).await;
    carl.delivers(&anna, "I am Carl").await;
    assert_eq!(anna.sees(&carl, "status-message").await["status_message"], "");
    assert_eq!(anna.sees(&carl, "connected-status").await, nothing);
    assert_eq!(anna.history(&carl).await, [] as [Value; 0]);

    // The same when the number moves while its owner is registered.
    carl.sets_status_message("Carl").await;
    anna.waits_until_it_sees(&carl, "status-message", "status_message", "Carl").await;
    let dora = Person { api: login(server()).await, number: bert.number.clone() };
    register(server(), &dora.api, &dora.number).await;
    anna.waits_until_it_sees(&dora, "status-message", "status_message", "").await;
    assert_eq!(anna.history(&dora).await, [] as [Value; 0]);
    assert_eq!(dora.api.get("/api/account/status-message/").await.json(), json!({"status_message": ""}));
    let named = format!("/api/account/status-message/?account={}", carl.number);
    assert_eq!(
        carl.api.get(&named).await.json(),
        json!({"status_message": "Carl"}),
        "the old owner keeps the own text"
    );
}

#[tokio::test]
async fn a_thousand_contacts_take_as_many_queries_as_one() {
    let server = Server::setup().env("WINDU_LOG", "info,sqlx=debug").start();
    let anna = Person::new(&server).await;
    let statements = async |endpoint: &str| {
        let id = format!("counted-{}", windu::secrets::random_id());
        let request = anna.api.request(reqwest::Method::GET, endpoint).header("x-request-id", &id);
        let answer = anna.api.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        // The line of the response is the last one of the request.
        wait_until_async("the request in the log", DEADLINE, async || {
            let log = server.log();
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
            let queries = lines.iter().filter(|line| line.contains("sqlx::query")).count();
            lines.iter().any(|line| line.contains("answered")).then_some(queries)
        })
        .await
    };
    let mut before = Vec::new();
    let endpoints = [STATUSES, PRESENCES, "/api/contacts/photos-urls/"];
    for endpoint in endpoints {
        before.push(statements(endpoint).await);
    }
    server.database().sql(&format!(
        "WITH made AS (
            INSERT INTO peer (network, address, number, public_id)
            SELECT 'local', n::text, n::text, n::text FROM generate_series(15990000001, 15990001000) n RETURNING id),
         known AS (
            INSERT INTO contact (account_id, peer_id, exists_there)
            SELECT a.id, made.id, true FROM made, account a WHERE a.number = '{}' RETURNING account_id, peer_id)
         INSERT INTO peer_profile (account_id, peer_id, status_message) SELECT account_id, peer_id, 'Hello' FROM known",
        anna.number
    ));
    for (endpoint, before) in endpoints.into_iter().zip(before) {
        assert!(before > 0, "{endpoint}: no query was seen");
        assert_eq!(statements(endpoint).await, before, "{endpoint}");
        let body = anna.api.get(endpoint).await.json();
        let list = body.as_object().expect("an object").values().next().expect("a list");
        assert_eq!(list.as_array().expect("a list").len(), 1_000);
    }
}
