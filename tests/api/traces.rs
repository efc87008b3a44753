//! Traces, as a collector of OpenTelemetry gets them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use reqwest::Method;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::people::{PASSWORD, Person};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A collector. It ends with the set of tasks.
async fn collector(tasks: &mut JoinSet<()>) -> (String, Received) {
    collector_that(Arc::default(), tasks).await
}

/// A collector that refuses spans as long as `refuses` is set; they are among the received ones nevertheless.
async fn collector_that(refuses: Arc<AtomicBool>, tasks: &mut JoinSet<()>) -> (String, Received) {
    let received = Received::default();
    let take = async move |State(received): State<Received>, headers: HeaderMap, body: Bytes| {
        received.lock().expect("not poisoned").push((headers, body));
        if refuses.load(Ordering::Relaxed) { StatusCode::BAD_REQUEST } else { StatusCode::OK }
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tasks.spawn(async { axum::serve(listener, router).await.expect("served") });
    (url, received)
}

fn spans(received: &Received) -> Vec<Span> {
    let received = received.lock().expect("not poisoned");
    let requests =
        received.iter().map(|(_, body)| ExportTraceServiceRequest::decode(body.clone()).expect("spans"));
    requests
        .flat_map(|request| request.resource_spans)
        .flat_map(|r| r.scope_spans)
        .flat_map(|s| s.spans)
        .collect()
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn a_request_is_a_span_without_numbers_and_texts() {
    let mut tasks = JoinSet::new();
    let (url, received) = collector(&mut tasks).await;
    let server = Server::setup()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of%20the%20collector")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.delivers(&bert, "a text that nobody else should see").await;
    let path = format!("/api/contacts/{}/status-message/", bert.number);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = anna.api.request(Method::GET, &path);
    let request = request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    assert_eq!(anna.api.send(request).await.status, 200);
    assert_eq!(anna.api.get("/api/contacts/15559999999/").await.status, 404);
    let span = wait_until_async("the spans", DEADLINE, async || {
        let spans = spans(&received);
        let refused = spans.iter().any(|span| attribute(span, "error.type") == "contact_not_found");
        spans.into_iter().find(|span| refused && span.trace_id == hex(trace))
    })
    .await;
    assert_eq!(span.name, "GET /api/contacts/{contact_id}/status-message/");
    assert_eq!(span.parent_span_id, hex("b7ad6b7169203331"));
    assert_eq!(attribute(&span, "http.route"), "/api/contacts/{contact_id}/status-message/");
    assert_eq!(attribute(&span, "http.response.status_code"), "200");
    assert_eq!(span.kind, 2, "a server's");
    assert!(span.start_time_unix_nano < span.end_time_unix_nano);
    let received = received.lock().expect("not poisoned");
    for (headers, body) in received.iter() {
        assert_eq!(headers["x-key"], "of the collector");
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let body = String::from_utf8_lossy(body);
        for secret in
            [&anna.number, &bert.number, anna.api.token(), PASSWORD, "nobody else", "15559999999", "livez"]
        {
            assert!(!body.contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn a_collector_that_is_away_disturbs_nobody() {
    let server = Server::setup()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start();
    let (anna, bert) = Person::two_friends(&server).await;
    anna.delivers(&bert, "Hello").await;
}

#[tokio::test]
async fn a_collector_that_refuses_spans_is_logged_once() {
    let (refuses, mut tasks) = (Arc::new(AtomicBool::new(true)), JoinSet::new());
    let (url, received) = collector_that(Arc::clone(&refuses), &mut tasks).await;
    let server = Server::setup()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=a-secret-of-the-collector")
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .start();
    let client = server.client();
    let ask_until_batches = async |count: usize| {
        wait_until_async("batches", DEADLINE, async || {
            client.get("/api/account/").await;
            (received.lock().expect("not poisoned").len() >= count).then_some(())
        })
        .await;
    };
    ask_until_batches(5).await;
    refuses.store(false, Ordering::Relaxed);
    let at_first = received.lock().expect("not poisoned").len();
    ask_until_batches(at_first + 3).await;
    server.wait_for_log("the collector takes traces again");
    let log = server.log();
    assert_eq!(log.matches("the collector takes no traces").count(), 1, "{log}");
    assert!(!log.contains("opentelemetry") && !log.contains("a-secret-of-the-collector"), "{log}");
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal digits")
}
