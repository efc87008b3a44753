//! The desired state of an account on its network.

use windu::domain::{Audience, BlobHash, Photo, Privacy};
use windu::store::PrivacyChange;
use windu::upstream::{End, Failure};

use crate::scripted::{Call, Fault, Line, address, message};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

#[tokio::test]
async fn a_nickname_is_applied_at_once_and_on_each_new_connection() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    process.set_nickname(&account, "Anna").await;
    wait_for_nickname_calls(&line, "Anna", 1).await;
    world.until_count("SELECT count(*) FROM desired_state WHERE applied < version", 0).await;
    line.ends(End::Retry("network_unreachable")).await;
    wait_for_nickname_calls(&line, "Anna", 2).await;
    assert_eq!(line.logins().len(), 2);
}

#[tokio::test]
async fn a_failed_change_is_retried() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.plan_fault("nickname", Fault::Fails(Failure::Retry("not_now")));
    line.plan_fault("nickname", Fault::Fails(Failure::OutcomeUnknown));
    process.set_nickname(&account, "Anna").await;
    wait_for_nickname_calls(&line, "Anna", 3).await;
    world.until_count("SELECT count(*) FROM desired_state WHERE applied < version", 0).await;
    assert_eq!(line.logins().len(), 1);
}

#[tokio::test]
async fn a_change_that_fails_on_a_new_connection_is_retried() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    process.set_nickname(&account, "Anna").await;
    world.until_count("SELECT count(*) FROM desired_state WHERE applied = version", 1).await;
    line.plan_fault("nickname", Fault::Fails(Failure::Retry("not_now")));
    line.ends(End::Retry("network_unreachable")).await;
    wait_for_nickname_calls(&line, "Anna", 3).await;
    assert_eq!(line.logins().len(), 2);
}

#[tokio::test]
async fn a_refused_change_is_not_retried() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    line.plan_fault("nickname", Fault::Fails(Failure::Refused("too rude".to_owned())));
    process.set_nickname(&account, "Anna").await;
    wait_for_nickname_calls(&line, "Anna", 1).await;
    world.until_count("SELECT count(*) FROM desired_state WHERE applied < version", 0).await;
    // It does not block later work.
    let id = process.send(&account, "15550100002", "hello").await;
    process.until_message(&account, "15550100002", &id, "sent").await;
    process.sweeps(&world, 2).await;
    wait_for_nickname_calls(&line, "Anna", 1).await;
}

#[tokio::test]
async fn the_watched_peers_follow_contacts_and_chats() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let watch = |numbers: &[&str]| Call::Watch(numbers.iter().map(|number| address(number).0).collect());
    process.add_contact(&account, "15550100003", true).await;
    line.waits_for_call(&watch(&["15550100003"])).await;
    line.stores(vec![message("15550100002", "m1", "hello", 1)]).await;
    line.waits_for_call(&watch(&["15550100002", "15550100003"])).await;
    assert!(process.store.remove_contact(&account, "15550100003").await.unwrap());
    line.waits_for_call(&watch(&["15550100002"])).await;
}

