//! The figures that operators watch, of this process: counters and histograms, and how they are written for Prometheus.
//!
//! Values of labels come from fixed lists: no number, name, id, host or path.

mod broker;
mod networks;
#[cfg(target_os = "linux")]
mod process;
mod webhooks;

use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::broker::Broker;
pub use self::broker::BrokerLag;
use self::networks::Networks;
use self::webhooks::Webhooks;

/// The upper bounds that OpenTelemetry's semantic conventions advise for durations, in seconds.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The figures of this process. There is one set for the whole process, as there is one log.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

type Label = (&'static str, &'static str);
type Counters<const N: usize> = Family<[Label; N], Counter>;
/// Labels of which one is a network's name: a list that the settings fix.
type Gauges<const N: usize> = Family<[(&'static str, String); N], Gauge>;
type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone)]
struct Durations;

impl MetricConstructor<Histogram> for Durations {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// A content type of the answer to a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// What is known of the whole deployment at a scrape, by network.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    /// Network, state, how many.
    pub sessions: Vec<(String, &'static str, i64)>,
    /// Network, how many messages wait, how long the oldest has.
    pub outboxes: Vec<(String, i64, Duration)>,
    /// State, how many.
    pub webhooks: Vec<(&'static str, i64)>,
    /// Events that active webhooks have not accepted yet, and the age of the oldest.
    pub webhook_waiting: i64,
    pub webhook_oldest: Duration,
    /// `None`: there is no broker.
    pub broker: Option<BrokerLag>,
}

pub struct Metrics {
    registry: Registry,
    requests: Family<Vec<(&'static str, String)>, Histogram, Durations>,
    active_requests: Gauge,
    connections: Family<[Label; 1], Gauge>,
    connection_waits: Histogram,
    reconnects: Counters<2>,
    messages: Counters<3>,
    logins: Counters<1>,
    codes: Counters<2>,
    fetches: Counters<1>,
    rate_limited: Counters<1>,
    media_missing: Counter,
    events: Counters<1>,
    event_delays: Histogram,
    event_consumers: Family<[Label; 1], Gauge>,
    webhooks: Webhooks,
    broker: Broker,
    networks: Networks,
}

/// A request in progress; dropped when it is answered or given up.
pub struct ActiveRequest(());

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        METRICS.active_requests.dec();
    }
}

impl Metrics {
    fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::new_with_constructor(Durations),
            active_requests: Gauge::default(),
            connections: Family::default(),
            connection_waits: Histogram::new(SECONDS),
            reconnects: Family::default(),
            messages: Family::default(),
            logins: Family::default(),
            codes: Family::default(),
            fetches: Family::default(),
            rate_limited: Family::default(),
            media_missing: Counter::default(),
            events: Family::default(),
            event_delays: Histogram::new(SECONDS),
            event_consumers: Family::default(),
            webhooks: Webhooks::default(),
            broker: Broker::default(),
            networks: Networks::default(),
        };
        metrics.register();
        metrics.begin_at_zero();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "http_server_request_duration_seconds",
            "From a request's head to the head of its response",
            self.requests.clone(),
        );
        registry.register(
            "http_server_active_requests",
            "Requests in progress",
            self.active_requests.clone(),
        );
        registry.register(
            "db_client_connection_count",
            "Connections to PostgreSQL; a cached one counts as used",
            self.connections.clone(),
        );
        registry.register(
            "db_client_connection_wait_time_seconds",
            "The wait of transactions and batches for a connection, with the begin of the transaction",
            self.connection_waits.clone(),
        );
        let builds = Family::<[Label; 1], Gauge>::default();
        builds.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("windu_build_info", "The version of this program", builds);
        registry.register(
            "windu_session_reconnects",
            "Waits before a session connects again, by their reason",
            self.reconnects.clone(),
        );
        registry.register(
            "windu_messages",
            "Messages between the store and the networks: in: received (stored now, or before) and dropped (its sender \
             is blocked); out: sent, failed, and retried (an attempt that is repeated later)",
            self.messages.clone(),
        );
        registry.register("windu_logins", "Answers to passwords", self.logins.clone());
        registry.register("windu_codes_sent", "Codes given to the sender of codes", self.codes.clone());
        registry.register(
            "windu_fetches",
            "Outgoing requests, but those to the networks",
            self.fetches.clone(),
        );
        registry.register(
            "windu_media_missing",
            "Times that the storage did not have a file that was asked for",
            self.media_missing.clone(),
        );
        registry.register("windu_rate_limited", "Requests over a rate limit", self.rate_limited.clone());
        registry.register("windu_events", "Events given out, by way", self.events.clone());
        registry.register(
            "windu_event_delay_seconds",
            "From the time of an event until it was given out to a client that waited for it",
            self.event_delays.clone(),
        );
        registry.register(
            "windu_event_consumers",
            "Streams, sockets, waiting polls and the broker, which take events",
            self.event_consumers.clone(),
        );
        self.webhooks.register(registry);
        self.broker.register(registry);
        self.networks.register(registry);
        #[cfg(target_os = "linux")]
        registry.register_collector(Box::new(process::Process));
    }

    /// Creates the counters whose labels are known: an increase from nothing to one would be seen by no alert.
    fn begin_at_zero(&self) {
        for outcome in ["ok", "failed", "throttled"] {
            drop(self.logins.get_or_create(&[("outcome", outcome)]));
        }
        for outcome in ["ok", "failed", "unknown"] {
            for method in ["sms", "voice"] {
                drop(self.codes.get_or_create(&[("method", method), ("outcome", outcome)]));
            }
        }
        for outcome in [
            "ok",
            "refused",
            "status",
            "unusable",
            "not_allowed",
            "connect",
            "timeout",
            "closed",
            "busy",
            "too_long",
        ] {
            drop(self.fetches.get_or_create(&[("outcome", outcome)]));
        }
        self.webhooks.begin_at_zero();
        drop(self.events.get_or_create(&[("way", "webhook")]));
        for way in ["poll", "stream", "socket", "broker"] {
            drop(self.events.get_or_create(&[("way", way)]));
            drop(self.event_consumers.get_or_create(&[("way", way)]));
        }
        for policy in ["requests", "sends"] {
            drop(self.rate_limited.get_or_create(&[("policy", policy)]));
        }
    }

    /// Counts a request as in progress until the returned value is dropped.
    #[must_use]
    pub fn begin_request(&self) -> ActiveRequest {
        self.active_requests.inc();
        ActiveRequest(())
    }

    /// `route` is the template of a route; `None`: no route serves the request.
    pub fn request(&self, method: &http::Method, route: Option<&str>, status: u16, took: Duration) {
        let mut labels = vec![("http_request_method", method_name(method).to_owned())];
        labels.extend(route.map(|route| ("http_route", route.to_owned())));
        labels.push(("http_response_status_code", status.to_string()));
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub fn connections(&self, used: usize, idle: usize) {
        for (state, count) in [("used", used), ("idle", idle)] {
            self.connections.get_or_create(&[("state", state)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub fn connection_wait(&self, wait: Duration) {
        self.connection_waits.observe(wait.as_secs_f64());
    }

    pub fn reconnect(&self, network: &'static str, reason: &'static str) {
        self.reconnects.get_or_create(&[("network", network), ("reason", reason)]).inc();
    }

    pub fn messages(&self, network: &'static str, direction: Direction, outcome: &'static str, count: usize) {
        if count > 0 {
            let labels = [("network", network), ("direction", direction.name()), ("outcome", outcome)];
            self.messages.get_or_create(&labels).inc_by(count as u64);
        }
    }

    pub fn login(&self, outcome: &'static str) {
        self.logins.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub fn code(&self, method: &'static str, outcome: &'static str) {
        self.codes.get_or_create(&[("method", method), ("outcome", outcome)]).inc();
    }

    pub fn fetch(&self, outcome: &'static str) {
        self.fetches.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub fn rate_limited(&self, policy: &'static str) {
        self.rate_limited.get_or_create(&[("policy", policy)]).inc();
    }

    pub fn events(&self, way: &'static str, count: usize) {
        self.events.get_or_create(&[("way", way)]).inc_by(count as u64);
    }

    pub fn event_delay(&self, delay: Duration) {
        self.event_delays.observe(delay.as_secs_f64());
    }

    /// One more, or one less.
    pub fn event_consumers(&self, way: &'static str, change: i64) {
        self.event_consumers.get_or_create(&[("way", way)]).inc_by(change);
    }

    pub fn media_missing(&self) {
        self.media_missing.inc();
    }

    /// What is not known (the database does not answer) is left out: an old value would look like a new one.
    pub fn deployment(&self, deployment: Option<&Deployment>) {
        self.networks.set(deployment);
        self.webhooks.set(deployment);
        self.broker.set(deployment);
    }

    /// All figures as text.
    pub fn encode(&self, format: Format) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        match format {
            Format::Prometheus => prometheus_text::encode(&mut text, &self.registry)?,
            Format::OpenMetrics => text::encode(&mut text, &self.registry)?,
        }
        Ok(text)
    }
}

impl Format {
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// From the network, or to it.
#[derive(Clone, Copy, Debug)]
pub enum Direction {
    In,
    Out,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// The method's name if HTTP defines it, else the word of OpenTelemetry for the others: callers can invent methods.
#[must_use]
pub fn method_name(method: &http::Method) -> &str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    if KNOWN.contains(&method.as_str()) { method.as_str() } else { "_OTHER" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_method_is_no_label() {
        assert_eq!(method_name(&http::Method::GET), "GET");
        assert_eq!(method_name(&http::Method::from_bytes(b"FETCH").expect("a method")), "_OTHER");
    }

    #[test]
    fn both_formats_have_the_same_figures() {
        let metrics = Metrics::new();
        metrics.login("failed");
        let prometheus = metrics.encode(Format::Prometheus).expect("text");
        let open = metrics.encode(Format::OpenMetrics).expect("text");
        for text in [&prometheus, &open] {
            assert!(text.contains("windu_logins_total{outcome=\"failed\"} 1\n"), "{text}");
            assert!(text.contains("windu_rate_limited_total{policy=\"sends\"} 0\n"), "{text}");
        }
        assert!(prometheus.contains("# TYPE windu_logins_total counter\n"), "{prometheus}");
        assert!(open.ends_with("# EOF\n") && !prometheus.contains("EOF"));
    }
}
