//! Rooms that other apps have made, to which accounts are invited.

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::groups::picture_of;
use crate::support::guarantees::expire_killed_processes;
use crate::support::people::{Person, fresh_number, texts};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::federation::Federation;
use crate::support::xmpp::peer::{Peer, is_from};
use crate::support::xmpp::{Software, XmppServer};
use crate::world::{is_installed, jid, log_in_again, outsider_of, romeo, setup, shared};

on_both_servers!(
    an_account_follows_the_invitation_of_an_acquaintance,
    who_is_put_out_or_leaves_is_out_until_the_next_invitation,
    other_invitations_are_not_followed,
    an_invitation_that_waits_survives_a_kill,
    a_room_without_a_stored_place_is_found_again,
);

impl Person {
    /// The groups that the account is in.
    async fn groups(&self) -> Vec<Value> {
        let answer = self.api.get("/api/groups/info-all/").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["grouplist"].as_array().expect("a list").clone()
    }

    /// Waits until the account is in one group, and returns its id.
    async fn only_group(&self) -> String {
        wait_until_async("a group", DEADLINE, async || {
            let groups = self.groups().await;
            assert!(groups.len() <= 1, "{groups:?}");
            groups.first().map(|group| group["groupid"].as_str().expect("an id").to_owned())
        })
        .await
    }

    async fn is_in_no_group(&self) {
        wait_until_async("no group", DEADLINE, async || self.groups().await.is_empty().then_some(())).await;
    }
}

/// A fresh address of a room on a server.
fn room_of(xmpp: &XmppServer, name: &str) -> String {
    format!("{name}-{}@rooms.{}", fresh_number(), xmpp.domain())
}

/// Sends a mediated invitation (XEP-0045, section 7.8.2), which makes the other one a member.
async fn invite_by_room(owner: &Peer, room: &str, who: &str) {
    let invitation = format!(
        "<message xmlns='jabber:client' to='{room}'><x xmlns='http://jabber.org/protocol/muc#user'>\
         <invite to='{who}'/></x></message>"
    );
    owner.raw(&invitation).await;
}

/// A person with a chat with somebody who uses another app.
async fn acquaintances(server: &Server, xmpp: &XmppServer, other: &XmppServer) -> (Person, Peer, String) {
    let anna = Person::new(server).await;
    let romeo = romeo(other).await;
    romeo.chat(&jid(&anna, xmpp)).text("Good evening").await;
    let outsider = outsider_of(&anna).await;
    (anna, romeo, outsider)
}

async fn an_account_follows_the_invitation_of_an_acquaintance(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let (anna, romeo, outsider) = acquaintances(&server, xmpp, xmpp).await;
    let ben = Person::new(&server).await;
    ben.adds_contact(&anna.number).await;
    romeo.chat(&jid(&ben, xmpp)).text("You, too").await;
    let room = room_of(xmpp, "orchard");
    romeo.create_room(&room, "Romeo", json!({jid(&anna, xmpp): "member"})).await;
    romeo.subject(&room, "The orchard 🌳").await;
    romeo.invite(&room, &jid(&anna, xmpp)).await;
    let group = anna.only_group().await;
    let info = anna.group_until(&group, "the subject", |info| info["subject"] == "The orchard 🌳").await;
    assert_eq!(info["admins"], json!([outsider]), "{info}");
    assert!(info["participants"].as_array().is_some_and(|all| all.contains(&json!(anna.number))), "{info}");

    let written = romeo.room(&room).text("But soft").await;
    let message = anna.waits_until(&group, &written, |_| true).await;
    assert_eq!((&message["text"], &message["participant"]), (&json!("But soft"), &json!(outsider)));
    let id = anna.says(&group, "Ay me").await;
    let heard = romeo.hears(&room, "Ay me").await;
    assert_eq!(heard["id"], json!(id));
    romeo.room(&room).displayed(&id).await;
    anna.waits_until(&group, &id, |message| message["read"].is_string()).await;
    let read = anna.api.post("/api/messages/update-last-read/", &[("group_id", &*group)]).await;
    assert_eq!(read.status, 200, "{}", read.text());
    romeo.until("a marker", |event| is_from(event, &room) && event["displayed"] == *written).await;

    // Others of this server come later, by an invitation of the room, and it is the same group.
    invite_by_room(&romeo, &room, &jid(&ben, xmpp)).await;
    assert_eq!(ben.only_group().await, group);
    anna.group_until(&group, "Ben", |info| {
        info["participants"].as_array().is_some_and(|all| all.contains(&json!(ben.number)))
    })
    .await;
    let id = ben.says(&group, "I am here").await;
    anna.waits_until(&group, &id, |_| true).await;
    ben.waits_until(&group, &id, |message| message["delivered"].is_string() || message["state"] == "sent")
        .await;
    romeo.sets_picture(&room, Some(&picture_of(90))).await;
    for person in [&anna, &ben] {
        person.sees_picture(&group, Some(90)).await;
    }
    // Nobody changes it from here.
    let change = anna.api.post(&format!("/api/groups/{group}/subject/"), &[("subject", "Mine")]).await;
    assert_eq!(change.status, 501, "{}", change.text());
}

