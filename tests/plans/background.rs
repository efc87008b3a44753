//! What goes on behind the answers: long work in slices, the supervisor's rounds, and the deletion of what has expired.

use std::time::Duration;

use windu::db::Db;
use windu::store::Store;
use windu::upstream::local::network::LocalNet;

use crate::meter::Meter;
use crate::scene::Scene;
use crate::support::media;
use crate::support::wait::{DEADLINE, wait_until_async};

/// Rows that a statement deletes, as in the program.
const BATCH: i64 = 1_000;
/// How long messages and their files are stored.
const RETENTION: Duration = Duration::from_hours(10 * 24);
/// Chats, messages or expired rows that one statement looks through.
const SLICE: u32 = 1_000;

/// All unread messages of a long chat are marked as read.
pub async fn read_marks(scene: &Scene, meter: &mut Meter) {
    let Scene { anna, bert, .. } = scene;
    let path = "/api/messages/update-last-read/";
    let old = [("contact", bert.number.as_str()), ("date_limit", "2016-05-20")];
    meter.step("update-last-read up to an old time", 0, anna.api.post(path, &old)).await;
    let reads = async || {
        let answer = anna.api.post(path, &[("contact", &bert.number)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let unread = format!(
            "SELECT count(*) FROM message m JOIN chat h ON h.id = m.chat_id JOIN account a ON a.id = h.account_id
             JOIN peer p ON p.id = h.peer_id WHERE a.number = '{}' AND p.public_id = '{}'
               AND m.sender_peer_id IS NOT NULL AND m.read_at IS NULL",
            anna.number, bert.number
        );
        scene.until(&unread, "0").await;
        scene.settle().await;
    };
    meter.step("update-last-read", SLICE, reads()).await;
    let again = async || {
        for _ in 0..3 {
            assert_eq!(anna.api.post(path, &[("contact", &bert.number)]).await.status, 200);
        }
    };
    meter.step("update-last-read of what is read", 0, again()).await;
}

/// The rounds of the supervisor and of the network.
pub async fn sweeps(_scene: &Scene, meter: &mut Meter) {
    meter.reset();
    // Between two heartbeats there are some rounds.
    wait_until_async("two heartbeats", DEADLINE, async || {
        (meter.calls("UPDATE process SET heartbeat_at") >= 2.0).then_some(())
    })
    .await;
    meter.check("the supervisor's rounds", 0);
}

/// The periodic jobs, until nothing is left to delete.
pub async fn pruning(scene: &Scene, meter: &mut Meter) {
    let database = scene.server.database();
    let store = Store::new(Db::from_url(&database.url(), 2).expect("a URL"));
    let net = LocalNet::new(store.db().clone());
    let folder = tempfile::tempdir().expect("a folder");
    let media = media::in_folder(&store, folder.path());
    let jobs = async || {
        store.prune_processes().await?;
        while store.prune_commands(BATCH).await? > 0 {}
        while store.prune_keys(BATCH).await? > 0 {}
        while store.prune_verification(BATCH).await? > 0 {}
        while store.prune_registrations(BATCH).await? > 0 {}
        while store.prune_tokens(BATCH).await? > 0 {}
        while store.prune_logins(BATCH).await? > 0 {}
        // Nothing is so old; the oldest messages and files are looked at all the same.
        let chats = store.prune_messages(RETENTION, None, BATCH).await?;
        store.prune_messages(RETENTION, chats, BATCH).await?;
        while store.prune_media(RETENTION, BATCH).await? > 0 {}
        store.continue_unregistrations().await?;
        while net.prune_media(BATCH).await? > 0 {}
        while net.prune_operations(BATCH).await? > 0 {}
        let after = media.delete_unreferenced(None, BATCH).await.expect("the files");
        media.delete_unreferenced(after, BATCH).await.expect("the files");
        Ok::<_, windu::db::DbError>(())
    };
    meter.step("expired rows", SLICE, jobs()).await.expect("the jobs");
    store.db().close().await;
}

/// The large account leaves, while its sessions and those of others run.
pub async fn removal(scene: &Scene, meter: &mut Meter) {
    let Scene { anna, .. } = scene;
    let id = crate::meter::observe(
        scene.server.database(),
        &format!("SELECT id FROM account WHERE number = '{}'", anna.number),
    );
    let leaves = async || {
        let form = [("account", anna.number.as_str())];
        let answer = anna.api.post("/api/account/remove-account/", &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        for table in ["message", "chat", "contact", "block", "peer_profile", "account"] {
            let column = if table == "account" { "id" } else { "account_id" };
            scene.until(&format!("SELECT count(*) FROM {table} WHERE {column} = {id}"), "0").await;
        }
    };
    meter.step("remove-account", SLICE, leaves()).await;
}
