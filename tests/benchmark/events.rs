//! Streams of events: the time from a send to its arrival on the receiver's stream, the memory of idle streams, and what
//! attached streams cost those who send.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Options;
use crate::idle::at_rest;
use crate::load;
use crate::people::Person;
use crate::report::Ratios;
use crate::send::{Talk, per_second};
use crate::sink::Sink;
use crate::statements;
use crate::support::client::Client;

/// Messages a second whose arrival is measured, and how many.
const RATE: u32 = 200;
const MESSAGES: u32 = 4_000;
/// Messages before them: the first ones find nothing prepared.
const FIRST: u32 = 400;
/// Streams that are attached while others send.
const ATTACHED: usize = 10;
/// Connections that send meanwhile.
const CONNECTIONS: usize = 32;
/// Webhooks that get events at the same time.
const WEBHOOKS: usize = 8;
/// The longest time for the deliveries.
const LONGEST: Duration = Duration::from_mins(5);
/// What the server allows here: all streams come from one address.
const MOST_CONNECTIONS: &str = "10000";

pub async fn run(options: &Options) {
    raise_file_limit();
    let talk = Talk::start_with(options, |setup| {
        setup
            .env("WINDU_MAX_CONNECTIONS", MOST_CONNECTIONS)
            .env("WINDU_MAX_CONNECTIONS_PER_ADDRESS", MOST_CONNECTIONS)
            .env("WINDU_STREAMS_PER_USER", "off")
            .env("WINDU_FETCH_ALLOW", "127.0.0.0/8")
    })
    .await;
    memory(&talk, options.streams).await;
    attached(options, &talk).await;
    // The log of a new database is written to new files, which takes longer.
    talk.world.checkpoint().await;
    arrival(&talk).await;
    deliveries(&talk).await;
}

/// The time from a send to its arrival on the stream of the other account.
async fn arrival(talk: &Talk) {
    println!("\n== events: {MESSAGES} messages, {RATE} a second, from the request to the receiver's stream");
    let all = FIRST + MESSAGES;
    let mut readers = JoinSet::new();
    for (index, (_, receiver)) in talk.pairs.iter().enumerate() {
        let expected = (0..all as usize).filter(|number| number % talk.pairs.len() == index).count();
        readers.spawn(arrivals(open(talk, receiver).await, expected));
    }
    let began = Instant::now();
    let mut senders = JoinSet::new();
    for number in 0..all {
        tokio::time::sleep_until((began + Duration::from_secs(1) / RATE * number).into()).await;
        let (sender, receiver) = &talk.pairs[number as usize % talk.pairs.len()];
        let form = format!("contact={}&message=number-{number}.", receiver.number);
        let request = load::post("/api/messages/send-message/", &sender.token, &form);
        let address = talk.server.address().to_owned();
        senders.spawn(async move {
            // As a client does that keeps its connection: connecting does not count.
            let mut connection = TcpStream::connect(address).await.expect("a connection");
            let sent = Instant::now();
            connection.write_all(&request).await.expect("the server reads");
            let mut answer = [0; 16];
            connection.read_exact(&mut answer).await.expect("an answer");
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
            (number, sent)
        });
    }
    let mut sent: Vec<Option<Instant>> = vec![None; all as usize];
    for (number, at) in senders.join_all().await {
        sent[number as usize] = Some(at);
    }
    let (mut first, mut times): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
    for (number, arrived) in readers.join_all().await.into_iter().flatten() {
        let times = if number < FIRST as usize { &mut first } else { &mut times };
        times.push(arrived.saturating_duration_since(sent[number].expect("it was sent")));
    }
    for (what, mut times) in [("the first ones", first), ("events", times)] {
        times.sort_unstable();
        let milliseconds = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1_000.0;
        let (half, most, all) = (milliseconds(50), milliseconds(99), milliseconds(100));
        println!("{what}: arrival after p50 {half:.1} ms, p99 {most:.1} ms (aim 50), at most {all:.1} ms");
    }
}

/// The memory of streams on which nothing happens.
async fn memory(talk: &Talk, count: usize) {
    println!("\n== events: memory of {count} idle streams");
    let before = at_rest(&talk.server).await;
    let mut streams = Vec::with_capacity(count);
    for index in 0..count {
        let (sender, receiver) = &talk.pairs[index % talk.pairs.len()];
        streams.push(open(talk, if index % 2 == 0 { sender } else { receiver }).await);
    }
    let after = at_rest(&talk.server).await;
    #[expect(clippy::cast_precision_loss, reason = "KiB and streams, far below 2^52")]
    let each = after.saturating_sub(before) as f64 / count as f64;
    println!("events: {before} KiB resident without, {after} KiB with: {each:.1} KiB for each idle stream");
}

