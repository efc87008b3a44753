//! What networks tell of groups, and what is asked of them over an open connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use windu::domain::{Account, ChatName, GroupChangeKind, GroupId, ReceiptKind};
use windu::sessions::{AskError, GroupRefusal};
use windu::store::{GroupInfo, Message};
use windu::upstream::{
    Address, End, Failure, Group, GroupChange, GroupEdit, GroupFailure, Incoming, Member, UpstreamEvent,
};

use crate::scripted::{Asked, Opening, address, long_ago, message, receipt, told};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{Process, World};

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";
const CLEO: &str = "15550100003";
/// Groups are named by who made them and when.
const GROUP: &str = "15550100001-1466000000";

fn group_address() -> Address {
    Address("one@groups.scripted".to_owned())
}

/// The group at a revision, with these in it; the first is its admin.
fn group(revision: i64, subject: &str, members: &[&str]) -> Group {
    let members = members.iter().enumerate().map(|(place, number)| Member {
        address: address(number),
        admin: place == 0,
        since: long_ago(),
    });
    Group {
        address: group_address(),
        subject: subject.to_owned(),
        creator: Some(address(ANNA)),
        created_at: long_ago(),
        revision,
        photo: None,
        members: members.collect(),
    }
}

/// What an account is told when the group came to be like this.
fn news(group: &Group, kind: GroupChangeKind, who: &[&str], number: u64) -> Incoming {
    let change = GroupChange { kind, who: who.iter().map(|who| address(who)).collect() };
    let event = UpstreamEvent::GroupChanged {
        group: Arc::new(group.clone()),
        revision: group.revision,
        subject: group.subject.clone(),
        changes: vec![change],
    };
    told(event, number)
}

/// The same, said in the group.
fn within(incoming: Incoming) -> Incoming {
    let mut incoming = incoming;
    if let UpstreamEvent::Message { group, .. } | UpstreamEvent::Receipt { group, .. } = &mut incoming.event {
        *group = Some(group_address());
    }
    incoming
}

impl Process {
    async fn groups(&self, account: &Account) -> Vec<GroupInfo> {
        self.store.groups(account, None).await.unwrap()
    }

    async fn change(&self, account: &Account, wish: GroupEdit) -> Result<GroupId, AskError> {
        self.sessions.change_group(account.id, group_address(), wish, None).await
    }

    /// A message that the account said in the group, as it is listed.
    async fn said(&self, account: &Account, id: &str) -> Message {
        self.message(account, GROUP, id).await
    }

    async fn send_into(&self, account: &Account, text: &str) -> String {
        let id: GroupId = GROUP.parse().unwrap();
        let group = self.store.group(account, &id).await.unwrap().expect("the group");
        let content = windu::domain::Content::Text(text.to_owned());
        let outgoing = windu::store::NewMessage {
            id: &windu::secrets::random_id(),
            peer: group.peer.id,
            named: true,
            chat: &ChatName::Group(id),
            content: &content,
            time_to_live: crate::world::A_DAY,
        };
        let accepted = self.store.accept_send(account, &outgoing, None).await.unwrap();
        let windu::store::Accepted::Queued(id) = accepted else { panic!("{accepted:?}") };
        self.until_message(account, GROUP, &id, "sent").await;
        id
    }
}

#[tokio::test]
async fn what_is_told_of_a_group_is_stored_once_and_never_goes_back() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.online(&world, ANNA).await, process.online(&world, BEN).await);
    let line = world.line(&anna);
    let (first, second) = (group(1, "One", &[ANNA, BEN]), group(2, "Two", &[ANNA, BEN, CLEO]));
    let made = news(&first, GroupChangeKind::Created, &[], 1);
    let added = news(&second, GroupChangeKind::Added, &[CLEO], 2);
    line.stores(vec![made.clone(), added.clone()]).await;
    // Told again, together and alone; and late, from an account that hears of it only now.
    line.stores(vec![made.clone(), added.clone()]).await;
    line.stores(vec![made.clone()]).await;
    world.line(&ben).stores(vec![made]).await;
    for account in [&anna, &ben] {
        let groups = process.groups(account).await;
        assert_eq!(groups.len(), 1);
        assert_eq!((groups[0].id.as_str(), groups[0].subject.as_str()), (GROUP, "Two"));
        assert_eq!((groups[0].creator.as_deref(), groups[0].created_at), (Some(ANNA), long_ago()));
        assert_eq!(
            (&groups[0].participants[..], &groups[0].admins[..]),
            (&[ANNA, BEN, CLEO].map(String::from)[..], &[ANNA.to_owned()][..])
        );
    }
    assert_eq!(process.entries(&anna, "group.created").await, [json!({"group": GROUP})]);
    let expected = json!({"group": GROUP, "change": "added", "participants": [CLEO]});
    assert_eq!(process.entries(&anna, "group.changed").await, [expected]);
    assert_eq!(process.entries(&ben, "group.changed").await, [] as [serde_json::Value; 0]);
    // Kept once, for however many of its members are here.
    assert_eq!(world.count("SELECT count(*) FROM chat_group").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM group_member").await, 3);
}

