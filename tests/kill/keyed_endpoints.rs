//! Endpoints with an effect, called with a key on a program that is killed meanwhile: the repeat gets the response of
//! the first request, and nothing is done twice.

use std::sync::Arc;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::obstacles::{Blocked, Provider};
use crate::support::client::{Answer, Client};
use crate::support::load::server_on_a_fixed_port;
use crate::support::people::{Person, account, fresh_number, login, pass_a_minute, prove};
use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

const CREATE: &str = "/api/account/create-account/";
const REMOVE: &str = "/api/account/remove-account/";
const SMS: &str = "/api/account/request-sms-code/";
const SYNC: &str = "/api/contacts/force-sync/";

/// A request with an idempotency key.
struct KeyedRequest {
    api: Client,
    path: &'static str,
    body: Value,
}

impl KeyedRequest {
    fn new(person: &Person, path: &'static str, body: Value) -> Self {
        let mut request = Self { api: person.api.clone(), path, body };
        // Some people have several accounts.
        request.body["account"] = person.number.as_str().into();
        request
    }

    fn request(&self) -> RequestBuilder {
        self.api.request(Method::POST, self.path).header("idempotency-key", "k").json(&self.body)
    }

    async fn post(&self) -> Answer {
        self.api.send(self.request()).await
    }

    /// Posts the request, and kills the program when `reached` returns something.
    async fn kill_when(&self, server: &mut Server, reached: impl AsyncFnMut() -> Option<()>) {
        let (unanswered, ()) = tokio::join!(self.request().send(), async {
            wait_until_async(self.path, DEADLINE, reached).await;
            server.kill();
        });
        assert!(unanswered.is_err(), "{}: {unanswered:?}", self.path);
    }

    /// Kills the program when the effect is committed (`effect` is true in SQL) and nobody has the response. Returns
    /// the response to the repeat.
    async fn kill_after(&self, server: &mut Server, effect: &str) -> Answer {
        let database = Arc::clone(server.database());
        assert_eq!(count(&database, &format!("({effect})::int")), 0, "{}", self.path);
        // Writes to keys in separate transactions wait once the effect is committed.
        let blocked = Blocked::new(
            &database,
            "ON idempotency_key",
            &format!("pg_current_xact_id_if_assigned() IS NULL AND {effect}"),
        );
        self.kill_when(server, async || blocked.has_somebody().then_some(())).await;
        drop(blocked);
        server.restart();
        let before = effects(&database);
        let answer = self.post().await;
        assert_eq!(effects(&database), before, "{}: done twice", self.path);
        answer
    }
}

fn count(database: &Database, what: &str) -> u64 {
    database.sql(&format!("SELECT {what}")).parse().expect("a count")
}

/// Counts of effects that must happen only once.
fn effects(database: &Database) -> String {
    database.sql(
        "SELECT (SELECT count(*) FROM code_sent), (SELECT count(*) FROM account WHERE user_id IS NOT NULL),
                (SELECT count(*) FROM command),
                (SELECT coalesce(string_agg(kind, ' ' ORDER BY kind), '')
                 FROM event e JOIN account_counter c ON c.id = e.counter_id AND e.seq > c.removed_seq
                 WHERE kind NOT LIKE 'session.%' AND (kind NOT LIKE 'message.%' OR kind = 'message.queued'))",
    )
}

#[track_caller]
fn is(answer: &Answer, status: u16, body: &Value) {
    assert_eq!((answer.status, &answer.json()), (status, body));
}

#[track_caller]
fn is_replayed(answer: &Answer, status: u16, body: &Value) {
    is(answer, status, body);
    assert_eq!(answer.header("idempotency-replayed"), "true");
}

