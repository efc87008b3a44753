//! Servers whose certificates are wrong.

use std::sync::Arc;

use tokio::task::block_in_place;

use crate::support::people::{Person, account, code, fresh_number, login};
use crate::support::xmpp::certificates::Certificate;
use crate::support::xmpp::{Software, XmppServer};
use crate::world::{session_until, setup, setup_at, shared};

on_both_servers!(
    the_right_certificate_is_trusted_in_both_ways,
    a_wrong_name_is_not_trusted,
    an_expired_certificate_is_not_trusted,
    an_unknown_authority_is_not_trusted,
);

async fn the_right_certificate_is_trusted_in_both_ways(software: Software) {
    let xmpp = shared(software);
    for (address, tls) in [(xmpp.address(), "starttls"), (xmpp.direct_tls(), "direct"), (xmpp.plain(), "off")]
    {
        let server = setup_at(xmpp, address, tls).start();
        let (anna, ben) = Person::two_friends(&server).await;
        anna.delivers(&ben, tls).await;
    }
}

async fn a_wrong_name_is_not_trusted(software: Software) {
    is_not_trusted(software, Certificate::WrongName).await;
}

async fn an_expired_certificate_is_not_trusted(software: Software) {
    is_not_trusted(software, Certificate::Expired).await;
}

async fn an_unknown_authority_is_not_trusted(software: Software) {
    is_not_trusted(software, Certificate::UnknownAuthority).await;
}

async fn is_not_trusted(software: Software, certificate: Certificate) {
    let good = shared(software);
    let (anna, database) = {
        let server = setup(good).start();
        (Person::new(&server).await, Arc::clone(server.database()))
    };
    let bad = block_in_place(|| XmppServer::start_with(software, certificate));
    for (address, tls) in [(bad.address(), "starttls"), (bad.direct_tls(), "direct")] {
        let server = setup_at(&bad, address, tls).database(Arc::clone(&database)).start();
        // An account that was registered before.
        let anna = anna.at(&server);
        let session = session_until(&anna, "the session to wait", |session| {
            session["state"] == "waiting" && session["reason"] == "network_not_trusted"
        })
        .await;
        assert!(session["until"].is_string(), "{session}");
        // A new one.
        let (api, number) = (login(&server).await, fresh_number());
        let created = api.post("/api/account/create-account/", &[("account", &number)]).await;
        assert_eq!(created.status, 201, "{}", created.text());
        let form = [("account", number.as_str()), ("code", &code(&server, &number))];
        let refused = api.post("/api/account/register-code/", &form).await;
        refused.refused(503, "network_unavailable");
        let account = account(&api, &number).await.expect("it still waits for its code");
        assert_eq!(account["registered"], false, "{account}");
        let row = format!("SELECT credentials IS NULL FROM account WHERE number = '{number}'");
        assert_eq!(server.database().sql(&row), "t");
        assert!(server.log().contains("the administrator's login at the XMPP server failed"));
    }
}