async fn who_is_put_out_or_leaves_is_out_until_the_next_invitation(software: Software) {
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let (anna, romeo, _) = acquaintances(&server, xmpp, xmpp).await;
    let (room, address) = (room_of(xmpp, "hall"), jid(&anna, xmpp));
    romeo.create_room(&room, "Romeo", json!({&*address: "member"})).await;
    romeo.invite(&room, &address).await;
    let group = anna.only_group().await;
    let id = romeo.room(&room).text("one").await;
    anna.waits_until(&group, &id, |_| true).await;
    romeo.affiliate(&room, &address, "none").await.expect("an owner may");
    anna.is_in_no_group().await;

    invite_by_room(&romeo, &room, &address).await;
    assert_eq!(anna.only_group().await, group);
    let id = romeo.room(&room).text("two").await;
    anna.waits_until(&group, &id, |_| true).await;
    let left = anna.api.post(&format!("/api/groups/{group}/leave/"), &[]).await;
    assert_eq!(left.status, 200, "{}", left.text());
    anna.is_in_no_group().await;
    let occupant = json!(format!("{room}/{}", anna.number));
    romeo.until("her leave", |event| event["from"] == occupant && event["type"] == "unavailable").await;

    invite_by_room(&romeo, &room, &address).await;
    assert_eq!(anna.only_group().await, group);
    // While the program is away it is put out again.
    block_in_place(|| {
        server.terminate();
        server.wait();
    });
    romeo.room(&room).text("three").await;
    block_in_place(|| server.restart());
    wait_until_async("what was missed", DEADLINE, async || {
        texts(&anna.chat(&group).await).contains(&"three".to_owned()).then_some(())
    })
    .await;
    block_in_place(|| {
        server.terminate();
        server.wait();
    });
    romeo.affiliate(&room, &address, "none").await.expect("an owner may");
    block_in_place(|| server.restart());
    anna.is_in_no_group().await;
}

