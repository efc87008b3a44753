//! Messages in groups: their authors, and when they count as delivered and read.

use std::time::Instant;

use serde_json::json;
use windu::domain::{ChatName, GroupChangeKind, ReceiptKind};
use windu::upstream::{Address, UpstreamEvent};

use super::{ANNA, BEN, CLEO, GROUP, group, group_address, news, within};
use crate::scripted::{Call, address, incoming, long_ago, message, receipt, receipt_up_to};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

#[tokio::test]
async fn group_messages_are_stored_with_their_authors() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.online(&world, ANNA).await;
    let line = world.line(&anna);
    let made = group(1, "One", &[ANNA, BEN, CLEO]);
    // The event and the messages of the group come in one batch; the same id of two authors is two messages.
    let mut events = vec![news(&made, GroupChangeKind::Created, &[], 1)];
    events.push(within(message(BEN, "g1", "from Ben", 2)));
    events.push(within(message(CLEO, "g1", "from Cleo", 3)));
    events.push(message(BEN, "m1", "to Anna alone", 4));
    line.stores(events.clone()).await;
    line.stores(events).await;
    let elsewhere = UpstreamEvent::SentElsewhere {
        to: group_address(),
        id: "g2".to_owned(),
        content: windu::domain::Content::Text("from another device".to_owned()),
        reply_to: None,
        sent_at: long_ago(),
    };
    let history = UpstreamEvent::History {
        chat: group_address(),
        from_us: false,
        participant: Some(address(CLEO)),
        id: "g0".to_owned(),
        content: windu::domain::Content::Text("long ago".to_owned()),
        sent_at: long_ago(),
    };
    line.stores(vec![incoming(elsewhere, 5), incoming(history, 6)]).await;
    let messages = process.messages(&anna, GROUP).await;
    let listed: Vec<_> = messages
        .iter()
        .map(|message| (message.participant.as_deref(), message.content.text().unwrap_or_default()))
        .collect();
    let expected = [
        (Some(BEN), "from Ben"),
        (Some(CLEO), "from Cleo"),
        (None, "from another device"),
        (Some(CLEO), "long ago"),
    ];
    assert_eq!(listed, expected);
    let alone = process.messages(&anna, BEN).await;
    assert_eq!((alone.len(), alone[0].participant.as_deref()), (1, None));
    let received = process.entries(&anna, "message.received").await;
    let of = |participant: &str| json!({"chat": GROUP, "id": "g1", "type": "t", "participant": participant});
    assert_eq!(received, [of(BEN), of(CLEO), json!({"chat": BEN, "id": "m1", "type": "t"})]);
    // Read receipts contain the author and the group.
    assert_eq!(process.mark_read(&anna, GROUP).await, 3);
    let read = [(BEN, "g1"), (CLEO, "g1"), (CLEO, "g0")];
    let read = read.map(|(to, id)| (address(to).0, id.to_owned(), Some(group_address().0)));
    line.waits_for_call(&Call::Read(read.to_vec())).await;
    assert_eq!(process.mark_read(&anna, BEN).await, 1);
    line.waits_for_call(&Call::Read(vec![(address(BEN).0, "m1".to_owned(), None)])).await;
    // Only people are watched, not groups.
    let watched = line.calls().into_iter().rev().find_map(|call| match call {
        Call::Watch(peers) => Some(peers),
        _ => None,
    });
    assert_eq!(watched.unwrap(), [address(BEN).0]);
}

#[tokio::test]
async fn a_message_is_delivered_and_read_when_the_last_member_has_it() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.online(&world, ANNA).await;
    let line = world.line(&anna);
    let made = group(1, "One", &[ANNA, BEN, CLEO]);
    line.stores(vec![news(&made, GroupChangeKind::Created, &[], 1)]).await;
    let id = process.send_into(&anna, "who has it?").await;
    let of = |from: &str, kind: ReceiptKind, number: u64| within(receipt(from, &id, kind, number));
    // A repetition, a receipt of a non-member and one without a group do not count.
    line.stores(vec![
        of(BEN, ReceiptKind::Delivered, 2),
        of(BEN, ReceiptKind::Delivered, 3),
        of("15550100009", ReceiptKind::Read, 4),
        of(ANNA, ReceiptKind::Read, 5),
        receipt(CLEO, &id, ReceiptKind::Read, 6),
    ])
    .await;
    assert_eq!(process.group_message(&anna, &id).await.delivered, None);
    line.stores(vec![of(CLEO, ReceiptKind::Read, 7)]).await;
    let stored = process.group_message(&anna, &id).await;
    assert!(stored.delivered.is_some() && stored.read.is_none(), "{stored:?}");
    line.stores(vec![of(BEN, ReceiptKind::Read, 8), of(CLEO, ReceiptKind::Delivered, 9)]).await;
    let read = process.group_message(&anna, &id).await;
    assert!(read.delivered == stored.delivered && read.read > stored.delivered, "{read:?}");
    line.stores(vec![of(BEN, ReceiptKind::Read, 10)]).await;
    assert_eq!(process.group_message(&anna, &id).await.read, read.read);
    let event = json!({"chat": GROUP, "id": id});
    assert_eq!(process.entries(&anna, "message.delivered").await, std::slice::from_ref(&event));
    assert_eq!(process.entries(&anna, "message.read").await, [event]);
    // No receipts are stored after all members have read the message.
    assert_eq!(world.count("SELECT count(*) FROM message_receipt").await, 0);
}

