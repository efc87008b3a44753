//! Groups, with somebody of the same server who uses another app.

use std::io::Cursor;

use image::ImageFormat;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::client::Answer;
use crate::support::people::{Person, texts};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::peer::{Peer, is_from};
use crate::support::xmpp::{Software, XmppServer};
use crate::world::{is_installed, jid, outsider_of, romeo, setup, shared};

on_both_servers!(
    an_outsider_is_in_a_group_until_it_is_removed,
    an_outsider_changes_a_group_with_another_app,
    a_destroyed_room_is_the_end_of_its_group,
    who_was_away_finds_its_groups_gone,
    a_change_of_a_destroyed_room_does_not_make_it_anew,
    the_picture_of_a_group_is_that_of_its_room,
    another_app_changes_the_picture_of_a_group,
);

impl Person {
    /// Creates a group of these, and returns its id.
    pub async fn makes_group(&self, subject: &str, participants: &[&str]) -> String {
        let body = json!({"subject": subject, "participants": participants});
        let made = self.api.post_json("/api/groups/create-group/", &body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["groupid"].as_str().expect("an id").to_owned()
    }

    /// Calls an endpoint of a group that must succeed.
    async fn changes_group(&self, group: &str, endpoint: &str, form: &[(&str, &str)]) {
        let answer: Answer = self.api.post(&format!("/api/groups/{group}/{endpoint}/"), form).await;
        assert_eq!(answer.status, 200, "{endpoint}: {}", answer.text());
    }

    /// Waits until the group is as expected.
    pub async fn group_until(&self, group: &str, what: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        wait_until_async(what, DEADLINE, async || {
            let info = self.api.get(&format!("/api/groups/{group}/info/")).await;
            (info.status == 200).then(|| info.json()).filter(&predicate)
        })
        .await
    }

    /// Waits until the account is not in the group any more.
    async fn is_out_of(&self, group: &str) {
        // ejabberd does not answer each join to a room that ends; the account asks again after some time.
        wait_until_async("the end of a membership", DEADLINE * 3, async || {
            (self.api.get(&format!("/api/groups/{group}/info/")).await.status != 200).then_some(())
        })
        .await;
    }

    pub async fn says(&self, group: &str, text: &str) -> String {
        let form = [("group_id", group), ("message", text)];
        let sent = self.api.post("/api/messages/send-message/", &form).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        sent.json()["id"].as_str().expect("an id").to_owned()
    }
}

/// Two friends and an outsider in a group of the first one, which all have joined.
pub struct Three {
    pub anna: Person,
    pub ben: Person,
    pub romeo: Peer,
    /// The outsider's public id.
    pub outsider: String,
    pub group: String,
    /// The address of its room.
    pub room: String,
}

impl Three {
    pub async fn new(server: &Server, xmpp: &XmppServer) -> Self {
        let (anna, ben) = Person::two_friends(server).await;
        let romeo = romeo(xmpp).await;
        romeo.chat(&jid(&anna, xmpp)).text("May I come?").await;
        let outsider = outsider_of(&anna).await;
        let group = anna.makes_group("The ball", &[&ben.number, &outsider]).await;
        let invitation = romeo.until("an invitation", |event| event["invited_to"].is_string()).await;
        let room = invitation["invited_to"].as_str().expect("an address").to_owned();
        assert!(is_from(&invitation, &xmpp.admin_jid()), "{invitation}");
        romeo.join(&room, "Romeo", 0).await.expect("a member may join");
        ben.group_until(&group, "the group", |_| true).await;
        Self { anna, ben, romeo, outsider, group, room }
    }
}

async fn an_outsider_is_in_a_group_until_it_is_removed(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let Three { anna, ben, romeo, outsider, group, room } = Three::new(&server, xmpp).await;
    let info = anna.group_until(&group, "the group", |_| true).await;
    assert_eq!(info["participants"], json!([anna.number, ben.number, outsider]), "{info}");
    assert_eq!((&info["admins"], &info["subject"]), (&json!([anna.number]), &json!("The ball")), "{info}");

    let id = anna.says(&group, "Welcome, gentlemen").await;
    let heard = romeo.hears(&room, "Welcome, gentlemen").await;
    assert_eq!((&heard["id"], &heard["from"]), (&json!(id), &json!(format!("{room}/{}", anna.number))));
    ben.waits_until(&group, &id, |message| message["participant"] == anna.number.as_str()).await;
    // By the nickname of somebody else: who wrote is who it was.
    let written = romeo.room(&room).text("What lady is that?").await;
    for person in [&anna, &ben] {
        let message = person.waits_until(&group, &written, |_| true).await;
        assert_eq!(message["text"], "What lady is that?");
        assert_eq!(message["participant"], outsider.as_str(), "{message}");
    }
    let form = [("group_id", group.as_str())];
    let typing = anna.api.post("/api/messages/set-typing/", &form).await;
    assert_eq!(typing.status, 200, "{}", typing.text());
    romeo.until("typing", |event| is_from(event, &room) && event["chat_state"] == "composing").await;
    // Read: by Ben for certain, by the outsider with a marker of the room.
    romeo.room(&room).displayed(&id).await;
    let read = ben.api.post("/api/messages/update-last-read/", &form).await;
    assert_eq!(read.status, 200, "{}", read.text());
    romeo.until("a marker", |event| is_from(event, &room) && event["displayed"] == *written).await;
    anna.waits_until(&group, &id, |message| message["read"].is_string()).await;

    anna.changes_group(&group, "subject", &[("subject", "Masks 🎭")]).await;
    romeo.until("the subject", |event| is_from(event, &room) && event["subject"] == "Masks 🎭").await;
    ben.group_until(&group, "the subject", |info| info["subject"] == "Masks 🎭").await;

    anna.changes_group(&group, "remove-participant", &[("contact", &outsider)]).await;
    let removed = romeo.until("its removal", |event| {
        event["event"] == "presence"
            && is_from(event, &room)
            && event["type"] == "unavailable"
            && event["statuses"].as_array().is_some_and(|codes| codes.contains(&json!(321)))
    });
    removed.await;
    assert_eq!(romeo.join(&room, "Romeo", 0).await, Err("registration-required".to_owned()));
    let alone = json!([anna.number, ben.number]);
    ben.group_until(&group, "two participants", |info| info["participants"] == alone).await;
    romeo.forget();
    let id = anna.says(&group, "He is gone").await;
    ben.waits_until(&group, &id, |_| true).await;
    assert!(!romeo.events().iter().any(|event| event["body"] == "He is gone"), "{:?}", romeo.events());
}

async fn an_outsider_changes_a_group_with_another_app(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let Three { anna, ben, romeo, outsider, group, room } = Three::new(&server, xmpp).await;
    // Every member may set the subject.
    romeo.subject(&room, "The feast").await;
    for person in [&anna, &ben] {
        person.group_until(&group, "the subject", |info| info["subject"] == "The feast").await;
    }
    anna.changes_group(&group, "promote-participant", &[("contact", &outsider)]).await;
    ben.group_until(&group, "two admins", |info| info["admins"] == json!([anna.number, outsider])).await;
    assert_eq!(romeo.affiliates(&room, "owner").await.as_array().map(Vec::len), Some(3));
    romeo.affiliate(&room, &jid(&ben, xmpp), "owner").await.expect("an owner may");
    let all = json!([anna.number, ben.number, outsider]);
    anna.group_until(&group, "three admins", |info| info["admins"] == all).await;
    let last = anna.says(&group, "before").await;
    ben.waits_until(&group, &last, |_| true).await;
    romeo.affiliate(&room, &jid(&ben, xmpp), "none").await.expect("an owner may");
    anna.group_until(&group, "without Ben", |info| info["participants"] == json!([anna.number, outsider]))
        .await;
    ben.is_out_of(&group).await;
    anna.says(&group, "after").await;
    romeo.hears(&room, "after").await;
    assert_eq!(texts(&ben.chat(&group).await), ["before"]);
    // Kicked, a member comes back.
    let nickname = &anna.number;
    let kick = format!(
        "<iq xmlns='jabber:client' type='set' to='{room}'><query xmlns='http://jabber.org/protocol/muc#admin'>\
         <item nick='{nickname}' role='none'/></query></iq>"
    );
    // An owner may not be kicked by another one, so Anna is an ordinary member.
    romeo.affiliate(&room, &jid(&anna, xmpp), "member").await.expect("an owner may");
    anna.group_until(&group, "one admin", |info| info["admins"] == json!([outsider])).await;
    romeo.request(&kick).await.expect("an owner may");
    anna.says(&group, "back again").await;
    romeo.hears(&room, "back again").await;
    // An outsider who leaves by itself gives up its membership.
    romeo.affiliate(&room, &jid(&anna, xmpp), "owner").await.expect("an owner may");
    anna.group_until(&group, "two admins", |info| info["admins"] == json!([anna.number, outsider])).await;
    romeo.affiliate(&room, romeo.jid(), "none").await.expect("an owner may");
    anna.group_until(&group, "Anna alone", |info| info["participants"] == json!([anna.number])).await;
}

/// Destroys a room (XEP-0045, section 10.9).
async fn destroy(owner: &Peer, room: &str) {
    let destroy = format!(
        "<iq xmlns='jabber:client' type='set' to='{room}'><query xmlns='http://jabber.org/protocol/muc#owner'>\
         <destroy/></query></iq>"
    );
    owner.request(&destroy).await.expect("an owner may");
}

/// The changes of groups that an account has heard of, without the first one, once there are so many.
async fn changes(server: &Server, person: &Person, count: usize) -> Vec<Value> {
    let query = format!(
        "SELECT coalesce(json_agg(payload ORDER BY e.seq), '[]') FROM event e
         JOIN account_counter c ON c.id = e.counter_id WHERE number = '{}' AND kind = 'group.changed'",
        person.number
    );
    wait_until_async("changes of groups", DEADLINE, async || {
        let found = block_in_place(|| server.database().sql(&query));
        let found: Vec<Value> = serde_json::from_str(&found).expect("JSON");
        (found.len() >= count).then_some(found)
    })
    .await
}

async fn a_destroyed_room_is_the_end_of_its_group(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let Three { anna, ben, romeo, outsider, group, room } = Three::new(&server, xmpp).await;
    anna.changes_group(&group, "promote-participant", &[("contact", &outsider)]).await;
    ben.group_until(&group, "two admins", |info| info["admins"] == json!([anna.number, outsider])).await;
    let id = anna.says(&group, "before").await;
    ben.waits_until(&group, &id, |_| true).await;
    destroy(&romeo, &room).await;
    let all = json!([anna.number, ben.number, outsider]);
    let over = json!({"group": group, "change": "removed", "by": null, "participants": all});
    for person in [&anna, &ben] {
        person.is_out_of(&group).await;
        assert_eq!(changes(&server, person, 2).await[1..], *std::slice::from_ref(&over));
        assert_eq!(texts(&person.chat(&group).await), ["before"]);
        let form = [("group_id", group.as_str()), ("message", "after")];
        let sent = person.api.post("/api/messages/send-message/", &form).await;
        assert!((400..500).contains(&sent.status), "{}", sent.text());
    }
    // The sessions go on, and nobody has made the room anew.
    anna.delivers(&ben, "A pity").await;
    let listed = format!(
        "<iq xmlns='jabber:client' type='get' to='{room}'><query xmlns='http://jabber.org/protocol/muc#admin'>\
         <item affiliation='owner'/></query></iq>"
    );
    let gone = romeo.request(&listed).await.expect_err("no room");
    assert!(["gone", "item-not-found"].contains(&gone.as_str()), "{gone}");
}

async fn who_was_away_finds_its_groups_gone(software: Software) {
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let Three { anna, ben, romeo, outsider, group, room } = Three::new(&server, xmpp).await;
    let second = anna.makes_group("A second ball", &[&ben.number, &outsider]).await;
    let invitation = romeo.until("an invitation", |event| event["invited_to"].is_string()).await;
    let second_room = invitation["invited_to"].as_str().expect("an address");
    for group in [&group, &second] {
        anna.changes_group(group, "promote-participant", &[("contact", &outsider)]).await;
        ben.group_until(group, "two admins", |info| info["admins"] == json!([anna.number, outsider])).await;
    }
    block_in_place(|| {
        server.terminate();
        server.wait();
    });
    destroy(&romeo, &room).await;
    if software == Software::Ejabberd {
        // The administrator learns nothing of the other room any more, only Ben that he is no member. Prosody's stays.
        romeo.affiliate(second_room, &xmpp.admin_jid(), "none").await.expect("an owner may");
    }
    romeo.affiliate(second_room, &jid(&ben, xmpp), "none").await.expect("an owner may");
    block_in_place(|| server.restart());
    for (person, group) in [(&anna, &group), (&ben, &group), (&ben, &second)] {
        person.is_out_of(group).await;
    }
    let id = anna.says(&second, "Who is here?").await;
    romeo.join(second_room, "Romeo", 5).await.expect("a member still");
    romeo.hears(second_room, "Who is here?").await;
    anna.waits_until(&second, &id, |message| message["state"] == "sent").await;
    assert_eq!(ben.chat(&second).await, Vec::<Value>::new());
}

async fn a_change_of_a_destroyed_room_does_not_make_it_anew(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let Three { anna, ben, romeo, outsider, group, room } = Three::new(&server, xmpp).await;
    anna.changes_group(&group, "promote-participant", &[("contact", &outsider)]).await;
    ben.group_until(&group, "two admins", |info| info["admins"] == json!([anna.number, outsider])).await;
    let (form, path) = ([("subject", "Too late")], format!("/api/groups/{group}/subject/"));
    let (changed, ()) = tokio::join!(anna.api.post(&path, &form), destroy(&romeo, &room));
    // It came before the end, or was refused.
    assert!(changed.status == 200 || (400..500).contains(&changed.status), "{}", changed.text());
    for person in [&anna, &ben] {
        person.is_out_of(&group).await;
    }
    assert!(romeo.join(&room, "Romeo", 0).await.is_err() || software == Software::Ejabberd);
}

/// Only Prosody can be made to do that to its own account; rooms of killed servers are in `invitations`.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_dropped_an_account_without_a_word_is_joined_again() {
    if !is_installed() {
        return;
    }
    let xmpp = shared(Software::Prosody);
    let server = setup(xmpp).env("WINDU_XMPP_ROOM_PING", "2s").start();
    let Three { anna, ben, romeo, outsider: _, group, room } = Three::new(&server, xmpp).await;
    let drop = format!(
        "<message xmlns='jabber:client' to='{}'><drop xmlns='urn:windu:test' room='{room}' nick='{}'/></message>",
        xmpp.domain(),
        ben.number
    );
    romeo.raw(&drop).await;
    // In the gap: nothing but its end shows it to Ben.
    let missed = romeo.room(&room).text("Where is he?").await;
    ben.waits_until(&group, &missed, |_| true).await;
    let said = ben.says(&group, "Here again").await;
    anna.waits_until(&group, &said, |_| true).await;
    assert_eq!(texts(&ben.chat(&group).await), ["Where is he?", "Here again"]);
}

