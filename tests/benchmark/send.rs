//! Messages, from the request until the sender has stored the delivered receipt, against pgbench writing the rows that
//! accepting them takes: one message, one outbox row, one event in each transaction.

use std::time::{Duration, Instant};

use crate::Options;
use crate::load;
use crate::meter::Cpu;
use crate::people::{self, Person};
use crate::pgbench::Pgbench;
use crate::report::Ratios;
use crate::statements;
use crate::support::server::{Server, Setup};
use crate::world::World;

/// The text of every message. The script below has the same.
pub const TEXT: &str = "The quick brown fox jumps over the lazy dog, and then it rests.";

/// The minimum for pgbench, so that it runs for some seconds.
const PGBENCH: usize = 20_000;

const SCRIPT: &str = r#"
\set n :n + 1
\set account 1 + :client_id % :pairs
\set seq :base + :client_id * 1000000000 + :n
BEGIN;
INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at) VALUES (:account, :account, md5((:seq)::text), 'queued', 't', 'The quick brown fox jumps over the lazy dog, and then it rests.', '\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'::bytea, clock_timestamp()) RETURNING id AS message \gset
INSERT INTO outbox (message_id, account_id, chat_id, expires_at) VALUES (:message, :account, :account, clock_timestamp() + interval '1 day');
INSERT INTO event (counter_id, seq, at, kind, payload) VALUES (:account, :seq, clock_timestamp(), 'message.queued', '{"id": "0123456789abcdef0123456789abcdef", "chat": "15550000000"}');
COMMIT;
"#;

/// A server with pairs that talk.
pub struct Talk {
    pub world: World,
    pub server: Server,
    pub pairs: Vec<(Person, Person)>,
}

/// The result of one measurement.
pub struct Sent {
    /// Until every request was answered.
    accepted: Duration,
    /// Until the outbox was empty, all was received, and all receipts were stored.
    pub finished: Duration,
    cpu: Cpu,
    commits: i64,
    bytes: i64,
}

/// Measures with each number of connections.
pub async fn run(options: &Options) {
    let theirs = World::new().await;
    people::make_pairs(&theirs.pool, options.pairs).await;
    for &connections in &options.connections {
        // A fresh database, without statistics, for the first burst.
        let talk = Talk::start(options).await;
        compare(options, &talk, &theirs, connections).await;
    }
}

async fn compare(options: &Options, talk: &Talk, theirs: &World, connections: usize) {
    let Options { messages, pairs, .. } = *options;
    println!(
        "\n== send: {connections} connections, {pairs} senders to {pairs} receivers, {messages} messages"
    );
    println!("     rates in messages/s; CPU in µs/message: server, PostgreSQL, load (or pgbench)");
    let first = messages / 5;
    let burst = per_second(first, talk.send(connections, first).await.finished);
    pgbench(theirs, connections, pairs, messages / 5);
    talk.world.analyze().await;
    theirs.analyze().await;
    let (mut ratios, mut bursts) = (Ratios::default(), Ratios::default());
    for pair in 1..=options.rounds {
        let sent = talk.send(connections, messages).await;
        theirs.checkpoint().await;
        let before = (theirs.written().await, Cpu::read(None));
        let (tps, count) = pgbench(theirs, connections, pairs, messages.max(PGBENCH));
        let cpu = Cpu::read(None) - before.1;
        let after = theirs.written().await;
        let ratio = per_second(messages, sent.finished) / tps;
        ratios.add(ratio);
        bursts.add(burst / per_second(messages, sent.finished));
        let [_, their_postgres, their_load] = cpu.each(count);
        println!("{pair:3}  {}; ratio {ratio:.2}", sent.describe(messages));
        println!(
            "     pgbench {tps:6.0}                           CPU    - {their_postgres:4.0} {their_load:3.0}; \
             {:5.2} commits, {:5.0} WAL bytes each",
            each(after.0 - before.0.0, count),
            each(after.1 - before.0.1, count),
        );
    }
    let wanted = match connections {
        32 => " (floor 0.7, aim 1.0)",
        128 => " (floor 1.0, aim 1.5)",
        _ => "",
    };
    ratios.print(&format!("send/{connections}"), wanted);
    bursts.print(&format!("first burst/{connections}: {burst:.0}/s, to the rate after it"), " (floor 0.8)");
    if options.statements {
        statements::reset(&talk.world).await;
        talk.send(connections, messages).await;
        statements::print(&talk.world, messages, "message").await;
    }
}

