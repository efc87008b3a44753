//! Sessions that lost their lease: they change nothing, neither here nor on the network.

use windu::db::DbError;
use windu::domain::Aspect;

use crate::scripted::{Call, at, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

const BEN: &str = "15550100002";

#[tokio::test]
async fn a_session_without_its_lease_stores_nothing_and_ends() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let before = process.journal(&account).await.len();
    world.steal_lease(&account).await;
    line.receives(vec![at("one", message(BEN, "m1", "too late", 1))]).await;
    let ended = async || (line.open() == 0).then_some(());
    wait_until_async("the session's end", DEADLINE, ended).await;
    assert_eq!(process.texts(&account, BEN).await, [""; 0]);
    assert_eq!(process.journal(&account).await.len(), before);
    assert_eq!(
        world.read::<Option<Vec<u8>>>(&account, "SELECT resume_point FROM account WHERE id = $1").await,
        None
    );
    assert_eq!(line.acknowledged(), [0; 0]);
    assert_eq!(line.logins().len(), 1);
}

#[tokio::test]
async fn a_session_without_its_lease_sends_nothing() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    world.steal_lease(&account).await;
    let id = process.send(&account, BEN, "for the new holder").await;
    let ended = async || (line.open() == 0).then_some(());
    wait_until_async("the session's end", DEADLINE, ended).await;
    assert_eq!(process.message(&account, BEN, &id).await.state.name(), "queued");
    assert!(!line.calls().iter().any(|call| matches!(call, Call::Send { .. })), "{:?}", line.calls());
}

#[tokio::test]
async fn each_write_of_a_session_is_refused_without_its_lease() {
    let world = World::new().await;
    let process = world.idle_process(windu::sessions::Timeouts::default());
    let account = process.registered(&world, "15550100001").await;
    let me = process.store.join_process("me", std::slice::from_ref(&account.network)).await.unwrap();
    let lease =
        process.store.claim_leases(me, std::slice::from_ref(&account.network), 9).await.unwrap().remove(0);
    process.send(&account, BEN, "text").await;
    let store = &process.store;
    let due = store.due(&lease).await.unwrap().unwrap().messages;
    assert_eq!(due.len(), 1);
    let peer = process.peer(&account, BEN).await;
    let inbound = [windu::store::Inbound {
        peer,
        participant: None,
        what: windu::store::InboundKind::Profile(windu::domain::ProfileNews::Nickname("Ben".to_owned())),
    }];
    let early = [windu::store::EarlyEvent {
        chat: inbound[0].peer.id,
        from: inbound[0].peer.id,
        remote_id: "r1".to_owned(),
        what: windu::store::EarlyKind::ReadElsewhere,
    }];
    let command = store.ask(account.id, &serde_json::json!({}), DEADLINE, None).await.unwrap();
    for stolen in [false, true] {
        if stolen {
            world.steal_lease(&account).await;
        }
        let settled = vec![due[0].settled(windu::store::Settlement::Later(DEADLINE))];
        let outcomes = [
            ("publish", store.publish_session(&lease, windu::domain::SessionState::Online, None).await),
            ("ingest", store.ingest(&lease, inbound.to_vec(), Some(b"point")).await.map(drop)),
            ("settle", store.settle(&lease, settled).await),
            ("receipts", store.receipts_sent(&lease, &[due[0].message]).await),
            ("applied", store.applied(&lease, Aspect::Nickname, 1).await),
            ("adapter", store.put_adapter_state(&lease, &["key".to_owned()], &[b"value".to_vec()]).await),
            ("adapter deletion", store.delete_adapter_state(&lease, &["key".to_owned()]).await),
            ("early events", store.note_early_events(&lease, &early).await),
            ("early events' deletion", store.delete_early_events(&lease, &[1]).await),
            ("take", store.take_command(&lease).await.map(|_| ())),
            ("answer", store.answer(&lease, command, &serde_json::json!({})).await),
        ];
        for (what, outcome) in outcomes {
            let refused = matches!(outcome, Err(DbError::Fenced));
            assert_eq!(refused, stolen, "{what}: {outcome:?}");
        }
        assert_eq!(store.session_account(&lease).await.unwrap().is_none(), stolen);
    }
    world.change(&account, "UPDATE outbox SET retry_at = now() WHERE account_id = $1").await;
    assert!(store.due(&lease).await.unwrap().is_none());
}