async fn other_invitations_are_not_followed(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).env("WINDU_LOG", "info,windu::upstream::xmpp=debug").start();
    let (anna, romeo, outsider) = acquaintances(&server, xmpp, xmpp).await;
    let address = jid(&anna, xmpp);
    let refused = async |reason: &str| {
        wait_until_async(reason, DEADLINE, async || server.log().contains(reason).then_some(())).await;
    };
    // A stranger, in a flood.
    let tybalt = Peer::register(xmpp, &format!("tybalt-{}", fresh_number())).await;
    let own = room_of(xmpp, "ambush");
    tybalt.create_room(&own, "Tybalt", json!({&*address: "member"})).await;
    tybalt.invite(&own, &address).await;
    for number in 0..300 {
        tybalt.invite(&format!("{number}-{own}"), &address).await;
    }
    // It holds up neither the session nor others' invitations.
    romeo.chat(&address).text("Are you there?").await;
    anna.tries_to_send(&outsider, "I am").await;
    romeo.hears(&address, "I am").await;
    refused("too many wait").await;
    refused("its author is a stranger").await;
    // A room in which the account is no member, one for all, and one that hides who is in it.
    let closed = room_of(xmpp, "closed");
    romeo.create_room(&closed, "Romeo", json!({})).await;
    romeo.invite(&closed, &address).await;
    refused("not followed reason=").await;
    for (field, value, reason) in [
        ("muc#roomconfig_membersonly", "0", "not for members only"),
        ("muc#roomconfig_whois", "moderators", "does not show who is in it"),
    ] {
        let room = room_of(xmpp, "odd");
        romeo.create_room(&room, "Romeo", json!({&*address: "member"})).await;
        let configure = format!(
            "<iq xmlns='jabber:client' type='set' to='{room}'><query xmlns='http://jabber.org/protocol/muc#owner'>\
             <x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig\
             </value></field><field var='{field}'><value>{value}</value></field></x></query></iq>"
        );
        romeo.request(&configure).await.expect("an owner may");
        romeo.invite(&room, &address).await;
        refused(reason).await;
    }
    assert_eq!(anna.groups().await, Vec::<Value>::new());
    let good = room_of(xmpp, "good");
    romeo.create_room(&good, "Romeo", json!({&*address: "member"})).await;
    romeo.invite(&good, &address).await;
    let group = anna.only_group().await;
    // Somebody whom the account has blocked. The room passes the invitation on, so the server does not know whose it is.
    let blocked = anna.api.post(&format!("/api/contacts/{outsider}/block/"), &[]).await;
    assert_eq!(blocked.status, 200, "{}", blocked.text());
    wait_until_async("the session to have taken it", DEADLINE, async || {
        let applied = "SELECT applied = version FROM desired_state WHERE aspect = 'blocked'";
        (server.database().sql(applied) == "t").then_some(())
    })
    .await;
    let unwanted = room_of(xmpp, "unwanted");
    romeo.create_room(&unwanted, "Romeo", json!({})).await;
    invite_by_room(&romeo, &unwanted, &address).await;
    refused("its author is blocked").await;
    assert_eq!(anna.only_group().await, group);
}

/// A stranger's invitation waits until its author has written, so that the kill comes before it is followed.
async fn an_invitation_that_waits_survives_a_kill(software: Software) {
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let (anna, romeo, outsider) = acquaintances(&server, xmpp, xmpp).await;
    let address = jid(&anna, xmpp);
    let mercutio = Peer::register(xmpp, &format!("mercutio-{}", fresh_number())).await;
    let rooms = [room_of(xmpp, "tomb"), room_of(xmpp, "cell")];
    mercutio.create_room(&rooms[0], "Mercutio", json!({&*address: "member"})).await;
    mercutio.create_room(&rooms[1], "Mercutio", json!({})).await;
    mercutio.invite(&rooms[0], &address).await;
    invite_by_room(&mercutio, &rooms[1], &address).await;
    // What the server has of the account behind the invitations shows that they are acknowledged.
    wait_until_async("the invitations", DEADLINE, async || {
        romeo.chat(&address).text("Are you there?").await;
        let sent = anna.tries_to_send(&outsider, "I am").await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        romeo.hears(&address, "I am").await;
        let stored = server.database().sql("SELECT count(*) FROM adapter_state WHERE key = 'invitations'");
        (stored == "1").then_some(())
    })
    .await;
    block_in_place(|| {
        server.kill();
        expire_killed_processes(server.database());
        server.restart();
    });
    anna.waits_until_online(DEADLINE).await;
    mercutio.chat(&address).text("It is me").await;
    wait_until_async("both groups", DEADLINE, async || (anna.groups().await.len() == 2).then_some(())).await;
    // Neither one comes again.
    for group in anna.groups().await {
        let path = format!("/api/groups/{}/leave/", group["groupid"].as_str().expect("an id"));
        let left = anna.api.post(&path, &[]).await;
        assert_eq!(left.status, 200, "{}", left.text());
    }
    block_in_place(|| {
        server.terminate();
        server.wait();
        server.restart();
    });
    anna.waits_until_online(DEADLINE).await;
    mercutio.chat(&address).text("Where are you?").await;
    let with_mercutio = wait_until_async("the answer", DEADLINE, async || {
        let chats = anna.api.get("/api/messages/chats/").await.json()["chats"].take();
        chats[0]["snippet"].as_str().is_some_and(|text| text == "Where are you?").then_some(())
    });
    with_mercutio.await;
    assert_eq!(anna.groups().await, Vec::<Value>::new());
}

