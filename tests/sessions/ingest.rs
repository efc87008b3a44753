//! Inbound events: storage, duplicates, and the resume point of the next connection.

use windu::domain::{Content, FailureReason, NeedsUser, ReceiptKind};
use windu::upstream::{End, UpstreamEvent};

use crate::scripted::{address, at, incoming, long_ago, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

const BEN: &str = "15550100002";

#[tokio::test]
async fn a_batch_is_stored_in_order_before_it_is_acknowledged() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let batch =
        (1..=50).map(|index| message(BEN, &format!("m{index}"), &format!("text {index}"), index)).collect();
    line.stores(batch).await;
    let texts: Vec<String> = (1..=50).map(|index| format!("text {index}")).collect();
    assert_eq!(process.texts(&account, BEN).await, texts);
    assert_eq!(line.acknowledged(), (1..=50).collect::<Vec<_>>());
    let received = process.entries(&account, "message.received").await;
    assert_eq!(received.len(), 50);
    assert_eq!(received[0], serde_json::json!({"chat": BEN, "id": "m1", "type": "t"}));
    let message = process.message(&account, BEN, "m1").await;
    assert_eq!((message.received, message.sent), (true, Some(long_ago())));
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_stored() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.stores(vec![at("one", message(BEN, "m1", "stored", 1))]).await;
    world.sql("ALTER TABLE message ADD CONSTRAINT broken CHECK (text <> 'refused')");
    assert!(line.receives(vec![at("two", message(BEN, "m2", "refused", 2))]).await);
    line.opened(2).await;
    process.until_state(&account, "online").await;
    assert_eq!(line.acknowledged(), [1]);
    assert_eq!(resumed(&line), [None, Some("one".to_owned())]);
    world.sql("ALTER TABLE message DROP CONSTRAINT broken");
    line.stores(vec![at("two", message(BEN, "m2", "refused", 2))]).await;
    assert_eq!(process.texts(&account, BEN).await, ["stored", "refused"]);
}

#[tokio::test]
async fn unstorable_events_are_dropped_and_noted_and_the_rest_is_stored() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let long: String = (0..400).map(|_| windu::secrets::random_id()).collect();
    let nul = || "a NUL: \0".to_owned();
    let unknown = UpstreamEvent::Undecryptable { from: address(BEN), id: "u\u{0}1".to_owned(), group: None };
    let mut batch: Vec<_> =
        (1..=20).map(|index| message(BEN, &format!("m{index}"), &format!("text {index}"), index)).collect();
    batch[2] = message(BEN, "m3", &nul(), 3);
    batch[6] = message(BEN, "m\u{0}7", "text 7", 7);
    batch[9] = message(BEN, &long, "text 10", 10);
    // This sender cannot be named.
    batch[10] = message(&nul(), "m11", "text 11", 11);
    batch[13] = incoming(
        UpstreamEvent::Profile { of: address(BEN), news: windu::domain::ProfileNews::Nickname(nul()) },
        14,
    );
    batch[14] = crate::scripted::receipt(BEN, &nul(), windu::domain::ReceiptKind::Read, 15);
    batch[15] = incoming(UpstreamEvent::ReadElsewhere { chat: address(BEN), id: nul() }, 16);
    batch[17] = incoming(unknown, 18);
    batch[18] = at("here", batch[18].clone());
    batch[19] = sent_elsewhere(BEN, "m20", &nul(), 20);
    line.stores(batch).await;
    let texts: Vec<_> = [1, 2, 4, 5, 6, 8, 9, 12, 13, 17, 19].map(|index| format!("text {index}")).into();
    assert_eq!(process.texts(&account, BEN).await, texts);
    let noted = process.entries(&account, "message.undecryptable").await;
    let expected =
        ["m3", "m7", &long[..255], "u1", "m20"].map(|id| serde_json::json!({"chat": BEN, "id": id}));
    assert_eq!(noted, expected);
    assert_eq!(line.acknowledged(), (1..=20).collect::<Vec<_>>());
    // The connection stays open, and the dropped events do not come again.
    assert_eq!(line.logins().len(), 1);
    line.ends(End::Retry("network_unreachable")).await;
    line.opened(2).await;
    assert_eq!(resumed(&line), [None, Some("here".to_owned())]);
}

#[tokio::test]
async fn an_unstorable_event_does_not_excuse_storable_ones() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let batch = || {
        vec![
            message(BEN, "m1", "stored", 1),
            message(BEN, "m2", "a NUL: \0", 2),
            at("here", message(BEN, "m3", "refused", 3)),
        ]
    };
    world.sql("ALTER TABLE message ADD CONSTRAINT broken CHECK (text <> 'refused')");
    assert!(line.receives(batch()).await);
    line.opened(2).await;
    process.until_state(&account, "online").await;
    assert_eq!(line.acknowledged(), [0; 0]);
    assert_eq!(resumed(&line), [None, None]);
    world.sql("ALTER TABLE message DROP CONSTRAINT broken");
    line.stores(batch()).await;
    assert_eq!(process.texts(&account, BEN).await, ["stored", "refused"]);
    assert_eq!(line.acknowledged(), [1, 2, 3]);
}

