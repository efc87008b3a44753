//! Groups: creation, changes, and messages.

use std::sync::Arc;

use windu::domain::GroupChangeKind::{self, Added, Created, Left, Removed};
use windu::domain::{FailureReason, ReceiptKind, Typing};
use windu::upstream::{
    Address, Failure, Group, GroupChange, GroupEdit, GroupFailure, ReadReceipt, SendFailure, UpstreamEvent,
};

use crate::network::Network;
use crate::phone::{Line, Phone};

/// Three people who are connected.
async fn three(network: &impl Network) -> ([Phone; 3], [Line; 3]) {
    let phones = [Phone::new(network).await, Phone::new(network).await, Phone::new(network).await];
    let lines = [phones[0].online().await, phones[1].online().await, phones[2].online().await];
    (phones, lines)
}

/// The group of the first one with the others; all have received the event.
async fn group_of_three(phones: &[Phone; 3], lines: &mut [Line; 3]) -> Address {
    let members = [phones[1].address(), phones[2].address()];
    let made = lines[0].connection.create_group("make", "Three", &members).await.unwrap();
    for line in lines {
        assert_eq!(line.group_event().await.changes, [created(&phones[0])]);
    }
    made.address
}

/// A change of a group, as a connection received it.
struct GroupEvent {
    group: Arc<Group>,
    revision: i64,
    subject: String,
    changes: Vec<GroupChange>,
}

impl Line {
    /// The next event as a group event, stored.
    async fn group_event(&mut self) -> GroupEvent {
        match self.take().await {
            UpstreamEvent::GroupChanged { group, revision, subject, changes } => {
                assert!(group.revision >= revision && revision > 0);
                GroupEvent { group, revision, subject, changes }
            }
            other => panic!("news of a group were expected, not {other:?}"),
        }
    }

    /// The next event as a message, stored: the group, the sender and its id.
    async fn group_message(&mut self) -> (Option<Address>, Address, String) {
        match self.take().await {
            UpstreamEvent::Message { from, id, group, .. } => (group, from, id),
            other => panic!("a message was expected, not {other:?}"),
        }
    }

    async fn edit_group(
        &self,
        operation: &str,
        group: &Address,
        edit: GroupEdit,
    ) -> Result<Group, GroupFailure> {
        self.connection.change_group(operation, group, &edit).await
    }
}

fn created(by: &Phone) -> GroupChange {
    change(GroupChangeKind::Created, &[], by)
}

fn change(kind: GroupChangeKind, who: &[&Phone], by: &Phone) -> GroupChange {
    GroupChange { kind, who: who.iter().map(|who| who.address()).collect(), by: Some(by.address()) }
}

/// The members and the admins.
fn members(group: &Group) -> (Vec<Address>, Vec<Address>) {
    let admins = group.members.iter().filter(|member| member.admin);
    let all = group.members.iter();
    (
        all.map(|member| member.address.clone()).collect(),
        admins.map(|member| member.address.clone()).collect(),
    )
}

pub async fn a_group_is_created_and_all_members_are_notified(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let [anna, ben, cleo] = &phones;
    let before = windu::clock::now() - chrono::TimeDelta::minutes(1);
    // The own number and repetitions change nothing.
    let asked = [ben.address(), anna.address(), cleo.address(), ben.address()];
    let made = lines[0].connection.create_group("make", "Three", &asked).await.unwrap();
    assert_eq!((made.subject.as_str(), &made.creator), ("Three", &Some(anna.address())));
    assert!(made.created_at > before, "{}", made.created_at);
    let all = vec![anna.address(), ben.address(), cleo.address()];
    assert_eq!(members(&made), (all, vec![anna.address()]));
    assert!(anna.connector.is_group(&made.address) && !anna.connector.is_group(&ben.address()));
    assert_eq!(anna.connector.number_of(&made.address), None);
    for line in &mut lines {
        let event = line.group_event().await;
        assert_eq!(
            (&*event.group, event.subject.as_str(), event.changes),
            (&made, "Three", vec![created(anna)])
        );
    }
}

