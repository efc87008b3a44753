//! The lists of chats and messages: their order, and that a page reads no more than it needs, whatever the statistics say.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use windu::domain::Account;
use windu::store::Page;

use crate::world::{Process, World};

const CHATS: &str = include_str!("../../src/store/message/chats.sql");
const MESSAGES: &str = include_str!("../../src/store/message/messages.sql");

/// Buffers that a page of 20 entries may touch.
const MOST_BUFFERS: i64 = 1_000;
/// Rows of tables that it may read.
const MOST_ROWS: f64 = 1_000.0;

fn page(limit: i64, offset: i64) -> Page {
    Page { limit, offset, after: DateTime::UNIX_EPOCH }
}

async fn chat_ids(process: &Process, account: &Account, page: Page) -> Vec<String> {
    process.store.chats(account, page).await.unwrap().into_iter().map(|chat| chat.id).collect()
}

/// The order by the time of the last message alone.
async fn expected_ids(world: &World, account: &Account) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT p.public_id FROM chat h JOIN peer p ON p.id = h.peer_id
         WHERE h.account_id = $1 AND h.last_at IS NOT NULL ORDER BY h.last_at DESC, h.id DESC",
    )
    .bind(account.id.0)
    .fetch_all(&world.pool)
    .await
    .unwrap()
}

/// Makes `count` chats without messages; the peers' public ids are numbers from 15990000000 on.
async fn make_chats(world: &World, account: &Account, count: i64) {
    let statement = "WITH people AS (
            INSERT INTO peer (network, address, number, public_id)
            SELECT 'scripted', n::text, n::text, n::text FROM generate_series(15990000001, 15990000000 + $2) n
            RETURNING id)
         INSERT INTO chat (account_id, peer_id) SELECT $1, id FROM people";
    sqlx::query(statement).bind(account.id.0).bind(count).execute(&world.pool).await.unwrap();
    world
        .change(
            account,
            "WITH made AS (
                INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
                SELECT account_id, id, 'm' || id, 'sent', 't', 'text', '', now() FROM chat WHERE account_id = $1
                RETURNING id, chat_id)
             UPDATE chat SET last_message_id = made.id FROM made WHERE chat.id = made.chat_id",
        )
        .await;
}

/// A message comes to the chat with this peer, at this time.
async fn move_chat(world: &World, account: &Account, peer: i64, at: DateTime<Utc>) {
    let statement = "UPDATE chat SET last_at = $3 FROM peer
                     WHERE chat.account_id = $1 AND peer.id = chat.peer_id AND peer.public_id = $2";
    let peer = (15_990_000_000 + peer).to_string();
    sqlx::query(statement).bind(account.id.0).bind(peer).bind(at).execute(&world.pool).await.unwrap();
}

#[tokio::test]
async fn chats_are_in_the_order_of_their_last_messages_at_any_pace() {
    let world = World::new().await;
    let process = world.idle_process(windu::sessions::Timeouts::default());
    let account = process.registered(&world, "15550100001").await;
    make_chats(&world, &account, 30).await;
    let mut now = windu::clock::now() - TimeDelta::days(1);
    let mut state = 7_u64;
    for round in 0..300 {
        // Many messages within the same seconds and minutes, and sometimes a pause.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = [1, 40_000, 900_000, 20_000_000, 59_999_999, 60_000_000, 3_600_000_000];
        now += TimeDelta::microseconds(pause[usize::try_from((state >> 33) % 7).unwrap()]);
        let peer = i64::try_from((state >> 40) % 30).unwrap() + 1;
        move_chat(&world, &account, peer, now).await;
        if round % 10 == 9 {
            let expected = expected_ids(&world, &account).await;
            for (limit, offset) in [(1_000, 0), (1, 0), (3, 0), (5, 2), (4, 13)] {
                let listed = chat_ids(&process, &account, page(limit, offset)).await;
                let expected: Vec<String> = expected
                    .iter()
                    .skip(usize::try_from(offset).unwrap())
                    .take(usize::try_from(limit).unwrap())
                    .cloned()
                    .collect();
                assert_eq!(listed, expected, "round {round}, {limit} after {offset}");
            }
        }
    }
    // Those after a time.
    let expected = expected_ids(&world, &account).await;
    let fifth = process.store.chats(&account, page(1, 4)).await.unwrap().remove(0).time;
    let later = Page { limit: 100, offset: 0, after: fifth };
    assert_eq!(chat_ids(&process, &account, later).await, expected[..4]);
    assert_eq!(process.store.chats(&account, page(0, 0)).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_chat_moves_in_the_list_a_few_times_a_minute_however_many_messages_come() {
    let world = World::new().await;
    let process = world.idle_process(windu::sessions::Timeouts::default());
    let account = process.registered(&world, "15550100001").await;
    make_chats(&world, &account, 1).await;
    let begin = windu::clock::now();
    let place = "SELECT recent_at::text || lags FROM chat";
    let mut moves = 0;
    let mut before = String::new();
    for message in 0..600 {
        move_chat(&world, &account, 1, begin + TimeDelta::milliseconds(200 * message)).await;
        let now = world.pool_text(place).await;
        moves += u32::from(now != before);
        before = now;
    }
    // Two minutes: each begins with a place, and the second message of a minute makes it lag.
    assert!((3..=6).contains(&moves), "{moves}");
}

/// The buffers that a statement touches with a plan for any parameters, and the plan.
async fn buffers(connection: &mut PgConnection, sql: &str, parameters: &str) -> (i64, Value) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PREPARE measured AS {sql}")))
        .execute(&mut *connection)
        .await
        .unwrap();
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE measured ({parameters})");
    let plan: Value =
        sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_one(&mut *connection).await.unwrap();
    sqlx::raw_sql("DEALLOCATE measured").execute(&mut *connection).await.unwrap();
    let count = |name: &str| plan[0]["Plan"][name].as_i64().expect("a count");
    (count("Shared Hit Blocks") + count("Shared Read Blocks"), plan)
}

/// The rows that the parts of a plan read, with those that a filter removed.
fn rows_read(plan: &Value) -> f64 {
    let number = |name: &str| plan[name].as_f64().unwrap_or(0.0);
    let own = (number("Actual Rows") + number("Rows Removed by Filter")) * number("Actual Loops");
    own + plan["Plans"].as_array().into_iter().flatten().map(rows_read).sum::<f64>()
}

/// How the planner's statistics came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statistics {
    None,
    OfEmptyTables,
    OfFullTables,
}