#[tokio::test]
async fn the_next_connection_resumes_after_what_was_stored() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.stores(vec![
        at("one", message(BEN, "m1", "1", 1)),
        at("two", message(BEN, "m2", "2", 2)),
        message(BEN, "m3", "3", 3),
    ])
    .await;
    line.ends(End::Retry("network_unreachable")).await;
    line.opened(2).await;
    process.until_state(&account, "online").await;
    line.stores(vec![message(BEN, "m4", "4", 4)]).await;
    line.ends(End::NeedsUser(NeedsUser::LoggedOut)).await;
    process.until_state(&account, "logged_out").await;
    // A fresh account on the network has no history to resume.
    process.register_again(&world, &account).await.unwrap();
    line.opened(3).await;
    assert_eq!(resumed(&line), [None, Some("two".to_owned()), None]);
}

#[tokio::test]
async fn a_duplicate_is_stored_once_and_acknowledged_again() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let first = message(BEN, "m1", "hello", 1);
    line.stores(vec![first.clone(), first.clone()]).await;
    line.stores(vec![first.clone()]).await;
    line.ends(End::Retry("network_unreachable")).await;
    line.opened(2).await;
    process.until_state(&account, "online").await;
    line.stores(vec![message(BEN, "m1", "hello", 7)]).await;
    assert_eq!(process.texts(&account, BEN).await, ["hello"]);
    assert_eq!(process.entries(&account, "message.received").await.len(), 1);
    assert_eq!(line.acknowledged(), [1, 1, 1, 7]);
    assert_eq!(world.read::<i32>(&account, "SELECT unread FROM chat WHERE account_id = $1").await, 1);
}

#[tokio::test]
async fn one_id_with_another_body_or_sender_is_another_message() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.stores(vec![
        message(BEN, "m1", "one", 1),
        message(BEN, "m1", "two", 2),
        message("15550100003", "m1", "one", 3),
        sent_elsewhere(BEN, "m1", "one", 4),
    ])
    .await;
    assert_eq!(process.texts(&account, BEN).await, ["one", "two", "one"]);
    assert_eq!(process.texts(&account, "15550100003").await, ["one"]);
}

#[tokio::test]
async fn a_message_from_another_device_is_outbound_and_may_be_a_duplicate() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let ours = process.send(&account, BEN, "from here").await;
    process.until_message(&account, BEN, &ours, "sent").await;
    line.stores(vec![sent_elsewhere(BEN, "e1", "from there", 1), sent_elsewhere(BEN, &ours, "from here", 2)])
        .await;
    assert_eq!(process.texts(&account, BEN).await, ["from here", "from there"]);
    let elsewhere = process.message(&account, BEN, "e1").await;
    assert_eq!(
        (elsewhere.received, elsewhere.state.name(), elsewhere.sent),
        (false, "sent", Some(long_ago()))
    );
    let events = process.entries(&account, "message.sent_elsewhere").await;
    assert_eq!(events, [serde_json::json!({"chat": BEN, "id": "e1"})]);
    assert_eq!(world.read::<i32>(&account, "SELECT unread FROM chat WHERE account_id = $1").await, 0);
}

#[tokio::test]
async fn a_read_on_another_device_marks_earlier_messages_without_receipts() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let batch = (1..=3).map(|index| message(BEN, &format!("m{index}"), "text", index)).collect();
    line.stores(batch).await;
    let read = |id: &str, number| {
        incoming(UpstreamEvent::ReadElsewhere { chat: address(BEN), id: id.to_owned() }, number)
    };
    line.stores(vec![read("m2", 4), read("unknown", 5), read("m2", 6)]).await;
    let read: Vec<bool> =
        process.messages(&account, BEN).await.iter().map(|one| one.read.is_some()).collect();
    assert_eq!(read, [true, true, false]);
    assert_eq!(world.read::<i32>(&account, "SELECT unread FROM chat WHERE account_id = $1").await, 1);
    assert_eq!(
        process.entries(&account, "chat.read").await,
        [serde_json::json!({"chat": BEN, "messages": 2, "unread": 1})]
    );
    assert_eq!(world.count("SELECT count(*) FROM receipt_outbox").await, 0);
}

#[tokio::test]
async fn history_is_stored_without_events() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let history = |from_us, id: &str, text: &str, number| {
        let (chat, content) = (address(BEN), Content::Text(text.to_owned()));
        let (id, sent_at) = (id.to_owned(), long_ago());
        incoming(UpstreamEvent::History { chat, from_us, participant: None, id, content, sent_at }, number)
    };
    let before = process.journal(&account).await.len();
    line.stores(vec![history(false, "h1", "theirs", 1), history(true, "h2", "ours", 2)]).await;
    // The same message live afterwards is a duplicate.
    line.stores(vec![message(BEN, "h1", "theirs", 3)]).await;
    assert_eq!(process.texts(&account, BEN).await, ["theirs", "ours"]);
    assert_eq!(process.journal(&account).await.len(), before);
}

