//! Connections: accepted, limited, and drained at the shutdown.

mod address_limit;
mod paced_stream;
mod request_head;
mod unread_body;
mod waiting;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt as _;

use self::address_limit::{AddressLimit, AddressPermit};
use self::paced_stream::{Endless, PacedStream, READING_PACE};
use self::unread_body::UnreadBody;
use self::waiting::{Waiting, WaitingConnections};
use crate::config::TrustedProxies;
use crate::http::error::ApiError;
use crate::http::middleware::error_fallback;
use crate::http::middleware::trace::LongLived;
use crate::lifecycle::Lifecycle;

/// From the first to the last byte of a request's head; also the longest idle time of a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes per connection for a request's head, and for a body that waits for its reader.
const BUFFER: usize = 64 * 1024;

/// How long an endless response may take to end when the program stops.
const ENDLESS_GRACE: Duration = Duration::from_secs(5);

/// The pause after a failed accept, for example when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Connections of addresses that have too many, which are answered at the same time; more are closed without an answer.
const REFUSED_AT_ONCE: usize = 64;
/// How long such a connection may take to hear the answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// The whole answer on it, since it has no request yet.
const REFUSAL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n\
    X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nRetry-After: 5\r\nContent-Length: 100\r\n\
    Connection: close\r\n\r\n\
    {\"error\":\"too many connections of your address are open; reuse them\",\"code\":\"too_many_connections\"}\n";

/// The client's address; a request extension.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub SocketAddr);

/// How many connections may be open.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// More wait in the operating system's queue, unless connections without requests give way.
    pub total: usize,
    /// Whether the connection that has waited longest for a request is closed for one that is one too many.
    pub waiting_give_way: bool,
    /// Of one address; more are refused. Of an address behind a trusted proxy, its requests are counted.
    pub per_address: usize,
    pub trusted_proxies: TrustedProxies,
}

/// An open connection as the limits count it: a request extension, for what goes on with the connection after an upgrade.
#[derive(Clone)]
#[expect(dead_code, reason = "held until it is dropped")]
pub struct HeldConnection(Arc<(Result<OwnedSemaphorePermit, AcquireError>, Option<AddressPermit>)>);

