//! Start and stop: settings, an unavailable database, connection limits, shutdown.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::support::postgres::Database;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn an_invalid_setting_ends_the_start_and_is_named() {
    for (name, value) in [
        ("WINDU_LISTEN", "everywhere"),
        ("WINDU_LOG_FORMAT", "xml"),
        ("WINDU_LOG", "windu=loud"),
        ("WINDU_CORS_ORIGINS", "page"),
        ("DATABASE_URL", "postgres://user:hidden@host:port/windu"),
    ] {
        let (status, errors) = Server::setup().env(name, value).fail();
        assert_eq!(status.code(), Some(1), "{name}");
        assert!(errors.contains(&format!("windu: {name}: ")), "{errors}");
        assert!(!errors.contains("hidden"), "{errors}");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_named_by_host_and_port() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a listener").local_addr().expect("an address");
    let url = format!("postgres://user:hidden@{closed}/windu");
    let server = Server::setup().env("DATABASE_URL", &url).start_early();
    server.wait_for_log(&format!("the database at {closed} refuses connections: nothing listens there"));
    assert!(!server.log().contains("hidden"), "{}", server.log());
    // A name that the server does not know is no reason to wait.
    let url = Database::create().url();
    let (start, rest) = url.split_once("localhost/").expect("a host");
    let (_, end) = rest.split_once('?').expect("a socket");
    let wrong = format!("{start}localhost/no_such_database?{end}");
    let (status, errors) = Server::setup().env("DATABASE_URL", wrong).fail();
    assert_eq!(status.code(), Some(1));
    assert!(
        errors.contains("refuses the connection: database \"no_such_database\" does not exist"),
        "{errors}"
    );
}

#[tokio::test]
async fn an_address_in_use_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = taken.local_addr().expect("an address").to_string();
    let (status, errors) = Server::setup().env("WINDU_LISTEN", &address).fail();
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains(&format!("WINDU_LISTEN: cannot listen on {address}")), "{errors}");
}

#[tokio::test]
async fn a_misspelt_variable_is_logged_as_a_warning() {
    let server = Server::setup().env("WINDU_LISTN", "127.0.0.1:1").start();
    server.wait_for_log("WINDU_LISTN");
    assert!(!server.log().contains("WINDU_SECRET_KEY"), "{}", server.log());
}

