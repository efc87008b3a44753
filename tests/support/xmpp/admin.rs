//! The admin's session, which makes and changes accounts by ad-hoc commands (XEP-0133), as a small blocking client.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use data_encoding::BASE64;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

use super::wait::DEADLINE;

const COMMANDS: &str = "http://jabber.org/protocol/commands";

/// An open session.
pub struct Admin {
    stream: StreamOwned<ClientConnection, TcpStream>,
    domain: String,
    /// What has arrived and is not used yet.
    received: String,
    /// How many commands were sent.
    commands: usize,
}

impl Admin {
    /// Logs in by direct TLS. `certificate` is the only one that is accepted, as PEM, and may be a bad one.
    pub fn login(
        address: SocketAddr,
        domain: &str,
        certificate: &str,
        name: &str,
        password: &str,
    ) -> io::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Only { certificate, provider }))
            .with_no_client_auth();
        let server = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), server).map_err(io::Error::other)?;
        let socket = TcpStream::connect_timeout(&address, DEADLINE)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        let stream = StreamOwned::new(connection, socket);
        let mut admin = Self { stream, domain: domain.to_owned(), received: String::new(), commands: 0 };
        admin.open()?;
        let response = BASE64.encode(format!("\0{name}\0{password}").as_bytes());
        admin.send(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{response}</auth>"
        ))?;
        admin.until("<success")?;
        admin.open()?;
        admin.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")?;
        admin.answer("bind")?;
        Ok(admin)
    }

    /// Runs a command of one step with a filled form.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn command(&mut self, node: &str, fields: &[(&str, &str)]) {
        self.try_command(node, fields).unwrap_or_else(|error| panic!("{node} {fields:?}: {error}"));
    }

    fn try_command(&mut self, node: &str, fields: &[(&str, &str)]) -> io::Result<()> {
        self.commands += 1;
        let id = format!("command{}", self.commands);
        let fields = fields
            .iter()
            .map(|(name, value)| format!("<field var='{name}'><value>{}</value></field>", escaped(value)));
        let fields = fields.collect::<Vec<_>>().concat();
        self.send(&format!(
            "<iq type='set' id='{id}' to='{}'><command xmlns='{COMMANDS}' action='execute' \
             node='http://jabber.org/protocol/admin#{node}'><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE'><value>http://jabber.org/protocol/admin</value></field>{fields}</x>\
             </command></iq>",
            self.domain
        ))?;
        self.answer(&id)?;
        Ok(())
    }

    /// Opens a stream, anew after authentication.
    fn open(&mut self) -> io::Result<()> {
        self.received.clear();
        self.send(&format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' to='{}' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            self.domain
        ))?;
        self.until("</stream:features>")?;
        Ok(())
    }

    fn send(&mut self, xml: &str) -> io::Result<()> {
        self.stream.write_all(xml.as_bytes())?;
        self.stream.flush()
    }

    /// Reads until `end` has arrived; returns all up to it.
    fn until(&mut self, end: &str) -> io::Result<String> {
        loop {
            if let Some(start) = self.received.find(end) {
                let rest = self.received.split_off(start + end.len());
                return Ok(std::mem::replace(&mut self.received, rest));
            }
            if ["</stream:stream>", "<failure"].iter().any(|sign| self.received.contains(sign)) {
                return Err(io::Error::other(self.received.clone()));
            }
            let mut buffer = [0; 4096];
            let length = self.stream.read(&mut buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    /// The answer to the request `id`. Commands answer a failure with an error or with a note.
    fn answer(&mut self, id: &str) -> io::Result<String> {
        let id = [format!("id='{id}'"), format!("id=\"{id}\"")];
        loop {
            let stanza = self.until("</iq>")?;
            if id.iter().any(|id| stanza.contains(id)) {
                let failures = ["type='error'", "type=\"error\""];
                if failures.iter().any(|failure| stanza.contains(failure)) {
                    return Err(io::Error::other(stanza));
                }
                return Ok(stanza);
            }
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Accepts one certificate, by any issuer and also after its end.
#[derive(Debug)]
struct Only {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("another certificate".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