/// What all connections share.
#[derive(Clone)]
struct Server {
    router: Router,
    /// If they give way.
    waiting: Option<WaitingConnections>,
    addresses: AddressLimit,
    /// Of requests, by the addresses that trusted proxies forward.
    forwarded: AddressLimit,
    proxies: TrustedProxies,
    refusals: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

/// Serves until the soft token is cancelled; then every connection finishes its request and ends. Connections are
/// tasks of `lifecycle`: its `drained` waits for them.
pub async fn serve(listener: TcpListener, router: Router, limits: ConnectionLimits, lifecycle: Lifecycle) {
    let permits = Arc::new(Semaphore::new(limits.total));
    let waiting = limits.waiting_give_way.then(WaitingConnections::default);
    let server = Server {
        router,
        waiting: waiting.clone(),
        addresses: AddressLimit::new(limits.per_address),
        forwarded: AddressLimit::new(limits.per_address),
        proxies: limits.trusted_proxies,
        refusals: Arc::new(Semaphore::new(REFUSED_AT_ONCE)),
        lifecycle: lifecycle.clone(),
    };
    loop {
        let accept = async {
            if let Some(waiting) = &waiting {
                let accepted = listener.accept().await;
                return (room(&permits, waiting).await, accepted);
            }
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = lifecycle.soft().cancelled() => return,
            both = accept => both,
        };
        match accepted {
            Ok((stream, remote)) => {
                lifecycle.spawn(server.clone().accepted(stream, remote, permit));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns when the connection is to be closed for another one.
async fn gives_way(waiting: Option<&Waiting>) {
    match waiting {
        Some(waiting) => waiting.closed().cancelled().await,
        None => std::future::pending().await,
    }
}

/// A place for a connection: a free one, or that of a connection that waits for a request.
async fn room(
    permits: &Arc<Semaphore>,
    waiting: &WaitingConnections,
) -> Result<OwnedSemaphorePermit, AcquireError> {
    let acquire = Arc::clone(permits).acquire_owned();
    tokio::select! {
        biased;
        permit = acquire => permit,
        () = waiting.close_one() => Arc::clone(permits).acquire_owned().await,
    }
}

impl Server {
    async fn accepted(
        self,
        stream: TcpStream,
        remote: SocketAddr,
        permit: Result<OwnedSemaphorePermit, AcquireError>,
    ) {
        if self.proxies.contains(remote.ip()) {
            return self.connection(stream, remote, HeldConnection(Arc::new((permit, None)))).await;
        }
        match self.addresses.open(remote.ip()) {
            Some(address) => {
                let held = HeldConnection(Arc::new((permit, Some(address))));
                self.connection(stream, remote, held).await;
            }
            None => {
                if let Ok(_turn) = self.refusals.try_acquire() {
                    let _ = timeout(REFUSAL_TIMEOUT, refuse(stream)).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream, remote: SocketAddr, held: HeldConnection) {
        let _ = stream.set_nodelay(true);
        let unread = UnreadBody::default();
        let waiting = self.waiting.as_ref().map(WaitingConnections::add);
        let stream = PacedStream::new(stream, READING_PACE);
        let endless = stream.endless();
        let service =
            service_fn(|request| self.respond(request, remote, &held, &unread, &endless, waiting.as_ref()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut discarding = std::pin::pin!(unread.discard());
        let mut draining = false;
        // A client that takes nothing of an endless response would hold up the stop.
        let mut cut = std::pin::pin!(sleep(Duration::MAX));
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended");
                    }
                    return;
                }
                () = &mut discarding => {}
                () = self.lifecycle.soft().cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                    if endless.is_set() {
                        cut.as_mut().reset(Instant::now() + ENDLESS_GRACE);
                    }
                }
                () = &mut cut => return,
                () = gives_way(waiting.as_ref()) => return,
                () = self.lifecycle.hard().cancelled() => return,
            }
        }
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        remote: SocketAddr,
        held: &HeldConnection,
        unread: &UnreadBody,
        endless: &Endless,
        waiting: Option<&Waiting>,
    ) -> Result<Response, Infallible> {
        if let Some(waiting) = waiting {
            waiting.end();
        }
        let (mut request, watch) = unread.watch(request);
        request.extensions_mut().insert(Remote(remote));
        request.extensions_mut().insert(held.clone());
        let response = match self.check(&request, remote.ip()) {
            Ok(permit) => {
                let response = self.router.clone().oneshot(request).await?;
                match permit {
                    Some(permit) => permit.until_sent(response),
                    None => response,
                }
            }
            Err(error) => {
                let oauth = request.uri().path().starts_with("/o/");
                error_fallback::finished(error.into_response(), oauth)
            }
        };
        watch.end();
        if let Some(waiting) = waiting {
            waiting.begin();
        }
        endless.set(response.extensions().get::<LongLived>().is_some());
        Ok(response)
    }

    /// What may refuse a request before it is routed. The permit is that of an address behind a trusted proxy.
    fn check<B>(&self, request: &Request<B>, peer: IpAddr) -> Result<Option<AddressPermit>, ApiError> {
        request_head::check_host(request.version(), request.headers())?;
        let client = self.proxies.client(peer, forwarded(request.headers()));
        if client == peer.to_canonical() || self.proxies.contains(client) {
            return Ok(None);
        }
        self.forwarded.open(client).map(Some).ok_or_else(ApiError::too_many_connections)
    }
}

/// The values of `X-Forwarded-For`, in the order of the headers.
#[must_use]
pub fn forwarded(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = &str> {
    headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or_default())
}

/// Answers the first request on a connection that is one too many, and closes it.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let mut unread = [0; 4 * 1024];
    if stream.read(&mut unread).await? > 0 {
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await?;
        // The end of a connection with unread bytes would reset it before the answer is heard.
        while stream.read(&mut unread).await? > 0 {}
    }
    Ok(())
}

/// Errors of the one connection that was being accepted, not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::error::ErrorCode;
    use axum::extract::State;
    use axum::routing::get;
    use tokio::sync::Notify;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// When a handler has begun, and when it may end.
    #[derive(Default)]
    struct Gate {
        begun: Notify,
        open: Notify,
    }

    /// A server whose handler waits at the gate.
    async fn start() -> (SocketAddr, Arc<Gate>, Lifecycle) {
        let gate = Arc::new(Gate::default());
        let router = Router::new()
            .route(
                "/",
                get(async |State(gate): State<Arc<Gate>>| {
                    gate.begun.notify_one();
                    gate.open.notified().await;
                    "done"
                }),
            )
            .with_state(Arc::clone(&gate));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let lifecycle = Lifecycle::default();
        let limits = ConnectionLimits {
            total: 10,
            waiting_give_way: false,
            per_address: 10,
            trusted_proxies: TrustedProxies::default(),
        };
        lifecycle.spawn(serve(listener, router, limits, lifecycle.clone()));
        (address, gate, lifecycle)
    }

    async fn rest(mut socket: TcpStream) -> String {
        let mut rest = String::new();
        // A connection that is reset has no rest.
        let _ = socket.read_to_string(&mut rest).await;
        rest
    }

    #[test]
    fn the_refusal_of_a_connection_is_a_whole_response() {
        let text = std::str::from_utf8(REFUSAL).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["code"], ErrorCode::TooManyConnections.as_str());
    }

    #[tokio::test]
    async fn a_stop_finishes_open_requests_and_accepts_no_new_ones() {
        let (address, gate, lifecycle) = start().await;
        let idle = TcpStream::connect(address).await.expect("a connection");
        let mut busy = TcpStream::connect(address).await.expect("a connection");
        busy.write_all(REQUEST).await.expect("sent");
        gate.begun.notified().await;
        lifecycle.soft().cancel();
        drop(idle);
        let drained = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
            gate.open.notify_one();
            lifecycle.drained().await
        };
        let (answer, in_order) = tokio::join!(rest(busy), drained);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(in_order);
    }

    #[tokio::test]
    async fn the_hard_stop_ends_open_requests() {
        let (address, gate, lifecycle) = start().await;
        let mut busy = TcpStream::connect(address).await.expect("a connection");
        busy.write_all(REQUEST).await.expect("sent");
        gate.begun.notified().await;
        lifecycle.hard().cancel();
        assert_eq!(rest(busy).await, "");
        lifecycle.drained().await;
    }
}
