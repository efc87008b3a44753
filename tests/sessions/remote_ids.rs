//! A network that chooses the ids of the messages that it accepts: clients see ours.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::sync::Notify;
use windu::domain::{Account, Content, FailureReason, GroupChangeKind, OtherContent, ReceiptKind, What};
use windu::sessions::Timeouts;
use windu::store::{EarlyEvent, EarlyKind, Message, Settled, Settlement, StoredContent};
use windu::upstream::{Incoming, SendFailure, UpstreamEvent};

use crate::groups::{GROUP, group, news, within};
use crate::scripted::{Fault, Line, address, at, incoming, long_ago, message, receipt, receipt_up_to};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{Process, World};

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";
const CLEO: &str = "15550100003";

const EARLY: &str = "SELECT count(*) FROM early_event";

/// An account that is online on such a network.
struct Scene {
    world: World,
    process: Process,
    account: Account,
    line: Line,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        world.network.remote_ids.store(true, Ordering::Relaxed);
        let process = world.process();
        let account = process.online(&world, ANNA).await;
        let line = world.line(&account);
        Self { world, process, account, line }
    }

    /// A message that the network accepts under this id.
    async fn sent(&self, to: &str, text: &str, remote_id: &str) -> String {
        self.line.plan_remote_id(text, remote_id);
        let id = self.process.send(&self.account, to, text).await;
        self.process.until_message(&self.account, to, &id, "sent").await;
        id
    }

    /// A message that the network accepts under this id; the session hears of that when the test says so.
    async fn being_sent(&self, to: &str, text: &str, remote_id: &str) -> (String, Arc<Notify>) {
        self.line.plan_remote_id(text, remote_id);
        let gate = Arc::new(Notify::new());
        self.line.plan_fault("send", Fault::Waits(gate.clone()));
        (self.process.send(&self.account, to, text).await, gate)
    }

    async fn message(&self, id: &str) -> Message {
        self.process.message(&self.account, BEN, id).await
    }

    /// Waits until nothing is left that names an unknown message.
    async fn until_applied(&self) {
        self.world.until_count(EARLY, 0).await;
    }

    async fn until_read(&self, id: &str) {
        let read = async || self.message(id).await.read.map(drop);
        wait_until_async("the read receipt", DEADLINE, read).await;
    }

    async fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        self.process.entries(&self.account, kind).await
    }
}

fn text(text: &str) -> Content {
    Content::Text(text.to_owned())
}

fn refused(to: &str, id: &str, number: u64) -> Incoming {
    let (to, id, reason) = (address(to), id.to_owned(), FailureReason::RecipientGone);
    incoming(UpstreamEvent::Refused { to, id, group: None, reason }, number)
}

fn answer(from: &str, id: &str, reply_to: &str, number: u64) -> Incoming {
    let mut incoming = message(from, id, "an answer", number);
    if let UpstreamEvent::Message { reply_to: answered, .. } = &mut incoming.event {
        *answered = Some(reply_to.to_owned());
    }
    incoming
}

fn elsewhere(to: &str, id: &str, body: &str, number: u64) -> Incoming {
    let (to, id, sent_at) = (address(to), id.to_owned(), windu::clock::now());
    incoming(UpstreamEvent::SentElsewhere { to, id, content: text(body), reply_to: None, sent_at }, number)
}

fn history(chat: &str, id: &str, body: &str, number: u64) -> Incoming {
    let (chat, id, content) = (address(chat), id.to_owned(), text(body));
    let event = UpstreamEvent::History {
        chat,
        from_us: true,
        participant: None,
        id,
        content,
        sent_at: windu::clock::now(),
    };
    incoming(event, number)
}

fn read_elsewhere(chat: &str, id: &str, number: u64) -> Incoming {
    incoming(UpstreamEvent::ReadElsewhere { chat: address(chat), id: id.to_owned() }, number)
}

fn accepted(to: &str, id: &str, remote_id: &str, number: u64) -> Incoming {
    let (to, id, remote_id) = (address(to), id.to_owned(), remote_id.to_owned());
    incoming(UpstreamEvent::Accepted { to, id, remote_id }, number)
}

