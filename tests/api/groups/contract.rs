//! Creation and display of groups, and the errors that all group endpoints share.

use reqwest::Method;
use serde_json::{Value, json};

use super::{CREATE, group_of_three, numbers, people};
use crate::shared_server::server;
use crate::support::client::Answer;
use crate::support::people::{Person, assert_time, fresh_number, without_timestamps};
use crate::support::wait::{DEADLINE, wait_until};

/// Method, path and form.
type Endpoint = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Every endpoint that names a group. `{group}` stands for its id, `{contact}` for a number.
const ENDPOINTS: &[Endpoint] = &[
    ("GET", "/api/groups/{group}/info/", &[]),
    ("GET", "/api/groups/{group}/subject/", &[]),
    ("POST", "/api/groups/{group}/subject/", &[("subject", "mine now")]),
    ("POST", "/api/groups/subject/", &[("group_id", "{group}"), ("subject", "mine now")]),
    ("POST", "/api/groups/{group}/add-participant/", &[("contact", "{contact}")]),
    ("POST", "/api/groups/{group}/remove-participant/", &[("contact", "{contact}")]),
    ("POST", "/api/groups/{group}/promote-participant/", &[("contact", "{contact}")]),
    ("POST", "/api/groups/{group}/demote-participant/", &[("contact", "{contact}")]),
    ("POST", "/api/groups/{group}/leave/", &[]),
    ("POST", "/api/groups/leave/", &[("group_id", "{group}")]),
    ("POST", "/api/messages/send-message/", &[("group_id", "{group}"), ("message", "not mine")]),
    ("POST", "/api/messages/set-typing/", &[("group_id", "{group}")]),
    ("POST", "/api/messages/set-paused/", &[("group_id", "{group}")]),
    ("POST", "/api/messages/update-last-read/", &[("group_id", "{group}")]),
    ("GET", "/api/messages/chats/{group}/", &[]),
    ("GET", "/api/messages/delivered/{group}/", &[]),
    ("GET", "/api/messages/read/{group}/", &[]),
];

async fn ask(person: &Person, (method, path, form): &Endpoint, group: &str, contact: &str) -> Answer {
    let put = |text: &str| text.replace("{group}", group).replace("{contact}", contact);
    let form: Vec<(&str, String)> = form.iter().map(|(name, value)| (*name, put(value))).collect();
    let method: Method = method.parse().expect("a method");
    person.api.send(person.api.request(method, &put(path)).form(&form)).await
}

/// The parts of a response that must not differ.
fn comparable(answer: &Answer) -> (u16, String, String) {
    (answer.status, answer.header("content-type").to_owned(), answer.text())
}

