//! The cost of SQL statements, from pg_stat_statements.

use sqlx::Row as _;

use crate::world::World;

/// The settings that PostgreSQL needs.
pub const SETTINGS: &str = "-c shared_preload_libraries=pg_stat_statements -c pg_stat_statements.track=all";

const MOST: usize = 30;

const QUERY: &str = r"
SELECT calls / $1 AS calls, rows::float8 / calls AS rows, mean_exec_time * 1000 AS each,
       total_exec_time * 1000 / $1 AS total, wal_bytes::float8 / $1 AS bytes,
       CASE WHEN toplevel THEN '' ELSE '(within) ' END
           || left(regexp_replace(query, '\s+', ' ', 'g'), 110) AS query
FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY total_exec_time DESC";

/// Forgets what was counted up to now.
pub async fn reset(world: &World) {
    for statement in
        ["CREATE EXTENSION IF NOT EXISTS pg_stat_statements", "SELECT pg_stat_statements_reset()"]
    {
        sqlx::query(statement).execute(&world.pool).await.expect("pg_stat_statements");
    }
}

/// Prints the dearest, each divided by `count`: of messages, pages or sessions.
pub async fn print(world: &World, count: usize, unit: &str) {
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let count = count as f64;
    let rows = sqlx::query(QUERY).bind(count).fetch_all(&world.pool).await.expect("the statements");
    println!("for each {unit}: calls, µs, WAL bytes; for each call: rows, µs (waits for locks included)");
    for row in rows.iter().take(MOST) {
        let number = |name| row.get::<f64, _>(name);
        println!(
            "{:9.3} {:8.1} {:6.0}; {:8.1} {:8.0}  {}",
            number("calls"),
            number("total"),
            number("bytes"),
            number("rows"),
            number("each"),
            row.get::<String, _>("query")
        );
    }
}