#[tokio::test]
async fn events_name_a_message_by_the_id_of_the_network() {
    let scene = Scene::new().await;
    let Scene { process, account, line, .. } = &scene;
    let first = scene.sent(BEN, "first", "r1").await;
    line.stores(vec![receipt(BEN, "r1", ReceiptKind::Delivered, 1)]).await;
    let delivered = scene.message(&first).await;
    assert!(delivered.delivered.is_some() && delivered.read.is_none(), "{delivered:?}");
    line.stores(vec![receipt(BEN, "r1", ReceiptKind::Read, 2)]).await;
    assert!(scene.message(&first).await.read.is_some());

    let late = scene.sent(BEN, "refused late", "r2").await;
    line.stores(vec![refused(BEN, "r2", 3)]).await;
    assert_eq!(scene.message(&late).await.failure.as_deref(), Some("recipient_gone"));

    line.stores(vec![message(BEN, "m1", "hello", 4)]).await;
    let third = scene.sent(BEN, "third", "r3").await;
    line.stores(vec![message(BEN, "m2", "not read", 5), read_elsewhere(BEN, "r3", 6)]).await;
    assert_eq!(scene.events("chat.read").await, [json!({"chat": BEN, "messages": 1, "unread": 1})]);

    line.stores(vec![answer(BEN, "m3", "r3", 7)]).await;
    assert_eq!(scene.message("m3").await.reply_to.as_ref(), Some(&third));

    let fourth = scene.sent(BEN, "fourth", "r4").await;
    line.stores(vec![receipt_up_to(BEN, "r4", ReceiptKind::Read, 8)]).await;
    for id in [&third, &fourth] {
        assert!(scene.message(id).await.read.is_some());
    }
    // By our id they are known, too.
    let fifth = scene.sent(BEN, "fifth", "r5").await;
    line.stores(vec![receipt(BEN, &fifth, ReceiptKind::Read, 9)]).await;
    assert!(scene.message(&fifth).await.read.is_some());

    let of = |id: &str| json!({"chat": BEN, "id": id});
    assert_eq!(
        scene.events("message.read").await,
        [of(&first), of(&third), of(&fourth), of(&fifth)],
        "clients see our ids"
    );
    let failed = json!({"chat": BEN, "id": late, "reason": "recipient_gone"});
    assert_eq!(scene.events("message.failed").await, [failed]);
    assert_eq!(scene.world.count(EARLY).await, 0);
    let journal = process.journal(account).await;
    let shown = |id: &str| journal.iter().any(|entry| entry.payload["id"] == id);
    assert!(!["r1", "r2", "r3", "r4", "r5"].into_iter().any(shown));
}

#[tokio::test]
async fn members_of_a_group_name_a_message_by_the_id_of_the_network() {
    let scene = Scene::new().await;
    let Scene { process, account, line, .. } = &scene;
    line.stores(vec![news(&group(1, "One", &[ANNA, BEN, CLEO]), GroupChangeKind::Created, &[], 1)]).await;
    line.plan_remote_id("one", "r1");
    line.plan_remote_id("two", "r2");
    let (one, two) = (process.send_into(account, "one").await, process.send_into(account, "two").await);
    let read = async |id: &str| process.group_message(account, id).await.read.is_some();
    line.stores(vec![within(receipt(BEN, "r1", ReceiptKind::Read, 2))]).await;
    assert!(!read(&one).await);
    line.stores(vec![within(receipt_up_to(CLEO, "r2", ReceiptKind::Read, 3))]).await;
    assert!(read(&one).await && !read(&two).await);
    line.stores(vec![within(receipt(BEN, "r2", ReceiptKind::Read, 4))]).await;
    assert!(read(&two).await);
    // One that is early, of each member; in the other chat with Ben the same id is nobody's.
    line.plan_remote_id("three", "r3");
    let gate = Arc::new(Notify::new());
    line.plan_fault("send", Fault::Waits(gate.clone()));
    let peer = process.store.group(account, &GROUP.parse().unwrap()).await.unwrap().unwrap().peer;
    let three = windu::secrets::random_id();
    let outgoing = windu::store::NewMessage {
        id: &three,
        peer: peer.id,
        named: true,
        chat: &windu::domain::ChatName::Group(GROUP.parse().unwrap()),
        content: &text("three"),
        time_to_live: crate::world::A_DAY,
        reservation: None,
    };
    process.store.accept_send(account, &outgoing, None).await.unwrap();
    line.stores(vec![
        within(receipt(BEN, "r3", ReceiptKind::Read, 5)),
        within(receipt_up_to(CLEO, "r3", ReceiptKind::Read, 6)),
        receipt(BEN, "r3", ReceiptKind::Read, 7),
    ])
    .await;
    assert!(!read(&three).await);
    assert_eq!(scene.world.count(EARLY).await, 3);
    gate.notify_one();
    scene.world.until_count(EARLY, 1).await;
    assert!(read(&three).await);
    let ids: Vec<_> =
        scene.events("message.read").await.into_iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids, [one, two, three]);
}