#[tokio::test]
async fn receipts_wait_neither_for_former_nor_for_later_members() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.online(&world, ANNA).await;
    let line = world.line(&anna);
    let made = group(1, "One", &[ANNA, BEN, CLEO]);
    line.stores(vec![news(&made, GroupChangeKind::Created, &[], 1)]).await;
    let id = process.send_into(&anna, "who has it?").await;
    let nobody = process.send_into(&anna, "nobody has it").await;
    let mut larger = group(2, "One", &[ANNA, BEN, CLEO, "15550100004"]);
    larger.members[3].since = windu::clock::now();
    line.stores(vec![
        news(&larger, GroupChangeKind::Added, &["15550100004"], 2),
        within(receipt(BEN, &id, ReceiptKind::Read, 3)),
    ])
    .await;
    assert_eq!(process.group_message(&anna, &id).await.delivered, None);
    let mut smaller = group(3, "One", &[ANNA, BEN, "15550100004"]);
    smaller.members[2].since = larger.members[3].since;
    line.stores(vec![news(&smaller, GroupChangeKind::Left, &[CLEO], 4)]).await;
    let stored = process.group_message(&anna, &id).await;
    assert!(stored.delivered.is_some() && stored.delivered == stored.read, "{stored:?}");
    assert_eq!(process.group_message(&anna, &nobody).await.delivered, None);
    // Without other members nobody can receive it.
    line.stores(vec![news(&group(4, "One", &[ANNA]), GroupChangeKind::Left, &[BEN], 5)]).await;
    assert_eq!(process.group_message(&anna, &nobody).await.delivered, None);
    assert_eq!(process.entries(&anna, "message.read").await.len(), 1);
}

#[tokio::test]
async fn a_members_receipt_up_to_a_message_counts_from_its_entry_on() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.online(&world, ANNA).await;
    let line = world.line(&anna);
    line.stores(vec![news(&group(1, "One", &[ANNA, BEN]), GroupChangeKind::Created, &[], 1)]).await;
    let before = process.send_into(&anna, "before Cleo").await;
    let mut larger = group(2, "One", &[ANNA, BEN, CLEO]);
    larger.members[2].since = windu::clock::now();
    line.stores(vec![news(&larger, GroupChangeKind::Added, &[CLEO], 2)]).await;
    let (one, two) = (process.send_into(&anna, "one").await, process.send_into(&anna, "two").await);
    line.stores(vec![within(receipt_up_to(CLEO, &two, ReceiptKind::Read, 3))]).await;
    assert_eq!(world.count("SELECT count(*) FROM message_receipt").await, 2, "for what she could see");
    line.stores(vec![within(receipt_up_to(BEN, &one, ReceiptKind::Read, 4))]).await;
    let state = async |id: &str| process.group_message(&anna, id).await.read.is_some();
    assert_eq!((state(&before).await, state(&one).await, state(&two).await), (true, true, false));
    line.stores(vec![within(receipt_up_to(BEN, &two, ReceiptKind::Read, 5))]).await;
    assert!(state(&two).await);
}

/// Prints the time that the largest group of the local network takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_group_is_created_and_a_message_reaches_all() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.local(&world, ANNA).await;
    world.crowd("local", 1_023).await;
    let online = "SELECT count(*) FROM account WHERE session_state = 'online'";
    wait_until_async("all to be online", DEADLINE * 6, async || {
        (world.count(online).await == 1_024).then_some(())
    })
    .await;
    let others: Vec<String> =
        sqlx::query_scalar("SELECT number FROM account WHERE number <> $1 ORDER BY number")
            .bind(ANNA)
            .fetch_all(&world.pool)
            .await
            .unwrap();
    let members: Vec<Address> = others.iter().map(|number| Address(number.clone())).collect();
    let began = Instant::now();
    let id = process.sessions.create_group(anna.id, "All".to_owned(), members, None).await.unwrap();
    let made = began.elapsed();
    assert_eq!(process.groups(&anna).await[0].participants.len(), 1_024);
    let created = "SELECT count(*) FROM event WHERE kind = 'group.created'";
    let until = async |statement: &'static str, count: i64| {
        wait_until_async(statement, DEADLINE * 6, async || {
            (world.count(statement).await == count).then_some(())
        })
        .await;
    };
    until(created, 1_024).await;
    let notified = began.elapsed();

    let began = Instant::now();
    let view = process.store.group(&anna, &id).await.unwrap().unwrap();
    let content = windu::domain::Content::Text("Hello, all".to_owned());
    let outgoing = windu::store::NewMessage {
        id: "to-all",
        peer: view.peer.id,
        named: true,
        chat: &ChatName::Group(id.clone()),
        content: &content,
        time_to_live: crate::world::A_DAY,
        reservation: None,
    };
    process.store.accept_send(&anna, &outgoing, None).await.unwrap();
    until("SELECT count(*) FROM message WHERE network_id = 'to-all' AND state = 'received'", 1_023).await;
    let received = began.elapsed();
    process.until_entries(&anna, "message.delivered", 1).await;
    let delivered = began.elapsed();
    println!(
        "1,024 participants: created in {made:?}, all notified in {notified:?}; a message reached all in {received:?} and was delivered in {delivered:?}"
    );
    // More rows would mean that members are stored once per member.
    assert_eq!(world.count("SELECT count(*) FROM group_member").await, 1_024);
}