/// Messages a second with attached streams and a webhook, compared with none.
async fn attached(options: &Options, talk: &Talk) {
    let messages = options.messages;
    println!(
        "\n== events: sending {messages} messages with {ATTACHED} streams and a webhook, compared with none"
    );
    let sink = Sink::start().await;
    let mut ratios = Ratios::default();
    talk.send(CONNECTIONS, messages / 5).await;
    talk.world.analyze().await;
    for round in 1..=options.rounds {
        let without = per_second(messages, talk.send(CONNECTIONS, messages).await.finished);
        let mut readers = JoinSet::new();
        for (sender, receiver) in talk.pairs.iter().cycle().take(ATTACHED / 2) {
            readers.spawn(discard(open(talk, sender).await));
            readers.spawn(discard(open(talk, receiver).await));
        }
        let hook = add_webhook(talk, &talk.pairs[0].0, &sink, "newest").await;
        if options.statements && round == options.rounds {
            statements::reset(&talk.world).await;
        }
        let with = per_second(messages, talk.send(CONNECTIONS, messages).await.finished);
        if options.statements && round == options.rounds {
            statements::print(&talk.world, messages, "message").await;
        }
        readers.shutdown().await;
        remove_webhook(talk, &talk.pairs[0].0, &hook).await;
        ratios.add(with / without);
        println!("{round:3}  {without:6.0} messages/s without, {with:6.0} with; ratio {:.2}", with / without);
    }
    ratios.print("events/attached", " (aim 0.8)");
}

/// Events that were there before, posted to a receiver on this machine.
async fn deliveries(talk: &Talk) {
    let sink = Sink::start().await;
    for count in [1, WEBHOOKS] {
        let people: Vec<&Person> = talk.pairs.iter().map(|(sender, _)| sender).take(count).collect();
        let mut expected = 0;
        for person in &people {
            let query = "SELECT seq FROM account_counter WHERE number = $1";
            let seq: i64 = sqlx::query_scalar(query)
                .bind(&person.number)
                .fetch_one(&talk.world.pool)
                .await
                .expect("a number");
            expected += usize::try_from(seq).expect("a count");
        }
        println!("\n== events: {expected} events of {} accounts to a webhook each", people.len());
        let (before, began) = (sink.taken(), Instant::now());
        let mut hooks = Vec::new();
        for person in &people {
            hooks.push(add_webhook(talk, person, &sink, "oldest").await);
        }
        while sink.taken() - before < expected {
            assert!(began.elapsed() < LONGEST, "{} of {expected} events have come", sink.taken() - before);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rate = per_second(expected, began.elapsed());
        println!("events: {rate:.0} deliveries/s by {} webhooks (aim 1,000)", people.len());
        for (person, hook) in people.iter().zip(&hooks) {
            remove_webhook(talk, person, hook).await;
        }
    }
}

/// Makes a webhook; returns its path.
async fn add_webhook(talk: &Talk, person: &Person, sink: &Sink, after: &str) -> String {
    let client = Client::new(talk.server.url().to_owned()).with_token(&person.token);
    let url = format!("http://{}/", sink.address);
    let made = client.post("/api/webhooks/", &[("url", url.as_str()), ("after", after)]).await;
    assert_eq!(made.status, 201, "{}", made.text());
    format!("/api/webhooks/{}/", made.json()["id"].as_str().expect("an id"))
}

async fn remove_webhook(talk: &Talk, person: &Person, path: &str) {
    let client = Client::new(talk.server.url().to_owned()).with_token(&person.token);
    assert_eq!(client.delete(path).await.status, 200);
}

/// A stream that has begun.
async fn open(talk: &Talk, person: &Person) -> TcpStream {
    let mut stream = TcpStream::connect(talk.server.address()).await.expect("a connection");
    stream.write_all(&load::get("/api/events/stream/", Some(&person.token))).await.expect("the server reads");
    let mut text = Vec::new();
    while !text.windows(12).any(|part| part == b"event: ready") {
        let read = stream.read_buf(&mut text).await.expect("a stream");
        assert!(read > 0, "{}", String::from_utf8_lossy(&text));
    }
    assert!(text.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&text));
    stream
}

/// When each message arrived, by its number.
async fn arrivals(mut stream: TcpStream, expected: usize) -> Vec<(usize, Instant)> {
    const MARK: &str = "\"text\":\"number-";
    let (mut text, mut found) = (Vec::new(), Vec::new());
    while found.len() < expected {
        let read = stream.read_buf(&mut text).await.expect("a stream");
        let now = Instant::now();
        assert!(read > 0, "the stream ended");
        let so_far = String::from_utf8_lossy(&text).into_owned();
        let Some(end) = so_far.rfind('\n') else { continue };
        for line in so_far[..end].lines().filter(|line| line.contains("\"type\":\"message.received\"")) {
            let (_, rest) = line.split_once(MARK).expect("one of these messages");
            let (number, _) = rest.split_once('.').expect("its end");
            found.push((number.parse().expect("a number"), now));
        }
        text.drain(..=end);
    }
    found
}

async fn discard(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// Every stream is an open file of this process.
fn raise_file_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a higher limit");
}
