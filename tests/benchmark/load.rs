//! The load generator: keep-alive connections that repeat one request each, as cheaply as one thread can.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The bytes of a request without a body.
pub fn get(path: &str, token: Option<&str>) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{}\r\n", authorization(token)).into_bytes()
}

/// The bytes of a POST of a form.
pub fn post(path: &str, token: &str, form: &str) -> Vec<u8> {
    let (authorization, length) = (authorization(Some(token)), form.len());
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{authorization}\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{form}"
    )
    .into_bytes()
}

fn authorization(token: Option<&str>) -> String {
    token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default()
}

/// Repeats the requests, one connection for each, until there were `total` answers, all with this status. Gives how
/// long it took from the first request; connecting does not count.
///
/// # Panics
/// When an answer has another status.
pub async fn run(address: &str, requests: &[Vec<u8>], total: usize, status: u16) -> Duration {
    let mut connections = Vec::with_capacity(requests.len());
    for _ in requests {
        let connection = TcpStream::connect(address).await.expect("a connection");
        connection.set_nodelay(true).expect("no delay");
        connections.push(connection);
    }
    let left = Cell::new(total);
    let expected = format!("HTTP/1.1 {status} ");
    let began = Instant::now();
    let workers = connections.into_iter().zip(requests).map(|(mut connection, request)| {
        let (left, expected) = (&left, expected.as_bytes());
        async move {
            let mut buffer = vec![0; 64 * 1024];
            while left.get() > 0 {
                left.set(left.get() - 1);
                connection.write_all(request).await.expect("the server reads");
                answer(&mut connection, &mut buffer, expected).await;
            }
        }
    });
    join_all(workers).await;
    began.elapsed()
}

/// Reads one answer to its end.
async fn answer(connection: &mut TcpStream, buffer: &mut Vec<u8>, expected: &[u8]) {
    let mut filled = 0;
    let end = loop {
        let read = connection.read(&mut buffer[filled..]).await.expect("the server answers");
        filled += read;
        let so_far = &buffer[..filled];
        assert!(read > 0 && filled < buffer.len(), "a cut answer: {}", String::from_utf8_lossy(so_far));
        if let Some(head) = so_far.windows(4).position(|window| window == b"\r\n\r\n") {
            assert!(so_far.starts_with(expected), "{}", String::from_utf8_lossy(so_far));
            break head + 4 + content_length(&so_far[..head]);
        }
    };
    if end > buffer.len() {
        buffer.resize(end, 0);
    }
    if filled < end {
        connection.read_exact(&mut buffer[filled..end]).await.expect("the whole answer");
    }
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let start =
        head.windows(NAME.len()).position(|window| window == NAME).expect("content-length") + NAME.len();
    head[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}