pub async fn unknown_numbers_cannot_be_added(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let [anna, ben, _] = &phones;
    let nobody = [network.number(), network.number()].map(|number| anna.connector.address_of(&number));
    let asked = [ben.address(), nobody[0].clone(), nobody[1].clone()];
    let refused = lines[0].connection.create_group("make", "None", &asked).await;
    assert_eq!(refused, Err(GroupFailure::CannotAdd(nobody.to_vec())));
    let group = group_of_three(&phones, &mut lines).await;
    let refused = lines[0].edit_group("add", &group, GroupEdit::Add { who: nobody.to_vec() }).await;
    assert_eq!(refused, Err(GroupFailure::CannotAdd(nobody.to_vec())));
    // The refused group sent no event.
    lines[0].edit_group("subject", &group, GroupEdit::Subject { subject: "New".to_owned() }).await.unwrap();
    assert_eq!(lines[1].group_event().await.subject, "New");
}

pub async fn a_person_who_has_blocked_the_account_cannot_be_added(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let [anna, ben, cleo] = &phones;
    let nobody = anna.connector.address_of(&network.number());
    lines[1].connection.set_blocked(&[anna.address()]).await.unwrap();
    let asked = [ben.address(), cleo.address(), nobody.clone()];
    let cannot_add = vec![ben.address(), nobody];
    let refused = lines[0].connection.create_group("all", "All", &asked).await;
    assert_eq!(refused, Err(GroupFailure::CannotAdd(cannot_add.clone())));
    assert_eq!(lines[0].connection.not_addable(&asked).await, Ok(cannot_add));
    let made = lines[0].connection.create_group("two", "Two", &[cleo.address()]).await.unwrap();
    let add = GroupEdit::Add { who: vec![ben.address()] };
    let refused = lines[0].edit_group("add", &made.address, add.clone()).await;
    assert_eq!(refused, Err(GroupFailure::CannotAdd(vec![ben.address()])));
    // Neither a group nor a message reached Ben: the next event is of the group that he makes with the blocked one.
    lines[0].send(&made.address, "g1", "without Ben").await.unwrap();
    let own = lines[1].connection.create_group("own", "Ben's", &[anna.address()]).await.unwrap();
    assert_eq!(lines[1].group_event().await.group.address, own.address);
    lines[1].connection.set_blocked(&[]).await.unwrap();
    let added = lines[0].edit_group("add", &made.address, add).await.unwrap();
    assert_eq!(members(&added).0, [anna.address(), cleo.address(), ben.address()]);
}