/// A picture of one colour, as a PNG.
pub fn picture_of(shade: u8) -> Vec<u8> {
    let mut picture = Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_pixel(60, 40, image::Rgb([shade; 3]));
    pixels.write_to(&mut picture, ImageFormat::Png).expect("a picture");
    picture.into_inner()
}

impl Peer {
    /// Sets the picture of a room, which only an owner may; `None` takes it away.
    pub async fn sets_picture(&self, room: &str, picture: Option<&[u8]>) {
        let photo = picture.map_or_else(String::new, |picture| {
            let base64 = data_encoding::BASE64.encode(picture);
            format!("<PHOTO><TYPE>image/png</TYPE><BINVAL>{base64}</BINVAL></PHOTO>")
        });
        let card = format!(
            "<iq xmlns='jabber:client' type='set' to='{room}'><vCard xmlns='vcard-temp'>{photo}</vCard></iq>"
        );
        self.request(&card).await.expect("an owner may");
    }
}

impl Person {
    /// Waits until the photo of a group is about of this shade; `None`: until it has none.
    pub async fn sees_picture(&self, group: &str, shade: Option<u8>) {
        let path = format!("/api/groups/{group}/photo/");
        wait_until_async("the picture", DEADLINE, async || {
            let shown = self.api.get(&path).await;
            let Some(shade) = shade else { return (shown.status == 404).then_some(()) };
            let pixels = image::load_from_memory(&shown.bytes).ok()?.to_rgb8();
            (pixels.get_pixel(30, 20).0[0].abs_diff(shade) < 8).then_some(())
        })
        .await;
    }
}

