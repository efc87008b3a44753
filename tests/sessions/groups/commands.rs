//! Creating and changing groups over the open connection.

use std::time::{Duration, Instant};

use windu::domain::GroupChangeKind;
use windu::sessions::{AskError, GroupRefusal};
use windu::upstream::{End, Failure, GroupEdit, GroupFailure};

use super::{ANNA, BEN, CLEO, GROUP, group, group_address, news};
use crate::scripted::{Call, Opening, address};
use crate::world::World;

#[tokio::test]
async fn a_group_is_created_and_changed_over_the_open_connection() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.online(&world, ANNA).await;
    let line = world.line(&anna);
    line.plan_group(Ok(group(1, "One", &[ANNA, BEN])));
    let made = process.sessions.create_group(anna.id, "One".to_owned(), vec![address(BEN)], None).await;
    assert_eq!(made.unwrap().as_str(), GROUP);
    // At once, before the event of the network.
    assert_eq!(process.groups(&anna).await[0].participants, [ANNA, BEN]);
    assert_eq!(process.entries(&anna, "group.created").await.len(), 0);
    line.stores(vec![news(&group(1, "One", &[ANNA, BEN]), GroupChangeKind::Created, &[], 1)]).await;
    assert_eq!(process.entries(&anna, "group.created").await.len(), 1);

    line.plan_group(Ok(group(2, "Two", &[ANNA, BEN])));
    let edit = GroupEdit::Subject { subject: "Two".to_owned() };
    process.change(&anna, edit.clone()).await.unwrap();
    assert_eq!(process.groups(&anna).await[0].subject, "Two");
    let operations: Vec<String> = line
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::CreateGroup { operation, subject, members } => {
                assert_eq!((subject.as_str(), members), ("One", vec![address(BEN).0]));
                Some(operation)
            }
            Call::ChangeGroup { operation, group, edit: requested } => {
                assert_eq!((group, requested), (group_address().0, edit.clone()));
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
        let refused = process.change(&anna, edit.clone()).await;
        assert!(matches!(&refused, Err(AskError::Group(why)) if *why == expected), "{refused:?}");
    }
    line.plan_group(Err(Failure::OutcomeUnknown.into()));
    assert!(matches!(process.change(&anna, edit.clone()).await, Err(AskError::OutcomeUnknown)));
    line.plan_group(Err(Failure::Refused("no".to_owned()).into()));
    assert!(matches!(process.change(&anna, edit.clone()).await, Err(AskError::Refused(_))));
    line.plan_group(Err(Failure::Unsupported("change groups").into()));
    assert!(matches!(process.change(&anna, edit).await, Err(AskError::Unsupported(_))));
    assert_eq!(process.groups(&anna).await[0].subject, "Two");
}

#[tokio::test]
async fn a_group_command_waits_a_while_for_a_connection() {
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
    assert!(!line.calls().iter().any(|call| matches!(call, Call::ChangeGroup { .. })));
}