#[tokio::test]
async fn what_comes_before_the_outcome_waits_for_it() {
    let scene = Scene::new().await;
    let Scene { line, world, .. } = &scene;
    let earlier = scene.sent(BEN, "earlier", "r0").await;
    line.stores(vec![message(BEN, "m1", "hello", 1)]).await;
    let (id, gate) = scene.being_sent(BEN, "quick", "r1").await;
    line.stores(vec![
        receipt(BEN, "r1", ReceiptKind::Delivered, 2),
        receipt_up_to(BEN, "r1", ReceiptKind::Read, 3),
        read_elsewhere(BEN, "r1", 4),
        answer(BEN, "m2", "r1", 5),
        // From a stranger: it never counts.
        receipt(CLEO, "r1", ReceiptKind::Read, 6),
    ])
    .await;
    let waiting = scene.message(&id).await;
    assert_eq!((waiting.state.name(), waiting.delivered, waiting.read), ("queued", None, None));
    assert_eq!(scene.message("m2").await.reply_to.as_deref(), Some("r1"));
    assert_eq!(world.count(EARLY).await, 5);
    gate.notify_one();
    world.until_count(EARLY, 1).await;
    let message = scene.message(&id).await;
    assert_eq!(message.state.name(), "sent");
    assert!(message.delivered.is_some() && message.read.is_some(), "{message:?}");
    assert!(scene.message(&earlier).await.read.is_some());
    assert_eq!(scene.message("m2").await.reply_to.as_ref(), Some(&id));
    assert_eq!(scene.events("chat.read").await.len(), 1);
    let kinds = scene.process.kinds(&scene.account).await;
    let place = |wanted: &str| kinds.iter().rposition(|kind| kind == wanted);
    assert!(place("message.sent") < place("message.delivered"), "{kinds:?}");

    let (refused_late, gate) = scene.being_sent(BEN, "refused", "r2").await;
    line.stores(vec![refused(BEN, "r2", 7)]).await;
    gate.notify_one();
    let failed = scene.process.until_message(&scene.account, BEN, &refused_late, "failed").await;
    assert_eq!(failed.failure.as_deref(), Some("recipient_gone"));
}

/// A reaction is a message whose content refers to another one.
#[tokio::test]
async fn a_reaction_refers_to_our_id() {
    let scene = Scene::new().await;
    let Scene { line, process, account, .. } = &scene;
    let reaction = |id: &str, to: &str, number: u64| {
        let mut incoming = message(BEN, id, "", number);
        if let UpstreamEvent::Message { content, .. } = &mut incoming.event {
            let (text, refers_to) = ("+1".to_owned(), Some(to.to_owned()));
            *content = Content::Other(OtherContent { what: What::Reaction, text, refers_to });
        }
        incoming
    };
    let refers_to = async |id: &str| {
        let StoredContent::Known(Content::Other(other)) = scene.message(id).await.content else { panic!() };
        other.refers_to
    };
    let known = scene.sent(BEN, "known", "r1").await;
    line.stores(vec![reaction("m1", "r1", 1), reaction("m1", "r1", 2)]).await;
    line.stores(vec![reaction("m1", "r1", 3), reaction("m2", "m1", 4)]).await;
    assert_eq!((refers_to("m1").await, refers_to("m2").await), (Some(known), Some("m1".to_owned())));
    let (early, gate) = scene.being_sent(BEN, "early", "r2").await;
    line.stores(vec![reaction("m3", "r2", 5)]).await;
    assert_eq!(refers_to("m3").await.as_deref(), Some("r2"));
    gate.notify_one();
    scene.until_applied().await;
    line.stores(vec![reaction("m3", "r2", 6)]).await;
    assert_eq!(refers_to("m3").await, Some(early));
    assert_eq!(process.messages(account, BEN).await.len(), 5, "none is stored twice");
}

