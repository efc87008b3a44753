//! Changes of a group, the right to make them, and their visibility.

use serde_json::json;

use super::{group_of_three, numbers, people};
use crate::shared_server::server;
use crate::support::people::{Person, fresh_number};

#[tokio::test]
async fn every_participant_may_change_the_subject() {
    let ([anna, bert, carl], group) = group_of_three().await;
    carl.changes(&group, "subject", &[("subject", "Carl's")]).await;
    assert_eq!(carl.info(&group).await.expect("his")["subject"], "Carl's");
    for person in [&anna, &bert] {
        person.waits_for_group(&group, |info| info["subject"] == "Carl's").await;
    }
    let answer = bert.api.post("/api/groups/subject/", &[("group_id", &group), ("subject", "Bert's")]).await;
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    let subject = bert.api.get(&format!("/groups/{group}/subject")).await.json();
    assert_eq!(subject, json!({"subject": "Bert's"}));
    anna.waits_for_group(&group, |info| info["subject"] == "Bert's").await;
    // The path wins over the body.
    let other = anna.creates_group("Other", &[]).await;
    anna.changes(&group, "subject", &[("subject", "Anna's"), ("group_id", &other)]).await;
    assert_eq!(anna.info(&other).await.expect("hers")["subject"], "Other");
    anna.posts_to_group(&group, "subject", &[]).await.refused(400, "missing_parameter");
    anna.posts_to_group(&group, "subject", &[("subject", "")]).await.refused(400, "missing_parameter");
    let long = "x".repeat(101);
    anna.posts_to_group(&group, "subject", &[("subject", &long)]).await.refused(400, "invalid_parameter");
}

