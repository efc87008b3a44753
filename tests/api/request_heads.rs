//! Request heads that are too slow, too large or malformed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::server::Server;

#[tokio::test]
async fn an_incomplete_request_head_is_cut_off_after_ten_seconds() {
    let server = Server::start();
    let began = Instant::now();
    let mut half = TcpStream::connect(server.address()).expect("a connection");
    half.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n").expect("sent");
    let mut silent = TcpStream::connect(server.address()).expect("a connection");
    for socket in [&mut half, &mut silent] {
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).expect("the server ends it");
        assert!(rest.is_empty());
    }
    let waited = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(20)).contains(&waited), "{waited:?}");
    assert_eq!(server.client().get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_request_without_exactly_one_valid_host_is_refused() {
    let server = Server::start();
    let status = |version: &str, hosts: &str| {
        let mut socket = TcpStream::connect(server.address()).expect("a connection");
        let request = format!("GET /livez HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        if status == Some(400) {
            assert!(answer.ends_with("}\n") && answer.contains("\"code\":\"invalid_request\""), "{answer}");
        }
        status
    };
    for hosts in ["Host: x\r\n", "host: windu.example.org:8000\r\n", "Host:\r\n", "Host: [::1]:8000\r\n"] {
        assert_eq!(status("1.1", hosts), Some(200), "{hosts:?}");
    }
    for hosts in ["", "Host: x\r\nHost: x\r\n", "Host: a\r\nhost: b\r\n", "Host: a b\r\n", "Host: a@b\r\n"] {
        assert_eq!(status("1.1", hosts), Some(400), "{hosts:?}");
    }
    assert_eq!(status("1.0", ""), Some(200), "HTTP/1.0 has no Host");
    assert_eq!(status("1.0", "Host: a\r\nHost: b\r\n"), Some(400));
}

#[tokio::test]
async fn a_huge_or_malformed_request_head_is_refused() {
    let server = Server::start();
    for request in [
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000)),
        format!("GET /livez HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(200_000)),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        let mut socket = TcpStream::connect(server.address()).expect("a connection");
        // The server may close the connection during the write.
        let _ = socket.write_all(request.as_bytes());
        let mut status = [0; 12];
        let answered = socket.read_exact(&mut status).is_ok();
        assert!(!answered || status.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&status));
    }
    assert_eq!(server.client().get("/livez").await.status, 200);
}
