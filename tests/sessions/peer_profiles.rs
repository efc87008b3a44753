//! Profiles of peers as networks report them, and messages of blocked peers.

use chrono::DateTime;
use windu::domain::{Account, PeerPresence, ProfileNews, Visible};
use windu::store::{LastSeen, ProfileScope};
use windu::upstream::{Incoming, UpstreamEvent};

use crate::scripted::{Call, address, incoming, long_ago, message};
use crate::world::{Process, World};

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";

fn news(news: ProfileNews, number: u64) -> Incoming {
    incoming(UpstreamEvent::Profile { of: address(BEN), news }, number)
}

fn says(text: &str, number: u64) -> Incoming {
    news(ProfileNews::StatusMessage(Visible::Value(text.to_owned())), number)
}

fn hides(number: u64) -> Incoming {
    news(ProfileNews::StatusMessage(Visible::Hidden), number)
}

fn is(presence: PeerPresence, number: u64) -> Incoming {
    news(ProfileNews::Presence(presence), number)
}

/// Ben's status message, `None` when it is hidden, and the former ones, newest first.
async fn status(process: &Process, account: &Account) -> (Option<String>, Vec<String>) {
    let peer = process.peer(account, BEN).await;
    let now = process.store.status_messages(account, ProfileScope::One(peer.id)).await.unwrap().remove(0);
    let history = process.store.status_changes(account, BEN).await.unwrap();
    let now = if let Visible::Value(text) = now.text { Some(text) } else { None };
    (now, history.into_iter().map(|change| change.text).collect())
}

async fn presence(process: &Process, account: &Account) -> Visible<LastSeen> {
    let peer = process.peer(account, BEN).await;
    process.store.presences(account, ProfileScope::One(peer.id)).await.unwrap().remove(0).seen
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn each_status_message_is_stored_as_one_change() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    assert_eq!(status(&process, &account).await, (Some(String::new()), vec![]));
    // Several in one batch, and a repetition.
    line.stores(vec![says("one", 1), says("two", 2), says("two", 3), says("one", 4)]).await;
    line.stores(vec![says("one", 5)]).await;
    let history = texts(&["one", "two", "one"]);
    assert_eq!(status(&process, &account).await, (Some("one".to_owned()), history.clone()));
    // Nothing is shown while it is hidden; the same text again is no change.
    line.stores(vec![hides(6)]).await;
    assert_eq!(status(&process, &account).await, (None, vec![]));
    line.stores(vec![says("one", 7)]).await;
    assert_eq!(status(&process, &account).await, (Some("one".to_owned()), history));
    line.stores(vec![hides(8), says("three", 9)]).await;
    let history = texts(&["three", "one", "two", "one"]);
    assert_eq!(status(&process, &account).await, (Some("three".to_owned()), history));
    assert_eq!(process.entries(&account, "contact.status_message_changed").await.len(), 4);
    // An unregistered peer has no history.
    line.stores(vec![says("four", 10), news(ProfileNews::Gone, 11)]).await;
    assert_eq!(status(&process, &account).await, (Some(String::new()), vec![]));
    line.stores(vec![news(ProfileNews::Gone, 12), says("another's", 13)]).await;
    assert_eq!(status(&process, &account).await, (Some("another's".to_owned()), texts(&["another's"])));
}

#[tokio::test]
async fn the_last_presence_counts_and_hiding_keeps_it() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    assert_eq!(presence(&process, &account).await, Visible::Value(LastSeen::default()));
    let at = DateTime::from_timestamp(1_466_000_000, 0);
    let away = PeerPresence::Offline { last_seen: at };
    line.stores(vec![is(PeerPresence::Online, 1)]).await;
    assert_eq!(
        presence(&process, &account).await,
        Visible::Value(LastSeen { online: true, last_seen: None })
    );
    line.stores(vec![is(PeerPresence::Hidden, 2), is(PeerPresence::Online, 3), is(away, 4)]).await;
    let seen = Visible::Value(LastSeen { online: false, last_seen: at });
    assert_eq!(presence(&process, &account).await, seen);
    line.stores(vec![is(PeerPresence::Hidden, 5)]).await;
    assert_eq!(presence(&process, &account).await, Visible::Hidden);
    line.stores(vec![is(PeerPresence::Shown, 6)]).await;
    assert_eq!(presence(&process, &account).await, seen);
    line.stores(vec![is(PeerPresence::Online, 7), is(PeerPresence::Hidden, 8)]).await;
    assert_eq!(presence(&process, &account).await, Visible::Hidden);
    line.stores(vec![news(ProfileNews::Gone, 9)]).await;
    assert_eq!(presence(&process, &account).await, Visible::Value(LastSeen::default()));
}

#[tokio::test]
async fn messages_of_a_blocked_peer_are_dropped_without_a_receipt() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    line.stores(vec![message(BEN, "m1", "before", 1)]).await;
    process.block(&account, BEN).await;
    assert!(
        line.receives(vec![message(BEN, "m2", "blocked", 2), message("15550100003", "m3", "hello", 3)]).await
    );
    line.waits_for_call(&Call::Discard(vec![2])).await;
    assert_eq!(line.acknowledged(), [1, 3]);
    assert_eq!(process.texts(&account, BEN).await, ["before"]);
    assert_eq!(process.texts(&account, "15550100003").await, ["hello"]);
    assert_eq!(process.entries(&account, "message.received").await.len(), 2);
    // Messages that the account sent from another device are stored.
    let elsewhere = UpstreamEvent::SentElsewhere {
        to: address(BEN),
        id: "m4".to_owned(),
        content: windu::domain::Content::Text("from my phone".to_owned()),
        reply_to: None,
        sent_at: long_ago(),
    };
    line.stores(vec![incoming(elsewhere, 4)]).await;
    let mut tx = process.store.begin().await.unwrap();
    assert!(tx.unblock(&account, BEN).await.unwrap());
    tx.commit().await.unwrap();
    line.stores(vec![message(BEN, "m5", "after", 5)]).await;
    assert_eq!(process.texts(&account, BEN).await, ["before", "from my phone", "after"]);
}