fn pgbench(theirs: &World, clients: usize, pairs: usize, messages: usize) -> (f64, usize) {
    // Numbers that no earlier run used.
    static RUN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let run = RUN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let variables = vec![
        ("n", "0".into()),
        ("pairs", pairs.to_string()),
        ("base", (run * 1_000_000_000_000).to_string()),
    ];
    Pgbench { database: &theirs.database, script: SCRIPT, clients, variables }.run(messages)
}

impl Sent {
    /// In one line.
    fn describe(&self, messages: usize) -> String {
        let [accepted, finished] = [self.accepted, self.finished].map(|time| per_second(messages, time));
        let [server, postgres, load] = self.cpu.each(messages);
        let (commits, bytes) = (each(self.commits, messages), each(self.bytes, messages));
        format!(
            "windu   {accepted:6.0} accepted, {finished:6.0} finished; CPU {server:4.0} {postgres:4.0} {load:3.0}; \
             {commits:5.2} commits, {bytes:5.0} WAL bytes each"
        )
    }
}

impl Talk {
    /// Starts the server; returns when all sessions are online.
    pub async fn start(options: &Options) -> Self {
        Self::start_with(options, |setup| setup).await
    }

    /// The same with other settings.
    pub async fn start_with(options: &Options, change: impl FnOnce(Setup) -> Setup) -> Self {
        let world = World::new().await;
        let pairs = people::make_pairs(&world.pool, options.pairs).await;
        let server = change(world.setup(&options.log)).start();
        people::until_online(&world.pool, pairs.len() * 2).await;
        Self { world, server, pairs }
    }

    /// Sends `messages` messages and waits until all are delivered.
    pub async fn send(&self, connections: usize, messages: usize) -> Sent {
        let incoming = "SELECT count(*) FROM message WHERE sender_peer_id IS NOT NULL";
        let requests: Vec<Vec<u8>> = (0..connections)
            .map(|connection| {
                let (sender, receiver) = &self.pairs[connection % self.pairs.len()];
                let form = format!("contact={}&message={}", receiver.number, TEXT.replace(' ', "+"));
                load::post("/api/messages/send-message/", &sender.token, &form)
            })
            .collect();
        let before = self.world.number(incoming).await;
        self.world.checkpoint().await;
        let written = self.world.written().await;
        let cpu = Cpu::read(Some(self.server.id()));
        let began = Instant::now();
        let accepted = load::run(self.server.address(), &requests, messages, 200).await;
        let finished = self.until_finished(began).await;
        let cpu = Cpu::read(Some(self.server.id())) - cpu;
        let now = self.world.written().await;
        let stored = self.world.number(incoming).await - before;
        assert_eq!(usize::try_from(stored).ok(), Some(messages), "every message is received once");
        Sent { accepted, finished, cpu, commits: now.0 - written.0, bytes: now.1 - written.1 }
    }

    async fn until_finished(&self, began: Instant) -> Duration {
        let quiet = "SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT 1) o)
                          + (SELECT count(*) FROM (SELECT FROM localnet_stanza LIMIT 1) s)";
        let undelivered =
            "SELECT count(*) FROM message WHERE sender_peer_id IS NULL AND delivered_at IS NULL";
        loop {
            // The cheap question first; the other one reads a whole table.
            if self.world.number(quiet).await == 0 {
                let finished = began.elapsed();
                if self.world.number(undelivered).await == 0 {
                    return finished;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
pub fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
fn each(total: i64, count: usize) -> f64 {
    total as f64 / count as f64
}
