//! Records of groups that have ended: they are forgotten after more than a year.

use serde_json::json;
use tokio::task::block_in_place;

use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::Software;
use crate::world::{jid, outsider_of, romeo, setup, shared};

on_both_servers!(the_record_of_an_ended_group_is_forgotten);

/// The number of keys that begin so.
fn count(server: &Server, prefix: &str) -> String {
    server.database().sql(&format!("SELECT count(*) FROM network_state WHERE key LIKE '{prefix}%'"))
}

async fn the_record_of_an_ended_group_is_forgotten(software: Software) {
    let xmpp = shared(software);
    let log = "info,windu::upstream::xmpp::rooms=debug";
    let mut server = setup(xmpp).env("WINDU_LOG", log).on_a_fixed_port().start();
    let (anna, ben) = Person::two_friends(&server).await;
    let living = anna.makes_group("Living", &[&ben.number]).await;
    let ended = anna.makes_group("Ended", &[&ben.number]).await;
    let subject = format!("/api/groups/{ended}/subject/");
    // More revisions than are looked at in one go.
    server.database().sql(
        "INSERT INTO network_state (network, key, value)
         SELECT network, regexp_replace(key, '/1$', '/' || -n), value FROM network_state, generate_series(1, 250) n
         WHERE key LIKE 'revision/%/1' AND convert_from(value, 'UTF8') LIKE '%\"Ended\"%'",
    );
    let changed = anna.api.post(&subject, &[("subject", "Ended soon")]).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    // A room that another app has made ends for this server when the last one of its people leaves.
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    romeo.chat(&address).text("Hello").await;
    let cleo = Person::new(&server).await;
    romeo.chat(&jid(&cleo, xmpp)).text("Hello").await;
    outsider_of(&cleo).await;
    let hall = format!("hall-{}@rooms.{}", anna.number, xmpp.domain());
    romeo.create_room(&hall, "Romeo", json!({jid(&cleo, xmpp): "member"})).await;
    romeo.invite(&hall, &jid(&cleo, xmpp)).await;
    let elsewhere = wait_until_async("a group", DEADLINE, async || {
        let groups = cleo.api.get("/api/groups/info-all/").await.json()["grouplist"].take();
        groups[0]["groupid"].as_str().map(str::to_owned)
    })
    .await;
    for (person, group) in [(&ben, &ended), (&anna, &ended), (&cleo, &elsewhere)] {
        let left = person.api.post(&format!("/api/groups/{group}/leave/"), &[]).await;
        assert_eq!(left.status, 200, "{}", left.text());
    }
    let counted = |server: &Server| ["group/", "operation/"].map(|prefix| count(server, prefix));
    assert_eq!(counted(&server), ["3", "2"]);
    let restart = |server: &mut Server| {
        block_in_place(|| {
            server.terminate();
            server.wait();
            server.restart();
        });
    };
    // It stays as long as somebody who was away may hear of its end.
    restart(&mut server);
    let looks = || server.log().matches("the records of groups were looked through").count();
    let before = looks();
    wait_until_async("a look", DEADLINE, async || (looks() > before).then_some(())).await;
    assert_eq!(counted(&server), ["3", "2"]);
    server.database().sql(
        "UPDATE network_state SET value = convert_to(
             regexp_replace(convert_from(value, 'UTF8'), '\"at\":\"[0-9]{4}', '\"at\":\"2020'), 'UTF8')
         WHERE key LIKE 'revision/%'",
    );
    restart(&mut server);
    wait_until_async("the end of the records", DEADLINE, async || {
        (count(&server, "group/") == "1" && count(&server, "operation/") == "1").then_some(())
    })
    .await;
    assert_eq!(["revision/", "member/"].map(|prefix| count(&server, prefix)), ["1", "2"]);
    let id = anna.says(&living, "Still here").await;
    ben.waits_until(&living, &id, |_| true).await;

    // The room is a group again, with later revisions than it had.
    romeo.affiliate(&hall, &jid(&cleo, xmpp), "member").await.expect("an owner may");
    romeo.invite(&hall, &jid(&cleo, xmpp)).await;
    let info = cleo
        .group_until(&elsewhere, "Cleo", |info| {
            info["participants"].as_array().is_some_and(|all| all.contains(&json!(cleo.number)))
        })
        .await;
    assert_eq!(info["groupid"], elsewhere, "{info}");
    let id = romeo.room(&hall).text("Welcome back").await;
    cleo.waits_until(&elsewhere, &id, |_| true).await;
}
