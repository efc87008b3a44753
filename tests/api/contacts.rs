//! The contact endpoints: list, add, show, rename, remove, sync.

use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::people::{Person, fresh_number, login, register};
use crate::support::wait::{DEADLINE, wait_until_async};

const LIST: &str = "/api/contacts/";
const ADD: &str = "/api/contacts/add-contact/";
const SYNC: &str = "/api/contacts/force-sync/";

fn path(number: &str) -> String {
    format!("/api/contacts/{number}/")
}

fn entry(number: &str, first: &str, last: &str, exists: bool) -> Value {
    json!({"contact_id": number, "first_name": first, "last_name": last, "exists": exists})
}

#[tokio::test]
async fn contacts_are_added_listed_and_shown() {
    let (anna, bert) = (Person::new(server()).await, Person::new(server()).await);
    let nobody = fresh_number();
    let empty = anna.api.get(LIST).await;
    assert_eq!((empty.status, empty.json()), (200, json!([])));

    let pretty = format!("+{} ({}) {}", &bert.number[..1], &bert.number[1..4], &bert.number[4..]);
    let form = [("contact_id", pretty.as_str()), ("first_name", "Bért"), ("last_name", "B")];
    let added = anna.api.post(ADD, &form).await;
    assert_eq!((added.status, added.json()), (201, json!({"contact_id": bert.number, "exists": true})));
    let digits = nobody.parse::<u64>().expect("digits");
    let added = anna.api.post_json(ADD, &json!({"contact_id": digits, "last_name": null})).await;
    assert_eq!((added.status, added.json()), (201, json!({"contact_id": nobody, "exists": false})));

    let (known, unknown) = (entry(&bert.number, "Bért", "B", true), entry(&nobody, "", "", false));
    assert_eq!(anna.api.get(LIST).await.json(), json!([known, unknown]));
    assert_eq!(anna.api.get(&path(&bert.number)).await.json(), known);
    assert_eq!(anna.api.get(&path(&nobody)).await.json(), unknown);
    let encoded = pretty.replace(' ', "%20").replace('+', "%2B");
    for spelling in [encoded.as_str(), &format!("+{}", bert.number), &format!("%20{}", bert.number)] {
        assert_eq!(anna.api.get(&path(spelling)).await.json(), known, "{spelling}");
    }
}

#[tokio::test]
async fn add_contact_refuses_invalid_parameters() {
    let anna = Person::new(server()).await;
    let number = fresh_number();
    let add = async |form: &[(&str, &str)]| anna.api.post(ADD, form).await;
    add(&[]).await.refused(400, "missing_parameter");
    for wrong in ["1234", "1234567890123456", "15551230000#", "anna", "xyz"] {
        add(&[("contact_id", wrong)]).await.refused(400, "invalid_parameter");
    }
    let hint = add(&[("contact_id", "15551230000first_name=Bert")]).await;
    assert!(hint.refused(400, "invalid_parameter").contains('&'), "{}", hint.text());
    // An unknown public id.
    add(&[("contact_id", "x999999999")]).await.refused(400, "contact_unknown");
    for name in ["first_name", "last_name"] {
        add(&[("contact_id", &number), (name, &"ü".repeat(257))]).await.refused(400, "invalid_parameter");
    }
    assert_eq!(anna.api.get(LIST).await.json(), json!([]));

    let longest = "ü".repeat(256);
    let form = [("contact_id", number.as_str()), ("first_name", &longest), ("last_name", &longest)];
    assert_eq!(add(&form).await.status, 201);
    for spelling in [number.clone(), format!("+{number}"), format!("{}-{}", &number[..4], &number[4..])] {
        add(&[("contact_id", &spelling)]).await.refused(400, "contact_exists");
    }
    assert_eq!(anna.api.get(&path(&number)).await.json(), entry(&number, &longest, &longest, false));
}