/// The network repeats what is not acknowledged, and our own send, too.
#[tokio::test]
async fn what_waits_for_an_outcome_is_stored_once() {
    let scene = Scene::new().await;
    let (id, gate) = scene.being_sent(BEN, "quick", "r1").await;
    for number in 1..4 {
        scene.line.stores(vec![receipt(BEN, "r1", ReceiptKind::Read, number)]).await;
    }
    assert_eq!(scene.world.count(EARLY).await, 1);
    gate.notify_one();
    scene.until_read(&id).await;
    assert_eq!(scene.events("message.read").await.len(), 1);
}

#[tokio::test]
async fn a_session_in_another_process_applies_what_an_earlier_one_stored() {
    let world = World::new().await;
    world.network.remote_ids.store(true, Ordering::Relaxed);
    let first = world.process();
    let account = first.online(&world, ANNA).await;
    let line = world.line(&account);
    line.plan_remote_id("quick", "r1");
    // The network accepts it, and the process ends before the session hears of that.
    line.plan_fault("send", Fault::Hangs);
    let id = first.send(&account, BEN, "quick").await;
    line.stores(vec![at("after", receipt(BEN, "r1", ReceiptKind::Read, 1))]).await;
    let lease = world.lease(&account).await;
    let second = world.process();
    world.sql(&format!(
        "UPDATE process SET heartbeat_at = now() - interval '16 seconds' WHERE id = {}",
        lease.process.0
    ));
    let read = async || second.message(&account, BEN, &id).await.read.map(drop);
    wait_until_async("the read receipt", DEADLINE, read).await;
    assert!(world.lease(&account).await.fence > lease.fence);
    assert_eq!(line.logins().last().unwrap().resume_point.as_ref().unwrap().0, b"after");
    world.until_count(EARLY, 0).await;
}

/// A process ended between the outcome and what was waiting for it.
#[tokio::test]
async fn a_session_begins_with_what_is_known_by_now() {
    let world = World::new().await;
    world.network.remote_ids.store(true, Ordering::Relaxed);
    let idle = world.idle_process(Timeouts::default());
    let account = idle.registered(&world, ANNA).await;
    let networks = [account.network.clone()];
    let killed = idle.store.join_process("killed", &networks).await.unwrap();
    let lease = idle.store.claim_leases(killed, &networks, 9).await.unwrap().remove(0);
    let id = idle.send(&account, BEN, "quick").await;
    let ben = idle.peer(&account, BEN).await.id;
    let what = EarlyKind::Receipt { kind: ReceiptKind::Read, up_to: false };
    let early = [EarlyEvent { chat: ben, from: ben, remote_id: "r1".to_owned(), what }];
    idle.store.note_early_events(&lease, &early).await.unwrap();
    let due = idle.store.due(&lease).await.unwrap().unwrap().messages.remove(0);
    let settled = Settled { remote_id: Some("r1".to_owned()), ..due.settled(Settlement::Sent) };
    idle.store.settle(&lease, vec![settled]).await.unwrap();
    assert_eq!(idle.message(&account, BEN, &id).await.read, None);
    idle.store.leave_process(killed).await.unwrap();
    let running = world.process();
    let read = async || running.message(&account, BEN, &id).await.read.map(drop);
    wait_until_async("the read receipt", DEADLINE, read).await;
    world.until_count(EARLY, 0).await;
}