async fn another_app_changes_the_picture_of_a_group(software: Software) {
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let Three { anna, ben, romeo, outsider, group, room } = Three::new(&server, xmpp).await;
    anna.changes_group(&group, "promote-participant", &[("contact", &outsider)]).await;
    ben.group_until(&group, "two admins", |info| info["admins"] == json!([anna.number, outsider])).await;
    romeo.sets_picture(&room, Some(&picture_of(50))).await;
    for person in [&anna, &ben] {
        person.sees_picture(&group, Some(50)).await;
    }
    // Each account hears of it once.
    for person in [&anna, &ben] {
        let heard = changes(&server, person, 2).await;
        let photos = heard.iter().filter(|change| change.to_string().contains("photo")).count();
        assert_eq!(photos, 1, "{heard:?}");
    }
    // One that is set from here is not taken for that of another app.
    let path = format!("/api/groups/{group}/photo/");
    let part = Part::bytes(picture_of(150)).file_name("photo.png");
    let request = anna.api.request(Method::POST, &path).multipart(Form::new().part("photo", part));
    assert_eq!(anna.api.send(request).await.status, 200);
    ben.sees_picture(&group, Some(150)).await;
    let heard = changes(&server, &ben, 3).await;
    assert_eq!(heard.iter().filter(|change| change.to_string().contains("photo")).count(), 2, "{heard:?}");
    // What is no picture is none.
    romeo.sets_picture(&room, Some(b"not a picture")).await;
    ben.sees_picture(&group, None).await;
    // What was changed while the program was away is seen afterwards.
    block_in_place(|| {
        server.terminate();
        server.wait();
    });
    romeo.sets_picture(&room, Some(&picture_of(200))).await;
    block_in_place(|| server.restart());
    anna.sees_picture(&group, Some(200)).await;
    romeo.sets_picture(&room, None).await;
    anna.sees_picture(&group, None).await;
}

async fn the_picture_of_a_group_is_that_of_its_room(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let Three { anna, ben, romeo, outsider: _, group, room } = Three::new(&server, xmpp).await;
    let part = Part::bytes(picture_of(0)).file_name("photo.png");
    let path = format!("/api/groups/{group}/photo/");
    let request = anna.api.request(Method::POST, &path).multipart(Form::new().part("photo", part));
    let set = anna.api.send(request).await;
    assert_eq!(set.status, 200, "{}", set.text());
    let shown = wait_until_async("the picture", DEADLINE, async || {
        let shown = ben.api.get(&path).await;
        (shown.status == 200).then_some(shown.bytes)
    })
    .await;
    let card = format!("<iq xmlns='jabber:client' type='get' to='{room}'><vCard xmlns='vcard-temp'/></iq>");
    let of_room = romeo.request(&card).await.expect("a card");
    assert!(of_room.contains(&data_encoding::BASE64.encode(&shown)), "{of_room}");
    romeo.until("another picture", |event| is_from(event, &room) && event["photo"].is_string()).await;
    let deleted = ben.api.delete(&path).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    let of_room = romeo.request(&card).await;
    assert!(!of_room.as_ref().is_ok_and(|card| card.contains("BINVAL")), "{of_room:?}");
}
