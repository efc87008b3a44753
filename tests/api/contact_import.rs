//! Import and bulk removal of contacts.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::people::{Person, fresh_number};
use crate::support::server::Server;

const IMPORT: &str = "/api/contacts/import-contacts/";
const REMOVE: &str = "/api/contacts/remove-contacts/";

async fn list(person: &Person) -> Vec<(String, String, String, bool)> {
    let answer = person.api.get("/api/contacts/").await;
    let mut list: Vec<_> = answer
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|contact| {
            let text = |name: &str| contact[name].as_str().expect(name).to_owned();
            (text("contact_id"), text("first_name"), text("last_name"), contact["exists"] == true)
        })
        .collect();
    list.sort();
    list
}

fn entry(number: &str, first: &str, last: &str, exists: bool) -> (String, String, String, bool) {
    (number.to_owned(), first.to_owned(), last.to_owned(), exists)
}

async fn import(person: &Person, contacts: Value) -> (u16, Value) {
    let answer = person.api.post_json(IMPORT, &json!({ "contacts": contacts })).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn import_contacts_replaces_the_list() {
    let server = Server::start();
    let (ann, bob) = (Person::new(&server).await, Person::new(&server).await);
    let (stranger, unknown) = (fresh_number(), fresh_number());
    let first = json!([
        {"contact_id": bob.number, "first_name": "Rob"},
        {"contact_id": "no number", "first_name": "dropped"},
        "neither",
        {"first_name": "nobody"},
        {"contact_id": format!("+{}", bob.number), "first_name": "Bob", "last_name": "B"},
        {"contact_id": unknown.parse::<u64>().expect("digits")},
    ]);
    // What add-contact refuses is dropped and counted.
    let counts = json!({"added": 2, "removed": 0, "updated": 0, "synced": 2, "existing": 1, "non_existing": 1,
                        "invalid": 3});
    assert_eq!(import(&ann, first.clone()).await, (200, counts));
    assert_eq!(list(&ann).await, [entry(&bob.number, "Bob", "B", true), entry(&unknown, "", "", false)]);

    // The same again changes nothing.
    let (status, same) = import(&ann, first).await;
    assert_eq!((status, same["message"].is_string(), &same["invalid"]), (200, true, &json!(3)), "{same}");

    // Only a name.
    let names = json!([{"contact_id": bob.number, "first_name": "Robert"}, {"contact_id": unknown}]);
    assert_eq!(import(&ann, names).await, (200, json!({"contacts_updated": 1})));
    assert_eq!(list(&ann).await[0], entry(&bob.number, "Robert", "", true));

    let other = json!([{"contact_id": bob.number, "first_name": "Bob"}, {"contact_id": stranger}]);
    let counts =
        json!({"added": 1, "removed": 1, "updated": 1, "synced": 2, "existing": 1, "non_existing": 1});
    assert_eq!(import(&ann, other).await, (200, counts));
    let mut now = [entry(&bob.number, "Bob", "", true), entry(&stranger, "", "", false)];
    now.sort();
    assert_eq!(list(&ann).await, now);

    let events = server.database().sql(&format!(
        "SELECT e.kind, e.payload->>'contact' FROM event e JOIN account_counter c ON c.id = e.counter_id
         WHERE c.number = '{}' AND e.kind LIKE 'contact.%' ORDER BY e.seq",
        ann.number
    ));
    let expected = [
        ("contact.added", &bob.number),
        ("contact.added", &unknown),
        ("contact.updated", &bob.number),
        ("contact.removed", &unknown),
        ("contact.updated", &bob.number),
        ("contact.added", &stranger),
    ];
    let expected: Vec<String> = expected.iter().map(|(kind, who)| format!("{kind}|{who}")).collect();
    assert_eq!(events.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn import_contacts_drops_what_add_contact_refuses() {
    let server = Server::start();
    let ann = Person::new(&server).await;
    let taken = [json!("+49 (170) 1234567"), json!("00491701234568"), json!("\u{200e}491701234569\u{202c}")];
    let refused = [
        json!("01701234567"),
        json!("+0491701234567"),
        json!("1234"),
        json!("491701234567message=hi"),
        json!("4917#1234567"),
        json!("x424242"),
        json!(-491_701_234_567_i64),
        json!(4.5),
        json!(null),
        json!(["491701234567"]),
    ];
    for id in &refused {
        let answer = ann.api.post_json("/api/contacts/add-contact/", &json!({"contact_id": id})).await;
        assert_eq!(answer.status, 400, "{id}: {}", answer.text());
    }
    let letters = ann.api.post("/api/contacts/add-contact/", &[("contact_id", "491701234567name=Ann")]).await;
    assert!(letters.refused(400, "invalid_parameter").contains("is an & missing"), "{}", letters.text());
    let contacts: Vec<Value> =
        taken.iter().chain(&refused).map(|id| json!({"contact_id": id, "first_name": "n"})).collect();
    let (status, counts) = import(&ann, json!(contacts)).await;
    assert_eq!((status, &counts["added"], &counts["invalid"]), (200, &json!(3), &json!(10)), "{counts}");
    let numbers: Vec<String> = list(&ann).await.into_iter().map(|(number, ..)| number).collect();
    assert_eq!(numbers, ["491701234567", "491701234568", "491701234569"]);
    // Only a name, with an entry that is dropped.
    let names = json!([
        {"contact_id": "491701234567", "first_name": "other"}, {"contact_id": "0491701234568"},
        {"contact_id": "491701234568", "first_name": "n"}, {"contact_id": "491701234569", "first_name": "n"},
    ]);
    assert_eq!(import(&ann, names).await, (200, json!({"contacts_updated": 1, "invalid": 1})));
}

#[tokio::test]
async fn an_invalid_import_changes_nothing() {
    let server = Server::start();
    let (ann, bob) = Person::two_friends(&server).await;
    let before = list(&ann).await;
    for contacts in [json!([]), json!([{"contact_id": "abc"}, 1, null]), json!([{"first_name": "x"}])] {
        let (status, body) = import(&ann, contacts).await;
        assert_eq!((status, body["code"].as_str()), (400, Some("invalid_parameter")), "{body}");
    }
    let long = json!([{"contact_id": bob.number, "first_name": "x".repeat(257)}]);
    assert_eq!(import(&ann, long).await.0, 400);
    assert_eq!(import(&ann, json!("15551230000")).await.0, 400);
    ann.api.post_json(IMPORT, &json!({})).await.refused(400, "missing_parameter");
    ann.api.post(IMPORT, &[("contacts", "15551230000")]).await.refused(415, "unsupported_media_type");
    assert_eq!(list(&ann).await, before);
}

#[tokio::test]
async fn an_import_without_the_network_is_503_and_changes_nothing() {
    let server = Server::start();
    let (ann, _) = Person::two_friends(&server).await;
    let before = list(&ann).await;
    // Nobody takes the command: the lease belongs to a process that lives according to its heartbeat, but does not
    // exist.
    server.database().sql(
        "INSERT INTO process (name, heartbeat_at) VALUES ('elsewhere', now() + interval '1 hour');
         UPDATE account_counter SET fence = fence + 1, owner = (SELECT max(id) FROM process)",
    );
    let answer = ann.api.post_json(IMPORT, &json!({"contacts": [{"contact_id": fresh_number()}]})).await;
    answer.refused(503, "session_not_ready");
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(list(&ann).await, before);
}

#[tokio::test]
async fn ten_thousand_contacts_are_imported_in_one_request() {
    let server = Server::start();
    let (ann, bob) = (Person::new(&server).await, Person::new(&server).await);
    let contacts: Vec<Value> = (0..9_999)
        .map(|number| json!({"contact_id": format!("49170{number:07}"), "first_name": format!("Number {number}")}))
        .chain([json!({"contact_id": bob.number})])
        .collect();
    let began = Instant::now();
    let (status, body) = import(&ann, json!(contacts)).await;
    println!("10,000 contacts in {:?}", began.elapsed());
    let counts = json!({
        "added": 10_000, "removed": 0, "updated": 0, "synced": 10_000, "existing": 1, "non_existing": 9_999,
    });
    assert_eq!((status, body), (200, counts));
    assert_eq!(list(&ann).await.len(), 10_000);
}

#[tokio::test]
async fn concurrent_imports_leave_one_of_the_lists() {
    let server = Server::start();
    let ann = Person::new(&server).await;
    let lists: Vec<Vec<String>> = (0..6).map(|_| (0..20).map(|_| fresh_number()).collect()).collect();
    let imports = lists.iter().map(|numbers| {
        let contacts: Vec<Value> = numbers.iter().map(|number| json!({"contact_id": number})).collect();
        import(&ann, json!(contacts))
    });
    for (status, body) in futures_util::future::join_all(imports).await {
        assert_eq!(status, 200, "{body}");
    }
    let now: Vec<String> = list(&ann).await.into_iter().map(|contact| contact.0).collect();
    let same = |numbers: &Vec<String>| {
        let mut numbers = numbers.clone();
        numbers.sort();
        numbers == now
    };
    assert!(lists.iter().any(same), "{now:?}");
}

#[tokio::test]
async fn remove_contacts_removes_several_contacts() {
    let server = Server::start();
    let (ann, bob) = Person::two_friends(&server).await;
    let unknown = fresh_number();
    ann.api.post("/api/contacts/add-contact/", &[("contact_id", &unknown)]).await;
    let remove = async |contacts: Value| ann.api.post_json(REMOVE, &json!({ "contacts": contacts })).await;
    remove(json!(["abc", null])).await.refused(400, "invalid_parameter");
    remove(json!([])).await.refused(400, "invalid_parameter");
    let none = remove(json!([fresh_number()])).await;
    assert_eq!((none.status, none.json()["message"].is_string()), (200, true));
    assert_eq!(list(&ann).await.len(), 2);
    let removed = remove(json!([bob.number, unknown.parse::<u64>().expect("digits"), unknown, "abc"])).await;
    assert_eq!((removed.status, removed.json()), (200, json!({"total_deleted": 2})));
    assert_eq!(list(&ann).await, []);
    ann.api.post(REMOVE, &[("contacts", &unknown)]).await.refused(415, "unsupported_media_type");
}

#[tokio::test]
async fn the_body_of_an_import_holds_twenty_thousand_contacts_with_names_in_any_notation() {
    let server = Server::start();
    let ann = Person::new(&server).await;
    // Python's json escapes what is not ASCII, and an indentation is added.
    let name = "\\u0410\\u043b\\u0435\\u043a\\u0441\\u0430\\u043d\\u0434\\u0440\\u0430";
    let contacts: Vec<String> = (0..20_000)
        .map(|number| {
            format!(
                "    {{\n      \"contact_id\": \"4930{number:07}\",\n      \"first_name\": \"{name}\",\n      \
                 \"last_name\": \"{name}\",\n      \"photo\": null,\n      \"source\": \"phone\"\n    }}"
            )
        })
        .collect();
    let body = format!("{{\n  \"contacts\": [\n{}\n  ]\n}}", contacts.join(",\n"));
    assert!(body.len() > 5_000_000, "{}", body.len());
    let request = ann.api.request(reqwest::Method::POST, IMPORT).header("content-type", "application/json");
    let answer = ann.api.send(request.body(body)).await;
    assert_eq!((answer.status, &answer.json()["added"]), (200, &json!(20_000)), "{}", answer.text());
}
