//! Numbers come to the network and leave it.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::support::guarantees::assert_guarantees;
use crate::support::people::{Person, account, fresh_number, login, pass_a_minute, prove, register};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::Software;
use crate::support::xmpp::peer::{Encryption, Login, Peer};
use crate::world::{jid, log_in, messages_up_to, password, session_until, setup, shared};

on_both_servers!(
    a_contact_exists_when_its_number_has_an_account,
    who_registers_a_number_again_sees_nothing_of_the_owner_before,
    a_number_that_somebody_else_proves_moves,
    an_account_whose_login_is_refused_says_so,
    an_account_that_another_program_takes_is_left_to_it,
    check_says_what_the_server_has_and_ends,
);

async fn check_says_what_the_server_has_and_ends(software: Software) {
    let server = Arc::new(setup(shared(software)).start());
    let (ended, end) = oneshot::channel();
    let other = server.clone();
    // A thread of its own: the test does not wait for a command that never ends.
    std::thread::spawn(move || ended.send(other.run(&["check"], "")));
    let printed = timeout(DEADLINE, end).await.expect("an end").expect("success");
    for part in [
        "the administrator may add, delete and look up users",
        "carbons",
        "archive",
        "pep",
        "uploads",
        "rooms",
        "archive of rooms",
    ] {
        assert!(printed.contains(&format!("ok      network xmpp: {part}\n")), "{printed}");
    }
}

async fn a_contact_exists_when_its_number_has_an_account(software: Software) {
    let server = setup(shared(software)).start();
    let anna = Person::new(&server).await;
    let (ben, nobody) = (fresh_number(), fresh_number());
    register(&server, &login(&server).await, &ben).await;
    for (number, exists) in [(&ben, true), (&nobody, false)] {
        let added = anna.api.post("/api/contacts/add-contact/", &[("contact_id", number)]).await;
        assert_eq!((added.status, added.json()), (201, json!({"contact_id": number, "exists": exists})));
    }
    anna.tries_to_send(&nobody, "hello?").await.refused(400, "not_a_contact");
    let synced = anna.api.post("/api/contacts/force-sync/", &[]).await;
    assert_eq!(synced.json(), json!({"existing": [ben], "non_existing": [nobody]}));
    // One that registers later exists from the next synchronisation on.
    register(&server, &login(&server).await, &nobody).await;
    let synced = anna.api.post("/api/contacts/force-sync/", &[]).await;
    assert_eq!(synced.json(), json!({"existing": [ben, nobody], "non_existing": []}));
}

async fn who_registers_a_number_again_sees_nothing_of_the_owner_before(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let (anna, ben) = Person::two_friends(&server).await;
    anna.delivers(&ben, "for the first owner").await;
    let old_password = password(&server, &ben.number);
    let device = log_in(xmpp, &jid(&ben, xmpp), &old_password).await.expect("the password of the account");

    let left = ben.api.post("/api/account/remove-account/", &[("account", &ben.number)]).await;
    assert_eq!((left.status, left.json()), (200, json!({})));
    assert_eq!(account(&ben.api, &ben.number).await, None);
    device.until("its end", |event| event["event"] == "ended").await;
    let refused = log_in(xmpp, &jid(&ben, xmpp), &old_password).await.map(drop);
    assert_eq!(refused, Err("not-authorized".to_owned()));

    // What is sent now reaches nobody, and not the next owner either.
    let unread = anna.sends(&ben, "for nobody").await;
    let failed = anna.waits_until(&ben.number, &unread, |message| message["state"] == "failed").await;
    assert_eq!(failed["failure"], "recipient_gone", "{failed}");

    let bob = Person { api: login(&server).await, number: ben.number.clone() };
    register(&server, &bob.api, &bob.number).await;
    anna.delivers(&bob, "for the second owner").await;
    let texts = bob.texts(&format!("/api/messages/chats/{}/", anna.number)).await;
    assert_eq!(texts, ["for the second owner"]);
    let refused = log_in(xmpp, &jid(&ben, xmpp), &old_password).await.map(drop);
    assert_eq!(refused, Err("not-authorized".to_owned()));
}

async fn a_number_that_somebody_else_proves_moves(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let (anna, ben) = Person::two_friends(&server).await;
    anna.delivers(&ben, "for the first owner").await;
    let old_password = password(&server, &ben.number);
    let bob = Person { api: login(&server).await, number: ben.number.clone() };
    register(&server, &bob.api, &bob.number).await;
    let refused = log_in(xmpp, &jid(&ben, xmpp), &old_password).await.map(drop);
    assert_eq!(refused, Err("not-authorized".to_owned()));
    ben.tries_to_send(&anna.number, "still me").await.refused(400, "account_not_registered");
    bob.adds_contact(&anna.number).await;
    bob.delivers(&anna, "me now").await;
    messages_up_to(&anna, &bob.number, "me now").await;
    let texts = bob.texts(&format!("/api/messages/chats/{}/", anna.number)).await;
    assert_eq!(texts, ["me now"]);
}

async fn an_account_whose_login_is_refused_says_so(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let (anna, ben) = Person::two_friends(&server).await;
    anna.delivers(&ben, "before").await;
    block_in_place(|| xmpp.delete_user(&ben.number));
    session_until(&ben, "the account to be logged out", |session| session["state"] == "logged_out").await;
    // To prove the number again makes a new login.
    register_again(&server, &ben).await;
    ben.waits_until_online(DEADLINE).await;
    anna.delivers(&ben, "after").await;
    assert_guarantees(server.database());
}

/// Two programs with one account must not end each other's connections for ever.
async fn an_account_that_another_program_takes_is_left_to_it(software: Software) {
    let xmpp = shared(software);
    let server = setup(xmpp).start();
    let (anna, ben) = Person::two_friends(&server).await;
    ben.delivers(&anna, "before").await;
    let (address, password) = (jid(&anna, xmpp), password(&server, &anna.number));
    let take = async || {
        let taken = Peer::try_login(Login {
            address: xmpp.address(),
            encryption: Encryption::StartTls,
            jid: &address,
            password: &password,
            ca_file: xmpp.ca_file(),
            resource: Some("windu"),
            receipts: false,
        });
        taken.await.expect("the password")
    };
    // Once may be by mistake: the session comes back.
    let first = take().await;
    wait_until_async("the end of the first one", DEADLINE, async || {
        first.request("<iq xmlns='jabber:client' type='get'><ping xmlns='urn:xmpp:ping'/></iq>").await.err()
    })
    .await;
    ben.delivers(&anna, "between").await;
    let second = take().await;
    session_until(&anna, "the session to give up", |session| session["state"] == "replaced").await;
    second.available().await;
    ben.sends(&anna, "to the other program").await;
    second.hears(&jid(&ben, xmpp), "to the other program").await;
    register_again(&server, &anna).await;
    anna.waits_until_online(DEADLINE).await;
}

async fn register_again(server: &Server, person: &Person) {
    pass_a_minute(server, &person.number);
    let asked = person.api.post("/api/account/request-sms-code/", &[("account", &person.number)]).await;
    assert_eq!(asked.status, 200, "{}", asked.text());
    prove(server, &person.api, &person.number).await;
}
