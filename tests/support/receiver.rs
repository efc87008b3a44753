//! A receiver of webhooks, with a script. It keeps every request.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use futures_util::stream;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::wait::{DEADLINE, wait_until_async};

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    With(u16, &'static str, String),
    /// After this time.
    Slow(Duration, u16),
    /// The same, with a header Retry-After.
    Late(Duration, u16, &'static str),
    Hang,
    /// A status, and then a body that never ends.
    Endless(u16),
    /// A status, and then a body of which nothing comes.
    Stuck(u16),
}

impl Answer {
    fn is_success(&self) -> bool {
        match self {
            Self::Status(code)
            | Self::With(code, ..)
            | Self::Slow(_, code)
            | Self::Late(_, code, _)
            | Self::Endless(code)
            | Self::Stuck(code) => (200..300).contains(code),
            Self::Hang => false,
        }
    }
}

type Script = Box<dyn Fn(&Request) -> Answer + Send>;

/// A request to the receiver.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub event: Value,
    pub at: Instant,
    /// The answer was a success.
    pub is_accepted: bool,
}

pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: tokio_util::sync::CancellationToken,
}

struct Shared {
    script: Mutex<Script>,
    requests: Mutex<Vec<Request>>,
    /// Connections are reset as soon as they are made.
    resets: AtomicBool,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

struct Resetting {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Listener for Resetting {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let Ok((stream, from)) = self.listener.accept().await else { continue };
            if !self.shared.resets.load(Ordering::Relaxed) {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Receiver {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(|_| Answer::Status(200))),
            requests: Mutex::default(),
            resets: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let stop = tokio_util::sync::CancellationToken::new();
        let serving = axum::serve(Resetting { listener, shared: Arc::clone(&shared) }, router).into_future();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
        Self { address, shared, stop }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on each request is answered so.
    pub fn answers(&self, script: impl Fn(&Request) -> Answer + Send + 'static) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(script);
    }

    pub fn resets(&self, resets: bool) {
        self.shared.resets.store(resets, Ordering::Relaxed);
    }

    /// It goes away, and refuses connections.
    pub fn go_away(&self) {
        self.stop.cancel();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests that were answered with success.
    pub fn accepted(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.is_accepted).collect()
    }

    pub fn count(&self) -> usize {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The most requests that were in progress at a time.
    pub fn most_at_once(&self) -> usize {
        self.shared.most_open.load(Ordering::Relaxed)
    }

    /// Waits for the first requests that satisfy a predicate.
    pub async fn waits_for(
        &self,
        what: &str,
        count: usize,
        predicate: impl Fn(&Request) -> bool,
    ) -> Vec<Request> {
        wait_until_async(what, DEADLINE * 2, async || {
            let found: Vec<Request> =
                self.requests().into_iter().filter(|request| predicate(request)).collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }
}

impl Request {
    pub fn kind(&self) -> &str {
        self.event["type"].as_str().unwrap_or_default()
    }

    pub fn id(&self) -> &str {
        self.event["id"].as_str().unwrap_or_default()
    }

    pub fn account(&self) -> &str {
        self.event["account"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII")).unwrap_or_default()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let event = serde_json::from_slice(&body).unwrap_or_default();
    let mut request =
        Request { path: uri.path().to_owned(), headers, body, event, at: Instant::now(), is_accepted: false };
    let open = Open::new(&shared);
    let answer = shared.script.lock().unwrap_or_else(PoisonError::into_inner)(&request);
    request.is_accepted = answer.is_success();
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let status = |status: u16| StatusCode::from_u16(status).expect("a status");
    let response = match answer {
        Answer::Status(code) => status(code).into_response(),
        Answer::With(code, name, value) => (status(code), [(name, value)]).into_response(),
        Answer::Slow(pause, code) => {
            tokio::time::sleep(pause).await;
            status(code).into_response()
        }
        Answer::Late(pause, code, retry_after) => {
            tokio::time::sleep(pause).await;
            (status(code), [("retry-after", retry_after)]).into_response()
        }
        Answer::Hang => std::future::pending().await,
        Answer::Endless(code) => {
            let chunks = stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from(vec![b'x'; 65_536])));
            (status(code), Body::from_stream(chunks)).into_response()
        }
        Answer::Stuck(code) => {
            (status(code), Body::from_stream(stream::pending::<io::Result<Bytes>>())).into_response()
        }
    };
    drop(open);
    response
}

/// A request in progress.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        let open = shared.open.fetch_add(1, Ordering::Relaxed) + 1;
        shared.most_open.fetch_max(open, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
