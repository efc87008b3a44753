//! Groups and their members as networks report them: stored once, never set back.

use serde_json::json;
use windu::domain::{Account, GroupChangeKind, GroupId};
use windu::upstream::Address;

use super::{ANNA, BEN, CLEO, GROUP, group, news};
use crate::scripted::long_ago;
use crate::world::World;

#[tokio::test]
async fn a_group_is_stored_once_and_never_set_back() {
    let world = World::new().await;
    let process = world.process();
    let (anna, ben) = (process.online(&world, ANNA).await, process.online(&world, BEN).await);
    let line = world.line(&anna);
    let (first, second) = (group(1, "One", &[ANNA, BEN]), group(2, "Two", &[ANNA, BEN, CLEO]));
    let made = news(&first, GroupChangeKind::Created, &[], 1);
    let added = news(&second, GroupChangeKind::Added, &[CLEO], 2);
    line.stores(vec![made.clone(), added.clone()]).await;
    // Delivered again, together and alone; and late, by an account that receives it only now.
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
    let expected = json!({"group": GROUP, "change": "added", "by": ANNA, "participants": [CLEO]});
    assert_eq!(process.entries(&anna, "group.changed").await, [expected]);
    assert_eq!(process.entries(&ben, "group.changed").await, [] as [serde_json::Value; 0]);
    // Stored once for all members in this database.
    assert_eq!(world.count("SELECT count(*) FROM chat_group").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM group_member").await, 3);
}

#[tokio::test]
async fn an_account_is_in_a_group_after_its_own_event() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_that_receive_the_same_event_do_not_block_each_other() {
    let world = World::new().await;
    let (one, two) = (world.process(), world.process());
    let numbers: Vec<String> = (0..20).map(|index| format!("155501001{index:02}")).collect();
    let mut accounts = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        let process = if index % 2 == 0 { &one } else { &two };
        accounts.push(process.online(&world, number).await);
    }
    let names: Vec<&str> = numbers.iter().map(String::as_str).collect();
    for revision in 1..=10 {
        let now = group(revision, &format!("Subject {revision}"), &names);
        let kind = if revision == 1 { GroupChangeKind::Created } else { GroupChangeKind::Subject };
        let event = news(&now, kind, &[], revision.unsigned_abs());
        for account in &accounts {
            assert!(world.line(account).receives(vec![event.clone()]).await);
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
async fn groups_created_at_the_same_moment_have_different_ids() {
    let world = World::new().await;
    let process = world.process();
    let anna = process.online(&world, ANNA).await;
    for index in 0..5 {
        let mut made = group(1, "One", &[ANNA]);
        made.address = Address(format!("{index}@groups.scripted"));
        let event = news(&made, GroupChangeKind::Created, &[], index + 1);
        world.line(&anna).stores(vec![event]).await;
    }
    let groups = process.groups(&anna).await;
    let mut ids: Vec<&str> = groups.iter().map(|group| group.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|id| id.parse::<GroupId>().is_ok()), "{ids:?}");
}
