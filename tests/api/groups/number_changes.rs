//! Groups of numbers that are removed or change their owner.

use serde_json::json;

use super::{group_of_three, numbers};
use crate::shared_server::server;
use crate::support::people::{Person, login, pass_a_minute, prove, register, texts};

#[tokio::test]
async fn a_removed_account_leaves_its_groups() {
    let ([anna, bert, carl], group) = group_of_three().await;
    assert_eq!(anna.api.post("/api/account/remove-account/", &[]).await.status, 200);
    for person in [&bert, &carl] {
        let info = person
            .waits_for_group(&group, |info| info["participants"] == json!(numbers(&[&bert, &carl])))
            .await;
        assert_eq!((&info["admins"], &info["creator"]), (&json!(numbers(&[&bert])), &json!(anna.number)));
    }
    let id = bert.sends_to_group(&group, "without Anna").await;
    bert.waits_until(&group, &id, |message| message["delivered"].is_string()).await;
    // Her number, registered again, is in no group and has no chat.
    register(server(), &anna.api, &anna.number).await;
    assert_eq!(anna.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": []}));
    anna.api.get(&format!("/api/messages/chats/{group}/")).await.refused(404, "group_not_found");
}

#[tokio::test]
async fn a_number_that_moves_does_not_bring_its_groups_to_the_new_owner() {
    let ([anna, bert, carl], group) = group_of_three().await;
    let id = anna.sends_to_group(&group, "private").await;
    for person in [&bert, &carl] {
        person.waits_until(&group, &id, |_| true).await;
    }
    let eve = Person { api: login(server()).await, number: bert.number.clone() };
    register(server(), &eve.api, &eve.number).await;
    assert_eq!(eve.info(&group).await, None);
    assert_eq!(eve.api.get("/api/groups/info-all/").await.json(), json!({"grouplist": []}));
    eve.api.get(&format!("/api/messages/chats/{group}/")).await.refused(404, "group_not_found");
    anna.waits_for_group(&group, |info| info["participants"] == json!(numbers(&[&anna, &carl]))).await;
    let later = anna.sends_to_group(&group, "later").await;
    carl.waits_until(&group, &later, |_| true).await;
    // The old owner can read the old messages.
    let chat = format!("/api/messages/chats/{group}/?account={}", bert.number);
    assert_eq!(bert.texts(&chat).await, ["private"]);
    bert.api.get(&format!("/api/groups/{group}/info/")).await.refused(400, "account_not_registered");

    // The new owner is added, then the number moves back: the groups of the new owner do not move with it.
    anna.changes(&group, "add-participant", &[("contact", &eve.number)]).await;
    eve.waits_for_group(&group, |_| true).await;
    let of_eve = anna.sends_to_group(&group, "to Eve").await;
    eve.waits_until(&group, &of_eve, |_| true).await;
    assert_eq!(texts(&eve.chat(&group).await), ["to Eve"]);
    pass_a_minute(server(), &bert.number);
    let named = ("account", bert.number.as_str());
    assert_eq!(bert.api.post("/api/account/request-sms-code/", &[named]).await.status, 200);
    prove(server(), &bert.api, &bert.number).await;
    assert_eq!(bert.info(&group).await, None);
    assert_eq!(bert.texts(&chat).await, ["private"]);
    anna.waits_for_group(&group, |info| info["participants"] == json!(numbers(&[&anna, &carl]))).await;
}

#[tokio::test]
async fn a_number_that_is_registered_again_is_in_no_group() {
    let ([anna, bert, carl], group) = group_of_three().await;
    // Simulates a logout by the network.
    server().database().sql(&format!(
        "UPDATE localnet_subscriber SET incarnation = 'another' WHERE number = '{}'",
        bert.number
    ));
    crate::support::wait::wait_until_async(
        "the end of the login",
        crate::support::wait::DEADLINE,
        async || {
            let listed = crate::support::people::account(&bert.api, &bert.number).await.expect("listed");
            (listed["session"]["state"] == "logged_out").then_some(())
        },
    )
    .await;
    pass_a_minute(server(), &bert.number);
    let named = ("account", bert.number.as_str());
    assert_eq!(bert.api.post("/api/account/request-sms-code/", &[named]).await.status, 200);
    prove(server(), &bert.api, &bert.number).await;
    assert_eq!(bert.info(&group).await, None);
    for person in [&anna, &carl] {
        person.waits_for_group(&group, |info| info["participants"] == json!(numbers(&[&anna, &carl]))).await;
    }
}
