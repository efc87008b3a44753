//! People on the same server without a number, with an independent client.

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::people::{Person, texts};
use crate::support::xmpp::Software;
use crate::support::xmpp::peer::is_from;
use crate::world::{jid, messages_up_to, outsider_of, romeo, setup, shared};

on_both_servers!(
    who_writes_first_is_a_chat_and_gets_answers,
    receipts_and_markers_go_both_ways,
    a_message_with_the_same_id_is_stored_once,
    actions_are_listed_with_what_they_refer_to,
    encrypted_messages_are_listed_as_such_and_answered_once,
    what_comes_while_the_program_is_down_arrives_after_its_start,
);

async fn who_writes_first_is_a_chat_and_gets_answers(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));

    romeo.chat(&address).state("composing").await;
    let id = romeo.chat(&address).text("Good morrow 🌊 <cousin> & all").await;
    let outsider = outsider_of(&anna).await;
    let message = anna.waits_until(&outsider, &id, |_| true).await;
    assert_eq!(message["text"], "Good morrow 🌊 <cousin> & all");
    assert_eq!((&message["type"], &message["received"]), (&json!("t"), &json!(true)), "{message}");

    for text in ["Is the day so young?", "🕘"] {
        let sent = anna.tries_to_send(&outsider, text).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        let heard = romeo.hears(&address, text).await;
        assert_eq!(heard["id"], sent.json()["id"], "{heard}");
        assert_eq!(heard["type"], "chat");
    }
    let typing = anna.api.post("/api/messages/set-typing/", &[("contact", &outsider)]).await;
    assert_eq!(typing.status, 200, "{}", typing.text());
    romeo.until("typing", |event| is_from(event, &address) && event["chat_state"] == "composing").await;
    let paused = anna.api.post("/api/messages/set-paused/", &[("contact", &outsider)]).await;
    assert_eq!(paused.status, 200, "{}", paused.text());
    romeo.until("a pause", |event| is_from(event, &address) && event["chat_state"] == "paused").await;

    let form = [("contact", outsider.as_str()), ("latitude", "43.5"), ("longitude", "11")];
    let place = anna.api.post("/api/messages/send-location/", &form).await;
    assert_eq!(place.status, 200, "{}", place.text());
    romeo.hears(&address, "geo:43.5,11").await;
    romeo.chat(&address).text("geo:45.44,10.99").await;
    romeo.chat(&address).text("there").await;
    let messages = messages_up_to(&anna, &outsider, "there").await;
    let place = &messages[messages.len() - 2];
    assert_eq!((&place["type"], &place["latitude"]), (&json!("l"), &json!(45.44)), "{place}");
}

async fn receipts_and_markers_go_both_ways(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));

    let id = romeo.chat(&address).text_to_confirm("Ay me, sad hours seem long").await;
    romeo.until("a receipt", |event| is_from(event, &address) && event["receipt"] == *id).await;
    let outsider = outsider_of(&anna).await;
    let read = anna.api.post("/api/messages/update-last-read/", &[("contact", &outsider)]).await;
    assert_eq!(read.status, 200, "{}", read.text());
    romeo.until("a marker", |event| is_from(event, &address) && event["displayed"] == *id).await;
    // Without a request there is no receipt.
    let unasked = romeo.chat(&address).text("Was that my father?").await;
    let fence = romeo.chat(&address).text_to_confirm("Well?").await;
    romeo.until("a receipt", |event| event["receipt"] == *fence).await;
    assert!(!romeo.events().iter().any(|event| event["receipt"] == *unasked), "{:?}", romeo.events());

    // An app marks only the newest message as read.
    let earlier = anna.tries_to_send(&outsider, "No").await.json()["id"].as_str().expect("an id").to_owned();
    let sent = anna.tries_to_send(&outsider, "It was").await;
    let id = sent.json()["id"].as_str().expect("an id").to_owned();
    let heard = romeo.hears(&address, "It was").await;
    assert_eq!((&heard["wants_receipt"], &heard["markable"]), (&json!(true), &json!(true)), "{heard}");
    let delivered = anna.waits_until(&outsider, &id, |message| message["delivered"].is_string()).await;
    assert_eq!(delivered["read"], Value::Null, "{delivered}");
    romeo.chat(&address).displayed(&id).await;
    anna.waits_until(&outsider, &id, |message| message["read"].is_string()).await;
    anna.waits_until(&outsider, &earlier, |message| message["read"].is_string()).await;
}

async fn a_message_with_the_same_id_is_stored_once(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    let chat = romeo.chat(&address);
    for (id, text) in
        [("again", "once"), ("again", "once"), ("other", "twice"), ("again", "once"), ("end", "end")]
    {
        chat.text_with_id(id, text).await;
    }
    let outsider = outsider_of(&anna).await;
    let stored = messages_up_to(&anna, &outsider, "end").await;
    assert_eq!(texts(&stored), ["once", "twice", "end"]);
}

