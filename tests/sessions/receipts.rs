//! Delivered and read receipts, in both directions.

use serde_json::json;
use windu::domain::{Content, ReceiptKind};
use windu::store::Accepted;
use windu::upstream::UpstreamEvent;

use crate::scripted::{Call, Fault, address, incoming, message, receipt, receipt_up_to};
use crate::world::{A_DAY, World};

const BEN: &str = "15550100002";

#[tokio::test]
async fn receipts_are_stored_once_and_read_implies_delivered() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let both = process.send(&account, BEN, "delivered, then read").await;
    let read = process.send(&account, BEN, "read at once").await;
    process.until_message(&account, BEN, &read, "sent").await;
    for kind in [ReceiptKind::Delivered, ReceiptKind::Delivered] {
        line.stores(vec![receipt(BEN, &both, kind, 1)]).await;
    }
    let stored = process.message(&account, BEN, &both).await;
    assert!(stored.delivered.is_some() && stored.read.is_none());
    let at = stored.delivered;
    line.stores(vec![receipt(BEN, &both, ReceiptKind::Read, 2), receipt(BEN, &read, ReceiptKind::Read, 3)])
        .await;
    line.stores(vec![
        receipt(BEN, &read, ReceiptKind::Delivered, 4),
        receipt(BEN, &read, ReceiptKind::Read, 5),
    ])
    .await;
    let stored = process.message(&account, BEN, &both).await;
    assert!(stored.delivered == at && stored.read > at);
    let stored = process.message(&account, BEN, &read).await;
    assert!(stored.delivered.is_some() && stored.delivered == stored.read);
    let of = |id: &str| json!({"chat": BEN, "id": id});
    assert_eq!(process.entries(&account, "message.delivered").await, [of(&both), of(&read)]);
    assert_eq!(process.entries(&account, "message.read").await, [of(&both), of(&read)]);
}

#[tokio::test]
async fn a_receipt_counts_only_from_the_other_side_of_its_chat() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let id = process.send(&account, BEN, "for Ben").await;
    process.until_message(&account, BEN, &id, "sent").await;
    process.send(&account, "15550100003", "for Cleo").await;
    line.stores(vec![
        message("15550100003", "m1", "hello", 1),
        receipt("15550100003", &id, ReceiptKind::Read, 2),
        receipt(BEN, "unknown", ReceiptKind::Read, 3),
        receipt("15550100003", "m1", ReceiptKind::Read, 4),
    ])
    .await;
    let stored = process.message(&account, BEN, &id).await;
    assert_eq!((stored.delivered, stored.read), (None, None));
    assert_eq!(process.message(&account, "15550100003", "m1").await.read, None);
    assert_eq!(process.entries(&account, "message.read").await.len(), 0);
}

