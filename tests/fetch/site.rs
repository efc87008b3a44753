//! Scripted HTTP servers, canaries that must not be reached, and a name lookup with the addresses of a test.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use windu::fetch::{Fetch, FetchTimeouts, Fetched, Resolver, Sink, UntrustedError, UntrustedRules};

/// Long enough for a busy machine.
pub const LONG_LIMITS: FetchTimeouts =
    FetchTimeouts { head: Duration::from_secs(20), total: Duration::from_mins(1) };

/// More than the response of any test that does not check limits.
pub const LIMIT: u64 = 1 << 20;

/// The behaviour of a site for a request.
pub enum Reply {
    /// Writes this and closes.
    Bytes(Vec<u8>),
    /// Writes this, waits for the notification, writes the rest and closes.
    Held(Vec<u8>, Arc<Notify>, Vec<u8>),
    /// Writes the beginning, then this byte again and again.
    Drip(Vec<u8>, u8),
    /// Is silent.
    Hang,
}

pub type Script = dyn Fn(&str) -> Reply + Send + Sync;

/// An HTTP server; it stops when it is dropped.
pub struct Site {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// The addresses that were dialled.
    dialled: Vec<IpAddr>,
    /// The heads of the requests.
    heads: Vec<String>,
}

/// A listener that must not be reached.
pub struct Canary {
    pub address: SocketAddr,
    listener: std::net::TcpListener,
}

/// The lookups of each name, one after the other; the last one stays.
#[derive(Default)]
pub struct Names(pub Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

/// A sink that takes everything.
#[derive(Default)]
pub struct Taken(pub Vec<u8>);

impl Site {
    /// `script` gets the path of a request.
    pub async fn start(address: &str, script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&seen), Arc::new(script)));
        Self { address, seen, _tasks: tasks }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The addresses that were dialled so far.
    pub fn dialled(&self) -> Vec<IpAddr> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).dialled.clone()
    }

    /// The heads of the requests so far, as they were sent.
    pub fn heads(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).heads.clone()
    }

    /// The paths that were asked for so far.
    pub fn paths(&self) -> Vec<String> {
        self.heads().iter().map(|head| path(head).to_owned()).collect()
    }
}

impl Canary {
    pub fn start(address: &str) -> Self {
        Self::try_start(address).unwrap()
    }

    pub fn try_start(address: &str) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// A connection that was made before this waits to be accepted, so this finds it.
    pub fn assert_untouched(&self, of: &str) {
        match self.listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => panic!("{of} reached the canary: {other:?}"),
        }
    }
}

impl Names {
    pub fn of(list: &[(&str, &[&[&str]])]) -> Self {
        let names = list.iter().map(|(name, answers)| {
            let answers =
                answers.iter().map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect());
            ((*name).to_owned(), answers.collect())
        });
        Self(Mutex::new(names.collect()))
    }
}

#[async_trait]
impl Resolver for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = names.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

impl Sink for Taken {
    type Error = Infallible;

    async fn write(&mut self, chunk: &[u8]) -> Result<(), Infallible> {
        assert!(!chunk.is_empty());
        self.0.extend_from_slice(chunk);
        Ok(())
    }
}

/// A `Fetch` that allows these networks and knows these names.
pub fn fetch(allow: &[&str], names: Names) -> Fetch {
    fetch_within(LONG_LIMITS, allow, names)
}

pub fn fetch_within(timeouts: FetchTimeouts, allow: &[&str], resolver: impl Resolver + 'static) -> Fetch {
    let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
    Fetch::new(UntrustedRules { allow, timeouts, resolver: Arc::new(resolver) })
}

/// The result of a URL, with its content.
pub async fn get(fetch: &Fetch, url: &str) -> Result<(Fetched, Vec<u8>), UntrustedError<Infallible>> {
    let mut taken = Taken::default();
    let given = fetch.get_untrusted(url, LIMIT, &mut taken).await?;
    Ok((given, taken.0))
}

/// An HTTP response with its content length.
pub fn answer(status: u16, headers: &[(&str, &str)], content: &str) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut text = format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\n", content.len());
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    (text + "\r\n" + content).into_bytes()
}

pub fn redirect(status: u16, to: &str) -> Reply {
    Reply::Bytes(answer(status, &[("Location", to)], ""))
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let dialled = stream.local_addr().unwrap().ip();
        seen.lock().unwrap_or_else(PoisonError::into_inner).dialled.push(dialled);
        connections.spawn(serve_seen(stream, Arc::clone(&seen), Arc::clone(&script)));
    }
}

async fn serve_seen(stream: TcpStream, seen: Arc<Mutex<Seen>>, script: Arc<Script>) {
    let note = |head: &str| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).heads.push(head.to_owned());
    };
    // A disconnected client is no failure of the site.
    let _ = serve(stream, &*script, note).await;
}

/// Answers one request.
pub async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Script,
    note: impl Fn(&str),
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    note(&head);
    match script(path(&head)) {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
        Reply::Held(beginning, go_on, rest) => {
            stream.write_all(&beginning).await?;
            go_on.notified().await;
            stream.write_all(&rest).await?;
        }
        Reply::Drip(beginning, byte) => {
            stream.write_all(&beginning).await?;
            loop {
                stream.write_u8(byte).await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Reply::Hang => std::future::pending().await,
    }
    stream.shutdown().await
}

fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}