#[tokio::test]
async fn effect_and_response_are_committed_together() {
    let mut server = server_on_a_fixed_port();
    let (anna, bert) = (Person::new(&server).await, Person::new(&server).await);
    bert.adds_contact(&anna.number).await;
    bert.delivers(&anna, "hello").await;
    let (bert, nobody) = (bert.number.as_str(), "15559999999");

    let add = KeyedRequest::new(
        &anna,
        "/api/contacts/add-contact/",
        json!({"contact_id": bert, "first_name": "Bert"}),
    );
    let answer = add.kill_after(&mut server, "EXISTS (SELECT FROM contact WHERE first_name = 'Bert')").await;
    is_replayed(&answer, 201, &json!({"contact_id": bert, "exists": true}));

    let request = "/api/contacts/import-contacts/";
    let contacts = json!([{"contact_id": bert, "first_name": "B"}, {"contact_id": nobody}]);
    let import = KeyedRequest::new(&anna, request, json!({"contacts": contacts}));
    let answer = import.kill_after(&mut server, "EXISTS (SELECT FROM contact WHERE first_name = 'B')").await;
    let imported =
        json!({"added": 1, "removed": 0, "updated": 1, "synced": 2, "existing": 1, "non_existing": 1});
    is_replayed(&answer, 200, &imported);

    let hers = format!("account_id = (SELECT id FROM account WHERE number = '{}')", anna.number);
    server.database().sql(&format!("UPDATE contact SET exists_there = NOT exists_there WHERE {hers}"));
    let sync = KeyedRequest::new(&anna, SYNC, json!({}));
    let synced =
        "EXISTS (SELECT FROM event WHERE kind = 'contact.updated' AND payload->>'contact' = '15559999999')";
    let answer = sync.kill_after(&mut server, synced).await;
    is_replayed(&answer, 200, &json!({"existing": [bert], "non_existing": [nobody]}));

    let remove = KeyedRequest::new(&anna, "/api/contacts/remove-contacts/", json!({"contacts": [nobody]}));
    let gone =
        "NOT EXISTS (SELECT FROM contact JOIN peer p ON p.id = peer_id WHERE p.number = '15559999999')";
    let answer = remove.kill_after(&mut server, gone).await;
    is_replayed(&answer, 200, &json!({"total_deleted": 1}));

    let send =
        KeyedRequest::new(&anna, "/api/messages/send-message/", json!({"contact": bert, "message": "once"}));
    let answer = send.kill_after(&mut server, "EXISTS (SELECT FROM message WHERE text = 'once')").await;
    is_replayed(&answer, 200, &answer.json());

    let read = KeyedRequest::new(&anna, "/api/messages/update-last-read/", json!({"contact": bert}));
    let answer = read.kill_after(&mut server, "EXISTS (SELECT FROM event WHERE kind = 'chat.read')").await;
    is_replayed(&answer, 200, &json!({"read": 1}));

    let name = KeyedRequest::new(&anna, "/api/account/nickname/", json!({"nickname": "Anna"}));
    let answer = name.kill_after(&mut server, "EXISTS (SELECT FROM account WHERE nickname = 'Anna')").await;
    is_replayed(&answer, 200, &json!({}));
}

#[tokio::test]
async fn profile_privacy_and_block_list_are_changed_once() {
    let mut server = server_on_a_fixed_port();
    let anna = Person::new(&server).await;
    let hers =
        |what: &str| format!("EXISTS (SELECT FROM account WHERE number = '{}' AND {what})", anna.number);
    for (path, body, effect, answer) in [
        (
            "/api/account/status-message/",
            json!({"status_message": "Here"}),
            hers("status_message = 'Here'"),
            json!({}),
        ),
        (
            "/api/account/connected-status/",
            json!({"connected_status": "online"}),
            hers("connected"),
            json!({}),
        ),
        (
            "/api/account/privacy-settings/",
            json!({"photo": "none"}),
            hers("privacy_photo = 'none'"),
            json!({"photo": "none"}),
        ),
        ("/api/contacts/15559999998/block/", json!({}), "EXISTS (SELECT FROM block)".to_owned(), json!({})),
        (
            "/api/contacts/15559999998/unblock/",
            json!({}),
            "NOT EXISTS (SELECT FROM block)".to_owned(),
            json!({}),
        ),
        (
            "/api/contacts/blocked-list/",
            json!({"numbers": ["15559999999"]}),
            "EXISTS (SELECT FROM block)".to_owned(),
            json!({}),
        ),
    ] {
        let request = KeyedRequest::new(&anna, path, body);
        is_replayed(&request.kill_after(&mut server, &effect).await, 200, &answer);
    }
}

#[tokio::test]
async fn an_account_is_created_and_removed_once() {
    let mut server = server_on_a_fixed_port();
    let person = Person { api: login(&server).await, number: fresh_number() };
    let number = person.number.as_str();
    let exists = format!("EXISTS (SELECT FROM account WHERE number = '{number}' AND user_id IS NOT NULL)");
    let sent = json!({"method": "sms", "length": 6});
    let create = KeyedRequest::new(&person, CREATE, json!({}));
    is_replayed(&create.kill_after(&mut server, &exists).await, 201, &sent);

    for (path, method) in [(SMS, "sms"), ("/api/account/request-voice-code/", "voice")] {
        pass_a_minute(&server, number);
        let request = KeyedRequest::new(&person, path, json!({}));
        let lately =
            "EXISTS (SELECT FROM code_sent WHERE sent_at > clock_timestamp() - interval '30 seconds')";
        let answer = request.kill_after(&mut server, lately).await;
        is_replayed(&answer, 200, &json!({"method": method, "length": 6}));
    }

    // An unregistered account, and a registered one, which the session removes.
    let remove = KeyedRequest::new(&person, REMOVE, json!({}));
    is_replayed(&remove.kill_after(&mut server, &format!("NOT {exists}")).await, 200, &json!({}));
    server.database().sql("DELETE FROM idempotency_key");
    pass_a_minute(&server, number);
    is(&create.post().await, 201, &sent);
    prove(&server, &person.api, number).await;
    is(&remove.kill_after(&mut server, &format!("NOT {exists}")).await, 200, &json!({}));

    // The number is registered again, and the repeat is still about the removed account.
    server.database().sql(&format!("DELETE FROM idempotency_key WHERE route = 'POST {CREATE}'"));
    pass_a_minute(&server, number);
    is(&create.post().await, 201, &sent);
    is_replayed(&remove.post().await, 200, &json!({}));
    assert_ne!(account(&person.api, number).await, None);
}