#[tokio::test]
async fn the_network_may_report_an_id_among_its_events() {
    let scene = Scene::new().await;
    let Scene { line, process, account, .. } = &scene;
    // The receipt in the same batch comes first.
    let gate = Arc::new(Notify::new());
    line.plan_fault("send", Fault::Waits(gate.clone()));
    let id = process.send(account, BEN, "quick").await;
    line.stores(vec![receipt(BEN, "r1", ReceiptKind::Delivered, 1), accepted(BEN, &id, "r1", 2)]).await;
    let message = scene.message(&id).await;
    assert!(message.state.name() == "sent" && message.delivered.is_some(), "{message:?}");
    line.stores(vec![receipt(BEN, "r1", ReceiptKind::Read, 3), accepted(BEN, &id, "r1", 4)]).await;
    assert!(scene.message(&id).await.read.is_some());
    assert_eq!(scene.world.count("SELECT count(*) FROM outbox").await, 0);
    gate.notify_one();
    let next = process.send(account, BEN, "next").await;
    process.until_message(account, BEN, &next, "sent").await;
    // After an outcome without an id; and one that the network did not send to Ben.
    line.stores(vec![accepted(CLEO, &next, "r3", 5), accepted(BEN, &next, "r2", 6)]).await;
    line.stores(vec![receipt(BEN, "r2", ReceiptKind::Read, 7), accepted(BEN, "unknown", "r4", 8)]).await;
    assert!(scene.message(&next).await.read.is_some());
    let of = |id: &str| json!({"chat": BEN, "id": id});
    assert_eq!(scene.events("message.sent").await, [of(&id), of(&next)]);
    // A failed attempt that ends after the network has reported the opposite changes nothing.
    let gate = Arc::new(Notify::new());
    line.plan_fault("send", Fault::Waits(gate.clone()));
    line.plan_send("doubtful", &[SendFailure::Refused(FailureReason::Refused)]);
    let doubtful = process.send(account, BEN, "doubtful").await;
    line.stores(vec![accepted(BEN, &doubtful, "r5", 9)]).await;
    gate.notify_one();
    let last = process.send(account, BEN, "last").await;
    process.until_message(account, BEN, &last, "sent").await;
    assert_eq!(scene.message(&doubtful).await.state.name(), "sent");
}

#[tokio::test]
async fn a_message_of_the_account_under_its_remote_id_is_a_duplicate() {
    let scene = Scene::new().await;
    let Scene { line, process, account, .. } = &scene;
    scene.sent(BEN, "from here", "r1").await;
    line.stores(vec![
        elsewhere(BEN, "r1", "from here", 1),
        elsewhere(BEN, "r1", "as the network shows it", 2),
        history(BEN, "r1", "as its history shows it", 3),
        at("here", elsewhere(BEN, "r1", "from here", 4)),
    ])
    .await;
    assert_eq!(process.texts(account, BEN).await, ["from here"]);
    assert_eq!(scene.events("message.sent_elsewhere").await.len(), 0);
    assert_eq!(line.acknowledged(), [1, 2, 3, 4]);
    let resume = "SELECT resume_point FROM account WHERE id = $1";
    assert_eq!(scene.world.read::<Vec<u8>>(account, resume).await, b"here");
    // Not in another chat, and not of another id.
    line.stores(vec![elsewhere(CLEO, "r1", "to Cleo", 5), elsewhere(BEN, "r2", "from there", 6)]).await;
    assert_eq!(process.texts(account, CLEO).await, ["to Cleo"]);
    assert_eq!(process.texts(account, BEN).await, ["from here", "from there"]);
}

