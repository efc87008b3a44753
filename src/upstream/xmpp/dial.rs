//! The way to the server: its addresses, TCP and TLS.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tokio_xmpp::xmlstream::{
    PendingFeaturesRecv, ReadError, StreamHeader, Timeouts, XmppStream, XmppStreamElement, initiate_stream,
};

use super::failure::LoginFailure;
use super::srv;
use super::xml::ns;
use crate::config::{ConfigError, XmppHost, XmppSettings, XmppTls};

/// For one attempt to connect to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Read ahead of each connection, in bytes; an idle session keeps as much.
const READ_BUFFER: usize = 1_024;
/// The limits of the XML stream. Silence is watched by [`super::link`]; these only end what that one does not see.
pub(super) const STREAM_TIMEOUTS: Timeouts =
    Timeouts { read_timeout: Duration::from_mins(5), response_timeout: Duration::from_mins(5) };

/// A connection, encrypted or not.
pub(super) type Wire = BufReader<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// Opens connections to one server.
pub(super) struct Dialer {
    domain: String,
    host: XmppHost,
    tls: XmppTls,
    connector: TlsConnector,
}

impl Dialer {
    /// Reads the trusted certificates; all connections share them.
    pub fn new(settings: &XmppSettings) -> Result<Self, ConfigError> {
        let config = ClientConfig::builder()
            .with_root_certificates(trusted(settings.ca_file.as_deref())?)
            .with_no_client_auth();
        Ok(Self {
            domain: settings.domain.clone(),
            host: settings.host.clone(),
            tls: settings.tls,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Connects, encrypts as the settings say, and opens the stream for a login at `domain`.
    pub async fn dial(&self, domain: &str) -> Result<PendingFeaturesRecv<Wire>, LoginFailure> {
        let tcp = self.connect().await?;
        // Stanzas are small, and each is awaited.
        tcp.set_nodelay(true)?;
        let wire = match self.tls {
            XmppTls::Off => Either::Left(tcp),
            XmppTls::Direct => Either::Right(self.encrypt(tcp, domain).await?),
            XmppTls::StartTls => {
                let tcp = start_tls(tcp, domain).await?;
                Either::Right(self.encrypt(tcp, domain).await?)
            }
        };
        let wire = BufReader::with_capacity(READ_BUFFER, wire);
        Ok(initiate_stream(wire, ns::CLIENT, header(domain), STREAM_TIMEOUTS).await?)
    }

    /// The first address that accepts a connection.
    async fn connect(&self) -> Result<TcpStream, LoginFailure> {
        let mut failure = LoginFailure::Unreachable(io::ErrorKind::NotFound.into());
        for (host, port) in self.targets().await {
            let connecting = TcpStream::connect((host.as_str(), port));
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => failure = LoginFailure::Unreachable(error),
                Err(_) => failure = LoginFailure::Unreachable(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(failure)
    }

    /// Hosts and ports in the order in which they are tried. Without SRV records, the domain itself (RFC 6120,
    /// section 3.2.2).
    async fn targets(&self) -> Vec<(String, u16)> {
        let (service, default_port) = match self.tls {
            XmppTls::Direct => ("_xmpps-client._tcp", 5223),
            XmppTls::StartTls | XmppTls::Off => ("_xmpp-client._tcp", 5222),
        };
        match &self.host {
            XmppHost::At { host, port } => vec![(host.clone(), *port)],
            XmppHost::Dns => {
                let mut targets = srv::targets(&format!("{service}.{}.", self.domain)).await;
                if targets.is_empty() {
                    targets.push((self.domain.clone(), default_port));
                }
                targets
            }
        }
    }

    async fn encrypt(&self, tcp: TcpStream, domain: &str) -> Result<Box<TlsStream<TcpStream>>, LoginFailure> {
        let name = ServerName::try_from(domain.to_owned())
            .map_err(|_| LoginFailure::Tls(format!("{domain} is no name for a certificate")))?;
        let encrypted = self.connector.connect(name, tcp).await;
        encrypted.map(Box::new).map_err(|error| match error.get_ref() {
            // Of the certificate or the protocol; all else is the connection.
            Some(inner) if inner.is::<rustls::Error>() => LoginFailure::Tls(inner.to_string()),
            _ => LoginFailure::Unreachable(error),
        })
    }
}

/// The header of a stream to `domain`.
pub(super) fn header(domain: &str) -> StreamHeader<'_> {
    StreamHeader { to: Some(domain.into()), from: None, id: None }
}

/// Asks for TLS (RFC 6120, section 5.4). What the server sent before it is discarded.
async fn start_tls(tcp: TcpStream, domain: &str) -> Result<TcpStream, LoginFailure> {
    use tokio_xmpp::parsers::starttls::{Nonza, Request};
    let wire = BufReader::with_capacity(READ_BUFFER, tcp);
    let pending = initiate_stream(wire, ns::CLIENT, header(domain), STREAM_TIMEOUTS).await?;
    let (features, mut stream): (_, XmppStream<_>) = pending.recv_features().await?;
    if !features.can_starttls() {
        return Err(LoginFailure::Tls("the server offers no encryption".to_owned()));
    }
    stream.send(&XmppStreamElement::Starttls(Nonza::Request(Request))).await?;
    loop {
        match stream
            .next()
            .await
            .map(|read| read.map(tokio_xmpp::xmlstream::FallibleStreamElement::into_read_error))
        {
            Some(Ok(Ok(XmppStreamElement::Starttls(Nonza::Proceed(_))))) => {
                return Ok(stream.into_inner().into_inner());
            }
            Some(Ok(Err(ReadError::SoftTimeout)) | Err(ReadError::SoftTimeout)) => {}
            Some(Ok(Err(ReadError::HardError(error))) | Err(ReadError::HardError(error))) => {
                return Err(error.into());
            }
            Some(_) => return Err(LoginFailure::Tls("the server refused to encrypt".to_owned())),
            None => return Err(LoginFailure::Unreachable(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// The certificates of the system, and those of the file.
fn trusted(ca_file: Option<&Path>) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in private_certificates(ca_file)? {
        roots.add(certificate).map_err(|error| unusable(ca_file, &error.to_string()))?;
    }
    Ok(roots)
}

/// The certificates of the file.
pub(super) fn private_certificates(
    ca_file: Option<&Path>,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let Some(path) = ca_file else { return Ok(Vec::new()) };
    let wrong = |error: rustls::pki_types::pem::Error| unusable(ca_file, &error.to_string());
    let certificates = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(wrong)?;
    if certificates.is_empty() {
        return Err(unusable(ca_file, "it has no certificate in PEM"));
    }
    Ok(certificates)
}

fn unusable(ca_file: Option<&Path>, problem: &str) -> ConfigError {
    let path = ca_file.unwrap_or(Path::new("")).display();
    ConfigError::new("WINDU_XMPP_CA_FILE", format!("{path} cannot be used: {problem}"))
}