#[tokio::test]
async fn windu_openapi_prints_the_openapi_document() {
    let server = Server::start();
    let description: serde_json::Value = serde_json::from_str(&server.run(&["openapi"], "")).expect("JSON");
    assert_eq!(description["info"]["title"], "Windu");
    assert_eq!(description["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert!(description["paths"]["/readyz"]["get"]["responses"]["503"].is_object());
}

#[tokio::test]
async fn two_programs_that_start_at_once_migrate_an_empty_database() {
    let database = Arc::new(Database::create_empty());
    let servers = [0, 1].map(|_| Server::setup().database(Arc::clone(&database)).start_early());
    for mut server in servers {
        server.wait_until_it_serves();
        assert_eq!(server.client().get("/readyz").await.status, 200);
    }
}

#[tokio::test]
async fn with_migration_off_the_server_waits_for_windu_migrate() {
    let database = Arc::new(Database::create_empty());
    let mut server =
        Server::setup().database(Arc::clone(&database)).env("WINDU_MIGRATE", "off").start_early();
    server.wait_for_log("waiting for `windu migrate`");
    server.client().get("/readyz").await.refused(503, "starting");
    server.run(&["migrate"], "");
    server.wait_until_it_serves();
    assert_eq!(server.client().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_start_waits_for_an_unavailable_database() {
    let database = Arc::new(Database::create());
    database.go_away();
    let mut server = Server::setup().database(Arc::clone(&database)).start_early();
    server.wait_for_log("trying again");
    assert_eq!(server.client().get("/livez").await.status, 200);
    for path in ["/readyz", "/api/account/", "/o/token/"] {
        let answer = server.client().get(path).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{path}");
    }
    database.come_back();
    server.wait_until_it_serves();
    assert_eq!(server.client().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_start_that_waits_can_be_stopped() {
    let database = Arc::new(Database::create());
    database.go_away();
    let mut server = Server::setup().database(database).start_early();
    server.wait_for_log("trying again");
    server.terminate();
    assert!(server.wait().success());
}

#[tokio::test]
async fn readyz_succeeds_within_five_seconds_after_an_outage() {
    let server = Server::start();
    assert_eq!(server.client().get("/readyz").await.status, 200);
    server.database().go_away();
    let ready = async || server.client().get("/readyz").await;
    let answer = wait_until_async("the probe to fail", DEADLINE, async || {
        let answer = ready().await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    answer.refused(503, "database_unavailable");
    assert_ne!(answer.header("retry-after"), "");
    assert_eq!(server.client().get("/livez").await.status, 200);
    server.database().come_back();
    let back = async || (ready().await.status == 200).then_some(());
    wait_until_async("the probe to succeed", Duration::from_secs(5), back).await;
}

#[tokio::test]
async fn readyz_says_what_is_the_matter_with_the_tables() {
    let server = Server::start();
    let refusal = async || {
        let answer = server.client().get("/readyz").await;
        answer.refused(503, "database_unavailable");
        assert_eq!(answer.json()["checks"]["migrations"], "failing");
        assert_eq!(answer.json()["checks"]["database"], "ok");
        answer.json()["error"].as_str().expect("a text").to_owned()
    };
    let lock = server.database().hold("LOCK TABLE _sqlx_migrations IN ACCESS EXCLUSIVE MODE");
    let locked = refusal().await;
    assert!(locked.contains("do not answer") && locked.contains("a lock"), "{locked}");
    drop(lock);
    wait_until_async("the lock to be gone", DEADLINE, async || {
        (server.client().get("/readyz").await.status == 200).then_some(())
    })
    .await;
    let newest = "version = (SELECT max(version) FROM _sqlx_migrations)";
    server.database().sql(&format!("DELETE FROM _sqlx_migrations WHERE {newest}"));
    assert!(refusal().await.contains("older than this program"));
    server.database().sql("INSERT INTO deployment VALUES ('oldest_program', '99999999999999')");
    assert!(refusal().await.contains("of a newer version"));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = Server::setup().env("WINDU_MAX_CONNECTIONS", "2").start();
    let connect = || {
        let mut socket = TcpStream::connect(server.address()).expect("the system's queue takes it");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        socket.write_all(REQUEST).expect("sent");
        socket
    };
    let (first, second, mut third) = (&mut connect(), &mut connect(), connect());
    for served in [first, second] {
        assert_eq!(status(served), "HTTP/1.1 200");
    }
    third.set_read_timeout(Some(Duration::from_millis(300))).expect("a time-out");
    assert!(third.read(&mut [0; 1]).is_err(), "the third waits");
    third.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    // The idle connections end after ten seconds, then the third one is served.
    assert_eq!(status(&mut third), "HTTP/1.1 200");
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_ends_soon() {
    let mut server = Server::start();
    let mut idle = TcpStream::connect(server.address()).expect("a connection");
    idle.write_all(REQUEST).expect("sent");
    assert_eq!(status(&mut idle), "HTTP/1.1 200");
    let began = std::time::Instant::now();
    server.terminate();
    assert!(server.wait().success());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(TcpStream::connect(server.address()).is_err());
    server.restart();
    assert_eq!(server.client().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_hang_up_ends_the_program_like_a_termination() {
    let mut server = Server::start();
    server.hang_up();
    assert!(server.wait().success());
    assert!(server.log().contains("stopped"), "{}", server.log());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut server = Server::start();
    // An incomplete head is a request in flight: the stop waits for it.
    let mut half = TcpStream::connect(server.address()).expect("a connection");
    half.write_all(&REQUEST[..REQUEST.len() - 2]).expect("sent");
    let _ = server.client().get("/livez").await;
    server.terminate();
    server.wait_for_log("stopping");
    assert!(!server.has_ended());
    let began = std::time::Instant::now();
    server.terminate();
    assert_eq!(server.wait().code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

fn status(socket: &mut TcpStream) -> String {
    let mut status = [0; 12];
    socket.read_exact(&mut status).expect("an answer");
    String::from_utf8(status.to_vec()).expect("ASCII")
}
