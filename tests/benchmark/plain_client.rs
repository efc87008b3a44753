//! XMPP clients without the program: streams of its library that store nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, SinkExt, StreamExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sasl::common::Credentials;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_xmpp::client_login;
use tokio_xmpp::minidom::Element;
use tokio_xmpp::xmlstream::{ReadError, StreamHeader, Timeouts, XmlStream, XmppStream, initiate_stream};

use crate::support::xmpp::XmppServer;

const PASSWORD: &str = "the client's password";
/// Messages that may wait for their receipts.
const WINDOW: usize = 256;
const CLIENT: &str = "jabber:client";
const RECEIPTS: &str = "urn:xmpp:receipts";
const SM: &str = "urn:xmpp:sm:3";
const TIMEOUTS: Timeouts =
    Timeouts { read_timeout: Duration::from_mins(5), response_timeout: Duration::from_mins(5) };

type Wire = BufReader<TlsStream<TcpStream>>;

/// A client that is logged in and available, with stream management (XEP-0198).
pub struct PlainClient {
    stream: XmlStream<Wire, Element>,
    jid: String,
    /// Received stanzas.
    received: u32,
}

impl PlainClient {
    /// Makes an account and logs in, by TLS from the first byte.
    pub async fn register(server: &XmppServer, name: &str) -> Self {
        server.add_user(name, PASSWORD);
        let header = || StreamHeader { to: Some(server.domain().into()), from: None, id: None };
        let wire = encrypted(server).await;
        let pending = initiate_stream(wire, CLIENT, header(), TIMEOUTS).await.expect("a stream");
        let (features, stream): (_, XmppStream<Wire>) = pending.recv_features().await.expect("features");
        let credentials = Credentials::default().with_username(name).with_password(PASSWORD);
        let stream = client_login(stream, features.sasl_mechanisms, credentials).await.expect("a login");
        let pending = stream.send_header(header()).await.expect("a stream");
        let (_, stream) = pending.recv_features().await.expect("features");
        let mut client = Self { stream, jid: format!("{name}@{}", server.domain()), received: 0 };
        let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>";
        client.ask(&format!("<iq xmlns='{CLIENT}' type='set' id='bind'>{bind}</iq>"), "iq").await;
        client.ask(&format!("<enable xmlns='{SM}'/>"), "enabled").await;
        client.received = 0;
        client.ask(&format!("<presence xmlns='{CLIENT}'/>"), "presence").await;
        client
    }

    /// Sends texts with the elements that the program's have, and waits for the receipt of each.
    async fn send_texts(&mut self, to: &str, text: &str, messages: usize) {
        let (mut sent, mut delivered) = (0, 0);
        while delivered < messages {
            while sent < messages.min(delivered + WINDOW) {
                let id = windu::secrets::random_id();
                self.feed(&format!(
                    "<message xmlns='{CLIENT}' type='chat' to='{to}' id='{id}'><body>{text}</body>\
                     <origin-id xmlns='urn:xmpp:sid:0' id='{id}'/><request xmlns='{RECEIPTS}'/>\
                     <markable xmlns='urn:xmpp:chat-markers:0'/></message>"
                ))
                .await;
                sent += 1;
            }
            self.flush().await;
            let elements = self.elements().await;
            delivered += elements.iter().filter(|element| element.has_child("received", RECEIPTS)).count();
        }
    }

    /// Sends a receipt for each of so many texts.
    async fn answer_texts(&mut self, messages: usize) {
        let mut answered = 0;
        while answered < messages {
            for text in self.elements().await {
                if !text.has_child("request", RECEIPTS) {
                    continue;
                }
                let [from, id] = ["from", "id"].map(|name| text.attr(name).expect("a text's address and id"));
                let from = from.split('/').next().unwrap_or_default();
                self.feed(&format!(
                    "<message xmlns='{CLIENT}' type='chat' to='{from}' id='{}'><received xmlns='{RECEIPTS}' id='{id}'/>\
                     <store xmlns='urn:xmpp:hints'/></message>",
                    windu::secrets::random_id()
                ))
                .await;
                answered += 1;
            }
            self.flush().await;
        }
    }

    /// What has come, at least one element. Acknowledges it when the server asks.
    async fn elements(&mut self) -> Vec<Element> {
        let mut elements = vec![self.read().await];
        while let Some(element) = self.read().now_or_never() {
            elements.push(element);
        }
        let stanzas = elements.iter().filter(|element| element.has_ns(CLIENT)).count();
        self.received += u32::try_from(stanzas).expect("a small number");
        if elements.iter().any(|element| element.is("r", SM)) {
            self.feed(&format!("<a xmlns='{SM}' h='{}'/>", self.received)).await;
            self.flush().await;
        }
        elements
    }

    async fn read(&mut self) -> Element {
        loop {
            match self.stream.next().await {
                Some(Ok(element)) => return element,
                Some(Err(ReadError::SoftTimeout)) => {}
                ended => panic!("the stream of {}: {ended:?}", self.jid),
            }
        }
    }

    /// Sends an element and waits for one with this name.
    async fn ask(&mut self, xml: &str, answer: &str) {
        self.feed(xml).await;
        self.flush().await;
        while !self.elements().await.iter().any(|element| element.name() == answer) {}
    }

    async fn feed(&mut self, xml: &str) {
        let element: Element = xml.parse().expect("XML");
        self.stream.feed(&element).await.expect("written");
    }

    async fn flush(&mut self) {
        SinkExt::<&Element>::flush(&mut self.stream).await.expect("written");
    }
}

/// The time for so many texts, from the first one until the sender has the receipts of all.
pub async fn talk(
    sender: &mut PlainClient,
    receiver: &mut PlainClient,
    text: &str,
    messages: usize,
) -> Duration {
    let began = Instant::now();
    let to = receiver.jid.clone();
    tokio::join!(sender.send_texts(&to, text, messages), receiver.answer_texts(messages));
    began.elapsed()
}

async fn encrypted(server: &XmppServer) -> Wire {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server.ca_file()).expect("a certificate")).expect("an authority");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = TcpStream::connect(server.direct_tls()).await.expect("a connection");
    tcp.set_nodelay(true).expect("no delay");
    let domain = ServerName::try_from(server.domain()).expect("a name");
    BufReader::new(TlsConnector::from(Arc::new(config)).connect(domain, tcp).await.expect("TLS"))
}
