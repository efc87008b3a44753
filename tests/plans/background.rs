//! What goes on behind the answers: long work in slices, the supervisor's rounds, and the deletion of what has expired.

use std::time::Duration;

use windu::db::Db;
use windu::domain::{AccountId, CounterId, Lease, MessageId, PeerId, ProcessId, ReceiptKind};
use windu::store::{
    ChatNews, EarlyEvent, EarlyEvents, EarlyKind, Inbound, InboundKind, Peer, Settled, Settlement, Store,
};
use windu::upstream::local::network::LocalNet;

use crate::meter::{Meter, observe};
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

/// What a session does on a network that chooses the ids of messages.
pub async fn remote_ids(scene: &Scene, meter: &mut Meter) {
    let Scene { anna, bert, .. } = scene;
    let database = scene.server.database();
    let store = Store::new(Db::from_url(&database.url(), 2).expect("a URL"));
    for (person, friend) in [(anna, bert), (bert, anna)] {
        let find = |what: &str| {
            let from = format!(
                "SELECT {what} FROM account a JOIN account_counter c ON c.id = a.counter_id
                 JOIN peer p ON p.network = a.network AND p.public_id = '{}' WHERE a.number = '{}'",
                friend.number, person.number
            );
            observe(database, &from)
        };
        let number = |what: &str| find(what).parse::<i64>().expect("a number");
        let lease = Lease {
            account: AccountId(number("a.id")),
            counter: CounterId(number("c.id")),
            process: ProcessId(number("c.owner")),
            fence: number("c.fence"),
        };
        let chat = PeerId(number("p.id"));
        let peer = Peer { id: chat, address: find("p.address"), public_id: friend.number.clone() };
        let message = number(
            "(SELECT max(id) FROM message WHERE account_id = a.id AND sender_peer_id IS NULL AND state = 'sent')",
        );
        let network_id = observe(database, &format!("SELECT network_id FROM message WHERE id = {message}"));
        let named = ["e1".to_owned(), "e2".to_owned(), "unknown".to_owned(), format!("r{message}")];
        let work = async || {
            let wanted: Vec<_> = named.iter().map(|id| (chat, id.as_str())).collect();
            store.messages_by_remote_id(lease.account, &wanted).await?;
            store.queued_since(lease.account, &[chat].into()).await?;
            let early = (0..20).map(|n| EarlyEvent {
                chat,
                from: chat,
                remote_id: format!("early {n}"),
                what: EarlyKind::Receipt { kind: ReceiptKind::Read, up_to: true },
            });
            store.note_early_events(&lease, &early.collect::<Vec<_>>()).await?;
            let mut ids = Vec::new();
            for which in [EarlyEvents::All, EarlyEvents::Naming(&named), EarlyEvents::Held] {
                let found = store.early_events(lease.account, which, i64::MIN).await?;
                ids.extend(found.iter().map(|event| event.id));
                if let Some(last) = found.last() {
                    store.early_events(lease.account, which, last.id).await?;
                }
            }
            let of_chat = |what| Inbound { peer: peer.clone(), participant: None, what };
            let settled = Settled {
                message: MessageId(message),
                chat: friend.number.clone(),
                network_id: network_id.clone(),
                how: Settlement::Sent,
                remote_id: Some(format!("r{message}")),
            };
            store.settle(&lease, vec![settled]).await?;
            let accepted =
                ChatNews::Accepted { network_id: network_id.clone(), remote_id: format!("r{message}") };
            let answered = ChatNews::Answered {
                network_id: network_id.clone(),
                remote_id: "e1".to_owned(),
                message: "ours".to_owned(),
            };
            let news = [accepted, answered].map(InboundKind::Chat).map(of_chat);
            store.ingest(&lease, news.to_vec(), None).await?;
            ids.truncate(500);
            store.delete_early_events(&lease, &ids).await
        };
        // New connections read the catalog for their first calls.
        work().await.expect("the lease");
        meter.step("ids of the network", 500, work()).await.expect("the lease");
    }
    store.db().close().await;
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
        while store.prune_early_events(BATCH).await? > 0 {}
        while store.prune_commands(BATCH).await? > 0 {}
        while store.prune_keys(BATCH).await? > 0 {}
        while store.prune_reservations(BATCH).await? > 0 {}
        while store.prune_verification(BATCH).await? > 0 {}
        while store.prune_registrations(BATCH).await? > 0 {}
        while store.prune_tokens(BATCH).await? > 0 {}
        while store.prune_logins(BATCH).await? > 0 {}
        // Nothing is so old; the oldest messages and files are looked at all the same.
        let chats = store.prune_messages(RETENTION, None, BATCH).await?;
        store.prune_messages(RETENTION, chats, BATCH).await?;
        let files = store.prune_media(RETENTION, None, BATCH).await?;
        store.prune_media(RETENTION, files, BATCH).await?;
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
    let id =
        observe(scene.server.database(), &format!("SELECT id FROM account WHERE number = '{}'", anna.number));
    let leaves = async || {
        let form = [("account", anna.number.as_str())];
        let answer = anna.api.post("/api/account/remove-account/", &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        for table in [
            "message",
            "message_remote",
            "chat",
            "contact",
            "block",
            "early_event",
            "peer_profile",
            "account",
        ] {
            let column = if table == "account" { "id" } else { "account_id" };
            scene.until(&format!("SELECT count(*) FROM {table} WHERE {column} = {id}"), "0").await;
        }
    };
    meter.step("remove-account", SLICE, leaves()).await;
}
