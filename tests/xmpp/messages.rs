//! Two numbers talk.

use serde_json::json;

use crate::support::guarantees::assert_guarantees;
use crate::support::people::Person;
use crate::support::xmpp::Software;
use crate::world::{setup, shared};

on_both_servers!(texts_go_both_ways_and_are_confirmed, places_arrive, typing_is_seen_by_nobody_later);

async fn texts_go_both_ways_and_are_confirmed(software: Software) {
    let server = setup(shared(software)).start();
    let (anna, ben) = Person::two_friends(&server).await;
    let longest = "ü".repeat(65_536);
    let texts = [
        "hello",
        "🌊👩‍👩‍👧‍👦 مرحبا e\u{301}",
        "<body>&amp;\"'</body>\n\tsecond line ]]>",
        " blanks around ",
        &longest,
    ];
    for (from, to) in [(&anna, &ben), (&ben, &anna)] {
        for text in texts {
            from.delivers(to, text).await;
        }
    }
    for (person, friend) in [(&anna, &ben), (&ben, &anna)] {
        let chat = format!("/api/messages/chats/{}/", friend.number);
        assert_eq!(person.texts(&chat).await, [texts, texts].concat());
        let read = person.api.post("/api/messages/update-last-read/", &[("contact", &friend.number)]).await;
        assert_eq!(read.status, 200, "{}", read.text());
    }
    for (person, friend) in [(&anna, &ben), (&ben, &anna)] {
        for message in person.chat(&friend.number).await {
            if message["received"] == json!(false) {
                let id = message["id"].as_str().expect("an id");
                person
                    .waits_until(&friend.number, id, |message| {
                        message["delivered"].is_string() && message["read"].is_string()
                    })
                    .await;
            }
        }
    }
    assert_guarantees(server.database());

    // More bytes than servers take: it is refused and harms nothing.
    let large = "🌊".repeat(65_536);
    let form = [("contact", ben.number.as_str()), ("message", large.as_str())];
    let refused = anna.api.post("/api/messages/send-message/", &form).await;
    assert!(refused.refused(400, "invalid_parameter").contains("262144 bytes"), "{}", refused.text());
    anna.delivers(&ben, "the next one").await;
}

async fn places_arrive(software: Software) {
    let server = setup(shared(software)).start();
    let (anna, ben) = Person::two_friends(&server).await;
    let form = [("contact", ben.number.as_str()), ("latitude", "-52.5"), ("longitude", "13.25")];
    let sent = anna.api.post("/api/messages/send-location/", &form).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let place = ben.waits_for(&anna, sent.json()["id"].as_str().expect("an id")).await;
    assert_eq!(
        (&place["type"], &place["latitude"], &place["longitude"]),
        (&json!("l"), &json!(-52.5), &json!(13.25)),
        "{place}"
    );
}

async fn typing_is_seen_by_nobody_later(software: Software) {
    let server = setup(shared(software)).start();
    let (anna, ben) = Person::two_friends(&server).await;
    for endpoint in ["set-typing", "set-paused", "set-typing"] {
        let answer = anna.api.post(&format!("/api/messages/{endpoint}/"), &[("contact", &ben.number)]).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})));
    }
    anna.delivers(&ben, "typed").await;
    assert_eq!(ben.texts(&format!("/api/messages/chats/{}/", anna.number)).await, ["typed"]);
}
