//! What `windu check` and the log say of a broker; its password is in neither.

use async_nats::jetstream::stream;
use tokio::task::block_in_place;

use super::nats_server::NatsServer;
use super::wait_until_published;
use crate::support::client::Client;
use crate::support::owner::Owner;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::support::xmpp::certificates::{Certificate, authority_pem};

/// Starts a server, and expects a finding of `windu check` that is also in the log.
pub fn finds(setup: crate::support::server::Setup, expected: &str) {
    let server = setup.start();
    let report = server.run_failing(&["check"]);
    assert!(
        report.lines().any(|line| line.starts_with("FAILED  broker: ") && line.contains(expected)),
        "{report}"
    );
    server.wait_for_log("no events are published to the broker");
    let log = server.log();
    assert!(log.contains(expected), "{expected}: {log}");
    for text in [report, log] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_no_events_is_named() {
    let login = "jetstream { store_dir: FOLDER }\nauthorization { user: windu, password: s3cret }";
    let Some(mut nats) = NatsServer::start_with(login) else { return };
    tokio::task::block_in_place(|| {
        finds(nats.setup("windu:s3cret-not@"), "refuses the user, password or token");
        finds(nats.setup(""), "refuses the user, password or token");
        let server = nats.setup("windu:s3cret@").start();
        server.wait_for_log("the broker's stream was created");
        let report = server.run(&["check"], "");
        assert!(report.contains("not checked: the permission to publish"), "{report}");
        assert!(report.contains("ok      broker: the stream windu of nats://"), "{report}");
        assert!(!server.log().contains("s3cret"));
        drop(server);
        nats.kill();
        finds(nats.setup("windu:s3cret@"), "cannot be reached (");
        let plain = NatsServer::start_with("").expect("it is there");
        finds(plain.setup("s3cret@"), "has no JetStream");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_take_all_events_is_named() {
    let Some(nats) = NatsServer::start() else { return };
    let client = nats.client().await;
    let config = |subjects: &str| stream::Config {
        name: "windu".to_owned(),
        subjects: vec![subjects.to_owned()],
        ..stream::Config::default()
    };
    for (config, expected) in [
        (config("other.>"), "the stream windu does not take the subjects windu.>"),
        (config("windu.ann.>"), "the stream windu does not take the subjects windu.>"),
        (stream::Config { no_ack: true, ..config("windu.>") }, "the stream windu acknowledges nothing"),
        (
            stream::Config { retention: stream::RetentionPolicy::Interest, ..config("windu.>") },
            "the stream windu has the retention interest",
        ),
    ] {
        client.create_stream(config).await.expect("a stream");
        tokio::task::block_in_place(|| finds(nats.setup(""), expected));
        client.delete_stream("windu").await.expect("it is there");
    }
    let work_queue = stream::Config { retention: stream::RetentionPolicy::WorkQueue, ..config("windu.>") };
    client.create_stream(work_queue).await.expect("a stream");
    let server = nats.setup("").start();
    let owner = Owner::new(&server, 2).await;
    owner.sends(0, 1, "kept for a worker").await;
    wait_until_published(&nats, server.database()).await;
    drop(server);
    client.delete_stream("windu").await.expect("it is there");
    let config = stream::Config {
        name: "Other".to_owned(),
        subjects: vec!["windu.>".to_owned()],
        ..stream::Config::default()
    };
    client.create_stream(config).await.expect("a stream");
    tokio::task::block_in_place(|| {
        let server = nats.setup("").start();
        server.wait_for_log("another one takes subjects of windu.>");
        let report = server.run_failing(&["check"]);
        assert!(
            report.contains("FAILED  broker: the stream windu cannot be created: Other takes"),
            "{report}"
        );
        drop(server);
        let server = nats.setup("").env("WINDU_EVENTS_NATS_STREAM", "Other").start();
        let report = server.run(&["check"], "");
        assert!(report.contains("ok      broker: the stream Other of nats://"), "{report}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_for_the_broker_for_long_are_a_failure() {
    let Some(mut nats) = NatsServer::start() else { return };
    let server = nats.setup("").env("WINDU_METRICS_LISTEN", "127.0.0.1:0").start();
    let owner = Owner::new(&server, 2).await;
    owner.sends(0, 1, "published").await;
    let log = server.log();
    let figures = log.split("url=").find(|rest| rest.contains("/metrics")).expect("the address");
    let figures = figures.split_whitespace().next().expect("a URL").trim_end_matches("/metrics");
    let figures = Client::new(figures.to_owned());
    let figure = async |name: &str| {
        let text = figures.get("/metrics").await.text();
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{name}: {text}"))
    };
    let wait_for = async |line: &str, before: &str| {
        wait_until_async(line, DEADLINE, async || {
            let output = block_in_place(|| {
                server.database().sql(before);
                server.command(&["check"], "")
            });
            String::from_utf8_lossy(&output.stdout).contains(line).then_some(output.status.success())
        })
        .await
    };
    assert!(wait_for("ok      broker lag: 0 events wait, the oldest for 0 s\n", "").await);
    // An answer of the database is used for some seconds.
    wait_until_async("nothing that waits", DEADLINE, async || {
        (figure("windu_broker_waiting_accounts").await < 1.0).then_some(())
    })
    .await;
    nats.kill();
    owner.sends(0, 1, "not published").await;
    // With a place or without one: the program gives none while the broker is away.
    let age = "UPDATE event_span SET numbered_at = now() - interval '6 minutes';
               UPDATE event SET at = now() - interval '6 minutes'";
    assert!(!wait_for("FAILED  broker lag: ", age).await);
    wait_until_async("accounts that wait", DEADLINE, async || {
        let (accounts, oldest) =
            (figure("windu_broker_waiting_accounts").await, figure("windu_broker_oldest_seconds").await);
        // Both: the event of the one is sent, that of the other received.
        ((1.5..2.5).contains(&accounts) && oldest >= 360.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_url_ends_the_start_and_is_not_shown() {
    for url in
        ["http://ann:s3cret@host", "nats://s3cret:@host", "nats://s3cret@host:0", ",", "nats://a:s3cret%0A@h"]
    {
        let (status, errors) = Server::setup().env("WINDU_EVENTS_NATS_URL", url).fail();
        assert!(!status.success() && errors.contains("WINDU_EVENTS_NATS_URL: "), "{errors}");
        assert!(!errors.contains("s3cret"), "{errors}");
    }
    let alone = Server::setup().env("WINDU_EVENTS_NATS_STREAM", "events").start();
    alone.wait_for_log("WINDU_EVENTS_NATS_STREAM means nothing without WINDU_EVENTS_NATS_URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_a_broker_is_checked() {
    let files = tempfile::TempDir::new().expect("a folder");
    let path = |name: &str| files.path().join(name).display().to_string();
    let issued = Certificate::Good.issue("nats.example");
    for (name, text) in
        [("certificate", issued.certificate.as_str()), ("key", &issued.key), ("authority", authority_pem())]
    {
        std::fs::write(path(name), text).expect("a file");
    }
    let configuration = format!(
        "jetstream {{ store_dir: FOLDER }}\ntls {{ cert_file: \"{}\", key_file: \"{}\" }}",
        path("certificate"),
        path("key")
    );
    let Some(nats) = NatsServer::start_with(&configuration) else { return };
    let setup = || Server::setup().env("WINDU_EVENTS_NATS_URL", format!("tls://{}", nats.address()));
    tokio::task::block_in_place(|| finds(setup(), "cannot be reached ("));
    let server = setup().env("SSL_CERT_FILE", path("authority")).start();
    server.wait_for_log("the broker's stream was created");
}