#[tokio::test]
async fn create_group_makes_a_group_that_all_participants_see() {
    let [anna, bert, carl] = people(server()).await;
    // Other spellings, repetitions and the own number do not add participants.
    let spaced = format!("+{} {}", &bert.number[..4], &bert.number[4..]);
    let participants = json!([bert.number, spaced, anna.number, carl.number.parse::<u64>().expect("digits")]);
    let body = json!({"participants": participants, "subject": "Our group & more"});
    let made = anna.api.post_json("/groups/create-group", &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let group = made.json()["groupid"].as_str().expect("an id").to_owned();
    let (creator, number) = group.split_once('-').expect("a dash");
    assert_eq!((creator, number.len()), (anna.number.as_str(), 10));

    let info = anna.info(&group).await.expect("the maker's");
    assert_time(&info["creation"]);
    without_timestamps(info.clone());
    let expected = json!({
        "groupid": group, "id": group, "creator": anna.number, "creation": info["creation"],
        "creation_timestamp": info["creation_timestamp"],
        "subject": "Our group & more", "participants": numbers(&[&anna, &bert, &carl]),
        "admins": [anna.number],
    });
    assert_eq!(info, expected);
    let second = anna.creates_group("Second", &[&bert]).await;
    assert_ne!(second, group);
    for person in [&anna, &bert, &carl] {
        assert_eq!(person.waits_for_group(&group, |_| true).await, expected);
        let subject = person.api.get(&format!("/api/groups/{group}/subject/")).await;
        assert_eq!((subject.status, subject.json()), (200, json!({"subject": "Our group & more"})));
    }
    let all = anna.api.get("/groups/info-all").await.json();
    assert_eq!(all, json!({"grouplist": [expected, anna.info(&second).await]}));
    assert_eq!(carl.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": [expected]}));
    let nobody = Person::new(server()).await;
    assert_eq!(nobody.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": []}));
}

#[tokio::test]
async fn create_group_accepts_only_contacts_and_numbers_that_wrote_first() {
    let [anna, bert] = people(server()).await;
    let stranger = Person::new(server()).await;
    let nobody = fresh_number();
    anna.api.post("/api/contacts/add-contact/", &[("contact_id", &nobody)]).await;
    let unknown = fresh_number();
    let bad = [&stranger.number, &nobody, &unknown, "x424242424242"];
    let participants = [&bert.number, bad[0], bad[1], bad[2], bad[3]];
    let refused = anna.tries_to_create_group("None", &participants).await;
    let text = refused.refused(400, "not_a_contact");
    for number in bad {
        assert!(text.contains(number), "{text}");
    }
    assert!(!text.contains(&bert.number), "{text}");
    assert_eq!(refused.json()["participants"], json!(bad));
    assert_eq!(anna.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": []}));
    assert_eq!(bert.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": []}));
    // A number that wrote first may be added.
    stranger.adds_contact(&anna.number).await;
    stranger.delivers(&anna, "hello").await;
    anna.creates_group("Two", &[&bert, &stranger]).await;
    // A contact that was removed from the network: the network refuses.
    assert_eq!(stranger.api.post("/api/account/remove-account/", &[]).await.status, 200);
    let refused = anna.tries_to_create_group("None", &[&stranger.number, &bert.number]).await;
    assert!(refused.refused(400, "cannot_be_added").contains(&stranger.number));
    assert_eq!(refused.json()["participants"], json!([stranger.number]));
}

#[tokio::test]
async fn nobody_who_has_blocked_the_account_is_added_to_a_group() {
    let [anna, bert, carl] = people(server()).await;
    let unknown = fresh_number();
    assert_eq!(bert.api.post(&format!("/api/contacts/{}/block/", anna.number), &[]).await.status, 200);
    let blocked = format!(
        "SELECT count(*) FROM localnet_block WHERE owner = '{}' AND blocked = '{}'",
        bert.number, anna.number
    );
    wait_until("the network to know the block", DEADLINE, || {
        (server().database().sql(&blocked) == "1").then_some(())
    });
    let refused = anna.tries_to_create_group("None", &[&carl.number, &bert.number]).await;
    assert!(refused.refused(400, "cannot_be_added").contains(&bert.number));
    assert_eq!(refused.json()["participants"], json!([bert.number]));
    // All are named, whether the server or the network refuses them.
    let refused = anna.tries_to_create_group("None", &[&bert.number, &carl.number, &unknown]).await;
    let text = refused.refused(400, "not_a_contact");
    assert!(text.contains(&bert.number) && text.contains(&unknown) && !text.contains(&carl.number), "{text}");
    assert_eq!(refused.json()["participants"], json!([bert.number, unknown]));
    assert_eq!(anna.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": []}));

    let group = anna.creates_group("Two", &[&carl]).await;
    let refused = anna.posts_to_group(&group, "add-participant", &[("contact", &bert.number)]).await;
    assert!(refused.refused(400, "cannot_be_added").contains(&bert.number));
    assert_eq!(refused.json()["participants"], json!([bert.number]));
    anna.sends_to_group(&group, "without Bert").await;
    assert_eq!(anna.info(&group).await.expect("hers")["participants"], json!(numbers(&[&anna, &carl])));
    assert_eq!(bert.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": []}));

    assert_eq!(bert.api.post(&format!("/api/contacts/{}/unblock/", anna.number), &[]).await.status, 200);
    wait_until("the network to forget the block", DEADLINE, || {
        (server().database().sql(&blocked) == "0").then_some(())
    });
    anna.changes(&group, "add-participant", &[("contact", &bert.number)]).await;
}

#[tokio::test]
async fn create_group_refuses_invalid_parameters() {
    let [anna, bert] = people(server()).await;
    let number = bert.number.as_str();
    anna.tries_to_create_group("", &[number]).await.refused(400, "missing_parameter");
    anna.tries_to_create_group(" \t", &[number]).await.refused(400, "invalid_parameter");
    anna.tries_to_create_group(&"ü".repeat(101), &[number]).await.refused(400, "invalid_parameter");
    let long = "ü".repeat(100);
    let group = anna.creates_group(&long, &[&bert]).await;
    assert_eq!(anna.info(&group).await.expect("hers")["subject"], long);
    anna.tries_to_create_group("bad number", &["12"]).await.refused(400, "invalid_parameter");
    let missing = anna.api.post_json(CREATE, &json!({"participants": [number]})).await;
    assert!(missing.refused(400, "missing_parameter").contains("subject"));
    let missing = anna.api.post_json(CREATE, &json!({"subject": "x"})).await;
    assert!(missing.refused(400, "missing_parameter").contains("participants"));
    let form = anna.api.post(CREATE, &[("subject", "x"), ("participants", number)]).await;
    form.refused(415, "unsupported_media_type");
    let crowd: Vec<String> = (0..1_024).map(|index| format!("1777{index:07}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    anna.tries_to_create_group("too many", &crowd).await.refused(400, "group_too_large");
    // A group may have one participant only.
    let alone = anna.creates_group("alone", &[]).await;
    assert_eq!(anna.info(&alone).await.expect("hers")["participants"], json!([anna.number]));
}

#[tokio::test]
async fn a_group_of_other_users_is_answered_like_an_unknown_one() {
    let ([anna, bert, carl], group) = group_of_three().await;
    anna.sends_to_group(&group, "private").await;
    let eve = Person::new(server()).await;
    eve.adds_contact(&bert.number).await;
    let nobody = "15551230000-1466000000";
    for of_group in ENDPOINTS {
        let (_, endpoint, _) = of_group;
        let anothers = ask(&eve, of_group, &group, &bert.number).await;
        anothers.refused(404, "group_not_found");
        let of_nobody = ask(&eve, of_group, nobody, &bert.number).await;
        assert_eq!(comparable(&anothers), comparable(&of_nobody), "{endpoint}");
        for malformed in ["junk", "15551230000", "15551230000-14660000001", "x-1", "15551230000-x"] {
            // A number is a valid chat id.
            if endpoint.starts_with("/api/messages/")
                && endpoint.contains("{group}/")
                && malformed == "15551230000"
            {
                continue;
            }
            let answer = ask(&eve, of_group, malformed, &bert.number).await;
            assert_eq!(answer.status, 404, "{endpoint} {malformed}: {}", answer.text());
        }
    }
    for endpoint in ["/api/groups/subject/", "/api/groups/leave/"] {
        eve.api.post(endpoint, &[("subject", "x")]).await.refused(400, "missing_parameter");
    }
    for person in [&anna, &bert, &carl] {
        let info = person.info(&group).await.expect("untouched");
        assert_eq!(
            (&info["subject"], &info["participants"]),
            (&json!("Three"), &json!(numbers(&[&anna, &bert, &carl])))
        );
    }
}

#[tokio::test]
async fn every_group_endpoint_requires_a_token_and_an_account() {
    let api = crate::support::client::Client::new(server().url().to_owned());
    let nobody = Person { api: api.clone(), number: String::new() };
    for endpoint in ENDPOINTS {
        ask(&nobody, endpoint, "15551230000-1466000000", "15551230000").await.refused(401, "token_missing");
    }
    api.get("/api/groups/info-all/").await.refused(401, "token_missing");
    api.post_json(CREATE, &json!({})).await.refused(401, "token_missing");
    let user = Person { api: crate::support::people::login(server()).await, number: String::new() };
    for endpoint in ENDPOINTS {
        ask(&user, endpoint, "15551230000-1466000000", "15551230000").await.refused(400, "no_account");
    }
    let anna = Person::new(server()).await;
    for endpoint in ["/api/groups/info-all/", "/api/groups/15551230000-1466000000/info/"] {
        let other = user.api.get(&format!("{endpoint}?account={}", anna.number)).await;
        other.refused(400, "account_unknown");
    }
    let wrong: Value = anna.api.delete("/api/groups/info-all/").await.json();
    assert_eq!(wrong["code"], "method_not_allowed");
}
