//! A network that does not answer: each call has a timeout.

use std::time::Duration;

use windu::domain::Typing;
use windu::sessions::Timeouts;

use crate::scripted::{Call, Fault, Opening, address, message};
use crate::world::{Process, World};

#[tokio::test]
async fn a_connection_that_does_not_open_times_out() {
    let world = World::new().await;
    let process = impatient(&world);
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Hangs]);
    let account = process.registered(&world, "15550100001").await;
    process.until_state(&account, "online").await;
    assert_eq!(reasons(&process, &account).await, ["connect_timeout"]);
}

#[tokio::test]
async fn a_silent_connection_times_out() {
    let world = World::new().await;
    let process = impatient(&world);
    let line = world.network.line(&"15550100001".parse().unwrap());
    line.plan(&[Opening::Quiet]);
    let account = process.registered(&world, "15550100001").await;
    line.opened(2).await;
    process.until_entries(&account, "session.changed", 1).await;
    assert_eq!(reasons(&process, &account).await[0], "network_silent");
}

#[tokio::test]
async fn a_call_that_hangs_ends_the_connection_and_nothing_is_lost() {
    let world = World::new().await;
    let timeouts = Timeouts { step: Duration::from_millis(200), ..Default::default() };
    let process = world.process_with(timeouts);
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let inbound = message("15550100009", "m1", "hello", 1);
    for (index, kind) in ["acknowledge", "nickname", "watch", "read", "typing"].into_iter().enumerate() {
        line.plan_fault(kind, Fault::Hangs);
        match kind {
            "acknowledge" => assert!(line.receives(vec![inbound.clone()]).await),
            "nickname" => process.set_nickname(&account, "Anna").await,
            "watch" => process.add_contact(&account, "15550100008", true).await,
            "read" => {
                assert_eq!(process.mark_read(&account, "15550100009").await, 1);
            }
            _ => process.sessions.typing(account.id, &address("15550100009"), Typing::Composing),
        }
        line.opened(index + 2).await;
        process.until_state(&account, "online").await;
        assert_eq!(reasons(&process, &account).await, vec!["network_silent"; index + 1], "{kind}");
    }
    line.stores(vec![inbound]).await;
    assert_eq!(process.texts(&account, "15550100009").await, ["hello"]);
    line.waits_for_call(&Call::Nickname("Anna".to_owned())).await;
    let read = Call::Read(vec![(address("15550100009").0, "m1".to_owned(), None)]);
    assert!(line.calls().iter().filter(|call| **call == read).count() >= 2);
}

fn impatient(world: &World) -> Process {
    let short = Duration::from_millis(300);
    world.process_with(Timeouts { connect: short, silence: short, ..Default::default() })
}

async fn reasons(process: &Process, account: &windu::domain::Account) -> Vec<serde_json::Value> {
    let entries = process.entries(account, "session.changed").await.into_iter();
    entries.filter(|entry| entry["state"] == "waiting").map(|entry| entry["reason"].clone()).collect()
}
