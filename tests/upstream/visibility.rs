//! Status message, presence and photo: their audience and their events.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use windu::domain::{Audience, Photo, Privacy, Visible};
use windu::upstream::Failure;

use crate::network::Network;
use crate::observer::Observer;
use crate::phone::{Line, Phone};

/// A number and a watcher, both with an open connection, the watcher online.
async fn two(network: &impl Network) -> ((Phone, Line), (Phone, Line)) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (shown, watching) = (anna.online().await, ben.online().await);
    watching.connection.set_online(true).await.unwrap();
    watching.connection.watch(&[anna.address()]).await.unwrap();
    ((anna, shown), (ben, watching))
}

pub async fn a_status_message_reaches_watchers_once(network: &impl Network) {
    let ((anna, shown), (ben, mut watching)) = two(network).await;
    let mut observer = Observer::default();
    for text in ["At work", "At home", "At home"] {
        shown.connection.set_status_message(text).await.unwrap();
        observer.follow(&mut watching, &ben, &anna, &shown).await;
        assert_eq!(observer.text(), Some(text));
    }
    assert_eq!(observer.events, 2, "the same text sends no event");
    // A new watcher receives the current profile; a watcher that was away receives what changed.
    let cleo = Phone::new(network).await;
    cleo.online().await.connection.watch(&[anna.address()]).await.unwrap();
    shown.connection.set_status_message("Away").await.unwrap();
    let mut back = cleo.open().await;
    let mut observer = Observer::default();
    observer.follow(&mut back, &cleo, &anna, &shown).await;
    assert_eq!(observer.text(), Some("Away"));
}

pub async fn setting_the_same_state_again_sends_no_event(network: &impl Network) {
    let ((anna, shown), (ben, mut watching)) = two(network).await;
    let apply = async || {
        shown.connection.set_blocked(&[]).await.unwrap();
        shown.connection.set_contacts(&[ben.address()]).await.unwrap();
        shown.connection.set_privacy(privacy(Audience::Contacts, Audience::Contacts)).await.unwrap();
        shown.connection.set_status_message("Here").await.unwrap();
        shown.connection.set_online(true).await.unwrap();
    };
    let mut observer = Observer::default();
    apply().await;
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!((observer.text(), observer.online()), (Some("Here"), Some(true)));
    let before = observer.events;
    apply().await;
    watching.connection.watch(&[anna.address()]).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.events, before);
}

pub async fn presence_is_live_for_online_watchers(network: &impl Network) {
    let ((anna, shown), (ben, mut watching)) = two(network).await;
    let mut observer = Observer::default();
    shown.connection.set_online(true).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.online(), Some(true));
    let before = chrono::DateTime::from_timestamp(1_466_000_000, 0);
    shown.connection.set_online(false).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert!(matches!(observer.seen, Some((false, at @ Some(_))) if at > before), "{observer:?}");
    // An offline watcher keeps its last state, and gets all changes at once when it comes back.
    watching.connection.set_online(false).await.unwrap();
    shown.connection.set_online(true).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.online(), Some(false));
    watching.connection.set_online(true).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.online(), Some(true));
}

pub async fn two_concurrent_presence_changes_are_both_delivered(network: &impl Network) {
    let ((anna, shown), (ben, mut watching)) = two(network).await;
    let mut observer = Observer::default();
    for round in 0..40 {
        // A single change sends no event, because she is offline, or he is.
        shown.connection.set_online(false).await.unwrap();
        watching.connection.set_online(false).await.unwrap();
        let (one, other) =
            tokio::join!(shown.connection.set_online(true), watching.connection.set_online(true));
        one.unwrap();
        other.unwrap();
        observer.follow(&mut watching, &ben, &anna, &shown).await;
        assert_eq!(observer.online(), Some(true), "round {round}");
    }
}

pub async fn a_change_while_a_watch_begins_reaches_the_watcher(network: &impl Network) {
    let anna = Phone::new(network).await;
    let shown = anna.online().await;
    for round in 0..40 {
        let watcher = Phone::new(network).await;
        let mut watching = watcher.online().await;
        let (text, whom) = (format!("round {round}"), [anna.address()]);
        let (begun, changed) =
            tokio::join!(watching.connection.watch(&whom), shown.connection.set_status_message(&text));
        begun.unwrap();
        changed.unwrap();
        let mut observer = Observer::default();
        observer.follow(&mut watching, &watcher, &anna, &shown).await;
        assert_eq!(observer.text(), Some(text.as_str()));
    }
}