async fn encrypted_messages_are_listed_as_such_and_answered_once(software: Software) {
    let xmpp = shared(software);
    let note = "Plain text, please";
    let mut server = setup(xmpp).env("WINDU_XMPP_ENCRYPTION_NOTE", note).on_a_fixed_port().start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    romeo.chat(&address).text("before").await;
    let ids = [romeo.chat(&address).encrypted().await, romeo.chat(&address).encrypted().await];
    romeo.hears(&address, "Plain text, please").await;
    romeo.chat(&address).text("after").await;
    let outsider = outsider_of(&anna).await;
    let stored = messages_up_to(&anna, &outsider, "after").await;
    let of_type = |kind: &str| stored.iter().filter(|message| message["type"] == kind).collect::<Vec<_>>();
    let listed: Vec<&str> =
        of_type("u").iter().map(|message| message["id"].as_str().expect("an id")).collect();
    assert_eq!(listed, ids);
    assert!(of_type("u").iter().all(|message| message["what"] == "encrypted"), "{stored:?}");
    // The note stands in the list, too.
    let texts: Vec<(&Value, &Value)> =
        of_type("t").iter().map(|message| (&message["text"], &message["received"])).collect();
    let (note, yes, no) = (json!("Plain text, please"), json!(true), json!(false));
    let (before, after) = (json!("before"), json!("after"));
    assert_eq!(texts, [(&before, &yes), (&note, &no), (&after, &yes)]);
    // Once in all, also for a later session.
    block_in_place(|| {
        server.terminate();
        server.wait();
        server.restart();
    });
    romeo.chat(&address).encrypted().await;
    romeo.chat(&address).text("once more").await;
    messages_up_to(&anna, &outsider, "once more").await;
    let sent = anna.tries_to_send(&outsider, "the end").await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    romeo.hears(&address, "the end").await;
    let notes = romeo.events().into_iter().filter(|event| event["body"] == "Plain text, please").count();
    assert_eq!(notes, 0, "the first one was heard above");
}

async fn actions_are_listed_with_what_they_refer_to(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    let chat = romeo.chat(&address);
    let first = chat.text("frist").await;
    chat.correct(&first, "first").await;
    chat.react(&first, &["👍", "🌊"]).await;
    chat.retract(&first).await;
    chat.reply(&first, &address, "first", "An answer").await;
    let unknown = format!(
        "<message xmlns='jabber:client' type='chat' to='{address}' id='unknown-1'><poll xmlns='urn:example:poll'/>
         <store xmlns='urn:xmpp:hints'/></message>"
    );
    romeo.raw(&unknown).await;
    chat.text("end").await;
    let outsider = outsider_of(&anna).await;
    let stored = messages_up_to(&anna, &outsider, "end").await;
    let listed: Vec<Value> = stored
        .iter()
        .map(|message| json!([message["type"], message["what"], message["text"], message["refers_to"]["id"]]))
        .collect();
    let expected = [
        json!(["t", null, "frist", null]),
        json!(["u", "edit", "first", first]),
        json!(["u", "reaction", "👍 🌊", first]),
        json!(["u", "delete", "", first]),
        json!(["t", null, "An answer", null]),
        json!(["u", "unknown", "", null]),
        json!(["t", null, "end", null]),
    ];
    assert_eq!(listed, expected);
    assert_eq!(stored[4]["reply_to"], json!({"id": first}));
}

async fn what_comes_while_the_program_is_down_arrives_after_its_start(software: Software) {
    // More than a page of the archive.
    const COUNT: usize = 130;
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    romeo.chat(&address).text("0").await;
    let outsider = outsider_of(&anna).await;
    for (from, signal) in [(1, "SIGTERM"), (COUNT / 2, "SIGKILL")] {
        block_in_place(|| {
            if signal == "SIGTERM" {
                server.terminate();
                server.wait();
            } else {
                server.kill();
            }
        });
        let to = if from == 1 { COUNT / 2 } else { COUNT };
        for number in from..to {
            romeo.chat(&address).text_to_confirm(&number.to_string()).await;
        }
        block_in_place(|| server.restart());
        let last = (to - 1).to_string();
        let stored = messages_up_to(&anna, &outsider, &last).await;
        let expected: Vec<String> = (0..to).map(|number| number.to_string()).collect();
        if software == Software::Prosody {
            assert_eq!(texts(&stored), expected, "after {signal}");
        } else {
            // A message that ejabberd was about to pass on when the program was killed comes behind later ones, also in
            // its archive.
            let kept = block_in_place(|| xmpp.kept_for(&anna.number)).messages;
            let ids: Vec<&Value> = stored.iter().map(|message| &message["id"]).collect();
            assert_eq!(ids, kept.iter().collect::<Vec<_>>(), "after {signal}: {:?}", texts(&stored));
            assert_eq!(ids.len(), expected.len());
        }
    }
    // Their sender hears of the delivery late.
    for _ in 1..COUNT {
        romeo.until("a receipt", |event| event["receipt"].is_string()).await;
    }
}