/// More messages than one statement reads, on both sides of the chat.
#[tokio::test]
async fn a_receipt_up_to_a_message_counts_for_all_earlier_ones_too() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let first = process.send(&account, BEN, "first").await;
    process.until_message(&account, BEN, &first, "sent").await;
    let many = "INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint, stored_at)
                SELECT h.account_id, h.id, 'filled ' || n, CASE WHEN n % 2 = 1 THEN h.peer_id END,
                       CASE WHEN n % 2 = 1 THEN 'received' WHEN n = 300 THEN 'failed' ELSE 'sent' END, 't', 'text', '',
                       now() + n * interval '1 microsecond'
                FROM chat h, generate_series(1, 900) n WHERE h.account_id = $1";
    assert_eq!(world.change(&account, many).await, 900);
    let (last, later) =
        (process.send(&account, BEN, "last").await, process.send(&account, BEN, "later").await);
    process.until_message(&account, BEN, &later, "sent").await;
    let other = process.send(&account, "15550100003", "in another chat").await;
    let unread = "SELECT count(*) FROM message WHERE sender_peer_id IS NULL AND read_at IS NULL";

    line.stores(vec![receipt_up_to(BEN, &last, ReceiptKind::Delivered, 1)]).await;
    assert_eq!(process.entries(&account, "message.delivered").await.len(), 451);
    assert_eq!(world.count(unread).await, 454);
    // It fails after a part of it: the network sends it again.
    world.sql(
        "CREATE TABLE failing ();
         INSERT INTO failing DEFAULT VALUES;
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM failing)
                AND (SELECT count(*) FROM message WHERE sender_peer_id IS NULL AND read_at IS NOT NULL) > 150
             THEN RAISE 'the second part fails'; END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER failing AFTER UPDATE ON message FOR EACH STATEMENT EXECUTE FUNCTION fail()",
    );
    let read = || receipt_up_to(BEN, &last, ReceiptKind::Read, 2);
    line.receives(vec![read()]).await;
    line.opened(2).await;
    let left = world.count(unread).await;
    assert!(left < 452 && left > 250, "{left}");
    world.sql("DELETE FROM failing");
    line.stores(vec![read()]).await;
    assert_eq!(world.count(unread).await, 3, "the failed one, the later one and that of the other chat");
    for id in [&later, &other] {
        let chat = if id == &other { "15550100003" } else { BEN };
        assert_eq!(process.message(&account, chat, id).await.read, None);
    }
    // Each once, and from the oldest on.
    let events = process.entries(&account, "message.read").await;
    let ids: Vec<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), ids[0], ids[1], ids[450]), (451, first.as_str(), "filled 2", last.as_str()));
    // One that comes again looks at no earlier message.
    world.sql("UPDATE message SET read_at = NULL WHERE network_id = 'filled 2'");
    line.stores(vec![read()]).await;
    assert_eq!(world.count(unread).await, 4);
    line.stores(vec![receipt_up_to(BEN, &later, ReceiptKind::Read, 3)]).await;
    assert_eq!(process.entries(&account, "message.read").await.len(), 452);
    // Another device sends the message that the receipt in the same batch names.
    let unread = process.send(&account, BEN, "unread").await;
    process.until_message(&account, BEN, &unread, "sent").await;
    let elsewhere = UpstreamEvent::SentElsewhere {
        to: address(BEN),
        id: "elsewhere".to_owned(),
        content: Content::Text("from another device".to_owned()),
        reply_to: None,
        sent_at: windu::clock::now(),
    };
    line.stores(vec![incoming(elsewhere, 4), receipt_up_to(BEN, "elsewhere", ReceiptKind::Read, 5)]).await;
    for id in [unread.as_str(), "elsewhere"] {
        assert!(process.message(&account, BEN, id).await.read.is_some(), "{id}");
    }
}

#[tokio::test]
async fn a_receipt_for_a_message_that_failed_is_ignored() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let refused = windu::upstream::SendFailure::Refused(windu::domain::FailureReason::Refused);
    world.line(&account).plan_send("never", &[refused]);
    let Accepted::Queued(id) = process.try_send(&account, BEN, "never", A_DAY).await else { panic!() };
    process.until_message(&account, BEN, &id, "failed").await;
    world.line(&account).stores(vec![receipt(BEN, &id, ReceiptKind::Delivered, 1)]).await;
    assert_eq!(process.message(&account, BEN, &id).await.delivered, None);
}

#[tokio::test]
async fn read_receipts_are_sent_until_the_network_accepts_them() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.stores(vec![message(BEN, "m1", "one", 1), message(BEN, "m2", "two", 2)]).await;
    line.plan_fault("read", Fault::Fails(windu::upstream::Failure::Retry("not_now")));
    assert_eq!(process.mark_read(&account, BEN).await, 2);
    assert_eq!(process.mark_read(&account, BEN).await, 0);
    let read = Call::Read(["m1", "m2"].map(|id| (address(BEN).0, id.to_owned(), None)).to_vec());
    crate::support::wait::wait_until_async(
        "the second attempt",
        crate::support::wait::DEADLINE,
        async || (line.calls().iter().filter(|call| **call == read).count() == 2).then_some(()),
    )
    .await;
    world.until_count("SELECT count(*) FROM receipt_outbox", 0).await;
    let event = json!({"chat": BEN, "messages": 2, "unread": 0});
    assert_eq!(process.entries(&account, "chat.read").await, [event]);
}