/// The program is killed when a command was issued and not answered.
#[tokio::test]
async fn a_command_is_issued_once() {
    let mut server = server_on_a_fixed_port();
    let (anna, bert) = Person::two_friends(&server).await;
    let bert = bert.number.as_str();
    let contacts = json!([{"contact_id": bert}, {"contact_id": "15559999999"}]);
    let imported =
        json!({"added": 1, "removed": 0, "updated": 0, "synced": 2, "existing": 1, "non_existing": 1});
    for (path, body, status, expected) in [
        (SYNC, json!({}), 200, json!({"existing": [bert], "non_existing": []})),
        ("/api/contacts/import-contacts/", json!({"contacts": contacts}), 200, imported),
        (
            "/api/contacts/add-contact/",
            json!({"contact_id": "15559999998"}),
            201,
            json!({"contact_id": "15559999998", "exists": false}),
        ),
        (REMOVE, json!({}), 200, json!({})),
    ] {
        let database = Arc::clone(server.database());
        database.sql("DELETE FROM command");
        let request = KeyedRequest::new(&anna, path, body);
        let lock = database.lock_number(&anna.number);
        request
            .kill_when(&mut server, async || (count(&database, "count(*) FROM command") == 1).then_some(()))
            .await;
        drop(lock);
        server.restart();
        let answer = request.post().await;
        is(&answer, status, &expected);
        assert_eq!(count(&database, "count(*) FROM command"), 1, "{path}: asked twice");
        is_replayed(&request.post().await, status, &expected);
    }
    assert_eq!(account(&anna.api, &anna.number).await, None);
}

/// The network answers too late for the request.
#[tokio::test]
async fn a_late_response_is_returned_to_the_repeat() {
    let server = server_on_a_fixed_port();
    let anna = Person::new(&server).await;
    let remove = KeyedRequest::new(&anna, REMOVE, json!({}));
    let database = server.database();
    let blocked = Blocked::new(database, "OF answer ON command", "true");
    let (answer, ()) = tokio::join!(remove.post(), async {
        wait_until_async("the session to answer", DEADLINE, async || blocked.has_somebody().then_some(()))
            .await;
        remove.post().await.refused(409, "idempotency_key_in_use");
    });
    answer.refused(504, "outcome_unknown");
    let mut other = KeyedRequest::new(&anna, REMOVE, json!({}));
    other.body["feedback"] = "another request".into();
    other.post().await.refused(422, "idempotency_key_reused");
    blocked.lift();
    wait_until_async("the account to be removed", DEADLINE, async || {
        account(&anna.api, &anna.number).await.is_none().then_some(())
    })
    .await;
    is(&remove.post().await, 200, &json!({}));
    is_replayed(&remove.post().await, 200, &json!({}));
    assert_eq!(count(database, "count(*) FROM command"), 1, "asked twice");
}

/// The program is killed while it waits for the sender of codes.
#[tokio::test]
async fn a_code_is_sent_once() {
    let provider = Provider::start();
    let mut server = Server::setup()
        .on_a_fixed_port()
        .env("WINDU_CODE_SENDER", "webhook")
        .env("WINDU_CODE_WEBHOOK_URL", provider.url.as_str())
        .start();
    let person = Person { api: login(&server).await, number: fresh_number() };
    let sent = json!({"method": "sms", "length": 6});
    for (turn, (path, status)) in [(CREATE, 201), (SMS, 200)].into_iter().enumerate() {
        pass_a_minute(&server, &person.number);
        let request = KeyedRequest::new(&person, path, json!({}));
        request
            .kill_when(&mut server, async || {
                if provider.asked() <= turn {
                    return None;
                }
                request.post().await.refused(409, "idempotency_key_in_use");
                Some(())
            })
            .await;
        server.restart();
        is_replayed(&request.post().await, status, &sent);
        is_replayed(&request.post().await, status, &sent);
        assert_eq!(provider.asked(), turn + 1, "{path}");
    }

    // A refusal of the sender frees the key and leaves no account.
    provider.answers(500);
    let person = Person { number: fresh_number(), ..person };
    let create = KeyedRequest::new(&person, CREATE, json!({}));
    server.database().sql("DELETE FROM idempotency_key");
    create.post().await.refused(502, "code_sender_failed");
    assert_eq!(account(&person.api, &person.number).await, None);
    provider.answers(200);
    is(&create.post().await, 201, &sent);
    is_replayed(&create.post().await, 201, &sent);
}
