//! A page of a chat, against pgbench reading the same rows with the same query.

use crate::Options;
use crate::load;
use crate::meter::Cpu;
use crate::pgbench::Pgbench;
use crate::report::Ratios;
use crate::send::{Talk, per_second};
use crate::statements;

const CONNECTIONS: usize = 16;
const REQUESTS: usize = 20_000;
const PAGE: usize = 50;
/// In each chat.
const MESSAGES: usize = 1_000;

const FILL: &str = "INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at, sent_at)
    SELECT h.account_id, h.id, md5(h.id || '/' || n), 'sent', 't', 'The quick brown fox jumps over the lazy dog.',
           sha256('x'), now() + n * interval '1 millisecond', now()
    FROM generate_series(1, $1) n, chat h ORDER BY n, h.id";

/// `store::listing` asks this.
const SCRIPT: &str = r"
\set account 1 + :client_id % :pairs
\set number 15550000000 + :pairs + :client_id % :pairs
SELECT m.network_id AS id, m.type AS kind, m.sender_peer_id IS NOT NULL AS received, m.text, m.stored_at AS time, m.sent_at AS sent, m.delivered_at AS delivered, m.read_at AS read, m.state, m.failure FROM message m JOIN chat h ON h.id = m.chat_id JOIN peer p ON p.id = h.peer_id WHERE m.account_id = :account AND h.account_id = :account AND p.network = 'local' AND p.public_id = (:number)::text AND m.stored_at > '1970-01-01' AND (NOT false OR m.sender_peer_id IS NOT NULL) ORDER BY m.stored_at DESC LIMIT :page OFFSET 0;
";

/// Measures both in turn.
pub async fn run(options: &Options) {
    let talk = Talk::start(options).await;
    let messages = i64::try_from(MESSAGES).expect("a small number");
    sqlx::query(FILL).bind(messages).execute(&talk.world.pool).await.expect("messages");
    talk.world.analyze().await;
    println!("\n== list: {CONNECTIONS} connections, {REQUESTS} pages of {PAGE} of {MESSAGES} messages");
    println!("   CPU in µs/page: server, PostgreSQL, load (or pgbench)");
    let requests: Vec<Vec<u8>> = (0..CONNECTIONS)
        .map(|connection| {
            let (sender, receiver) = &talk.pairs[connection % talk.pairs.len()];
            let path = format!("/api/messages/chats/{}/?limit={PAGE}", receiver.number);
            load::get(&path, Some(&sender.token))
        })
        .collect();
    let variables = vec![("pairs", talk.pairs.len().to_string()), ("page", PAGE.to_string())];
    let pgbench = Pgbench { database: &talk.world.database, script: SCRIPT, clients: CONNECTIONS, variables };
    let mut ratios = Ratios::default();
    for round in 0..=options.rounds {
        let before = Cpu::read(Some(talk.server.id()));
        let took = load::run(talk.server.address(), &requests, REQUESTS, 200).await;
        let between = Cpu::read(Some(talk.server.id()));
        let (tps, count) = pgbench.run(REQUESTS);
        let [_, their_postgres, their_load] = (Cpu::read(None) - between).each(count);
        let [server, postgres, load] = (between - before).each(REQUESTS);
        let ours = per_second(REQUESTS, took);
        // The first round warms up.
        if round > 0 {
            ratios.add(ours / tps);
            println!(
                "{round:3}  windu   {ours:6.0}/s; CPU {server:4.0} {postgres:4.0} {load:3.0}; ratio {:.2}",
                ours / tps
            );
            println!("     pgbench {tps:6.0}/s; CPU    - {their_postgres:4.0} {their_load:3.0}");
        }
    }
    ratios.print("list", "");
    if options.statements {
        statements::reset(&talk.world).await;
        load::run(talk.server.address(), &requests, REQUESTS, 200).await;
        statements::print(&talk.world, REQUESTS, "page").await;
    }
}
