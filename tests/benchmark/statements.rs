//! Which statements a message costs: pg_stat_statements over one measurement of sending.

use sqlx::Row as _;

use crate::Options;
use crate::send::Talk;

/// Prints them for each number of connections, the dearest first.
pub async fn run(options: &Options) {
    let talk = Talk::start(options).await;
    let pool = &talk.world.pool;
    let execute = async |statement: &'static str| {
        sqlx::query(statement).execute(pool).await.expect("pg_stat_statements");
    };
    execute("CREATE EXTENSION pg_stat_statements").await;
    for &connections in &options.connections {
        talk.send(connections, options.messages / 5).await;
        talk.world.analyze().await;
        execute("SELECT pg_stat_statements_reset()").await;
        let sent = talk.send(connections, options.messages).await;
        println!("\n== statements of {} messages, {connections} connections", options.messages);
        println!("{}", sent.describe(options.messages));
        println!("calls/message  rows/call  µs/call  µs/message  WAL bytes/message");
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        let messages = options.messages as f64;
        let rows = sqlx::query(
            "SELECT calls / $1 AS calls, rows::float8 / calls AS rows, mean_exec_time * 1000 AS each,
                    total_exec_time * 1000 / $1 AS total, wal_bytes::float8 / $1 AS bytes,
                    left(regexp_replace(query, '\\s+', ' ', 'g'), 110) AS query
             FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND calls > 0 ORDER BY total_exec_time DESC LIMIT 40",
        )
        .bind(messages)
        .fetch_all(pool)
        .await
        .expect("the statements");
        for row in rows {
            let number = |name| row.get::<f64, _>(name);
            println!(
                "{:13.3} {:10.1} {:8.0} {:11.1} {:10.0}  {}",
                number("calls"),
                number("rows"),
                number("each"),
                number("total"),
                number("bytes"),
                row.get::<String, _>("query")
            );
        }
    }
}
