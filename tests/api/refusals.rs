//! Refusals of requests whose bodies are still being written: every one is heard.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::shared_server::server;
use crate::support::people::Person;

/// Far more than the buffers of a connection.
const BODY: usize = 12 * 1024 * 1024;

/// A client that writes its whole request before it reads: as many libraries do, and blocking, so that it hears nothing
/// from a server that closes the connection on unread bytes.
struct Writer(TcpStream);

impl Writer {
    fn connect() -> Self {
        let stream = TcpStream::connect(server().address()).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        stream.set_write_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        Self(stream)
    }

    /// The head of the response to a request with these first lines and a body of this size.
    fn ask(&mut self, head: &str, body: usize) -> String {
        let head = format!("{head}\r\nHost: x\r\nContent-Length: {body}\r\n\r\n");
        self.0.write_all(head.as_bytes()).expect("written");
        let block = vec![b'a'; 64 * 1024];
        let mut left = body;
        while left > 0 {
            let written = self.0.write(&block[..left.min(block.len())]).expect("the server reads the body");
            left -= written;
        }
        self.response_head()
    }

    fn ask_in_chunks(&mut self, head: &str, body: usize) -> String {
        let head = format!("{head}\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        self.0.write_all(head.as_bytes()).expect("written");
        let mut chunk = b"10000\r\n".to_vec();
        chunk.resize(chunk.len() + 0x1_0000, b'a');
        chunk.extend_from_slice(b"\r\n");
        for _ in 0..body / 0x1_0000 {
            self.0.write_all(&chunk).expect("the server reads the body");
        }
        self.0.write_all(b"0\r\n\r\n").expect("the server reads the body");
        self.response_head()
    }

    fn response_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let mut byte = [0; 1];
            self.0.read_exact(&mut byte).expect("a response");
            head.push(byte[0].into());
        }
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let mut body = vec![0; length.expect("a length").parse().expect("digits")];
        self.0.read_exact(&mut body).expect("a body");
        head
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"))
}

/// First lines of requests, and the statuses that refuse them.
fn refused(token: &str) -> Vec<(String, u16)> {
    let json = "Content-Type: application/json";
    let cases = [
        ("POST /api/messages/send-message/", json.to_owned(), 401),
        ("POST /api/messages/send-message/", format!("Authorization: Bearer unknown\r\n{json}"), 401),
        ("POST /api/nothing/", format!("{token}\r\n{json}"), 404),
        ("PUT /nothing", json.to_owned(), 404),
        ("DELETE /api/messages/send-message/", format!("{token}\r\n{json}"), 405),
        ("GET /o/token/", json.to_owned(), 405),
        ("POST /api/messages/send-message/", format!("{token}\r\nContent-Type: text/plain"), 413),
        ("POST /api/messages/send-message/", format!("{token}\r\n{json}"), 413),
        ("POST /api/contacts/import-contacts/", format!("{token}\r\n{json}"), 413),
        ("POST /o/token/", json.to_owned(), 413),
        ("POST /o/token/?a=b", json.to_owned(), 400),
        ("POST /api/%ff/", format!("{token}\r\n{json}"), 400),
        ("POST /api/messages/send-image/", format!("{token}\r\nContent-Type: multipart/form-data"), 400),
        ("POST /media/a/b/c", json.to_owned(), 405),
    ];
    cases.map(|(line, headers, status)| (format!("{line} HTTP/1.1\r\n{headers}"), status)).to_vec()
}

fn token(person: &Person) -> String {
    let request = person.api.request(reqwest::Method::GET, "/").build().expect("a request");
    format!("Authorization: {}", request.headers()["authorization"].to_str().expect("ASCII"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_writes_its_whole_body_first_hears_every_refusal() {
    let person = Person::new(server()).await;
    for (head, expected) in refused(&token(&person)) {
        for more in ["", "\r\nConnection: close"] {
            let head = format!("{head}{more}");
            assert_eq!(status(&Writer::connect().ask(&head, BODY)), expected, "{head}");
            assert_eq!(status(&Writer::connect().ask_in_chunks(&head, BODY)), expected, "{head}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_leaves_the_connection_usable() {
    let mut writer = Writer::connect();
    for _ in 0..3 {
        assert_eq!(status(&writer.ask("POST /api/account/nickname/ HTTP/1.1", BODY)), 401);
        assert_eq!(status(&writer.ask("GET /livez HTTP/1.1", 0)), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_continue_gets_the_refusal_instead() {
    let mut writer = Writer::connect();
    let head = "POST /api/account/nickname/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n";
    writer.0.write_all(head.as_bytes()).expect("written");
    assert_eq!(status(&writer.response_head()), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_given_up() {
    let mut writer = Writer::connect();
    let head = "POST /api/account/nickname/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    writer.0.write_all(head.as_bytes()).expect("written");
    assert_eq!(status(&writer.response_head()), 401);
    // A byte now and then would keep the connection for ever.
    let began = std::time::Instant::now();
    while writer.0.write_all(b"1\r\na\r\n").is_ok() {
        assert!(began.elapsed() < Duration::from_mins(1), "the server reads on");
        std::thread::sleep(Duration::from_millis(200));
    }
}