#[tokio::test]
async fn a_page_reads_what_it_shows_whatever_the_statistics() {
    for statistics in [Statistics::None, Statistics::OfEmptyTables, Statistics::OfFullTables] {
        let world = World::new().await;
        let process = world.idle_process(windu::sessions::Timeouts::default());
        let account = process.registered(&world, "15550100001").await;
        let mut connection = PgConnection::connect(&world.url()).await.unwrap();
        sqlx::raw_sql(
            "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; SET jit = off;
             ALTER TABLE chat SET (autovacuum_enabled = off); ALTER TABLE message SET (autovacuum_enabled = off);
             ALTER TABLE peer SET (autovacuum_enabled = off)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        if statistics == Statistics::OfEmptyTables {
            world.sql("ANALYZE");
        }
        fill(&world, &account).await;
        if statistics == Statistics::OfFullTables {
            world.sql("ANALYZE");
        }
        let id = account.id.0;
        let chat = "'scripted', '15990000001', '1970-01-01'";
        let others = world.sql(&format!(
            "INSERT INTO account (user_id, number, counter_id, network)
             SELECT user_id, '15550199999', counter_id, network FROM account WHERE id = {id} RETURNING id"
        ));
        for (name, sql, parameters) in [
            ("chats", CHATS, format!("{id}, '1970-01-01', 20, 0")),
            ("chats after a time", CHATS, format!("{id}, now() - interval '30 minutes', 20, 0")),
            ("no chats", CHATS, format!("{others}, '1970-01-01', 20, 0")),
            ("messages", MESSAGES, format!("{id}, {chat}, false, 20, 0")),
            ("received messages", MESSAGES, format!("{id}, {chat}, true, 20, 0")),
        ] {
            let (touched, plan) = buffers(&mut connection, sql, &parameters).await;
            let read = rows_read(&plan[0]["Plan"]);
            assert!(
                touched < MOST_BUFFERS && read < MOST_ROWS,
                "{statistics:?}, {name}: {touched} buffers, {read} rows\n{plan:#}"
            );
        }
        let listed = process.store.chats(&account, page(20, 0)).await.unwrap();
        assert_eq!(listed.len(), 20);
        let chat = process.store.messages(&account, "15990000001", true, page(20, 0)).await.unwrap();
        assert_eq!(chat.len(), 20);
    }
}

/// 20,000 chats, of which 300 got two messages within a minute, and 100,000 messages in one chat, of which 30 came in long
/// ago.
async fn fill(world: &World, account: &Account) {
    make_chats(world, account, 20_000).await;
    world
        .change(account, "UPDATE chat SET last_at = now() - id * interval '10 seconds' WHERE account_id = $1")
        .await;
    world
        .change(
            account,
            "UPDATE chat SET last_at = last_at + interval '20 seconds' WHERE account_id = $1 AND id % 67 = 0",
        )
        .await;
    world
        .change(
            account,
            "INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint,
                                  stored_at)
             SELECT h.account_id, h.id, 'n' || n, CASE WHEN n <= 30 THEN h.peer_id END,
                    CASE WHEN n <= 30 THEN 'received' ELSE 'sent' END, 't', 'text', '',
                    now() - interval '1 day' + n * interval '1 millisecond'
             FROM chat h JOIN peer p ON p.id = h.peer_id, generate_series(1, 100000) n
             WHERE h.account_id = $1 AND p.public_id = '15990000001'",
        )
        .await;
}