/// The program was killed when the group was there, and the account's place in its room was not stored yet.
async fn a_room_without_a_stored_place_is_found_again(software: Software) {
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let (anna, romeo, _) = acquaintances(&server, xmpp, xmpp).await;
    let ben = Person::new(&server).await;
    for (one, other) in [(&anna, &ben), (&ben, &anna)] {
        one.adds_contact(&other.number).await;
    }
    let (room, address) = (room_of(xmpp, "vault"), jid(&anna, xmpp));
    romeo.create_room(&room, "Romeo", json!({&*address: "member"})).await;
    romeo.invite(&room, &address).await;
    let elsewhere = anna.only_group().await;
    let made = json!({"participants": [anna.number], "subject": "Ours"});
    let made = ben.api.post_json("/api/groups/create-group/", &made).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let own = made.json()["groupid"].as_str().expect("an id").to_owned();
    wait_until_async("both groups", DEADLINE, async || (anna.groups().await.len() == 2).then_some(())).await;
    block_in_place(|| {
        server.kill();
        expire_killed_processes(server.database());
    });
    server.database().sql(&format!(
        "DELETE FROM adapter_state USING account
         WHERE account_id = account.id AND number = '{}' AND key LIKE 'room.%'",
        anna.number
    ));
    block_in_place(|| server.restart());
    anna.waits_until_online(DEADLINE).await;
    let id = romeo.room(&room).text("Who is there?").await;
    anna.waits_until(&elsewhere, &id, |_| true).await;
    let id = ben.says(&own, "Me").await;
    anna.waits_until(&own, &id, |_| true).await;
}

/// A room on another server, whose server is killed: nobody says that the account is not inside any more.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_other_servers_are_groups_and_survive_their_servers_end() {
    if !is_installed() {
        return;
    }
    let mut federation = block_in_place(Federation::start);
    for software in Software::ALL {
        let Federation { prosody, ejabberd, .. } = &mut federation;
        let (own, other) = match software {
            Software::Prosody => (prosody, ejabberd),
            Software::Ejabberd => (ejabberd, prosody),
        };
        let server = setup(own).env("WINDU_XMPP_ROOM_PING", "2s").start();
        let (anna, romeo, outsider) = acquaintances(&server, own, other).await;
        let (room, address) = (room_of(other, "verona"), jid(&anna, own));
        romeo.create_room(&room, "Romeo", json!({&*address: "member"})).await;
        romeo.invite(&room, &address).await;
        let group = anna.only_group().await;
        let id = romeo.room(&room).text("before").await;
        let message = anna.waits_until(&group, &id, |_| true).await;
        assert_eq!(message["participant"], outsider.as_str(), "{message}");
        let id = anna.says(&group, "heard").await;
        romeo.hears(&room, "heard").await;
        anna.waits_until(&group, &id, |message| message["state"] == "sent").await;
        block_in_place(|| {
            other.kill();
            other.restart();
        });
        let romeo = log_in_again(other, &romeo).await;
        romeo.available().await;
        romeo.join(&room, "Romeo", 0).await.expect("its owner");
        let id = romeo.room(&room).text("after").await;
        anna.waits_until(&group, &id, |_| true).await;
        let id = anna.says(&group, "again").await;
        romeo.hears(&room, "again").await;
        anna.waits_until(&group, &id, |message| message["state"] == "sent").await;
        assert_eq!(texts(&anna.chat(&group).await), ["before", "heard", "after", "again"]);
        // Put out, it is out.
        romeo.affiliate(&room, &address, "none").await.expect("an owner may");
        anna.is_in_no_group().await;
    }
}
