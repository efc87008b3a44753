//! Many clients that request long responses and read them slowly or not at all.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::guarantees::print_summary;
use crate::support::load::Load;
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until};

const CONSUMERS: usize = 200;
/// Messages in the list and letters in each: together more than the buffers of a socket.
const MESSAGES: usize = 1_000;
const LETTERS: usize = 3_000;
/// The time limit of the requests of others.
const NORMAL: Duration = Duration::from_secs(2);
/// The server disconnects a client that reads nothing for 30 s; more for a busy machine.
const GIVEN_UP: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_their_responses_slow_nobody_and_fill_no_memory() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    send_many(&anna, &bert).await;
    let endpoint = format!("/api/messages/chats/{}/?limit=1000", bert.number);
    let whole = anna.api.get(&endpoint).await.bytes.len();
    assert!(whole > MESSAGES * LETTERS, "{whole}");
    let before = server.memory("VmRSS");

    let request = request(&anna, &endpoint);
    let (mut slow, mut silent) = (JoinSet::new(), JoinSet::new());
    for index in 0..CONSUMERS {
        let stream = ask(server.address(), &request).await;
        if index % 2 == 0 {
            slow.spawn(take_slowly(stream))
        } else {
            silent.spawn(take_nothing(stream))
        };
    }
    // All responses are computed, and wait for their readers.
    wait_until("the responses to be computed", DEADLINE * 2, || {
        let answered = "/api/messages/chats/{chat}/";
        let lines =
            server.log().lines().filter(|line| line.contains(answered) && line.contains("answered")).count();
        (lines > CONSUMERS).then_some(())
    });
    let load = Load::start(&server).await;
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    for _ in 0..100 {
        let asked = Instant::now();
        assert_eq!(bert.api.get("/api/account/").await.status, 200);
        bert.sends(&anna, "still fine").await;
        slowest = slowest.max(asked.elapsed());
        most = most.max(server.memory("VmRSS"));
    }
    assert!(slowest < NORMAL, "{slowest:?}");
    // At most one response per client, and the memory of the other requests.
    let grown = usize::try_from(most.saturating_sub(before)).expect("64 bits");
    let limit = CONSUMERS * whole + (128 << 20);
    assert!(grown < limit, "{grown} bytes for {CONSUMERS} answers of {whole}");
    while let Some(given_up) = silent.join_next().await {
        assert!(given_up.expect("no panic"), "a client that reads nothing is disconnected");
    }
    drop(slow);
    load.wait_for_more(50).await;
    let tally = load.finish(&server).await;
    let counts = [
        ("consumers", CONSUMERS),
        ("mebibytes", grown >> 20),
        ("slowest-ms", usize::try_from(slowest.as_millis()).expect("small")),
    ];
    print_summary("slow", &counts, tally);
}

async fn send_many(from: &Person, to: &Person) {
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (api, to) = (from.api.clone(), to.number.clone());
        tasks.spawn(async move {
            for _ in 0..MESSAGES / 8 {
                let form = [("contact", to.as_str()), ("message", &"x".repeat(LETTERS))];
                let sent = api.post("/api/messages/send-message/", &form).await;
                assert_eq!(sent.status, 200, "{}", sent.text());
            }
        });
    }
    tasks.join_all().await;
}

/// The bytes of a request of this person.
fn request(person: &Person, endpoint: &str) -> String {
    let request = person.api.request(Method::GET, endpoint).build().expect("a request");
    let token = request.headers()["authorization"].to_str().expect("ASCII");
    format!("GET {endpoint} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n")
}

/// A connection with a small receive buffer, on which the request was sent.
async fn ask(address: &str, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(address.parse().expect("an address")).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("asked");
    stream
}

async fn take_slowly(mut stream: TcpStream) {
    let mut buffer = [0; 512];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
        sleep(Duration::from_millis(500)).await;
    }
}

/// Whether the program ended the connection in time.
async fn take_nothing(mut stream: TcpStream) -> bool {
    let ended = async {
        // Only a write reveals the end.
        while stream.write_all(b"\r\n").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(GIVEN_UP, ended).await.is_ok()
}