#[tokio::test]
async fn an_account_is_in_a_group_when_it_was_told_so() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.online(&world, ANNA).await, process.online(&world, BEN).await);
    let made = group(1, "One", &[ANNA, BEN]);
    world.line(&anna).stores(vec![news(&made, GroupChangeKind::Created, &[], 1)]).await;
    let id: GroupId = GROUP.parse().unwrap();
    let inside = async |account: &Account| process.store.group(account, &id).await.unwrap().unwrap().inside;
    assert_eq!((inside(&anna).await, inside(&ben).await), (true, false));
    assert_eq!(process.groups(&ben).await.len(), 0);
    world.line(&ben).stores(vec![news(&made, GroupChangeKind::Created, &[], 1)]).await;
    assert!(inside(&ben).await);
    let without = group(2, "One", &[ANNA]);
    world.line(&anna).stores(vec![news(&without, GroupChangeKind::Removed, &[BEN], 2)]).await;
    assert_eq!((inside(&anna).await, inside(&ben).await), (true, false));
}

#[tokio::test]
async fn a_groups_messages_are_stored_with_who_wrote_them() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.online(&world, ANNA).await;
    let line = world.line(&anna);
    let made = group(1, "One", &[ANNA, BEN, CLEO]);
    // The news and what is said in the group come in one batch; the same id of two people is two messages.
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
    line.stores(vec![told(elsewhere, 5), told(history, 6)]).await;
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
    // Read receipts name the writer and the group.
    assert_eq!(process.mark_read(&anna, GROUP).await, 3);
    let read = [(BEN, "g1"), (CLEO, "g1"), (CLEO, "g0")];
    let read = read.map(|(to, id)| (address(to).0, id.to_owned(), Some(group_address().0)));
    line.was_asked(&Asked::Read(read.to_vec())).await;
    assert_eq!(process.mark_read(&anna, BEN).await, 1);
    line.was_asked(&Asked::Read(vec![(address(BEN).0, "m1".to_owned(), None)])).await;
    // Whom the account wants to hear of are people.
    let watched = line.asked().into_iter().rev().find_map(|asked| match asked {
        Asked::Watch(peers) => Some(peers),
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
    // Twice of one, of somebody who is no member, and one that names no group, make no two.
    line.stores(vec![
        of(BEN, ReceiptKind::Delivered, 2),
        of(BEN, ReceiptKind::Delivered, 3),
        of("15550100009", ReceiptKind::Read, 4),
        of(ANNA, ReceiptKind::Read, 5),
        receipt(CLEO, &id, ReceiptKind::Read, 6),
    ])
    .await;
    assert_eq!(process.said(&anna, &id).await.delivered, None);
    line.stores(vec![of(CLEO, ReceiptKind::Read, 7)]).await;
    let stored = process.said(&anna, &id).await;
    assert!(stored.delivered.is_some() && stored.read.is_none(), "{stored:?}");
    line.stores(vec![of(BEN, ReceiptKind::Read, 8), of(CLEO, ReceiptKind::Delivered, 9)]).await;
    let read = process.said(&anna, &id).await;
    assert!(read.delivered == stored.delivered && read.read > stored.delivered, "{read:?}");
    line.stores(vec![of(BEN, ReceiptKind::Read, 10)]).await;
    assert_eq!(process.said(&anna, &id).await.read, read.read);
    let event = json!({"chat": GROUP, "id": id});
    assert_eq!(process.entries(&anna, "message.delivered").await, std::slice::from_ref(&event));
    assert_eq!(process.entries(&anna, "message.read").await, [event]);
    // Nothing more is kept of what all have read.
    assert_eq!(world.count("SELECT count(*) FROM message_receipt").await, 0);
}

#[tokio::test]
async fn who_leaves_is_not_waited_for_and_who_comes_later_neither() {
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
    assert_eq!(process.said(&anna, &id).await.delivered, None);
    let mut smaller = group(3, "One", &[ANNA, BEN, "15550100004"]);
    smaller.members[2].since = larger.members[3].since;
    line.stores(vec![news(&smaller, GroupChangeKind::Left, &[CLEO], 4)]).await;
    let stored = process.said(&anna, &id).await;
    assert!(stored.delivered.is_some() && stored.delivered == stored.read, "{stored:?}");
    assert_eq!(process.said(&anna, &nobody).await.delivered, None);
    // Alone, there is nobody who could have it.
    line.stores(vec![news(&group(4, "One", &[ANNA]), GroupChangeKind::Left, &[BEN], 5)]).await;
    assert_eq!(process.said(&anna, &nobody).await.delivered, None);
    assert_eq!(process.entries(&anna, "message.read").await.len(), 1);
}

#[tokio::test]
async fn a_group_is_made_and_changed_over_the_open_connection() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.online(&world, ANNA).await;
    let line = world.line(&anna);
    line.plan_group(Ok(group(1, "One", &[ANNA, BEN])));
    let made = process.sessions.create_group(anna.id, "One".to_owned(), vec![address(BEN)], None).await;
    assert_eq!(made.unwrap().as_str(), GROUP);
    // At once, before the network tells of it.
    assert_eq!(process.groups(&anna).await[0].participants, [ANNA, BEN]);
    assert_eq!(process.entries(&anna, "group.created").await.len(), 0);
    line.stores(vec![news(&group(1, "One", &[ANNA, BEN]), GroupChangeKind::Created, &[], 1)]).await;
    assert_eq!(process.entries(&anna, "group.created").await.len(), 1);

    line.plan_group(Ok(group(2, "Two", &[ANNA, BEN])));
    let wish = GroupEdit::Subject { subject: "Two".to_owned() };
    process.change(&anna, wish.clone()).await.unwrap();
    assert_eq!(process.groups(&anna).await[0].subject, "Two");
    let operations: Vec<String> = line
        .asked()
        .into_iter()
        .filter_map(|asked| match asked {
            Asked::CreateGroup { operation, subject, members } => {
                assert_eq!((subject.as_str(), members), ("One", vec![address(BEN).0]));
                Some(operation)
            }
            Asked::ChangeGroup { operation, group, wish: asked } => {
                assert_eq!((group, asked), (group_address().0, wish.clone()));
                Some(operation)
            }
            _ => None,
        })
        .collect();
    assert!(operations.len() == 2 && operations[0] != operations[1], "{operations:?}");

    for (failure, expected) in [
        (GroupFailure::NotInGroup, GroupRefusal::NotInGroup),
        (GroupFailure::NotAnAdmin, GroupRefusal::NotAnAdmin),
        (GroupFailure::NotAMember, GroupRefusal::NotAMember),
        (GroupFailure::TooLarge, GroupRefusal::TooLarge),
        (
            GroupFailure::CannotAdd(vec![address(CLEO)]),
            GroupRefusal::CannotAdd { who: vec![CLEO.to_owned()] },
        ),
    ] {
        line.plan_group(Err(failure));
        let refused = process.change(&anna, wish.clone()).await;
        assert!(matches!(&refused, Err(AskError::Group(why)) if *why == expected), "{refused:?}");
    }
    line.plan_group(Err(Failure::OutcomeUnknown.into()));
    assert!(matches!(process.change(&anna, wish.clone()).await, Err(AskError::OutcomeUnknown)));
    line.plan_group(Err(Failure::Refused("no".to_owned()).into()));
    assert!(matches!(process.change(&anna, wish.clone()).await, Err(AskError::Refused(_))));
    line.plan_group(Err(Failure::Unsupported("change groups").into()));
    assert!(matches!(process.change(&anna, wish).await, Err(AskError::Unsupported(_))));
    assert_eq!(process.groups(&anna).await[0].subject, "Two");
}

