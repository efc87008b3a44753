//! Accounts on a Prosody with TLS: the cost of a session and of a login, and messages from one account to another, against
//! clients without the program on the same server.

use std::time::{Duration, Instant};

use crate::Options;
use crate::idle;
use crate::load;
use crate::meter::{self, Cpu};
use crate::people::{self, Person};
use crate::plain_client::{PlainClient, talk};
use crate::report::Ratios;
use crate::send::{TEXT, per_second};
use crate::support::server::{Server, Setup};
use crate::support::xmpp::{Software, XmppServer};
use crate::world::World;

/// After the logins the allocator gives memory back for some time.
const SETTLED: Duration = Duration::from_secs(20);
/// Connections that send.
const CONNECTIONS: usize = 8;

/// Measures all of it; says what is missing when the server is not installed.
pub async fn run(options: &Options) {
    if let Some(missing) = XmppServer::missing() {
        println!("\n== xmpp: not run: {missing}");
        return;
    }
    let mut xmpp = XmppServer::start(Software::Prosody);
    sessions(options, &mut xmpp).await;
    Box::pin(messages(options, &xmpp)).await;
}

/// The memory of each session, from the difference of two numbers of them, and the cost of logins.
async fn sessions(options: &Options, xmpp: &mut XmppServer) {
    let (few, all) = (options.sessions / 5, options.sessions);
    println!("\n== xmpp: {few} and {all} sessions on Prosody, with TLS; CPU in µs/login");
    let world = World::new().await;
    let mut found = Vec::new();
    for places in [0..few, few..all] {
        let count = places.end;
        people::make_on_xmpp(&world.pool, xmpp, places).await;
        world.analyze().await;
        // The state of the last process must not count as online.
        sqlx::query("UPDATE account SET session_state = 'starting'")
            .execute(&world.pool)
            .await
            .expect("the states");
        let before = Meter::read(None, xmpp);
        let began = Instant::now();
        let mut server = setup(&world, xmpp, options).start();
        people::until_online(&world.pool, count).await;
        let took = began.elapsed();
        println!(
            "{count:6} sessions: all online after {:.1} s; CPU {}",
            took.as_secs_f64(),
            before.each(&server, xmpp, count)
        );
        tokio::time::sleep(SETTLED).await;
        found.push(idle::measure(&server, count).await);
        if count == all {
            restart(&world, &server, xmpp, all).await;
        }
        // The next one need not wait for its leases.
        server.terminate();
        server.wait();
    }
    #[expect(clippy::cast_precision_loss, reason = "KiB and sessions, far below 2^52")]
    let each = found[1].saturating_sub(found[0]) as f64 / (all - few) as f64;
    println!("xmpp memory: {each:.1} KiB for each idle session (floor 96, aim 48)");
}

/// The time until all sessions are online again after the XMPP server was stopped and started.
async fn restart(world: &World, server: &Server, xmpp: &mut XmppServer, count: usize) {
    sqlx::query("CREATE TABLE before AS SELECT id, session_since FROM account")
        .execute(&world.pool)
        .await
        .expect("a copy");
    xmpp.stop();
    let before = Meter::read(Some(server), xmpp);
    let began = Instant::now();
    xmpp.restart();
    let started = began.elapsed();
    let again = "SELECT count(*) FROM account JOIN before b USING (id)
                 WHERE session_state = 'online' AND account.session_since > b.session_since";
    while usize::try_from(world.number(again).await).is_ok_and(|online| online < count) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "xmpp restart: Prosody serves after {:.1} s, all online after {:.1} s; CPU {}",
        started.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        before.each(server, xmpp, count)
    );
}

