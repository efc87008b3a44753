//! What holds for every row: paths, request ids, CORS, refusals, and the log of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::server::Server;

#[tokio::test]
async fn probes_answer() {
    let server = Server::start();
    for path in ["/livez", "/readyz", "/livez/", "/readyz/"] {
        let answer = server.client().get(path).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"status": "ok"})), "{path}");
        let head = server.client().send(server.client().request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_an_error_object() {
    let server = Server::start();
    for path in ["/", "/nothing", "/api/nothing/", "/api/nothing", "/api", "//", "/LIVEZ"] {
        server.client().get(path).await.refused(404, "not_found");
        server.client().post(path, &[("a", "b")]).await.refused(404, "not_found");
    }
    for path in ["/api/%ff", "/api/%00/", "/%c3%28"] {
        server.client().get(path).await.refused(400, "invalid_path");
    }
    let answer = server.client().delete("/livez").await;
    answer.refused(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "GET,HEAD");
    let answer = server.client().get("/o/nothing/").await;
    assert_eq!((answer.status, &answer.json()["error"]), (404, &json!("invalid_request")));
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_so_has_its_log_line() {
    let server = Server::start();
    let with_id = async |path: &str, id: &str| {
        let request = server.client().request(Method::GET, path).header("X-Request-Id", id);
        server.client().send(request).await.header("x-request-id").to_owned()
    };
    assert_eq!(with_id("/livez", "mine-1").await, "mine-1");
    assert_eq!(with_id("/nothing", &"a".repeat(128)).await, "a".repeat(128));
    for insane in ["", "a b", "\u{e9}", &"a".repeat(129)] {
        let made = with_id("/livez", insane).await;
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
    let first = server.client().get("/livez").await.header("x-request-id").to_owned();
    assert_ne!(first, server.client().get("/livez").await.header("x-request-id"));
    let refused = server.client().delete("/livez").await.header("x-request-id").to_owned();
    for id in ["mine-1", &first, &refused] {
        server.wait_for_log(&format!("id=\"{id}\""));
    }
}

#[tokio::test]
async fn the_log_has_no_query_no_token_and_no_whole_number() {
    let server = Server::start();
    let client = server.client().with_token("token-of-alice");
    client.get("/api/contacts/15551230000/?password=in-the-query").await;
    client.post("/api/nothing/", &[("message", "in-the-body")]).await;
    server.wait_for_log("/api/contacts/…000/");
    server.wait_for_log("/api/nothing/");
    for secret in ["in-the-query", "in-the-body", "token-of-alice", "15551230000"] {
        assert!(!server.log().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_log_for_programs_is_one_object_a_line() {
    let server = Server::setup().env("WINDU_LOG_FORMAT", "json").start();
    let request = server.client().request(Method::GET, "/livez").header("X-Request-Id", "mine-2");
    server.client().send(request).await;
    server.wait_for_log("mine-2");
    for line in server.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["level"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn browsers_may_call_from_anywhere_or_from_where_the_setting_says() {
    let server = Server::start();
    let preflight = async |server: &Server, path: &str, origin: &str| {
        let request = server
            .client()
            .request(Method::OPTIONS, path)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "PATCH")
            .header(
                "Access-Control-Request-Headers",
                "authorization, content-type, idempotency-key, x-request-id",
            );
        server.client().send(request).await
    };
    for path in ["/api/account", "/api/account/", "/o/token/", "/api/contacts/15551230000/", "/nothing"] {
        let answer = preflight(&server, path, "https://page.example").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"), "{path}");
        for method in ["GET", "HEAD", "POST", "PATCH", "DELETE"] {
            assert!(answer.header("access-control-allow-methods").contains(method), "{method}");
        }
        for header in ["authorization", "content-type", "idempotency-key", "x-request-id"] {
            assert!(answer.header("access-control-allow-headers").contains(header), "{header}");
        }
        assert!(!answer.header("x-request-id").is_empty());
    }
    let answer = server.client().get("/nothing").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(
        answer.header("access-control-expose-headers"),
        "x-request-id,idempotency-replayed,accept-ranges,content-disposition,content-range,etag,retry-after,\
         www-authenticate"
    );

    let server = Server::setup().env("WINDU_CORS_ORIGINS", "https://a.example, https://b.example").start();
    let answer = preflight(&server, "/livez", "https://b.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://b.example");
    let answer = preflight(&server, "/livez", "https://c.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off_after_ten_seconds() {
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
async fn a_huge_head_and_a_broken_one_are_refused() {
    let server = Server::start();
    for request in [
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000)),
        format!("GET /livez HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(200_000)),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        let mut socket = TcpStream::connect(server.address()).expect("a connection");
        // The server may end the connection while we still write.
        let _ = socket.write_all(request.as_bytes());
        let mut status = [0; 12];
        let answered = socket.read_exact(&mut status).is_ok();
        assert!(!answered || status.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&status));
    }
    assert_eq!(server.client().get("/livez").await.status, 200);
}