pub async fn offline_watchers_learn_that_presence_is_hidden(network: &impl Network) {
    let ((anna, shown), (ben, mut watching)) = two(network).await;
    let mut observer = Observer::default();
    shown.connection.set_online(true).await.unwrap();
    shown.connection.set_online(false).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    watching.connection.set_online(false).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    shown.connection.set_privacy(privacy(Audience::All, Audience::None)).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.online(), None);
    // Shown again: the watcher has its last state back, and no newer one.
    shown.connection.set_online(true).await.unwrap();
    shown.connection.set_privacy(Privacy::default()).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.online(), Some(false));
    watching.connection.set_online(true).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.online(), Some(true));
}

pub async fn each_privacy_setting_hides_its_part_from_its_audience(network: &impl Network) {
    for (is_contact, is_blocked) in [(true, false), (false, false), (true, true), (false, true)] {
        let ((anna, shown), (ben, mut watching)) = two(network).await;
        let own = &shown.connection;
        own.set_status_message("Here").await.unwrap();
        own.set_online(true).await.unwrap();
        own.set_photo(Some(photo(network, 1).await)).await.unwrap();
        let listed: &[_] = &[ben.address()];
        own.set_contacts(if is_contact { listed } else { &[] }).await.unwrap();
        own.set_blocked(if is_blocked { listed } else { &[] }).await.unwrap();
        let sees = |audience| {
            !is_blocked && (audience == Audience::All || audience == Audience::Contacts && is_contact)
        };
        let mut observer = Observer::default();
        let audiences = [Audience::None, Audience::Contacts, Audience::All];
        for case in 0..9 {
            // Each value of each setting, and each pair of values of two settings.
            let [status_message, last_seen, photo] =
                [case / 3, case % 3, (case / 3 + case) % 3].map(|index| audiences[index]);
            own.set_privacy(Privacy { status_message, photo, last_seen }).await.unwrap();
            observer.follow(&mut watching, &ben, &anna, &shown).await;
            let case = format!(
                "contact {is_contact}, blocked {is_blocked}: {status_message:?}, {photo:?}, {last_seen:?}"
            );
            assert_eq!(observer.text(), sees(status_message).then_some("Here"), "{case}");
            assert_eq!(observer.online(), sees(last_seen).then_some(true), "{case}");
            let picture = if sees(photo) { Visible::Value(true) } else { Visible::Hidden };
            assert_eq!(observer.picture(), picture, "{case}");
        }
    }
}

pub async fn a_photo_is_announced_to_and_fetched_by_permitted_watchers_only(network: &impl Network) {
    let ((anna, shown), (ben, mut watching)) = two(network).await;
    let cleo = Phone::new(network).await;
    let stranger = cleo.online().await;
    let (own, mut observer) = (&shown.connection, Observer::default());
    let mut references = Vec::new();
    for number in [1, 2] {
        own.set_photo(Some(photo(network, number).await)).await.unwrap();
        observer.follow(&mut watching, &ben, &anna, &shown).await;
        let Visible::Value(Some(reference)) = observer.photo.clone() else { panic!("{observer:?}") };
        assert_eq!(fetched(&watching, &reference.photo).await.unwrap(), jpeg(number));
        if let Some(preview) = &reference.preview {
            assert_eq!(fetched(&watching, preview).await.unwrap(), jpeg(number + 100));
        }
        references.push(reference.photo);
    }
    assert_ne!(references[0], references[1], "another photo has another reference");
    // The same photo again sends no event.
    let before = observer.events;
    own.set_photo(Some(photo(network, 2).await)).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.events, before);
    // A number that may not see it cannot fetch it, even with its reference.
    own.set_contacts(&[ben.address()]).await.unwrap();
    own.set_privacy(Privacy { photo: Audience::Contacts, ..Privacy::default() }).await.unwrap();
    assert!(fetched(&stranger, &references[1]).await.is_err());
    assert!(fetched(&watching, &references[1]).await.is_ok());
    own.set_privacy(Privacy { photo: Audience::None, ..Privacy::default() }).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.picture(), Visible::Hidden);
    assert!(matches!(fetched(&watching, &references[1]).await, Err(Failure::Refused(_))));
    own.set_privacy(Privacy::default()).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.picture(), Visible::Value(true));
    own.set_photo(None).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!(observer.picture(), Visible::Value(false));
    assert!(matches!(fetched(&watching, &references[1]).await, Err(Failure::Refused(_))));
}