#[tokio::test]
async fn patch_contact_changes_only_the_names_in_the_request() {
    let anna = Person::new(server()).await;
    let number = fresh_number();
    anna.api.post(ADD, &[("contact_id", &number), ("first_name", "A"), ("last_name", "B")]).await;
    let rename = async |form: &[(&str, &str)]| anna.api.patch(&path(&number), form).await;

    let renamed = rename(&[("first_name", "C")]).await;
    assert_eq!((renamed.status, renamed.json()), (200, json!({"updated_contact": number})));
    assert_eq!(anna.api.get(&path(&number)).await.json(), entry(&number, "C", "B", false));
    assert_eq!(rename(&[("last_name", "D")]).await.status, 200);
    assert_eq!(anna.api.get(&path(&number)).await.json(), entry(&number, "C", "D", false));
    assert_eq!(rename(&[("first_name", ""), ("last_name", "E")]).await.status, 200);
    assert_eq!(anna.api.get(&path(&number)).await.json(), entry(&number, "", "E", false));

    rename(&[]).await.refused(400, "missing_parameter");
    rename(&[("first_name", &"x".repeat(257))]).await.refused(400, "invalid_parameter");
    let null = anna.api.request(reqwest::Method::PATCH, &path(&number)).json(&json!({"first_name": null}));
    anna.api.send(null).await.refused(400, "missing_parameter");
    assert_eq!(anna.api.get(&path(&number)).await.json(), entry(&number, "", "E", false));
    anna.api.patch(&path(&fresh_number()), &[("first_name", "X")]).await.refused(404, "contact_not_found");
}

#[tokio::test]
async fn delete_contact_removes_it_from_the_list() {
    let (anna, bert) = Person::two_friends(server()).await;
    let removed = anna.api.delete(&path(&format!("+{}", bert.number))).await;
    assert_eq!((removed.status, removed.json()), (200, json!({"removed_contact": bert.number})));
    assert_eq!(anna.api.get(LIST).await.json(), json!([]));
    anna.api.get(&path(&bert.number)).await.refused(404, "contact_not_found");
    anna.api.delete(&path(&bert.number)).await.refused(404, "contact_not_found");
    anna.tries_to_send(&bert.number, "hello").await.refused(400, "not_a_contact");
    // And can be added again.
    anna.adds_contact(&bert.number).await;
    anna.delivers(&bert, "hello").await;
}

#[tokio::test]
async fn a_contact_path_without_a_valid_number_is_not_found() {
    let anna = Person::new(server()).await;
    for word in ["anna", "1234", "1234567890123456", "x", "15551230000-1466000000", "a%2Fb", "155512300x0"] {
        for answer in [
            anna.api.get(&path(word)).await,
            anna.api.delete(&path(word)).await,
            anna.api.patch(&path(word), &[("first_name", "A")]).await,
        ] {
            answer.refused(404, "not_found");
        }
    }
}

#[tokio::test]
async fn force_sync_updates_which_contacts_exist() {
    let anna = Person::new(server()).await;
    assert_eq!(anna.api.post(SYNC, &[]).await.json(), json!({"existing": [], "non_existing": []}));

    let bert = Person::new(server()).await;
    let later = fresh_number();
    anna.adds_contact(&bert.number).await;
    anna.api.post(ADD, &[("contact_id", &later)]).await;
    let synced = anna.api.post(SYNC, &[]).await;
    assert_eq!(synced.status, 200);
    assert_eq!(synced.json(), json!({"existing": [bert.number], "non_existing": [later]}));

    // One registers, the other leaves.
    register(server(), &login(server()).await, &later).await;
    assert_eq!(bert.api.post("/api/account/remove-account/", &[]).await.status, 200);
    anna.tries_to_send(&later, "too soon").await.refused(400, "not_a_contact");
    let synced = anna.api.post(SYNC, &[]).await;
    assert_eq!(synced.json(), json!({"existing": [later], "non_existing": [bert.number]}));
    let list = json!([entry(&bert.number, "", "", false), entry(&later, "", "", true)]);
    assert_eq!(anna.api.get(LIST).await.json(), list);
    assert_eq!(anna.tries_to_send(&later, "now").await.status, 200);
    anna.tries_to_send(&bert.number, "gone").await.refused(400, "not_a_contact");
}

#[tokio::test]
async fn a_contact_that_writes_is_marked_as_existing() {
    let anna = Person::new(server()).await;
    let bert = Person { api: login(server()).await, number: fresh_number() };
    let added = anna.api.post(ADD, &[("contact_id", &bert.number)]).await;
    assert_eq!(added.json()["exists"], false);
    register(server(), &bert.api, &bert.number).await;
    bert.adds_contact(&anna.number).await;
    bert.delivers(&anna, "hello").await;
    wait_until_async("the contact to exist", DEADLINE, async || {
        (anna.api.get(&path(&bert.number)).await.json()["exists"] == true).then_some(())
    })
    .await;
}