#[tokio::test]
async fn a_message_that_is_refused_late_fails_unless_it_was_delivered() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    process.add_contact(&account, BEN, true).await;
    let (lost, arrived) =
        (process.send(&account, BEN, "lost").await, process.send(&account, BEN, "arrived").await);
    process.until_entries(&account, "message.sent", 2).await;
    let refused = |id: &str, number| {
        let (to, id) = (address(BEN), id.to_owned());
        let reason = FailureReason::RecipientGone;
        incoming(UpstreamEvent::Refused { to, id, group: None, reason }, number)
    };
    let delivered = UpstreamEvent::Receipt {
        from: address(BEN),
        id: arrived.clone(),
        kind: ReceiptKind::Delivered,
        group: None,
        up_to: false,
    };
    line.stores(vec![incoming(delivered, 1), refused(&arrived, 2), refused(&lost, 3), refused("unknown", 4)])
        .await;
    line.stores(vec![refused(&lost, 5)]).await;
    let failed = process.entries(&account, "message.failed").await;
    assert_eq!(failed, [serde_json::json!({"chat": BEN, "id": lost, "reason": "recipient_gone"})]);
}

#[tokio::test]
async fn an_undecryptable_message_is_published_and_not_stored() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.stores(vec![incoming(
        UpstreamEvent::Undecryptable { from: address(BEN), id: "u1".to_owned(), group: None },
        1,
    )])
    .await;
    let events = process.entries(&account, "message.undecryptable").await;
    assert_eq!(events, [serde_json::json!({"chat": BEN, "id": "u1"})]);
    assert_eq!(process.texts(&account, BEN).await, [""; 0]);
}

#[tokio::test]
async fn a_contact_that_writes_exists() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    process.add_contact(&account, BEN, false).await;
    let may_write = async || {
        let ben = BEN.parse().unwrap();
        let found = process
            .store
            .account_with_recipient(account.user, Some(&account.number), Some(&ben))
            .await
            .unwrap();
        found.unwrap().1.unwrap().allowed
    };
    assert!(!may_write().await);
    let line = world.line(&account);
    line.stores(vec![sent_elsewhere(BEN, "e1", "are you there?", 1)]).await;
    assert!(!may_write().await);
    line.stores(vec![message(BEN, "m1", "I am here", 2), message(BEN, "m2", "still", 3)]).await;
    assert!(may_write().await);
    assert!(process.store.contact(&account, BEN).await.unwrap().unwrap().exists);
    assert_eq!(process.entries(&account, "contact.updated").await, [serde_json::json!({"contact": BEN})]);
}

#[tokio::test]
async fn a_peer_without_a_number_has_a_public_id() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let mut incoming = message(BEN, "m1", "from elsewhere", 1);
    if let UpstreamEvent::Message { from, .. } = &mut incoming.event {
        from.0 = "15550100002@elsewhere".to_owned();
    }
    world.line(&account).stores(vec![incoming, message(BEN, "m2", "from here", 2)]).await;
    let chat = process.entries(&account, "message.received").await[0]["chat"].as_str().unwrap().to_owned();
    assert!(chat.strip_prefix('x').is_some_and(|digits| digits.parse::<u64>().is_ok()), "{chat}");
    assert_eq!(process.texts(&account, &chat).await, ["from elsewhere"]);
    assert_eq!(process.texts(&account, BEN).await, ["from here"]);
}

#[tokio::test]
async fn nicknames_are_stored_and_typing_is_not() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let before = process.journal(&account).await.len();
    let nickname = |name: &str, number| {
        incoming(
            UpstreamEvent::Profile {
                of: address(BEN),
                news: windu::domain::ProfileNews::Nickname(name.to_owned()),
            },
            number,
        )
    };
    let typing =
        UpstreamEvent::Typing { from: address(BEN), typing: windu::domain::Typing::Composing, group: None };
    line.stores(vec![nickname("Ben", 1), nickname("Benny", 2), incoming(typing, 3)]).await;
    assert_eq!(process.journal(&account).await.len(), before);
    line.stores(vec![message(BEN, "m1", "hello", 4)]).await;
    let page = windu::store::Page { limit: 9, offset: 0, after: chrono::DateTime::UNIX_EPOCH };
    let titled = async || {
        let chats = process.store.chats(&account, page).await.unwrap();
        (chats.iter().map(|chat| chat.title.as_str()).eq(["Benny"])).then_some(())
    };
    wait_until_async("the title", DEADLINE, titled).await;
}

fn sent_elsewhere(to: &str, id: &str, text: &str, number: u64) -> windu::upstream::Incoming {
    let content = Content::Text(text.to_owned());
    incoming(
        UpstreamEvent::SentElsewhere {
            to: address(to),
            id: id.to_owned(),
            content,
            reply_to: None,
            sent_at: long_ago(),
        },
        number,
    )
}

fn resumed(line: &crate::scripted::Line) -> Vec<Option<String>> {
    let points = line.logins().into_iter().map(|login| login.resume_point);
    points.map(|point| point.map(|point| String::from_utf8(point.0).unwrap())).collect()
}
