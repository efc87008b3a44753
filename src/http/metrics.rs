//! `/metrics`, on a listener of its own: the figures for Prometheus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::server::{self, ConnectionLimits};
use crate::config::TrustedProxies;
use crate::lifecycle::Lifecycle;
use crate::metrics::{Deployment, Format, METRICS};
use crate::store::Store;

/// For the database: Prometheus gives up after ten seconds by default.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long its answer is used: it counts what waits in the outboxes.
const LIFETIME: Duration = Duration::from_secs(10);
/// Connections at once; scrapers need few.
const CONNECTIONS: usize = 32;

/// When the database was asked, and what it said; `None`: nothing in time.
type Answer = (Instant, Option<Deployment>);

#[derive(Clone)]
struct Figures {
    store: Store,
    networks: Arc<[String]>,
    has_broker: bool,
    /// The database's last answer.
    last: Arc<Mutex<Option<Answer>>>,
}

/// Serves the figures until the program stops.
pub fn serve(
    listener: TcpListener,
    store: Store,
    networks: &[String],
    has_broker: bool,
    lifecycle: &Lifecycle,
) {
    let figures = Figures { store, networks: networks.into(), has_broker, last: Arc::default() };
    let router = Router::new().route("/metrics", get(metrics)).with_state(figures);
    let limits = ConnectionLimits {
        total: CONNECTIONS,
        // Others cannot keep Prometheus out by connections on which they ask for nothing.
        waiting_give_way: true,
        // No other limit: one that is closed may still be counted.
        per_address: usize::MAX,
        trusted_proxies: TrustedProxies::default(),
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(url = %format_args!("http://{address}/metrics"), "figures for Prometheus");
    }
    lifecycle.spawn(server::serve(listener, router, limits, lifecycle.clone()));
}

async fn metrics(State(figures): State<Figures>, headers: HeaderMap) -> Response {
    let mut last = figures.last.lock().await;
    if last.as_ref().is_none_or(|(at, _)| at.elapsed() >= LIFETIME) {
        let deployment = timeout(TIMEOUT, figures.store.figures(&figures.networks, figures.has_broker)).await;
        *last = Some((Instant::now(), deployment.ok().and_then(Result::ok)));
    }
    METRICS.deployment(last.as_ref().and_then(|(_, deployment)| deployment.as_ref()));
    let (used, idle) = figures.store.db().connection_counts();
    METRICS.connections(used, idle);
    let format = accepted(&headers);
    match METRICS.encode(format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// OpenMetrics for who names it, as Prometheus does by default; a person with curl reads the other.
fn accepted(headers: &HeaderMap) -> Format {
    let names = |value: &http::HeaderValue| value.as_bytes().windows(NAME.len()).any(|part| part == NAME);
    if headers.get_all(header::ACCEPT).iter().any(names) { Format::OpenMetrics } else { Format::Prometheus }
}

const NAME: &[u8] = b"application/openmetrics-text";
