//! The program with an XMPP server, and what its people see.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::task::block_in_place;
use windu::secrets::MasterKey;

use crate::support::not_run::not_run;
use crate::support::people::{Person, account, fresh_number};
use crate::support::server::{SECRET_KEY, Server, Setup};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::peer::{Encryption, Login, PASSWORD, Peer};
use crate::support::xmpp::{Software, XmppServer};

/// Whether the servers and the independent client are installed. Reports what is not.
pub fn is_installed() -> bool {
    let missing = XmppServer::missing().or_else(Peer::missing);
    if let Some(missing) = &missing {
        not_run(&format!("tests of the network xmpp: {missing}"));
    }
    missing.is_none()
}

/// The server that cases share which do not harm it.
pub fn shared(software: Software) -> &'static XmppServer {
    block_in_place(|| XmppServer::shared(software))
}

/// The settings of a program whose accounts live on a server.
pub fn setup(xmpp: &XmppServer) -> Setup {
    setup_at(xmpp, xmpp.address(), "starttls")
}

/// [`setup`] with a way to the server.
pub fn setup_at(xmpp: &XmppServer, address: SocketAddr, tls: &str) -> Setup {
    Server::setup()
        .env("WINDU_NETWORKS", "xmpp")
        .env("WINDU_XMPP_DOMAIN", xmpp.domain())
        .env("WINDU_XMPP_HOST", address.to_string())
        .env("WINDU_XMPP_TLS", tls)
        .env("WINDU_XMPP_CA_FILE", xmpp.ca_file().display().to_string())
        .env("WINDU_XMPP_ADMIN_JID", xmpp.admin_jid())
        .env("WINDU_XMPP_ADMIN_PASSWORD", xmpp.admin_password())
}

/// Somebody with an account on the server that is no number.
pub async fn romeo(xmpp: &XmppServer) -> Peer {
    Peer::register(xmpp, &format!("romeo-{}", fresh_number())).await
}

/// One more device of an account of [`romeo`], not available yet.
pub async fn log_in_again(xmpp: &XmppServer, peer: &Peer) -> Peer {
    let name = peer.jid().split('@').next().expect("a name");
    Peer::login(xmpp, name, PASSWORD).await
}

/// A login of the account `jid` as another device, with STARTTLS.
pub async fn log_in(xmpp: &XmppServer, jid: &str, password: &str) -> Result<Peer, String> {
    Peer::try_login(Login {
        address: xmpp.address(),
        encryption: Encryption::StartTls,
        jid,
        password,
        ca_file: xmpp.ca_file(),
        resource: Some("telephone"),
        receipts: false,
    })
    .await
}

/// The address of a number.
pub fn jid(person: &Person, xmpp: &XmppServer) -> String {
    format!("{}@{}", person.number, xmpp.domain())
}

/// Waits for the chat with somebody who has no number, and returns their public id.
///
/// # Panics
/// When it is no public id, or there are more chats.
pub async fn outsider_of(person: &Person) -> String {
    let id = wait_until_async("a chat", DEADLINE, async || {
        let answer = person.api.get("/api/messages/chats/").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let chats = answer.json()["chats"].as_array().expect("chats").clone();
        assert!(chats.len() <= 1, "{chats:?}");
        chats.first().map(|chat| chat["id"].as_str().expect("an id").to_owned())
    })
    .await;
    let digits = id.strip_prefix('x').expect("a public id");
    assert!(!digits.is_empty() && digits.bytes().all(|sign| sign.is_ascii_digit()), "{id}");
    id
}

/// Waits until the last text of a chat is this one, and returns all messages.
pub async fn messages_up_to(person: &Person, with: &str, last: &str) -> Vec<Value> {
    wait_until_async(&format!("{last:?} in the chat with {with}"), DEADLINE, async || {
        let messages = person.chat(with).await;
        messages.last().is_some_and(|message| message["text"] == last).then_some(messages)
    })
    .await
}

/// Waits until the session of an account satisfies a predicate, and returns it.
pub async fn session_until(person: &Person, what: &str, predicate: impl Fn(&Value) -> bool) -> Value {
    wait_until_async(what, DEADLINE, async || {
        let session = account(&person.api, &person.number).await.expect("listed")["session"].take();
        predicate(&session).then_some(session)
    })
    .await
}

/// The password of an account, which no client of the API sees.
pub fn password(server: &Server, number: &str) -> String {
    let sealed = server.database().sql(&format!(
        "SELECT encode(credentials, 'hex') FROM account WHERE number = '{number}' AND credentials IS NOT NULL"
    ));
    let sealed = data_encoding::HEXLOWER.decode(sealed.as_bytes()).expect("hexadecimal");
    let key = MasterKey::from_base64(SECRET_KEY, None).expect("a key");
    let opened = key.open("credentials", number.as_bytes(), &sealed).expect("sealed with this key");
    let credentials: Value = serde_json::from_slice(&opened).expect("JSON");
    credentials["password"].as_str().expect("a password").to_owned()
}
