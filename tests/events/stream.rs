//! The events as a stream.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::task::block_in_place;

use crate::sse::Sse;
use crate::support::client::Client;
use crate::support::owner::Owner;
use crate::support::server::{Server, mentions};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::tokens::{refreshed, revoke, token};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_where_it_begins_and_gives_the_objects_of_the_list() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let now = owner.now().await;
    let request = owner.api.request(Method::GET, "/api/events/stream/").header("accept-encoding", "gzip, br");
    let mut stream = Sse::of(request).await;
    assert_eq!(stream.header("cache-control"), Some("no-store"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    assert_eq!(stream.header("content-encoding"), None);
    let ready = stream.next().await.expect("a frame");
    assert_eq!((ready.event.as_deref(), ready.id.as_deref()), (Some("ready"), Some(now.as_str())));
    assert_eq!(ready.json(), json!({"cursor": now}));
    assert!(ready.retry.is_some_and(|retry| (1_000..=5_000).contains(&retry)), "{ready:?}");

    owner.sends(0, 1, "hello\r\nworld").await;
    let mut got = Vec::new();
    while !got.iter().any(|event: &serde_json::Value| event["type"] == "message.delivered") {
        let frame = stream.next().await.expect("a frame");
        if frame.is_event() {
            assert_eq!(frame.event, None, "without named=1 all events are messages to EventSource");
            assert_eq!(frame.id.as_deref(), frame.json()["cursor"].as_str());
            got.push(frame.json());
        }
    }
    let listed = owner.page(&format!("after={now}")).await;
    let ids =
        |events: &[serde_json::Value]| events.iter().map(|event| event["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&got), ids(&listed["events"].as_array().expect("events")[..got.len()]));
    let queued = got.iter().find(|event| event["type"] == "message.queued").expect("queued");
    assert_eq!(queued["data"]["message"]["text"], "hello\r\nworld");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_id_wins_and_filters_count() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let before = owner.now().await;
    let id = owner.sends(0, 1, "hello").await;
    owner.waits_for(&before, "message.received", |_| true).await;
    let path = "/api/events/stream/?after=newest&named=1&types=message.received,message.queued";
    let request = owner.api.request(Method::GET, path).header("last-event-id", &before);
    let mut stream = Sse::of(request).await;
    assert_eq!(stream.next().await.expect("ready").id.as_deref(), Some(before.as_str()));
    for kind in ["message.queued", "message.received"] {
        let frame = stream.next().await.expect("a frame");
        assert_eq!((frame.event.as_deref(), &frame.json()["data"]["id"]), (Some(kind), &id.as_str().into()));
    }
    let mut of_one = Sse::open(&owner.api, &format!("after=oldest&account={}", owner.numbers[1])).await;
    for seq in 1..5 {
        let event = of_one.event().await;
        assert_eq!((&event["account"], &event["seq"]), (&owner.numbers[1].as_str().into(), &seq.into()));
    }
    // Before the stream begins, errors have their statuses.
    let ask = async |query: &str| owner.api.get(&format!("/api/events/stream/?{query}")).await;
    ask("after=x").await.refused(400, "invalid_cursor");
    ask("types=x").await.refused(400, "unknown_type");
    ask("after=abcdef.1.1").await.refused(410, "cursor_gone");
    let request = owner.api.request(Method::GET, "/api/events/stream/").header("last-event-id", "x");
    owner.api.send(request).await.refused(400, "invalid_cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_gives_signs_of_life_and_moves_the_cursor() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let mut stream = Sse::open(&owner.api, "types=message.poll_closed").await;
    let ready = stream.next().await.expect("ready").id;
    owner.sends(0, 1, "hello").await;
    owner.waits_for("oldest", "message.delivered", |_| true).await;
    let began = Instant::now();
    let beat = stream.next().await.expect("a sign of life");
    assert!(beat.has_comment && beat.data.is_none() && beat.event.is_none(), "{beat:?}");
    assert!(beat.id.is_some() && beat.id != ready, "{beat:?}");
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
    let last = beat.id.expect("an id");
    let more = owner.page(&format!("after={last}")).await;
    assert!(
        more["events"].as_array().expect("events").iter().all(|event| event["type"] != "message.delivered")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_and_presence_are_live_in_every_process() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let other = Server::setup().database(std::sync::Arc::clone(server.database())).start();
    let mut here = Sse::open(&owner.api, "types=chat.typing,contact.connected_status").await;
    let mut there = Sse::open(&owner.api.at(other.url()), "named=1").await;
    let (from, to) = (owner.numbers[0].as_str(), owner.numbers[1].as_str());
    for (endpoint, state) in [("set-typing", "typing"), ("set-paused", "paused")] {
        let form = [("account", from), ("contact", to)];
        let answer = owner.api.post(&format!("/api/messages/{endpoint}/"), &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        for stream in [&mut here, &mut there] {
            let event = stream.event_of("chat.typing").await;
            let names: Vec<&str> = event.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(names, ["account", "data", "time", "timestamp", "type"]);
            assert_eq!(
                (&event["account"], &event["data"]),
                (&to.into(), &json!({"chat": from, "state": state}))
            );
        }
    }
    for number in [to, from] {
        let form = [("account", number), ("connected_status", "online")];
        assert_eq!(owner.api.post("/api/account/connected-status/", &form).await.status, 200);
    }
    let online = |event: &serde_json::Value| {
        event["account"] == to
            && event["data"]["contact_id"] == from
            && event["data"]["connected_status"] == "online"
    };
    for stream in [&mut here, &mut there] {
        while !online(&stream.event_of("contact.connected_status").await) {}
    }
    // They are not stored.
    let stored = owner.all("types=chat.*").await;
    assert!(stored.iter().all(|event| event["type"] != "chat.typing"), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_stream_on_any_process() {
    let server = Server::start();
    let owner = Owner::new(&server, 1).await;
    let other = Server::setup().database(std::sync::Arc::clone(server.database())).start();
    let (read_only, _) = token(&owner, &server, "read").await;
    let api = owner.api.with_token(&read_only);
    let ticket = async || {
        let made = api.post("/api/events/ticket/", &[]).await;
        assert_eq!((made.status, &made.json()["expires_in"]), (201, &60.into()), "{}", made.text());
        assert_eq!(made.header("cache-control"), "no-store");
        made.json()["ticket"].as_str().expect("a ticket").to_owned()
    };
    let nobody = Client::new(other.url().to_owned());
    let first = ticket().await;
    let mut stream = Sse::open(&nobody, &format!("ticket={first}&after=oldest")).await;
    assert_eq!(stream.event().await["seq"], 1);
    let refused = nobody.get(&format!("/api/events/stream/?ticket={first}")).await;
    refused.refused(401, "ticket_invalid");
    nobody.get("/api/events/stream/?ticket=unknown").await.refused(401, "ticket_invalid");
    nobody.get("/api/events/stream/").await.refused(401, "token_missing");
    // It is good for nothing else, and ends with its token and after its time.
    let second = ticket().await;
    nobody.get(&format!("/api/account/?ticket={second}")).await.refused(401, "token_missing");
    nobody.get(&format!("/api/events/?ticket={second}")).await.refused(401, "token_missing");
    let late = ticket().await;
    block_in_place(|| {
        let hash = format!("sha256('{late}'::bytea)");
        let aged = format!(
            "UPDATE event_ticket SET expires_at = expires_at - interval '61 seconds' WHERE hash = {hash}"
        );
        server.database().sql(&aged)
    });
    nobody.get(&format!("/api/events/stream/?ticket={late}")).await.refused(401, "ticket_invalid");
    let (write_only, _) = token(&owner, &server, "write").await;
    owner
        .api
        .with_token(&write_only)
        .post("/api/events/ticket/", &[])
        .await
        .refused(403, "insufficient_scope");
    revoke(&server, &read_only).await;
    wait_until_async("the cache to forget it", DEADLINE, async || {
        (api.get("/api/account/").await.status == 401).then_some(())
    })
    .await;
    nobody.get(&format!("/api/events/stream/?ticket={second}")).await.refused(401, "ticket_invalid");
    assert_eq!(stream.end().await, "token_invalid", "the stream of a ticket ends with the token");
    for log in [server.log(), other.log()] {
        for secret in [&first, &second, &late] {
            assert!(!mentions(&log, secret));
        }
    }
    assert_eq!(
        server.database().sql("SELECT count(*) FROM event_ticket WHERE position('ticket' in hash::text) > 0"),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let server = Server::start();
    let owner = Owner::new(&server, 1).await;
    let other = Server::setup().database(std::sync::Arc::clone(server.database())).start();
    let (revoked, _) = token(&owner, &server, "read write").await;
    let (expired, _) = token(&owner, &server, "read write").await;
    let (used, refresh) = token(&owner, &server, "read write").await;
    let open = async |token: &str| Sse::open(&owner.api.at(other.url()).with_token(token), "").await;
    let (mut of_revoked, mut of_expired, mut of_refreshed) =
        (open(&revoked).await, open(&expired).await, open(&used).await);
    let began = Instant::now();
    revoke(&server, &revoked).await;
    assert_eq!(of_revoked.end().await, "token_invalid");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    let began = Instant::now();
    block_in_place(|| {
        let hash = format!("sha256('{expired}'::bytea)");
        server
            .database()
            .sql(&format!("UPDATE oauth_token SET access_expires_at = now() WHERE access_hash = {hash}"))
    });
    assert_eq!(of_expired.end().await, "token_invalid");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    let began = Instant::now();
    refreshed(&server, &refresh).await;
    assert_eq!(of_refreshed.end().await, "token_invalid");
    let took = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_at_the_stop_and_are_limited() {
    let mut server = Server::setup().env("WINDU_STREAMS_PER_USER", "3").start();
    let owner = Owner::new(&server, 1).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(Sse::open(&owner.api, "").await);
    }
    owner.api.get("/api/events/stream/").await.refused(429, "too_many_streams");
    // One that was closed makes room.
    drop(streams.pop());
    wait_until_async("room", DEADLINE, async || {
        let request = owner.api.request(Method::GET, "/api/events/stream/");
        (request.send().await.expect("an answer").status() == 200).then_some(())
    })
    .await;
    let began = Instant::now();
    server.terminate();
    for stream in &mut streams {
        assert_eq!(stream.end().await, "shutting_down");
    }
    assert!(block_in_place(|| server.wait()).success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_hold_no_memory_and_delay_nobody() {
    const SLOW: usize = 40;
    const MESSAGES: usize = 300;
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let text = "x".repeat(60_000);
    // Warm: all that is allocated once.
    for _ in 0..20 {
        owner.sends(0, 1, &text).await;
    }
    let mut reader = Sse::open(&owner.api, "types=message.received,message.queued").await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(Sse::open(&owner.api, "after=oldest").await);
    }
    let before = server.memory("VmRSS");
    let mut got = 0;
    for _ in 0..MESSAGES / 20 {
        for _ in 0..20 {
            owner.sends(0, 1, &text).await;
        }
        while got < 20 {
            if reader.event().await["type"] == "message.received" {
                got += 1;
            }
        }
        got = 0;
    }
    let grown = server.memory("VmRSS").saturating_sub(before) / 1024 / 1024;
    // Each event of a message has its text: 40 streams are behind by 36 MB each.
    println!("{SLOW} streams that read nothing: {grown} MiB more");
    assert!(grown < 64, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_streams_take_little_memory() {
    const STREAMS: usize = 1_000;
    let server = Server::setup()
        .env("WINDU_STREAMS_PER_USER", "off")
        .env("WINDU_MAX_CONNECTIONS", "3000")
        .env("WINDU_MAX_CONNECTIONS_PER_ADDRESS", "3000")
        .env("WINDU_LOG", "warn")
        .start();
    let owner = Owner::new(&server, 2).await;
    let mut streams = Vec::new();
    let mut before = 0;
    for count in 0..STREAMS + 50 {
        if count == 50 {
            // What is allocated once is not a stream's.
            before = server.memory("VmRSS");
        }
        let mut stream = Sse::open(&owner.api, "types=message.received").await;
        assert_eq!(stream.next().await.expect("ready").event.as_deref(), Some("ready"));
        streams.push(stream);
    }
    let each = server.memory("VmRSS").saturating_sub(before) / STREAMS as u64 / 1024;
    println!("an idle stream: {each} KiB");
    assert!(each < 100, "{each} KiB");
    // All of them hear of the next event.
    let id = owner.sends(0, 1, "hello").await;
    for stream in &mut streams {
        assert_eq!(stream.event().await["data"]["id"], id.as_str());
    }
}