pub async fn a_group_message_reaches_all_others(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let group = group_of_three(&phones, &mut lines).await;
    lines[0].send(&group, "g1", "Hello, all").await.unwrap();
    lines[0].send(&phones[1].address(), "m1", "Hello, Ben").await.unwrap();
    for line in &mut lines[1..] {
        assert_eq!(line.group_message().await, (Some(group.clone()), phones[0].address(), "g1".to_owned()));
    }
    assert_eq!(lines[1].group_message().await, (None, phones[0].address(), "m1".to_owned()));
    lines[2].send(&group, "g2", "Hello, Anna").await.unwrap();
    assert_eq!(lines[1].group_message().await, (Some(group.clone()), phones[2].address(), "g2".to_owned()));
    // The sender does not get its own message back: after the receipts, Cleo's message is next.
    let [line, ..] = &mut lines;
    let mut receipts = 0;
    loop {
        match line.take().await {
            UpstreamEvent::Receipt { .. } => receipts += 1,
            UpstreamEvent::Message { from, id, group: Some(_), .. } => {
                break assert_eq!((from, id.as_str()), (phones[2].address(), "g2"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(receipts <= 3);
}

pub async fn all_members_receive_messages_in_the_same_order(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let group = group_of_three(&phones, &mut lines).await;
    let watching = Phone::new(network).await;
    let other = Phone::new(network).await;
    let (mut of_watching, mut of_other) = (watching.online().await, other.online().await);
    let who = vec![watching.address(), other.address()];
    lines[0].edit_group("add", &group, GroupEdit::Add { who }).await.unwrap();
    of_watching.group_event().await;
    of_other.group_event().await;
    let say = async |line: &Line, name: &str| {
        for index in 0..20 {
            line.send(&group, &format!("{name}{index}"), "text").await.unwrap();
        }
    };
    tokio::join!(say(&lines[0], "a"), say(&lines[1], "b"), say(&lines[2], "c"));
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        one.push(of_watching.group_message().await.2);
        two.push(of_other.group_message().await.2);
    }
    assert_eq!(one, two);
    for name in ["a", "b", "c"] {
        let own: Vec<&String> = one.iter().filter(|id| id.starts_with(name)).collect();
        assert!(own.into_iter().eq(&(0..20).map(|index| format!("{name}{index}")).collect::<Vec<_>>()));
    }
}

pub async fn members_are_added_promoted_demoted_and_removed(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let [anna, ben, cleo] = &phones;
    let made = lines[0].connection.create_group("make", "Two", &[ben.address()]).await.unwrap();
    let group = &made.address;
    for line in &mut lines[..2] {
        line.group_event().await;
    }
    let add = GroupEdit::Add { who: vec![cleo.address(), ben.address()] };
    assert_eq!(lines[1].edit_group("by-ben", group, add.clone()).await, Err(GroupFailure::NotAnAdmin));
    assert_eq!(lines[2].edit_group("by-cleo", group, add.clone()).await, Err(GroupFailure::NotInGroup));
    let added = lines[0].edit_group("add", group, add).await.unwrap();
    assert_eq!(members(&added).0, [anna.address(), ben.address(), cleo.address()]);
    assert!(added.revision > made.revision);
    for line in &mut lines {
        let event = line.group_event().await;
        assert_eq!(event.changes, [change(GroupChangeKind::Added, &[cleo], anna)]);
        assert_eq!(*event.group, added);
    }
    // An edit without a change sends no event.
    let same =
        lines[0].edit_group("again", group, GroupEdit::Add { who: vec![cleo.address()] }).await.unwrap();
    assert_eq!(same, added);

    let promoted =
        lines[0].edit_group("promote", group, GroupEdit::Promote { who: ben.address() }).await.unwrap();
    assert_eq!(members(&promoted).1, [anna.address(), ben.address()]);
    let demoted =
        lines[1].edit_group("demote", group, GroupEdit::Demote { who: anna.address() }).await.unwrap();
    assert_eq!(members(&demoted).1, [ben.address()]);
    let removed =
        lines[1].edit_group("remove", group, GroupEdit::Remove { who: anna.address() }).await.unwrap();
    assert_eq!(members(&removed).0, [ben.address(), cleo.address()]);
    let mut revisions = Vec::new();
    for kind in [GroupChangeKind::Promoted, GroupChangeKind::Demoted, GroupChangeKind::Removed] {
        let (who, by) = if kind == GroupChangeKind::Promoted { (ben, anna) } else { (anna, ben) };
        for line in &mut lines {
            let event = line.group_event().await;
            assert_eq!(event.changes, [change(kind, &[who], by)]);
            revisions.push(event.revision);
        }
    }
    assert!(revisions.is_sorted(), "{revisions:?}");
    for (operation, edit) in [
        ("no-remove", GroupEdit::Remove { who: anna.address() }),
        ("no-promote", GroupEdit::Promote { who: anna.address() }),
        ("no-demote", GroupEdit::Demote { who: anna.address() }),
    ] {
        assert_eq!(lines[1].edit_group(operation, group, edit).await, Err(GroupFailure::NotAMember));
    }
    // A removed member neither receives nor sends.
    lines[1].send(group, "g1", "without Anna").await.unwrap();
    assert_eq!(lines[2].group_message().await.2, "g1");
    let refused = Err(SendFailure::Refused(FailureReason::Refused));
    assert_eq!(lines[0].send(group, "g2", "still here?").await, refused);
    lines[1].send(&anna.address(), "m1", "to Anna alone").await.unwrap();
    assert_eq!(lines[0].group_message().await, (None, ben.address(), "m1".to_owned()));
}

pub async fn every_member_may_change_the_subject(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let group = group_of_three(&phones, &mut lines).await;
    let edit = GroupEdit::Subject { subject: "日本 🦆".to_owned() };
    let changed = lines[2].edit_group("subject", &group, edit.clone()).await.unwrap();
    assert_eq!(changed.subject, "日本 🦆");
    assert_eq!(lines[2].edit_group("the-same", &group, edit).await.unwrap(), changed);
    for line in &mut lines {
        let event = line.group_event().await;
        assert_eq!((event.subject.as_str(), event.group.subject.as_str()), ("日本 🦆", "日本 🦆"));
        assert_eq!(event.changes, [change(GroupChangeKind::Subject, &[], &phones[2])]);
    }
}

pub async fn when_the_last_admin_leaves_another_member_becomes_admin(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let [anna, ben, cleo] = &phones;
    let group = group_of_three(&phones, &mut lines).await;
    let left = lines[0].edit_group("leave", &group, GroupEdit::Leave).await.unwrap();
    assert_eq!(members(&left), (vec![ben.address(), cleo.address()], vec![ben.address()]));
    for line in &mut lines {
        let changes = line.group_event().await.changes;
        let expected =
            [change(GroupChangeKind::Left, &[anna], anna), change(GroupChangeKind::Promoted, &[ben], anna)];
        assert_eq!(changes, expected);
    }
    assert_eq!(
        lines[0].edit_group("leave-again", &group, GroupEdit::Leave).await,
        Err(GroupFailure::NotInGroup)
    );
    // A member who is not an admin leaves, and then the last member.
    lines[2].edit_group("cleo", &group, GroupEdit::Leave).await.unwrap();
    assert_eq!(lines[1].group_event().await.changes, [change(GroupChangeKind::Left, &[cleo], cleo)]);
    let ended = lines[1].edit_group("ben", &group, GroupEdit::Leave).await.unwrap();
    assert_eq!(ended.members, []);
    assert_eq!(lines[1].group_event().await.group.members, []);
    let edit = GroupEdit::Subject { subject: "anybody".to_owned() };
    assert_eq!(lines[1].edit_group("late", &group, edit).await, Err(GroupFailure::NotInGroup));
}

pub async fn an_operation_id_is_applied_once(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let [_, ben, cleo] = &phones;
    let create =
        async |line: &Line| line.connection.create_group("make", "Once", &[ben.address()]).await.unwrap();
    let made = create(&lines[0]).await;
    assert_eq!(create(&lines[0]).await, made);
    let remove = GroupEdit::Remove { who: ben.address() };
    for _ in 0..2 {
        let removed = lines[0].edit_group("remove", &made.address, remove.clone()).await.unwrap();
        assert_eq!(removed.members.len(), 1);
    }
    // A refusal is not stored: the operation may succeed later.
    let edit = GroupEdit::Add { who: vec![cleo.address()] };
    assert_eq!(lines[1].edit_group("add", &made.address, edit.clone()).await, Err(GroupFailure::NotInGroup));
    assert_eq!(lines[0].edit_group("add", &made.address, edit).await.unwrap().members.len(), 2);
    let left = lines[2].edit_group("leave", &made.address, GroupEdit::Leave).await.unwrap();
    assert_eq!(lines[2].edit_group("leave", &made.address, GroupEdit::Leave).await.unwrap(), left);
    let kinds = async |line: &mut Line, count: usize| {
        let mut kinds = Vec::new();
        for _ in 0..count {
            kinds.extend(line.group_event().await.changes.iter().map(|change| change.kind));
        }
        kinds
    };
    assert_eq!(kinds(&mut lines[0], 4).await, [Created, Removed, Added, Left]);
    assert_eq!(kinds(&mut lines[1], 2).await, [Created, Removed]);
    assert_eq!(kinds(&mut lines[2], 2).await, [Added, Left]);
}

pub async fn group_receipts_go_to_the_author(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let group = group_of_three(&phones, &mut lines).await;
    lines[1].send(&group, "g1", "who reads this?").await.unwrap();
    for index in [0, 2] {
        assert_eq!(lines[index].group_message().await.2, "g1");
        let to = phones[1].address();
        let receipt = ReadReceipt { to, id: "g1".to_owned(), group: Some(group.clone()) };
        lines[index].connection.read(&[receipt]).await.unwrap();
        for expected in [ReceiptKind::Delivered, ReceiptKind::Read] {
            let UpstreamEvent::Receipt { from, id, kind, group: within, .. } = lines[1].take().await else {
                panic!()
            };
            assert_eq!((from, id.as_str()), (phones[index].address(), "g1"));
            assert_eq!((kind, within.as_ref()), (expected, Some(&group)));
        }
    }
}

pub async fn typing_in_a_group_reaches_all_others(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let group = group_of_three(&phones, &mut lines).await;
    lines[0].connection.typing(&group, Typing::Composing).await.unwrap();
    for line in &mut lines[1..] {
        let group = Some(group.clone());
        let expected = UpstreamEvent::Typing { from: phones[0].address(), typing: Typing::Composing, group };
        assert_eq!(line.take().await, expected);
    }
    lines[0].edit_group("leave", &group, GroupEdit::Leave).await.unwrap();
    lines[0].connection.typing(&group, Typing::Paused).await.unwrap();
    lines[0].send(&phones[1].address(), "m1", "fence").await.unwrap();
    lines[1].group_event().await;
    assert_eq!(lines[1].group_message().await.2, "m1");
}

pub async fn an_offline_member_receives_the_groups_events_later(network: &impl Network) {
    let (phones, mut lines) = three(network).await;
    let group = group_of_three(&phones, &mut lines).await;
    let [first, second, third] = lines;
    drop(third);
    first.send(&group, "g1", "one").await.unwrap();
    first.edit_group("subject", &group, GroupEdit::Subject { subject: "Away".to_owned() }).await.unwrap();
    second.send(&group, "g2", "two").await.unwrap();
    first.edit_group("remove", &group, GroupEdit::Remove { who: phones[2].address() }).await.unwrap();
    first.send(&group, "g3", "without Cleo").await.unwrap();
    let mut back = phones[2].open().await;
    assert_eq!(back.group_message().await.2, "g1");
    assert_eq!(back.group_event().await.subject, "Away");
    assert_eq!(back.group_message().await.2, "g2");
    assert_eq!(
        back.group_event().await.changes,
        [change(GroupChangeKind::Removed, &[&phones[2]], &phones[0])]
    );
    second.send(&phones[2].address(), "m1", "fence").await.unwrap();
    assert_eq!(back.group_message().await.2, "m1");
}

pub async fn an_unregistered_number_leaves_its_groups<N: Network>(network: &N) {
    let (phones, mut lines) = three(network).await;
    let [anna, ben, cleo] = &phones;
    let group = group_of_three(&phones, &mut lines).await;
    anna.connector.unregister(&anna.number).await.unwrap();
    for line in &mut lines[1..] {
        let changes = line.group_event().await.changes;
        let expected =
            [change(GroupChangeKind::Left, &[anna], anna), change(GroupChangeKind::Promoted, &[ben], anna)];
        assert_eq!(changes, expected);
    }
    // The same for a new registration: the new owner is in none of the old groups.
    let again = Phone::on(ben.connector.clone(), ben.number.clone()).await;
    let event = lines[2].group_event().await;
    assert_eq!(members(&event.group), (vec![cleo.address()], vec![cleo.address()]));
    let mut new = again.online().await;
    let edit = GroupEdit::Subject { subject: "mine?".to_owned() };
    assert_eq!(new.edit_group("subject", &group, edit.clone()).await, Err(GroupFailure::NotInGroup));
    assert_eq!(
        lines[1].edit_group("old", &group, edit).await,
        Err(GroupFailure::Failed(Failure::Retry(N::DELETED)))
    );
    lines[2].send(&group, "g1", "to nobody").await.unwrap();
    lines[2].send(&again.address(), "m1", "to Ben").await.unwrap();
    assert_eq!(new.group_message().await, (None, cleo.address(), "m1".to_owned()));
}

pub async fn a_group_cannot_exceed_the_networks_limit(network: &impl Network) {
    let anna = Phone::new(network).await;
    let line = anna.online().await;
    let largest = anna.connector.capabilities().group_size;
    let others: Vec<Address> = (0..largest).map(|_| anna.connector.address_of(&network.number())).collect();
    let refused = line.connection.create_group("make", "All", &others).await;
    assert_eq!(refused, Err(GroupFailure::TooLarge));
}