#[tokio::test]
async fn a_message_that_may_be_the_one_being_sent_is_held_back() {
    let scene = Scene::new().await;
    let Scene { line, process, account, world, .. } = &scene;
    let (id, gate) = scene.being_sent(BEN, "from here", "r1").await;
    let with_nul = "a NUL: \0";
    line.stores(vec![
        elsewhere(BEN, "r1", "as the network shows it", 1),
        elsewhere(BEN, "r2", "from there", 2),
        receipt(BEN, "r2", ReceiptKind::Read, 3),
        // It cannot be one that is being sent.
        elsewhere(CLEO, "r3", "to Cleo", 4),
        history(BEN, "r4", "before", 5),
        elsewhere(BEN, "r5", with_nul, 6),
    ])
    .await;
    assert_eq!(process.texts(account, BEN).await, ["from here"]);
    assert_eq!(process.texts(account, CLEO).await, ["to Cleo"]);
    gate.notify_one();
    scene.until_applied().await;
    assert_eq!(process.texts(account, BEN).await, ["from here", "from there", "before"]);
    assert!(scene.message("r2").await.read.is_some());
    assert_eq!(scene.message(&id).await.state.name(), "sent");
    let of = |chat: &str, id: &str| json!({"chat": chat, "id": id});
    assert_eq!(scene.events("message.sent_elsewhere").await, [of(CLEO, "r3"), of(BEN, "r2")]);

    // Old history is never held back.
    let gate = Arc::new(Notify::new());
    line.plan_fault("send", Fault::Waits(gate.clone()));
    process.send(account, BEN, "next").await;
    let old = UpstreamEvent::History {
        chat: address(BEN),
        from_us: true,
        participant: None,
        id: "r6".to_owned(),
        content: text("long ago"),
        sent_at: long_ago(),
    };
    line.stores(vec![incoming(old, 7)]).await;
    assert_eq!(process.texts(account, BEN).await.last().unwrap(), "long ago");
    // The network does not answer: after a minute it is certain enough that this one is of another device.
    line.stores(vec![elsewhere(BEN, "r7", "while it hangs", 8)]).await;
    assert_eq!(world.count(EARLY).await, 1);
    world.sql("UPDATE early_event SET noted_at = noted_at - interval '1 minute'");
    scene.until_applied().await;
    assert_eq!(process.texts(account, BEN).await.last().unwrap(), "while it hangs");
    gate.notify_one();
}

/// The outcome names no id of the network; what does comes behind the message itself.
#[tokio::test]
async fn a_message_that_was_sent_without_an_id_is_no_second_one() {
    let scene = Scene::new().await;
    let Scene { line, process, account, world, .. } = &scene;
    let sends = async |text: &str| {
        let id = process.send(account, BEN, text).await;
        process.until_message(account, BEN, &id, "sent").await;
        id
    };
    // In batches of their own, in one batch in either order, and under our id.
    let first = sends("first").await;
    line.stores(vec![elsewhere(BEN, "r1", "as the network shows it", 1)]).await;
    line.stores(vec![accepted(BEN, &first, "r1", 2)]).await;
    let second = sends("second").await;
    line.stores(vec![elsewhere(BEN, "r2", "as the network shows it", 3), accepted(BEN, &second, "r2", 4)])
        .await;
    let third = sends("third").await;
    world.sql("UPDATE message SET sent_at = sent_at - interval '1 hour'");
    line.stores(vec![accepted(BEN, &third, "r3", 5), elsewhere(BEN, "r3", "as the network shows it", 6)])
        .await;
    let fourth = sends("fourth").await;
    line.stores(vec![elsewhere(BEN, &fourth, "as the network shows it", 7)]).await;
    scene.until_applied().await;
    assert_eq!(process.texts(account, BEN).await, ["first", "second", "third", "fourth"]);
    assert_eq!(scene.events("message.sent_elsewhere").await.len(), 0);
    line.stores(vec![receipt(BEN, "r1", ReceiptKind::Read, 8), receipt(BEN, "r3", ReceiptKind::Read, 9)])
        .await;
    assert!(scene.message(&first).await.read.is_some() && scene.message(&third).await.read.is_some());
    // One that is accepted as none of ours is of another device.
    line.stores(vec![accepted(BEN, "unknown", "r5", 10), elsewhere(CLEO, "r5", "to Cleo", 11)]).await;
    line.stores(vec![accepted(CLEO, "unknown", "r6", 12), elsewhere(CLEO, "r6", "to Cleo, too", 13)]).await;
    scene.until_applied().await;
    assert_eq!(process.texts(account, CLEO).await, ["to Cleo", "to Cleo, too"]);
    // A network that never says an id holds others up for a minute.
    line.stores(vec![elsewhere(BEN, "r7", "from there", 14)]).await;
    assert_eq!(process.texts(account, BEN).await.len(), 4);
    world.sql("UPDATE message SET sent_at = sent_at - interval '1 minute'");
    scene.until_applied().await;
    assert_eq!(process.texts(account, BEN).await.last().unwrap(), "from there");
}

