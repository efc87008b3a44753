//! Who changes what, and who sees it.

use serde_json::json;

use super::{group_of_three, numbers, people};
use crate::shared_server::server;
use crate::support::people::{Person, fresh_number};

#[tokio::test]
async fn every_participant_changes_the_subject() {
    let ([anna, bert, carl], group) = group_of_three().await;
    carl.does(&group, "subject", &[("subject", "Carl's")]).await;
    assert_eq!(carl.info(&group).await.expect("his")["subject"], "Carl's");
    for person in [&anna, &bert] {
        person.hears(&group, |info| info["subject"] == "Carl's").await;
    }
    let answer = bert.api.post("/api/groups/subject/", &[("group_id", &group), ("subject", "Bert's")]).await;
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    let subject = bert.api.get(&format!("/groups/{group}/subject")).await.json();
    assert_eq!(subject, json!({"subject": "Bert's"}));
    anna.hears(&group, |info| info["subject"] == "Bert's").await;
    // The path counts, not the body.
    let other = anna.makes_group("Other", &[]).await;
    anna.does(&group, "subject", &[("subject", "Anna's"), ("group_id", &other)]).await;
    assert_eq!(anna.info(&other).await.expect("hers")["subject"], "Other");
    anna.to_group(&group, "subject", &[]).await.refused(400, "missing_parameter");
    anna.to_group(&group, "subject", &[("subject", "")]).await.refused(400, "invalid_parameter");
    let long = "x".repeat(101);
    anna.to_group(&group, "subject", &[("subject", &long)]).await.refused(400, "invalid_parameter");
}

#[tokio::test]
async fn admins_add_remove_promote_and_demote() {
    let [anna, bert, carl, dora] = people(server()).await;
    let group = anna.makes_group("Team", &[&bert]).await;
    let rows = ["add-participant", "remove-participant", "promote-participant", "demote-participant"];
    for row in rows {
        let refused = bert.to_group(&group, row, &[("contact", &anna.number)]).await;
        refused.refused(403, "not_an_admin");
        anna.to_group(&group, row, &[]).await.refused(400, "missing_parameter");
        anna.to_group(&group, row, &[("contact", "junk")]).await.refused(400, "invalid_parameter");
    }
    anna.does(&group, "add-participant", &[("contact", &carl.number)]).await;
    // What the answer said is there at once, and the others hear of it.
    let participants = json!(numbers(&[&anna, &bert, &carl]));
    assert_eq!(anna.info(&group).await.expect("hers")["participants"], participants);
    for person in [&bert, &carl] {
        person.hears(&group, |info| info["participants"] == participants).await;
    }
    // In it already; a stranger; nobody.
    anna.does(&group, "add-participant", &[("contact", &carl.number)]).await;
    anna.does(&group, "add-participant", &[("contact", &anna.number)]).await;
    let stranger = Person::new(server()).await;
    for number in [&stranger.number, &fresh_number()] {
        let refused = anna.to_group(&group, "add-participant", &[("contact", number)]).await;
        refused.refused(400, "not_a_contact");
        for row in &rows[1..] {
            let refused = anna.to_group(&group, row, &[("contact", number)]).await;
            refused.refused(404, "participant_not_found");
        }
    }
    for row in &rows[1..] {
        let refused = anna.to_group(&group, row, &[("contact", &dora.number)]).await;
        refused.refused(404, "participant_not_found");
    }

    anna.does(&group, "promote-participant", &[("contact", &bert.number)]).await;
    assert_eq!(anna.info(&group).await.expect("hers")["admins"], json!(numbers(&[&anna, &bert])));
    bert.hears(&group, |info| info["admins"] == json!(numbers(&[&anna, &bert]))).await;
    anna.does(&group, "promote-participant", &[("contact", &bert.number)]).await;
    // Removing, promoting and demoting need no contact.
    bert.does(&group, "demote-participant", &[("contact", &anna.number)]).await;
    bert.does(&group, "demote-participant", &[("contact", &carl.number)]).await;
    anna.hears(&group, |info| info["admins"] == json!(numbers(&[&bert]))).await;
    anna.to_group(&group, "add-participant", &[("contact", &dora.number)]).await.refused(403, "not_an_admin");
    bert.does(&group, "remove-participant", &[("contact", &anna.number)]).await;
    anna.is_out(&group).await;
    assert_eq!(bert.info(&group).await.expect("his")["participants"], json!(numbers(&[&bert, &carl])));
    assert_eq!(anna.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": []}));
    anna.to_group(&group, "subject", &[("subject", "late")]).await.refused(404, "group_not_found");
}

#[tokio::test]
async fn a_group_always_has_an_admin() {
    let ([anna, bert, carl], group) = group_of_three().await;
    anna.does(&group, "demote-participant", &[("contact", &anna.number)]).await;
    let info = anna.info(&group).await.expect("hers");
    assert_eq!(info["admins"], json!(numbers(&[&bert])));
    bert.hears(&group, |info| info["admins"] == json!(numbers(&[&bert]))).await;
    // To remove oneself is to leave, for everybody.
    anna.does(&group, "remove-participant", &[("contact", &anna.number)]).await;
    anna.is_out(&group).await;
    bert.does(&group, "leave", &[]).await;
    bert.is_out(&group).await;
    let left = carl.hears(&group, |info| info["participants"] == json!(numbers(&[&carl]))).await;
    assert_eq!((&left["admins"], &left["creator"]), (&json!(numbers(&[&carl])), &json!(anna.number)));
    carl.does(&group, "demote-participant", &[("contact", &carl.number)]).await;
    assert_eq!(carl.info(&group).await.expect("his")["admins"], json!(numbers(&[&carl])));
    let answer = carl.api.post("/groups/leave", &[("group_id", &group)]).await;
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    assert_eq!(carl.info(&group).await, None);
    carl.to_group(&group, "leave", &[]).await.refused(404, "group_not_found");
}

#[tokio::test]
async fn the_journal_tells_of_a_group() {
    let ([anna, bert, carl], group) = group_of_three().await;
    anna.does(&group, "subject", &[("subject", "New")]).await;
    anna.does(&group, "promote-participant", &[("contact", &bert.number)]).await;
    anna.does(&group, "remove-participant", &[("contact", &carl.number)]).await;
    bert.does(&group, "leave", &[]).await;
    anna.hears(&group, |info| info["participants"] == json!(numbers(&[&anna]))).await;
    let told = async |person: &Person, count: usize| {
        let query = format!(
            "SELECT coalesce(json_agg(json_build_array(kind, payload) ORDER BY e.seq), '[]') FROM event e
             JOIN account_counter c ON c.id = e.counter_id WHERE number = '{}' AND kind LIKE 'group.%'",
            person.number
        );
        crate::support::wait::wait_until_async("events", crate::support::wait::DEADLINE, async || {
            let told: serde_json::Value =
                serde_json::from_str(&server().database().sql(&query)).expect("JSON");
            (told.as_array().expect("a list").len() == count).then_some(told)
        })
        .await
    };
    let changed = |change: &str, who: &[&Person]| json!(["group.changed", {"group": group, "change": change, "participants": numbers(who)}]);
    let all = [
        json!(["group.created", {"group": group}]),
        changed("subject", &[]),
        changed("promoted", &[&bert]),
        changed("removed", &[&carl]),
        changed("left", &[&bert]),
    ];
    assert_eq!(told(&anna, 5).await, json!(all));
    assert_eq!(told(&bert, 5).await, json!(all));
    assert_eq!(told(&carl, 4).await, json!(all[..4]));
}
