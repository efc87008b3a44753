//! Two servers that reach each other, and the DNS by which they do.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::{Software, XmppServer};

/// Prosody and ejabberd, as servers of the same network.
pub struct Federation {
    pub prosody: XmppServer,
    pub ejabberd: XmppServer,
    // Dropped last: a server that stops still asks.
    _dns: Dns,
}

impl Federation {
    /// Starts both; they serve.
    pub fn start() -> Self {
        let dns = Dns::start();
        let port = dns.address.port();
        let (prosody, ejabberd) = thread::scope(|scope| {
            let prosody = scope.spawn(|| XmppServer::start_federated(Software::Prosody, port));
            let ejabberd = XmppServer::start_federated(Software::Ejabberd, port);
            (prosody.join().expect("Prosody"), ejabberd)
        });
        for server in [&prosody, &ejabberd] {
            dns.add(server.domain(), server.server_address().port());
        }
        Self { prosody, ejabberd, _dns: dns }
    }

    /// The server with this software, and the other one.
    pub fn pair(&self, software: Software) -> (&XmppServer, &XmppServer) {
        match software {
            Software::Prosody => (&self.prosody, &self.ejabberd),
            Software::Ejabberd => (&self.ejabberd, &self.prosody),
        }
    }
}

/// Answers which port a domain and its subdomains have for other servers, on UDP; of everything else it says that it
/// does not exist.
struct Dns {
    address: SocketAddr,
    known: Arc<Mutex<Vec<(String, u16)>>>,
    thread: Option<JoinHandle<()>>,
}

const A: u16 = 1;
const SRV: u16 = 33;

impl Dns {
    fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = socket.local_addr().expect("its address");
        let known = Arc::new(Mutex::new(Vec::new()));
        let answers = known.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 512];
            // An empty datagram is the end.
            while let Ok((length, sender)) = socket.recv_from(&mut buffer)
                && length > 0
            {
                let known = answers.lock().expect("not poisoned").clone();
                if let Some(answer) = answer(&buffer[..length], &known) {
                    // Who asked may be gone.
                    let _ = socket.send_to(&answer, sender);
                }
            }
        });
        Self { address, known, thread: Some(thread) }
    }

    fn add(&self, domain: &str, port: u16) {
        self.known.lock().expect("not poisoned").push((domain.to_owned(), port));
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.send_to(&[], self.address).expect("sent");
        let _ = self.thread.take().expect("once").join();
    }
}

/// The answer to a query of one question (RFC 1035, section 4); `None` when it is none.
fn answer(query: &[u8], known: &[(String, u16)]) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let question = query.get(12..end + 4)?;
    let kind = u16::from_be_bytes(query.get(end..end + 2)?.try_into().ok()?);
    let domain = name.strip_prefix("_xmpp-server._tcp.");
    let port = domain.and_then(|domain| {
        let is_asked = |known: &str| domain == known || domain.ends_with(&format!(".{known}"));
        known.iter().find(|(known, _)| is_asked(known)).map(|(_, port)| *port)
    });
    let data = match (kind, port) {
        // Priority, weight, port, target.
        (SRV, Some(port)) => {
            let mut data = vec![0, 0, 0, 0];
            data.extend(port.to_be_bytes());
            data.extend(b"\x09localhost\x00");
            Some(data)
        }
        (A, None) if name == "localhost" => Some(Ipv4Addr::LOCALHOST.octets().to_vec()),
        _ => None,
    };
    let exists = port.is_some() || name == "localhost";
    let mut answer = query.get(..2)?.to_vec();
    // An authoritative answer to a recursive query, with the code NOERROR or NXDOMAIN.
    answer.extend([0x85, if exists { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    answer.extend(question);
    if let Some(data) = data {
        // The name of the question, for a minute.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

/// The name in the question, in lower case, and the position behind it.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let mut position = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(position)?);
        position += 1;
        if length == 0 {
            return Some((labels.join("."), position));
        }
        let label = query.get(position..position + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        position += length;
    }
}
