//! The login: SASL, the resource, and stream management.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use sasl::common::Credentials;
use tokio::time::timeout;
use tokio_xmpp::client_login;
use tokio_xmpp::xmlstream::{InitiatingStream, ReadError, XmlStream, XmppStream};

use super::address;
use super::dial::{Dialer, Wire, header};
use super::failure::{IqFailure, LoginFailure};
use super::xml::{Build as _, Element, child_text, element, ns};

/// For a whole login, from the first address on.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(25);

/// Stanzas that may come before the count begins.
const EARLY: usize = 10_000;

/// A stream whose items are elements.
pub(super) type ElementStream = XmlStream<Wire, Element>;

/// A stream that is logged in, has a resource, and counts its stanzas.
pub(super) struct LoggedIn {
    pub stream: ElementStream,
    /// With the resource.
    pub address: String,
    /// Stanzas that came before the count began. ejabberd sends what an earlier connection did not acknowledge at once.
    pub early: Vec<Element>,
    pub is_prosody: bool,
}

/// Logs in. With `resource`, an earlier connection of that resource ends; `None`: one that the server chooses.
pub(super) async fn log_in(
    dialer: &Dialer,
    address: &str,
    password: &str,
    resource: Option<&str>,
) -> Result<LoggedIn, LoginFailure> {
    let logging_in = async {
        let authenticated = authenticate(dialer, address, password).await?;
        let pending = authenticated.send_header(header(address::domain(address))).await?;
        let (features, mut stream): (_, ElementStream) = pending.recv_features().await?;
        if features.stream_management.is_none() {
            return Err(LoginFailure::Protocol("it has no stream management (XEP-0198)".to_owned()));
        }
        let is_prosody = features.others.iter().any(|feature| {
            feature.is("c", ns::CAPS)
                && feature.attr("node").is_some_and(|node| node.ends_with("//prosody.im"))
        });
        let address = bind(&mut stream, resource).await?;
        stream.send(&element("enable", ns::SM)).await?;
        let mut early = Vec::new();
        loop {
            let answer = next(&mut stream).await?;
            if answer.is("enabled", ns::SM) {
                return Ok(LoggedIn { stream, address, early, is_prosody });
            }
            if !answer.has_ns(ns::CLIENT) || early.len() >= EARLY {
                return Err(LoginFailure::Protocol("it does not enable stream management".to_owned()));
            }
            early.push(answer);
        }
    };
    // On the heap, as long as it lasts: a task that may log in one day need not hold the memory for it.
    timeout(LOGIN_TIMEOUT, Box::pin(logging_in))
        .await
        .unwrap_or_else(|_| Err(LoginFailure::Unreachable(io::ErrorKind::TimedOut.into())))
}

/// Whether the server accepts the password. It does not end another connection of the account.
pub(super) async fn try_password(dialer: &Dialer, address: &str, password: &str) -> Result<(), LoginFailure> {
    timeout(LOGIN_TIMEOUT, Box::pin(authenticate(dialer, address, password)))
        .await
        .unwrap_or_else(|_| Err(LoginFailure::Unreachable(io::ErrorKind::TimedOut.into())))
        .map(drop)
}

async fn authenticate(
    dialer: &Dialer,
    address: &str,
    password: &str,
) -> Result<InitiatingStream<Wire>, LoginFailure> {
    let domain = address::domain(address);
    let (features, stream): (_, XmppStream<Wire>) = dialer.dial(domain).await?.recv_features().await?;
    let name = address.split_once('@').map_or(address, |(name, _)| name);
    let credentials = Credentials::default().with_username(name).with_password(password);
    Ok(client_login(stream, features.sasl_mechanisms, credentials).await?)
}

/// Binds a resource (RFC 6120, section 7), and returns the full address.
async fn bind(stream: &mut ElementStream, resource: Option<&str>) -> Result<String, LoginFailure> {
    let mut request = element("bind", ns::BIND);
    if let Some(resource) = resource {
        request = request.child(element("resource", ns::BIND).content(resource));
    }
    let iq = element("iq", ns::CLIENT).attribute("type", "set").attribute("id", "bind").child(request);
    stream.send(&iq).await?;
    let answer = next(stream).await?;
    if answer.attr("type") == Some("error") {
        return Err(match IqFailure::of(&answer) {
            // Too many connections of this account.
            IqFailure::Error { condition, .. } => LoginFailure::Closed(condition),
            IqFailure::NoAnswer => LoginFailure::Protocol("no resource".to_owned()),
        });
    }
    let bound = answer.get_child("bind", ns::BIND).and_then(|bound| child_text(bound, "jid", ns::BIND));
    bound.ok_or_else(|| LoginFailure::Protocol("it bound no resource".to_owned()))
}

async fn next(stream: &mut ElementStream) -> Result<Element, LoginFailure> {
    loop {
        match stream.next().await {
            Some(Ok(error)) if error.is("error", ns::STREAM) => {
                return Err(LoginFailure::Closed(condition(&error)));
            }
            Some(Ok(element)) => return Ok(element),
            Some(Err(ReadError::SoftTimeout)) => {}
            Some(Err(ReadError::HardError(error))) => return Err(error.into()),
            Some(Err(ReadError::ParseError(error))) => return Err(LoginFailure::Protocol(error.to_string())),
            Some(Err(ReadError::StreamFooterReceived)) | None => {
                return Err(LoginFailure::Unreachable(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// The condition of a stream error, such as `conflict` (RFC 6120, section 4.9.3).
pub(super) fn condition(error: &Element) -> String {
    let condition = error.children().find(|child| child.has_ns(ns::STREAM_ERRORS) && child.name() != "text");
    condition.map_or("undefined-condition", Element::name).to_owned()
}