#[tokio::test]
async fn an_id_stays_with_the_first_message_that_got_it() {
    let scene = Scene::new().await;
    let Scene { line, process, account, .. } = &scene;
    let first = scene.sent(BEN, "first", "r1").await;
    let second = scene.sent(BEN, "second", "r1").await;
    // Two in one batch.
    let gate = Arc::new(Notify::new());
    line.plan_fault("send", Fault::Waits(gate.clone()));
    let hung = process.send(account, CLEO, "hung").await;
    for text in ["third", "fourth"] {
        line.plan_remote_id(text, "r3");
    }
    let third = process.send(account, BEN, "third").await;
    let fourth = process.send(account, BEN, "fourth").await;
    gate.notify_one();
    process.until_message(account, CLEO, &hung, "sent").await;
    process.until_message(account, BEN, &fourth, "sent").await;
    line.stores(vec![accepted(BEN, &second, "r1", 1), accepted(BEN, &first, "r9", 2)]).await;
    line.stores(vec![
        receipt(BEN, "r1", ReceiptKind::Read, 3),
        receipt(BEN, "r3", ReceiptKind::Read, 4),
        receipt(BEN, "r9", ReceiptKind::Read, 5),
    ])
    .await;
    let read = async |id: &str| scene.message(id).await.read.is_some();
    assert_eq!(
        (read(&first).await, read(&second).await, read(&third).await, read(&fourth).await),
        (true, false, true, false)
    );
    assert_eq!(line.logins().len(), 1, "the connection is the first one");
    // An id that cannot be stored does not harm the message, nor the session.
    for (text, id) in [("empty", String::new()), ("NUL", "a\0b".to_owned()), ("long", "r".repeat(256))] {
        let sent = scene.sent(BEN, text, &id).await;
        line.stores(vec![receipt(BEN, &id, ReceiptKind::Read, 6), accepted(BEN, &sent, &id, 7)]).await;
        assert_eq!(scene.message(&sent).await.read, None);
    }
    assert_eq!(line.logins().len(), 1);
}

#[tokio::test]
async fn an_id_is_one_of_its_chat() {
    let scene = Scene::new().await;
    let Scene { line, process, account, .. } = &scene;
    let ben = scene.sent(BEN, "to Ben", "1").await;
    let cleo = scene.sent(CLEO, "to Cleo", "1").await;
    line.stores(vec![receipt(CLEO, "1", ReceiptKind::Read, 1)]).await;
    assert!(process.message(account, CLEO, &cleo).await.read.is_some());
    assert_eq!(scene.message(&ben).await.read, None);
    line.stores(vec![receipt(BEN, "1", ReceiptKind::Read, 2)]).await;
    assert!(scene.message(&ben).await.read.is_some());
    // Of another account it is another one.
    let other = process.online(&scene.world, "15550100004").await;
    let line = scene.world.line(&other);
    line.plan_remote_id("to Ben, too", "1");
    let id = process.send(&other, BEN, "to Ben, too").await;
    process.until_message(&other, BEN, &id, "sent").await;
    line.stores(vec![receipt(BEN, "1", ReceiptKind::Read, 3)]).await;
    assert!(process.message(&other, BEN, &id).await.read.is_some());
}

