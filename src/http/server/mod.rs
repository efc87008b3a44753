//! Connections: accepted, limited, and drained at the shutdown.

mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::http::server::write_timeout::WriteTimeoutStream;
use crate::lifecycle::Lifecycle;

/// From the first to the last byte of a request's head; also the longest idle time of a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes per connection for a request's head, and for a body that waits for its reader.
const BUFFER: usize = 64 * 1024;

/// The pause after a failed accept, for example when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The client's address; a request extension.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub SocketAddr);

/// Serves until the soft token is cancelled; then every connection finishes its request and ends. Connections are
/// tasks of `lifecycle`: its `drained` waits for them. At most `max_connections` are open at once, others wait in the
/// operating system's queue.
pub async fn serve(listener: TcpListener, router: Router, max_connections: usize, lifecycle: Lifecycle) {
    let permits = Arc::new(Semaphore::new(max_connections));
    loop {
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = lifecycle.soft().cancelled() => return,
            both = accept => both,
        };
        match accepted {
            Ok((stream, remote)) => {
                let connection = connection(stream, remote, router.clone(), lifecycle.clone());
                lifecycle.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, remote: SocketAddr, router: Router, lifecycle: Lifecycle) {
    let _ = stream.set_nodelay(true);
    let service =
        tower::util::MapRequest::new(router, move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Remote(remote));
            request
        });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(WriteTimeoutStream::new(stream)), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let mut draining = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = lifecycle.soft().cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = lifecycle.hard().cancelled() => return,
        }
    }
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
    use axum::extract::State;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
        lifecycle.spawn(serve(listener, router, 10, lifecycle.clone()));
        (address, gate, lifecycle)
    }

    async fn rest(mut socket: TcpStream) -> String {
        let mut rest = String::new();
        // A connection that is reset has no rest.
        let _ = socket.read_to_string(&mut rest).await;
        rest
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