/// Messages from one account to another, until the sender has stored the delivered receipts, against two clients.
async fn messages(options: &Options, xmpp: &XmppServer) {
    let messages = options.xmpp_messages;
    println!("\n== xmpp: {messages} messages from one account to another, {CONNECTIONS} connections");
    println!("     rates in messages/s, until the last receipt; CPU in µs/message");
    let world = World::new().await;
    let people = people::make_on_xmpp(&world.pool, xmpp, options.sessions..options.sessions + 2).await;
    let server = setup(&world, xmpp, options).start();
    people::until_online(&world.pool, people.len()).await;
    let [sender, receiver] = &people[..] else { unreachable!("two people") };
    let form = [("contact_id", &*receiver.number), ("first_name", "Bob")];
    let added = server.client().with_token(&sender.token).post("/api/contacts/add-contact/", &form).await;
    assert_eq!(added.status, 201, "{}", added.text());
    let mut plain = [
        Box::pin(PlainClient::register(xmpp, "plain-sender")).await,
        Box::pin(PlainClient::register(xmpp, "plain-receiver")).await,
    ];
    let mut ratios = Ratios::default();
    for round in 0..=options.rounds {
        // The first one warms up.
        let messages = if round == 0 { messages / 10 } else { messages };
        let before = Meter::read(Some(&server), xmpp);
        let took = send(&world, &server, (sender, receiver), messages).await;
        let cpu = before.each(&server, xmpp, messages);
        let [one, other] = &mut plain;
        let before = Meter::read(Some(&server), xmpp);
        let theirs = talk(one, other, TEXT, messages).await;
        let their_cpu = before.each(&server, xmpp, messages);
        let (own, theirs) = (per_second(messages, took), per_second(messages, theirs));
        if round > 0 {
            ratios.add(own / theirs);
            println!("{round:3}  windu {own:5.0}; CPU {cpu}; ratio {:.2}", own / theirs);
            println!("     plain {theirs:5.0}; CPU {their_cpu}");
        }
    }
    ratios.print("xmpp messages, to those of clients without the program", "");
}

/// The time for so many texts, from the first request until the sender has stored the delivered receipts of all.
async fn send(world: &World, server: &Server, (from, to): (&Person, &Person), messages: usize) -> Duration {
    let received = "SELECT count(*) FROM message WHERE sender_peer_id IS NOT NULL";
    let form = format!("contact={}&message={}", to.number, TEXT.replace(' ', "+"));
    let request = load::post("/api/messages/send-message/", &from.token, &form);
    let before = world.number(received).await;
    let began = Instant::now();
    load::run(server.address(), &vec![request; CONNECTIONS], messages, 200).await;
    // The cheap question first; the other one reads a whole table.
    for question in [
        "SELECT count(*) FROM (SELECT FROM outbox LIMIT 1) o",
        "SELECT count(*) FROM message WHERE sender_peer_id IS NULL AND delivered_at IS NULL",
    ] {
        while world.number(question).await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let took = began.elapsed();
    let stored = world.number(received).await - before;
    assert_eq!(usize::try_from(stored).ok(), Some(messages), "every message is received once");
    took
}

fn setup(world: &World, xmpp: &XmppServer, options: &Options) -> Setup {
    world
        .setup(&options.log)
        .env("WINDU_NETWORKS", "xmpp")
        .env("WINDU_XMPP_DOMAIN", xmpp.domain())
        .env("WINDU_XMPP_HOST", xmpp.address().to_string())
        .env("WINDU_XMPP_CA_FILE", xmpp.ca_file().display().to_string())
        .env("WINDU_XMPP_ADMIN_JID", xmpp.admin_jid())
        .env("WINDU_XMPP_ADMIN_PASSWORD", xmpp.admin_password())
}

/// CPU time up to a moment.
struct Meter {
    cpu: Cpu,
    xmpp: Duration,
}

impl Meter {
    /// `server`, if it runs.
    fn read(server: Option<&Server>, xmpp: &XmppServer) -> Self {
        let xmpp = xmpp.id().map(meter::process).unwrap_or_default();
        Self { cpu: Cpu::read(server.map(Server::id)), xmpp }
    }

    /// What each of `count` has cost since then.
    fn each(&self, server: &Server, xmpp: &XmppServer, count: usize) -> String {
        let now = Self::read(Some(server), xmpp);
        let [own, postgres, load] = (now.cpu - self.cpu).each(count);
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        let prosody = now.xmpp.saturating_sub(self.xmpp).as_secs_f64() * 1e6 / count as f64;
        format!("server {own:.0}, PostgreSQL {postgres:.0}, Prosody {prosody:.0}, load {load:.0}")
    }
}
