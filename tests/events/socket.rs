//! The events over a WebSocket.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::block_in_place;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::Client;
use crate::support::owner::Owner;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::tokens::{refreshed, revoke, token};
use crate::websocket::{Frame, Socket};

fn is(closed: &(u16, String), code: u16, reason: &str) {
    assert_eq!((closed.0, closed.1.as_str()), (code, reason));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_gives_the_objects_of_the_list() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let now = owner.now().await;
    let mut socket = Socket::open(&owner.api, "").await;
    assert_eq!(socket.protocol.as_deref(), Some("windu.events.v1"));
    let ready = socket.json().await;
    assert_eq!((&ready["type"], &ready["cursor"]), (&"ready".into(), &now.as_str().into()));
    assert!(
        ready["expires_in"].as_u64().is_some_and(|seconds| (86_000..=86_400).contains(&seconds)),
        "{ready}"
    );
    owner.sends(0, 1, "hello").await;
    let mut got = vec![socket.json().await];
    while got.last().expect("one")["type"] != "message.delivered" {
        got.push(socket.json().await);
    }
    let listed = owner.page(&format!("after={now}")).await;
    for (got, listed) in got.iter().zip(listed["events"].as_array().expect("events")) {
        assert_eq!((&got["id"], &got["cursor"]), (&listed["id"], &listed["cursor"]));
    }
    // From a place on, with filters; live events too.
    let query = format!("after={now}&types=message.received,chat.typing&account={}", owner.numbers[1]);
    let mut filtered = Socket::open(&owner.api, &query).await;
    assert_eq!(filtered.json().await["cursor"], now.as_str());
    assert_eq!(filtered.json().await["data"]["message"]["text"], "hello");
    let form = [("account", owner.numbers[0].as_str()), ("contact", &owner.numbers[1])];
    owner.api.post("/api/messages/set-typing/", &form).await;
    assert_eq!(filtered.json().await["data"], json!({"chat": owner.numbers[0], "state": "typing"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_may_have_the_token_and_wins_over_the_query() {
    let server = Server::start();
    let owner = Owner::new(&server, 1).await;
    let nobody = Client::new(server.url().to_owned());
    let mut socket = Socket::open(&nobody, "after=newest&types=account.registered").await;
    socket.says(&json!({"token": owner.api.token(), "after": "oldest", "unknown": {}})).await;
    assert_eq!(socket.json().await["type"], "ready");
    let first = socket.json().await;
    assert_eq!((&first["type"], &first["seq"]), (&"account.registered".into(), &1.into()));

    let first = async |message: serde_json::Value| {
        let mut socket = Socket::open(&nobody, "").await;
        socket.says(&message).await;
        socket
    };
    let mine = owner.api.token();
    for (message, code, reason) in [
        (json!({"token": "wrong"}), 4401, "token_invalid"),
        (json!({"after": "oldest"}), 4401, "token_missing"),
        (json!("words"), 4400, "malformed"),
        (json!({"token": 5}), 4400, "malformed"),
        (json!({"token": mine, "types": "nothing"}), 4400, "unknown_type"),
        (json!({"token": mine, "after": "x y"}), 4400, "invalid_cursor"),
        (json!({"token": mine, "account": "15559999999"}), 4400, "account_unknown"),
    ] {
        is(&first(message).await.closed().await, code, reason);
    }
    let (write_only, _) = token(&owner, &server, "write").await;
    is(&first(json!({"token": write_only})).await.closed().await, 4403, "insufficient_scope");

    // The last frame is the body of the 410.
    let mut gone = first(json!({"token": mine, "after": "abcdef.1.1"})).await;
    let body = gone.json().await;
    assert_eq!((&body["code"], &body["reason"]), (&"cursor_gone".into(), &"epoch".into()));
    assert!(body["oldest"].is_string() && body["newest"].is_string() && body["epoch"].is_string());
    is(&gone.closed().await, 4410, "cursor_gone");

    // What is no text, or too long.
    let mut binary = Socket::open(&nobody, "").await;
    binary.sends(Message::binary(vec![1, 2, 3])).await;
    is(&binary.closed().await, 4400, "invalid_request");
    let mut large = Socket::open(&nobody, "").await;
    large.sends(Message::text("x".repeat(16 * 1024 + 1))).await;
    is(&large.closed().await, 4400, "invalid_request");
    // Nothing.
    let began = Instant::now();
    is(&Socket::open(&nobody, "").await.closed().await, 4408, "timeout");
    let took = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(13)).contains(&took), "{took:?}");
    assert!(!server.log().contains(mine));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_before_the_upgrade_has_a_status() {
    let server = Server::setup().env("WINDU_CORS_ORIGINS", "https://app.example.org").start();
    let owner = Owner::new(&server, 1).await;
    let mine = format!("Bearer {}", owner.api.token());
    let open = async |headers: &[(&str, &str)]| Socket::try_open(server.url(), "", headers).await.err();
    assert_eq!(open(&[("authorization", "Bearer wrong")]).await, Some(401));
    assert_eq!(open(&[("authorization", "Basic YTpi")]).await, Some(401));
    assert_eq!(open(&[("authorization", &mine), ("origin", "https://evil.example.org")]).await, Some(403));
    assert_eq!(open(&[("authorization", &mine), ("origin", "https://app.example.org")]).await, None);
    assert_eq!(open(&[("authorization", &mine)]).await, None);
    let plain = owner.api.get("/api/events/ws/").await;
    plain.refused(426, "upgrade_required");
    assert_eq!(plain.header("upgrade"), "websocket");

    let made = owner.api.post("/api/events/ticket/", &[]).await.json();
    let ticket = made["ticket"].as_str().expect("a ticket");
    let nobody = Client::new(server.url().to_owned());
    let query = format!("ticket={ticket}");
    assert_eq!(Socket::open(&nobody, &query).await.json().await["type"], "ready");
    is(&Socket::open(&nobody, &query).await.closed().await, 4401, "ticket_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_of_the_user_keeps_a_socket_open() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let other = Owner::new(&server, 1).await;
    let (first, refresh) = token(&owner, &server, "read write").await;
    let mut goes_on = Socket::open(&owner.api.with_token(&first), "types=message.received").await;
    let mut ends = Socket::open(&owner.api.with_token(&first), "").await;
    let mut foreign = Socket::open(&owner.api, "").await;
    assert_eq!(goes_on.json().await["type"], "ready");
    let began = Instant::now();
    let second = refreshed(&server, &refresh).await;
    goes_on.says(&json!({"token": second})).await;
    is(&ends.closed().await, 4401, "token_invalid");
    let took = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&took), "{took:?}");
    owner.sends(0, 1, "still there").await;
    assert_eq!(goes_on.event_of("message.received").await["data"]["message"]["text"], "still there");
    let began = Instant::now();
    revoke(&server, &second).await;
    is(&goes_on.closed().await, 4401, "token_invalid");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    foreign.says(&json!({"token": other.api.token()})).await;
    is(&foreign.closed().await, 4401, "token_invalid");
    let mut empty = Socket::open(&owner.api, "").await;
    empty.says(&json!({})).await;
    is(&empty.closed().await, 4400, "missing_parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_limited_and_closed_at_the_stop() {
    let mut server = Server::setup().env("WINDU_STREAMS_PER_USER", "2").start();
    let owner = Owner::new(&server, 1).await;
    let (mut one, mut two) = (Socket::open(&owner.api, "").await, Socket::open(&owner.api, "").await);
    for socket in [&mut one, &mut two] {
        assert_eq!(socket.json().await["type"], "ready");
    }
    is(&Socket::open(&owner.api, "").await.closed().await, 4429, "too_many_streams");
    drop(two);
    wait_until_async("room", DEADLINE, async || {
        let mut socket = Socket::open(&owner.api, "").await;
        matches!(socket.next().await, Frame::Json(_)).then_some(())
    })
    .await;
    let began = Instant::now();
    server.terminate();
    is(&one.closed().await, 1001, "shutting_down");
    assert!(block_in_place(|| server.wait()).success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_socket_is_alive() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let mut socket = Socket::open(&owner.api, "types=message.poll_closed").await;
    let ready = socket.json().await;
    owner.sends(0, 1, "hello").await;
    let alive = socket.next_within(Duration::from_secs(40)).await;
    let Some(Frame::Json(alive)) = alive else { panic!("{alive:?}") };
    assert_eq!(alive["type"], "alive");
    assert_ne!(alive["cursor"], ready["cursor"]);
    assert!(
        owner.page(&format!("after={}", alive["cursor"].as_str().expect("a cursor"))).await["cursor"]
            .is_string()
    );
    let _ = socket.next_within(Duration::from_secs(5)).await;
    assert!(socket.pings > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_for_a_minute_is_cut_off() {
    let server = Server::setup().env("WINDU_STREAMS_PER_USER", "2").start();
    let owner = Owner::new(&server, 2).await;
    let text = "x".repeat(60_000);
    // More than the buffers of the connections.
    for _ in 0..300 {
        owner.sends(0, 1, &text).await;
    }
    let _stream = crate::sse::Sse::open(&owner.api, "after=oldest").await;
    let mut socket = Socket::open(&owner.api, "after=oldest").await;
    assert_eq!(socket.json().await["type"], "ready");
    owner.api.get("/api/events/stream/").await.refused(429, "too_many_streams");
    let began = Instant::now();
    let mut streams = Vec::new();
    wait_until_async("both to be cut off", Duration::from_secs(90), async || {
        let request = owner.api.request(reqwest::Method::GET, "/api/events/stream/");
        let response = request.send().await.expect("an answer");
        if response.status() == 200 {
            streams.push(response);
        }
        (streams.len() == 2).then_some(())
    })
    .await;
    let took = began.elapsed();
    assert!((Duration::from_secs(50)..Duration::from_secs(85)).contains(&took), "{took:?}");
}