#[tokio::test]
async fn only_admins_add_remove_promote_and_demote() {
    let [anna, bert, carl, dora] = people(server()).await;
    let group = anna.creates_group("Team", &[&bert]).await;
    let endpoints = ["add-participant", "remove-participant", "promote-participant", "demote-participant"];
    for endpoint in endpoints {
        let refused = bert.posts_to_group(&group, endpoint, &[("contact", &anna.number)]).await;
        refused.refused(403, "not_an_admin");
        anna.posts_to_group(&group, endpoint, &[]).await.refused(400, "missing_parameter");
        anna.posts_to_group(&group, endpoint, &[("contact", "junk")]).await.refused(400, "invalid_parameter");
    }
    anna.changes(&group, "add-participant", &[("contact", &carl.number)]).await;
    // The change is visible at once, and the others receive it.
    let participants = json!(numbers(&[&anna, &bert, &carl]));
    assert_eq!(anna.info(&group).await.expect("hers")["participants"], participants);
    for person in [&bert, &carl] {
        person.waits_for_group(&group, |info| info["participants"] == participants).await;
    }
    // A participant already; a stranger; an unknown number.
    anna.changes(&group, "add-participant", &[("contact", &carl.number)]).await;
    anna.changes(&group, "add-participant", &[("contact", &anna.number)]).await;
    let stranger = Person::new(server()).await;
    for number in [&stranger.number, &fresh_number()] {
        let refused = anna.posts_to_group(&group, "add-participant", &[("contact", number)]).await;
        refused.refused(400, "not_a_contact");
        for endpoint in &endpoints[1..] {
            let refused = anna.posts_to_group(&group, endpoint, &[("contact", number)]).await;
            refused.refused(404, "participant_not_found");
        }
    }
    for endpoint in &endpoints[1..] {
        let refused = anna.posts_to_group(&group, endpoint, &[("contact", &dora.number)]).await;
        refused.refused(404, "participant_not_found");
    }

    anna.changes(&group, "promote-participant", &[("contact", &bert.number)]).await;
    assert_eq!(anna.info(&group).await.expect("hers")["admins"], json!(numbers(&[&anna, &bert])));
    bert.waits_for_group(&group, |info| info["admins"] == json!(numbers(&[&anna, &bert]))).await;
    anna.changes(&group, "promote-participant", &[("contact", &bert.number)]).await;
    // Removing, promoting and demoting need no contact.
    bert.changes(&group, "demote-participant", &[("contact", &anna.number)]).await;
    bert.changes(&group, "demote-participant", &[("contact", &carl.number)]).await;
    anna.waits_for_group(&group, |info| info["admins"] == json!(numbers(&[&bert]))).await;
    anna.posts_to_group(&group, "add-participant", &[("contact", &dora.number)])
        .await
        .refused(403, "not_an_admin");
    bert.changes(&group, "remove-participant", &[("contact", &anna.number)]).await;
    anna.waits_for_removal(&group).await;
    assert_eq!(bert.info(&group).await.expect("his")["participants"], json!(numbers(&[&bert, &carl])));
    assert_eq!(anna.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": []}));
    anna.posts_to_group(&group, "subject", &[("subject", "late")]).await.refused(404, "group_not_found");
}

#[tokio::test]
async fn a_group_always_has_an_admin() {
    let ([anna, bert, carl], group) = group_of_three().await;
    anna.changes(&group, "demote-participant", &[("contact", &anna.number)]).await;
    let info = anna.info(&group).await.expect("hers");
    assert_eq!(info["admins"], json!(numbers(&[&bert])));
    bert.waits_for_group(&group, |info| info["admins"] == json!(numbers(&[&bert]))).await;
    // Every participant may remove themselves, which is leaving.
    anna.changes(&group, "remove-participant", &[("contact", &anna.number)]).await;
    anna.waits_for_removal(&group).await;
    bert.changes(&group, "leave", &[]).await;
    bert.waits_for_removal(&group).await;
    let left = carl.waits_for_group(&group, |info| info["participants"] == json!(numbers(&[&carl]))).await;
    assert_eq!((&left["admins"], &left["creator"]), (&json!(numbers(&[&carl])), &json!(anna.number)));
    carl.changes(&group, "demote-participant", &[("contact", &carl.number)]).await;
    assert_eq!(carl.info(&group).await.expect("his")["admins"], json!(numbers(&[&carl])));
    let answer = carl.api.post("/groups/leave", &[("group_id", &group)]).await;
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    assert_eq!(carl.info(&group).await, None);
    carl.posts_to_group(&group, "leave", &[]).await.refused(404, "group_not_found");
}

#[tokio::test]
async fn the_journal_contains_each_change_of_a_group() {
    let ([anna, bert, carl], group) = group_of_three().await;
    anna.changes(&group, "subject", &[("subject", "New")]).await;
    anna.changes(&group, "promote-participant", &[("contact", &bert.number)]).await;
    anna.changes(&group, "remove-participant", &[("contact", &carl.number)]).await;
    bert.changes(&group, "leave", &[]).await;
    anna.waits_for_group(&group, |info| info["participants"] == json!(numbers(&[&anna]))).await;
    let events = async |person: &Person, count: usize| {
        let query = format!(
            "SELECT coalesce(json_agg(json_build_array(kind, payload) ORDER BY e.seq), '[]') FROM event e
             JOIN account_counter c ON c.id = e.counter_id WHERE number = '{}' AND kind LIKE 'group.%'",
            person.number
        );
        crate::support::wait::wait_until_async("events", crate::support::wait::DEADLINE, async || {
            let found: serde_json::Value =
                serde_json::from_str(&server().database().sql(&query)).expect("JSON");
            (found.as_array().expect("a list").len() == count).then_some(found)
        })
        .await
    };
    let changed = |by: &Person, change: &str, who: &[&Person]| {
        let facts = json!({"group": group, "change": change, "by": by.number, "participants": numbers(who)});
        json!(["group.changed", facts])
    };
    let all = [
        json!(["group.created", {"group": group}]),
        changed(&anna, "subject", &[]),
        changed(&anna, "promoted", &[&bert]),
        changed(&anna, "removed", &[&carl]),
        changed(&bert, "left", &[&bert]),
    ];
    assert_eq!(events(&anna, 5).await, json!(all));
    assert_eq!(events(&bert, 5).await, json!(all));
    assert_eq!(events(&carl, 4).await, json!(all[..4]));
}
