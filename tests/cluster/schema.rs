//! The schema and the master key, on a cluster of their own.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use windu::db::{Db, SchemaError};
use windu::secrets::MasterKey;
use windu::store::{KeyError, Store};

use crate::support::{DataDir, answers, set};

#[tokio::test]
async fn several_programs_migrate_at_once_and_an_older_one_runs_beside_a_newer_schema() {
    let data = DataDir::new();
    let cluster = data.start().await;
    let (first, second) = (Db::new(cluster.connect_options(), 2), Db::new(cluster.connect_options(), 2));
    let (one, other) = tokio::join!(first.migrate(), second.migrate());
    one.expect("migrated");
    other.expect("migrated");
    set(
        &cluster,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99991231000000, 'of a newer program', true, '', 0)",
    )
    .await;
    first.migrate().await.expect("not an error");
    assert!(first.is_migrated().await.expect("an answer"));
    assert_eq!(first.newer_migrations().await.expect("an answer"), 1);
    set(&cluster, "INSERT INTO deployment (key, value) VALUES ('oldest_program', '99991231000000')").await;
    let refusal = |outcome: Result<(), SchemaError>| matches!(outcome, Err(SchemaError::TooNew));
    assert!(refusal(first.migrate().await) && refusal(first.is_migrated().await.map(drop)));
    set(&cluster, "UPDATE deployment SET value = '20261127006001' WHERE key = 'oldest_program'").await;
    first.migrate().await.expect("new enough");

    // While another program migrates, nobody waits inside PostgreSQL.
    let mut worker = PgConnection::connect_with(&cluster.connect_options()).await.expect("a connection");
    sqlx::query("SELECT pg_advisory_lock(512869950581)").execute(&mut worker).await.expect("locked");
    let mut waiting = Box::pin(second.migrate());
    tokio::time::timeout(Duration::from_millis(500), &mut waiting).await.expect_err("waits for its turn");
    let waits = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'advisory'";
    assert_eq!(answers(&cluster, waits).await, "0");
    worker.close().await.expect("closed");
    waiting.await.expect("migrated");
    first.close().await;
    second.close().await;
    cluster.stop().await.expect("stops");
    data.assert_nothing_runs();
}

#[tokio::test]
async fn a_database_accepts_only_its_master_key() {
    let data = DataDir::new();
    let cluster = data.start().await;
    let store = Store::new(Db::new(cluster.connect_options(), 2));
    store.db().migrate().await.expect("migrated");
    let (first, second) = (MasterKey::generate_base64(), MasterKey::generate_base64());
    let key = |current: &str, old: Option<&str>| MasterKey::from_base64(current, old).expect("a key");
    for good in [key(&first, None), key(&first, None), key(&first, Some(&second))] {
        store.check_key_fingerprint(&good).await.expect("the key of this database");
    }
    let other = store.check_key_fingerprint(&key(&second, None)).await.expect_err("another key");
    assert!(matches!(other, KeyError::Other), "{other}");
    store.check_key_fingerprint(&key(&second, Some(&first))).await.expect("a rotation");
    store.check_key_fingerprint(&key(&second, None)).await.expect("the new key");
    store.check_key_fingerprint(&key(&first, None)).await.expect_err("the old key alone");
    store.db().close().await;
    cluster.stop().await.expect("stops");
    data.assert_nothing_runs();
}
