//! The figures for Prometheus, on a listener of their own.

use std::io::ErrorKind;
use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::Client;
use crate::support::people::{Person, login};
use crate::support::server::{PASSWORD, Server, USER};
use crate::support::wait::{DEADLINE, wait_until_async};

fn setup() -> Server {
    Server::setup().env("WINDU_METRICS_LISTEN", "127.0.0.1:0").env("WINDU_RATE_REQUESTS", "50/50").start()
}

fn figures_of(server: &Server) -> Client {
    server.wait_for_log("figures for Prometheus");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("figures for Prometheus")).expect("the line");
    let url = line.split("url=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a URL");
    Client::new(url.trim_end_matches("/metrics").to_owned())
}

/// The value of a figure; its labels as they are written.
fn value(text: &str, figure: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn the_figures_follow_requests_logins_messages_and_sessions() {
    let server = setup();
    let figures = figures_of(&server);
    let (anna, bert) = Person::two_friends(&server).await;
    let id = anna.sends(&bert, "a secret text").await;
    bert.waits_for(&anna, &id).await;
    let client = "RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY";
    let wrong =
        [("grant_type", "password"), ("username", USER), ("password", "wrong"), ("client_id", client)];
    assert_eq!(server.client().post("/o/token/", &wrong).await.status, 400);
    let invented = server.client().request(Method::from_bytes(b"FETCH").expect("a method"), "/livez");
    server.client().send(invented).await;
    server.client().get("/api/nothing/15551230000/").await;
    anna.waits_until(&bert.number, &id, |message| !message["sent"].is_null()).await;

    let text = figures.get("/metrics").await.text();
    for (figure, expected) in [
        ("windu_messages_total{network=\"local\",direction=\"in\",outcome=\"received\"}", 1.0),
        ("windu_messages_total{network=\"local\",direction=\"out\",outcome=\"sent\"}", 1.0),
        ("windu_codes_sent_total{method=\"sms\",outcome=\"ok\"}", 2.0),
        ("windu_logins_total{outcome=\"failed\"}", 1.0),
        ("windu_rate_limited_total{policy=\"requests\"}", 0.0),
        ("windu_sessions{network=\"local\",state=\"online\"}", 2.0),
        ("windu_outbox_messages{network=\"local\"}", 0.0),
        ("http_server_active_requests", 0.0),
    ] {
        assert_eq!(value(&text, figure), Some(expected), "{figure}\n{text}");
    }
    for figure in [
        "http_server_request_duration_seconds_count{http_request_method=\"POST\",\
         http_route=\"/api/messages/send-message/\",http_response_status_code=\"200\"}",
        "http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",\
         http_response_status_code=\"405\"}",
        "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_response_status_code=\"404\"}",
        "windu_logins_total{outcome=\"ok\"}",
        "db_client_connection_wait_time_seconds_count",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(value(&text, figure).is_some_and(|value| value > 0.0), "{figure}\n{text}");
    }
    assert!(text.contains("windu_build_info{version="), "{text}");
    for secret in [&anna.number, &bert.number, &id, "a secret text", PASSWORD, USER, "15551230000", "nothing"]
    {
        assert!(!text.contains(secret), "{secret}\n{text}");
    }
}

#[tokio::test]
async fn the_format_is_what_the_scraper_accepts() {
    let server = setup();
    let figures = figures_of(&server);
    let plain = figures.get("/metrics").await;
    assert_eq!(plain.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let request = figures.request(Method::GET, "/metrics");
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    let open = figures.send(request.header("Accept", accept)).await;
    assert_eq!(open.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.text().ends_with("# EOF\n"));
    server.client().get("/metrics").await.refused(404, "not_found");
}

#[tokio::test]
async fn a_refused_request_is_counted_by_its_policy() {
    let server = setup();
    let figures = figures_of(&server);
    let api = login(&server).await;
    let mut refused = 0;
    while refused == 0 {
        let answer = api.get("/api/account/").await;
        refused += u32::from(answer.status == 429);
    }
    let text = figures.get("/metrics").await.text();
    assert_eq!(value(&text, "windu_rate_limited_total{policy=\"requests\"}"), Some(1.0), "{text}");
}

#[tokio::test]
async fn without_a_database_the_figures_of_this_process_are_there_and_those_of_the_deployment_are_not() {
    let server = setup();
    let figures = figures_of(&server);
    let (anna, _) = Person::two_friends(&server).await;
    anna.waits_until_online(DEADLINE).await;
    server.database().go_away();
    let text = wait_until_async("no session among the figures", DEADLINE, async || {
        let text = figures.get("/metrics").await.text();
        (!text.contains("windu_sessions{")).then_some(text)
    })
    .await;
    assert!(value(&text, "process_resident_memory_bytes").is_some(), "{text}");
    server.database().come_back();
}

#[tokio::test]
async fn connections_that_ask_for_nothing_do_not_keep_prometheus_out() {
    let server = setup();
    let figures = figures_of(&server);
    let address = figures.base().trim_start_matches("http://").to_owned();
    let mut silent = Vec::new();
    // Twice as many as there are places; half of them have begun a request.
    for number in 0..64 {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        if number % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.expect("sent");
        }
        silent.push(stream);
    }
    // Sooner than the server closes connections without a request by itself.
    let answer = timeout(Duration::from_secs(5), figures.get("/metrics")).await.expect("in time");
    assert_eq!(answer.status, 200);
    // What was closed for it and for each other are the oldest ones.
    let mut byte = [0];
    let ended = timeout(DEADLINE, silent[0].read(&mut byte)).await.expect("in time");
    assert!(!ended.is_ok_and(|read| read > 0));
    let youngest = silent.last_mut().expect("many");
    assert!(youngest.try_read(&mut byte).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
}