pub async fn changes_of_the_contact_list_change_what_a_watcher_sees(network: &impl Network) {
    let ((anna, shown), (ben, mut watching)) = two(network).await;
    let own = &shown.connection;
    own.set_privacy(privacy(Audience::Contacts, Audience::Contacts)).await.unwrap();
    own.set_status_message("For friends").await.unwrap();
    own.set_online(true).await.unwrap();
    let mut observer = Observer::default();
    for (contacts, sees) in
        [(vec![], false), (vec![ben.address()], true), (vec![], false), (vec![ben.address()], true)]
    {
        own.set_contacts(&contacts).await.unwrap();
        observer.follow(&mut watching, &ben, &anna, &shown).await;
        assert_eq!(observer.text(), sees.then_some("For friends"));
        assert_eq!(observer.online(), sees.then_some(true));
    }
    // Anna's contact list counts, not that of the watcher.
    own.set_contacts(&[]).await.unwrap();
    watching.connection.set_contacts(&[anna.address()]).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!((observer.text(), observer.online()), (None, None));
}

pub async fn an_unregistered_number_shows_nothing_any_more(network: &impl Network) {
    let ((anna, shown), (ben, mut watching)) = two(network).await;
    let cleo = Phone::new(network).await;
    let fence = cleo.online().await;
    shown.connection.set_status_message("Here").await.unwrap();
    shown.connection.set_online(true).await.unwrap();
    shown.connection.set_photo(Some(photo(network, 1).await)).await.unwrap();
    let mut observer = Observer::default();
    observer.follow(&mut watching, &ben, &anna, &shown).await;
    assert_eq!((observer.text(), observer.online()), (Some("Here"), Some(true)));
    assert_eq!(observer.picture(), Visible::Value(true));
    // A former watcher is notified too.
    watching.connection.watch(&[]).await.unwrap();
    anna.connector.unregister(&anna.number).await.unwrap();
    observer.until(&mut watching, (&ben, &anna), &fence, |observer| observer.gone).await;
    // The next owner of the number has an empty profile.
    let second = Phone::on(anna.connector.clone(), anna.number.clone()).await;
    let shown = second.online().await;
    watching.connection.watch(&[anna.address()]).await.unwrap();
    observer.follow(&mut watching, &ben, &anna, &fence).await;
    assert_eq!((observer.text(), observer.online()), (Some(""), None));
    shown.connection.set_status_message("New here").await.unwrap();
    observer.until(&mut watching, (&ben, &anna), &fence, |seen| seen.text() == Some("New here")).await;
    // A new registration without unregistering has the same effect.
    observer.gone = false;
    Phone::on(anna.connector.clone(), anna.number.clone()).await;
    observer.until(&mut watching, (&ben, &anna), &fence, |observer| observer.gone).await;
}

/// Bytes with the header of a JPEG.
fn jpeg(number: u8) -> Vec<u8> {
    [&[0xff, 0xd8, 0xff, 0xe0][..], &[number; 1_000]].concat()
}

async fn photo(network: &impl Network, number: u8) -> Photo {
    let (photo, preview) = (jpeg(number), jpeg(number + 100));
    let photo = network.store(&photo, "image/jpeg").await.hash;
    Photo { photo, preview: network.store(&preview, "image/jpeg").await.hash }
}

async fn fetched(line: &Line, reference: &str) -> Result<Vec<u8>, Failure> {
    let stream = line.connection.fetch(reference).await?;
    Ok(stream.try_collect::<Vec<Bytes>>().await?.concat())
}

fn privacy(status_message: Audience, last_seen: Audience) -> Privacy {
    Privacy { status_message, last_seen, photo: Audience::All }
}
