//! Other devices of the same account.

use tokio::task::block_in_place;

use crate::support::people::Person;
use crate::support::xmpp::Software;
use crate::support::xmpp::peer::is_from;
use crate::world::{jid, log_in, messages_up_to, outsider_of, password, romeo, setup, shared};

on_both_servers!(what_another_device_sends_appears_as_sent);

async fn what_another_device_sends_appears_as_sent(software: Software) {
    let xmpp = shared(software);
    let mut server = setup(xmpp).on_a_fixed_port().start();
    let anna = Person::new(&server).await;
    let (romeo, address) = (romeo(xmpp).await, jid(&anna, xmpp));
    let telephone = log_in(xmpp, &address, &password(&server, &anna.number)).await.expect("the password");
    telephone.available().await;

    romeo.chat(&address).text("hello, both of you").await;
    telephone.hears(romeo.jid(), "hello, both of you").await;
    let outsider = outsider_of(&anna).await;
    telephone.chat(romeo.jid()).text("from the telephone").await;
    romeo.hears(&address, "from the telephone").await;
    let stored = messages_up_to(&anna, &outsider, "from the telephone").await;
    assert_eq!(stored.len(), 2, "{stored:?}");
    assert_eq!(stored[1]["received"], false, "{stored:?}");
    assert_eq!(stored[1]["state"], "sent", "{stored:?}");

    // Also what it sends while the program is down, and in order with what others send.
    block_in_place(|| server.kill());
    telephone.chat(romeo.jid()).text("meanwhile").await;
    romeo.hears(&address, "meanwhile").await;
    romeo.chat(&address).text("you are alone?").await;
    telephone.hears(romeo.jid(), "you are alone?").await;
    telephone.chat(romeo.jid()).text("quite").await;
    romeo.hears(&address, "quite").await;
    block_in_place(|| server.restart());
    let stored = messages_up_to(&anna, &outsider, "quite").await;
    let stored: Vec<_> = stored.iter().map(|message| (&message["text"], &message["received"])).collect();
    let expected = [
        ("hello, both of you", true),
        ("from the telephone", false),
        ("meanwhile", false),
        ("you are alone?", true),
        ("quite", false),
    ];
    assert_eq!(stored.len(), expected.len(), "{stored:?}");
    for ((text, received), expected) in stored.into_iter().zip(expected) {
        assert_eq!((text.as_str(), received.as_bool()), (Some(expected.0), Some(expected.1)));
    }

    // The program's own messages come to the other device, and once to the list.
    let sent = anna.tries_to_send(&outsider, "from the program").await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    romeo.hears(&address, "from the program").await;
    telephone.carbons().await;
    let sent = anna.tries_to_send(&outsider, "once more").await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    telephone
        .until("a copy", |event| is_from(event, &address) && event["carbon"]["body"] == "once more")
        .await;
    romeo.chat(&address).text("the end").await;
    let stored = messages_up_to(&anna, &outsider, "the end").await;
    assert_eq!(stored.len(), expected.len() + 3, "{stored:?}");
}