#[tokio::test]
async fn each_part_of_the_profile_is_applied_on_each_new_connection() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    process.add_contact(&account, "15550100003", false).await;
    process.block(&account, "15550100004").await;
    let privacy = Privacy { photo: Audience::None, last_seen: Audience::Contacts, ..Privacy::default() };
    let photo = Photo { photo: BlobHash([1; 32]), preview: BlobHash([2; 32]) };
    for hash in [photo.photo, photo.preview] {
        process.store.put_blob(&hash, 1, "image/jpeg").await.unwrap();
    }
    let mut tx = process.store.begin().await.unwrap();
    tx.set_status_message(&account, "At work").await.unwrap();
    tx.set_connected(&account, true).await.unwrap();
    tx.set_photo(&account, Some(photo)).await.unwrap();
    let change = PrivacyChange { photo: Some(Audience::None), ..PrivacyChange::default() };
    tx.set_privacy(&account, change).await.unwrap();
    let change = PrivacyChange { last_seen: Some(Audience::Contacts), ..PrivacyChange::default() };
    tx.set_privacy(&account, change).await.unwrap();
    tx.commit().await.unwrap();
    let all = [
        Call::Blocked(vec![address("15550100004").0]),
        Call::Contacts(vec![address("15550100003").0]),
        Call::Privacy(privacy),
        Call::Photo(Some(photo)),
        Call::Online(true),
        Call::StatusMessage("At work".to_owned()),
    ];
    for call in &all {
        line.waits_for_call(call).await;
    }
    world.until_count("SELECT count(*) FROM desired_state WHERE applied < version", 0).await;
    let before = line.calls().len();
    line.ends(End::Retry("network_unreachable")).await;
    wait_until_async("all calls on the new connection", DEADLINE, async || {
        let again = &line.calls()[before..];
        all.iter().all(|call| again.contains(call)).then_some(())
    })
    .await;
    // Settings that hide come before the things that they hide.
    let again: Vec<Call> = line.calls()[before..].iter().filter(|call| all.contains(call)).cloned().collect();
    assert_eq!(again, all);
}

#[tokio::test]
async fn the_privacy_settings_are_applied_before_the_profile() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    for _ in 0..3 {
        line.plan_fault("privacy", Fault::Fails(Failure::Retry("not_now")));
    }
    let mut tx = process.store.begin().await.unwrap();
    tx.set_status_message(&account, "For nobody").await.unwrap();
    let change = PrivacyChange { status_message: Some(Audience::None), ..PrivacyChange::default() };
    tx.set_privacy(&account, change).await.unwrap();
    tx.commit().await.unwrap();
    line.waits_for_call(&Call::StatusMessage("For nobody".to_owned())).await;
    let calls: Vec<Call> = line.calls();
    let shown = calls.iter().position(|call| matches!(call, Call::StatusMessage(_))).unwrap();
    let hidden = calls[..shown].iter().filter(|call| matches!(call, Call::Privacy(_))).count();
    assert_eq!(hidden, 4);
}

#[tokio::test]
async fn a_text_that_changed_while_hidden_is_replaced_before_it_is_shown() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, "15550100001").await;
    let line = world.line(&account);
    let privacy = async |audience, text: &str| {
        let mut tx = process.store.begin().await.unwrap();
        tx.set_status_message(&account, text).await.unwrap();
        let change = PrivacyChange { status_message: Some(audience), ..PrivacyChange::default() };
        tx.set_privacy(&account, change).await.unwrap();
        tx.commit().await.unwrap();
        line.waits_for_call(&Call::StatusMessage(text.to_owned())).await;
        world.until_count("SELECT count(*) FROM desired_state WHERE applied < version", 0).await;
    };
    privacy(Audience::None, "Secret").await;
    let before = line.calls().len();
    // The network refuses the new text at first: until it accepts it, nothing is shown.
    for _ in 0..2 {
        line.plan_fault("status_message", Fault::Fails(Failure::Retry("not_now")));
    }
    privacy(Audience::All, "Not secret").await;
    let calls = line.calls()[before..].to_vec();
    let position = |wanted: &Call| calls.iter().rposition(|call| call == wanted).unwrap();
    let shown = |call: &Call| *call == Call::Privacy(Privacy::default());
    assert_eq!(calls.iter().filter(|call| shown(call)).count(), 1, "{calls:?}");
    assert!(
        position(&Call::StatusMessage("Not secret".to_owned()))
            < position(&Call::Privacy(Privacy::default()))
    );
}

async fn wait_for_nickname_calls(line: &Line, nickname: &str, count: usize) {
    let calls = || line.calls().iter().filter(|call| **call == Call::Nickname(nickname.to_owned())).count();
    let what = format!("nickname {nickname} requested {count} times");
    wait_until_async(&what, DEADLINE, async || (calls() >= count).then_some(())).await;
    assert_eq!(calls(), count);
}