#[tokio::test]
async fn invented_ids_fill_nothing() {
    let scene = Scene::new().await;
    let Scene { line, world, process, account, .. } = &scene;
    line.stores(vec![message(BEN, "m1", "hello", 1), message(CLEO, "m1", "hello", 2)]).await;
    // One that is still awaited.
    let (id, gate) = scene.being_sent(CLEO, "quick", "r1").await;
    line.stores(vec![receipt(CLEO, "r1", ReceiptKind::Read, 3)]).await;
    for round in 0..3 {
        let receipts = (0..150).map(|n| receipt(BEN, &format!("invented {round} {n}"), ReceiptKind::Read, 4));
        line.stores(receipts.collect()).await;
    }
    line.stores((0..250).map(|n| answer(BEN, &format!("a{n}"), &format!("n{n}"), 5)).collect()).await;
    assert_eq!(world.count(EARLY).await, 201, "the newest of each sender");
    let newest = "SELECT count(*) FROM early_event WHERE remote_id IN ('n50', 'n249', 'r1')";
    assert_eq!(world.count(newest).await, 3);
    gate.notify_one();
    let read = async || process.message(account, CLEO, &id).await.read.map(drop);
    wait_until_async("the read receipt", DEADLINE, read).await;

    // Of all senders together.
    let filled =
        "INSERT INTO early_event (account_id, peer_id, from_peer_id, remote_id, kind, details, fingerprint)
                  SELECT $1, p.id, p.id, 'filled ' || n, 'read_elsewhere', '{}', int4send(n)
                  FROM (SELECT id FROM peer LIMIT 1) p, generate_series(1, 10000) n";
    world.change(account, "DELETE FROM early_event WHERE account_id = $1").await;
    assert_eq!(world.change(account, filled).await, 10_000);
    line.stores((0..10).map(|n| receipt(CLEO, &format!("late {n}"), ReceiptKind::Read, 6)).collect()).await;
    assert_eq!(world.count(EARLY).await, 10_000);
    let left = "SELECT count(*) FROM early_event WHERE remote_id LIKE 'late %' OR remote_id IN ('filled 1', 'filled 10')";
    assert_eq!(world.count(left).await, 10, "the oldest are gone");
    let counted = "SELECT early_events FROM account WHERE id = $1";
    assert_eq!(world.read::<i32>(account, counted).await, 10_000);

    // With age, but no message of the account.
    world.sql(
        "UPDATE early_event SET noted_at = now() - interval '25 hours' WHERE id % 2 = 0;
               UPDATE early_event SET kind = 'message' WHERE remote_id = 'late 0' OR remote_id = 'late 1'",
    );
    while process.store.prune_early_events(1_000).await.unwrap() > 0 {}
    assert_eq!(world.count(EARLY).await, 5_001);
    assert_eq!(world.read::<i32>(account, counted).await, 5_001);
}

/// The rows go with the account.
#[tokio::test]
async fn nothing_is_left_of_a_removed_account() {
    let scene = Scene::new().await;
    let Scene { line, world, process, account, .. } = &scene;
    scene.sent(BEN, "first", "r1").await;
    line.stores(vec![receipt(BEN, "unknown", ReceiptKind::Read, 1)]).await;
    assert_eq!(world.count("SELECT count(*) FROM message_remote").await, 1);
    assert_eq!(world.count(EARLY).await, 1);
    let mut tx = process.store.begin().await.unwrap();
    tx.remove_account(account.id, account.counter).await.unwrap();
    tx.commit().await.unwrap();
    process.store.delete_all_removed().await.unwrap();
    for rest in [EARLY, "SELECT count(*) FROM message_remote", "SELECT count(*) FROM account"] {
        assert_eq!(world.count(rest).await, 0, "{rest}");
    }
}

#[tokio::test]
async fn a_network_that_takes_our_ids_stores_nothing_of_this() {
    let scene = Scene::new().await;
    let Scene { line, world, process, account, .. } = &scene;
    world.network.remote_ids.store(false, Ordering::Relaxed);
    let id = process.send(account, BEN, "first").await;
    process.until_message(account, BEN, &id, "sent").await;
    line.stores(vec![
        receipt(BEN, &id, ReceiptKind::Read, 1),
        receipt(BEN, "unknown", ReceiptKind::Read, 2),
        read_elsewhere(BEN, "unknown", 3),
        answer(BEN, "m1", "unknown", 4),
    ])
    .await;
    assert!(scene.message(&id).await.read.is_some());
    assert_eq!(world.count(EARLY).await, 0);
    assert_eq!(world.count("SELECT count(*) FROM message_remote").await, 0);
}