#[tokio::test]
async fn what_is_asked_of_a_group_waits_a_while_for_a_connection() {
    let world = World::new().await;
    let process = world.process();
    let number = ANNA.parse().unwrap();
    world.network.line(&number).plan(&[Opening::Fails(End::Retry("not_yet"))]);
    let anna = process.registered(&world, ANNA).await;
    let line = world.line(&anna);
    line.plan_group(Ok(group(1, "One", &[ANNA])));
    // The second attempt comes within a second.
    process.sessions.create_group(anna.id, "One".to_owned(), Vec::new(), None).await.unwrap();

    process.until_state(&anna, "online").await;
    line.plan(&[Opening::Hangs]);
    line.ends(End::Retry("gone")).await;
    process.until_state(&anna, "connecting").await;
    let began = Instant::now();
    let refused = process.change(&anna, GroupEdit::Leave).await;
    assert!(matches!(refused, Err(AskError::NotNow { .. })), "{refused:?}");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(4) && waited < Duration::from_secs(15), "{waited:?}");
    assert!(!line.asked().iter().any(|asked| matches!(asked, Asked::ChangeGroup { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_that_hear_the_same_do_not_stand_in_each_others_way() {
    let world = World::new().await;
    let (one, two) = (world.process(), world.process());
    let numbers: Vec<String> = (0..20).map(|place| format!("155501001{place:02}")).collect();
    let mut accounts = Vec::new();
    for (place, number) in numbers.iter().enumerate() {
        let process = if place % 2 == 0 { &one } else { &two };
        accounts.push(process.online(&world, number).await);
    }
    let names: Vec<&str> = numbers.iter().map(String::as_str).collect();
    for revision in 1..=10 {
        let now = group(revision, &format!("Subject {revision}"), &names);
        let kind = if revision == 1 { GroupChangeKind::Created } else { GroupChangeKind::Subject };
        let event = news(&now, kind, &[], revision.unsigned_abs());
        for account in &accounts {
            assert!(world.line(account).happens(vec![event.clone()]).await);
        }
    }
    for account in &accounts {
        one.until_entries(account, "group.changed", 9).await;
        assert_eq!(one.entries(account, "group.changed").await.len(), 9);
        assert_eq!(one.groups(account).await[0].subject, "Subject 10");
        assert_eq!(world.line(account).logins().len(), 1, "a session had to connect again");
    }
    assert_eq!(world.count("SELECT count(*) FROM peer WHERE kind = 'group'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_groups_of_one_moment_have_ids_of_their_own() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.online(&world, ANNA).await;
    for place in 0..5 {
        let mut made = group(1, "One", &[ANNA]);
        made.address = Address(format!("{place}@groups.scripted"));
        let event = news(&made, GroupChangeKind::Created, &[], place + 1);
        world.line(&anna).stores(vec![event]).await;
    }
    let groups = process.groups(&anna).await;
    let mut ids: Vec<&str> = groups.iter().map(|group| group.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|id| id.parse::<GroupId>().is_ok()), "{ids:?}");
}

/// How long the local network's largest group takes, for the report.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_group_is_made_and_a_message_reaches_all() {
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
    let told = "SELECT count(*) FROM event WHERE kind = 'group.created'";
    let until = async |statement: &'static str, count: i64| {
        wait_until_async(statement, DEADLINE * 6, async || {
            (world.count(statement).await == count).then_some(())
        })
        .await;
    };
    until(told, 1_024).await;
    let heard = began.elapsed();

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
    };
    process.store.accept_send(&anna, &outgoing, None).await.unwrap();
    until("SELECT count(*) FROM message WHERE network_id = 'to-all' AND state = 'received'", 1_023).await;
    let received = began.elapsed();
    process.until_entries(&anna, "message.delivered", 1).await;
    let delivered = began.elapsed();
    println!(
        "1,024 participants: made in {made:?}, all heard of it in {heard:?}; a message reached all in {received:?} and was delivered in {delivered:?}"
    );
    // A hundred times as many rows would be a group's own cost times its members.
    assert_eq!(world.count("SELECT count(*) FROM group_member").await, 1_024);
}
