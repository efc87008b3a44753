//! Limits on connections: of one address, and of one address behind a trusted proxy.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;

use crate::support::people::login;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

const PER_ADDRESS: usize = 8;

/// A connection from this address of the loopback network.
async fn connect(server: &Server, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from.parse().expect("an address"), 0)).expect("bound");
    let stream = socket.connect(server.address().parse().expect("an address")).await.expect("a connection");
    let stream = stream.into_std().expect("a stream");
    stream.set_nonblocking(false).expect("blocking");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    stream
}

/// The response to a request on this connection, which stays open.
fn ask(stream: &mut TcpStream, headers: &str) -> String {
    let request = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    while !answer.contains('}') {
        let mut block = [0; 1024];
        let read = stream.read(&mut block).expect("an answer");
        assert!(read > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&block[..read]));
    }
    answer
}

/// Begins a request with a body that does not come; returns when the server waits for it. A probe before that could take the
/// last place itself.
fn begin(stream: &mut TcpStream, path: &str, header: &str) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\
         Expect: 100-continue\r\n{header}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut block = [0; 1024];
    let read = stream.read(&mut block).expect("an answer");
    let answer = String::from_utf8_lossy(&block[..read]);
    assert!(answer.starts_with("HTTP/1.1 100 "), "{answer}");
}

#[tokio::test]
async fn one_address_cannot_take_the_connections_of_others() {
    let server = Server::setup()
        .env("WINDU_MAX_CONNECTIONS", "20")
        .env("WINDU_MAX_CONNECTIONS_PER_ADDRESS", PER_ADDRESS.to_string())
        .start();
    let mut open = Vec::new();
    for _ in 0..PER_ADDRESS {
        let mut stream = connect(&server, "127.0.0.1").await;
        assert!(ask(&mut stream, "").starts_with("HTTP/1.1 200"));
        open.push(stream);
    }
    for _ in 0..30 {
        let refusal = ask(&mut connect(&server, "127.0.0.1").await, "");
        assert!(refusal.starts_with("HTTP/1.1 429"), "{refusal}");
        assert!(refusal.contains("\"code\":\"too_many_connections\""), "{refusal}");
    }
    assert!(ask(&mut connect(&server, "127.0.0.2").await, "").starts_with("HTTP/1.1 200"));
    assert_eq!(server.log().matches("more connections of an address are refused").count(), 1);
    // A closed connection makes room.
    drop(open.pop());
    wait_until_async("room", DEADLINE, async || {
        ask(&mut connect(&server, "127.0.0.1").await, "").starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_requests_of_each_forwarded_address_count() {
    let server = Server::setup()
        .env("WINDU_TRUSTED_PROXIES", "127.0.0.1/32")
        .env("WINDU_MAX_CONNECTIONS_PER_ADDRESS", PER_ADDRESS.to_string())
        .start();
    let mut open = Vec::new();
    for number in 0..PER_ADDRESS {
        let mut stream = connect(&server, "127.0.0.1").await;
        // Of one /64.
        begin(&mut stream, "/o/token/", &format!("X-Forwarded-For: 2001:db8::{number:x}"));
        open.push(stream);
    }
    let mut proxy = connect(&server, "127.0.0.1").await;
    let refusal = ask(&mut proxy, "X-Forwarded-For: 2001:db8::ffff\r\n");
    assert!(refusal.contains("\"code\":\"too_many_connections\""), "{refusal}");
    for forwarded in ["X-Forwarded-For: 2001:db8:0:1::1\r\n", "X-Forwarded-For: 198.51.100.7\r\n", ""] {
        assert!(ask(&mut proxy, forwarded).starts_with("HTTP/1.1 200"), "{forwarded}");
    }
    // The proxy may have more connections than one address, and a request that has ended makes room.
    drop(open);
    wait_until_async("room", DEADLINE, async || {
        ask(&mut proxy, "X-Forwarded-For: 2001:db8::ffff\r\n").starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_user_cannot_take_the_requests_of_others() {
    let server = Server::setup()
        .env("WINDU_MAX_CONNECTIONS", "20")
        .env("WINDU_MAX_CONNECTIONS_PER_ADDRESS", "20")
        .start();
    let (anna, other) = (login(&server).await, login(&server).await);
    let token = anna.token().to_owned();
    // Requests whose bodies do not come, from many addresses.
    let mut open = Vec::new();
    for number in 0..10 {
        let mut stream = connect(&server, &format!("127.0.0.{}", 10 + number)).await;
        begin(&mut stream, "/api/contacts/force-sync/", &format!("Authorization: Bearer {token}"));
        open.push(stream);
    }
    anna.get("/api/account/").await.refused(429, "too_many_connections");
    assert_eq!(other.get("/api/account/").await.status, 200);
    open.truncate(9);
    wait_until_async("room", DEADLINE, async || {
        (anna.get("/api/account/").await.status == 200).then_some(())
    })
    .await;
}
