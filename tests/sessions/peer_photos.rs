//! Photos of peers: fetched in the background, and shown when they are complete.

use bytes::Bytes;
use windu::domain::{Account, BlobHash, Photo, PhotoReference, ProfileNews, Visible};
use windu::secrets::sha256;
use windu::store::ProfileScope;
use windu::upstream::{Failure, Incoming, UpstreamEvent};

use crate::scripted::{Call, Fault, Line, address, incoming};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::{Process, World};

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";

/// Bytes that are detected as a JPEG.
fn jpeg(name: &str) -> Vec<u8> {
    [&[0xff, 0xd8, 0xff, 0xe0, 0, 16][..], b"JFIF\0", name.as_bytes(), &[7; 100]].concat()
}

/// An event with a new photo of Ben, which the network stores with its preview.
fn poses(line: &Line, name: &str, number: u64) -> Incoming {
    let preview = format!("{name} small");
    for name in [name, &preview] {
        line.keep_file(name, vec![Ok(Bytes::from(jpeg(name)))]);
    }
    refers(PhotoReference { photo: name.to_owned(), preview: Some(preview) }, number)
}

fn refers(photo: PhotoReference, number: u64) -> Incoming {
    news(Visible::Value(Some(photo)), number)
}

fn news(photo: Visible<Option<PhotoReference>>, number: u64) -> Incoming {
    incoming(UpstreamEvent::Profile { of: address(BEN), news: ProfileNews::Photo(photo) }, number)
}

fn photo(name: &str) -> Photo {
    let hash = |name: &str| BlobHash(sha256(&jpeg(name)));
    Photo { photo: hash(name), preview: hash(&format!("{name} small")) }
}

async fn shown(process: &Process, account: &Account) -> Visible<Option<Photo>> {
    let peer = process.peer(account, BEN).await;
    let photo = process.store.peer_photos(account, ProfileScope::One(peer.id)).await.unwrap().remove(0).photo;
    match photo {
        Visible::Hidden => Visible::Hidden,
        Visible::Value(seen) => Visible::Value(seen.map(|seen| seen.photo)),
    }
}

async fn until_shown(process: &Process, account: &Account, name: &str) {
    let wanted = Visible::Value(Some(photo(name)));
    wait_until_async(name, DEADLINE, async || (shown(process, account).await == wanted).then_some(())).await;
}

/// The former photos, newest first; `None`: no photo.
async fn history(process: &Process, account: &Account) -> Vec<Option<Photo>> {
    let changes = process.store.photo_changes(account, BEN).await.unwrap();
    changes.into_iter().map(|change| change.photo.map(|seen| seen.photo)).collect()
}

fn fetches(line: &Line, name: &str) -> usize {
    line.calls().iter().filter(|call| **call == Call::Fetch(name.to_owned())).count()
}

#[tokio::test]
async fn a_photo_is_fetched_once_and_shown_when_it_is_complete() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    line.stores(vec![poses(&line, "one", 1)]).await;
    until_shown(&process, &account, "one").await;
    line.stores(vec![poses(&line, "two", 2)]).await;
    until_shown(&process, &account, "two").await;
    // Reported again, hidden and shown again: nothing is fetched, and nothing has changed.
    line.stores(vec![poses(&line, "two", 3), news(Visible::Hidden, 4)]).await;
    assert_eq!(shown(&process, &account).await, Visible::Hidden);
    assert_eq!(history(&process, &account).await, []);
    line.stores(vec![poses(&line, "two", 5)]).await;
    assert_eq!(shown(&process, &account).await, Visible::Value(Some(photo("two"))));
    line.stores(vec![news(Visible::Value(None), 6), news(Visible::Value(None), 7)]).await;
    assert_eq!(shown(&process, &account).await, Visible::Value(None));
    let before = vec![None, Some(photo("two")), Some(photo("one"))];
    assert_eq!(history(&process, &account).await, before);
    assert_eq!((fetches(&line, "one"), fetches(&line, "two")), (1, 1));
    line.stores(vec![incoming(UpstreamEvent::Profile { of: address(BEN), news: ProfileNews::Gone }, 8)])
        .await;
    assert_eq!(history(&process, &account).await, []);
    world.until_count("SELECT count(*) FROM pending_photo", 0).await;
}

#[tokio::test]
async fn a_failed_fetch_is_retried() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    line.plan_fault("fetch", Fault::Fails(Failure::Retry("not_now")));
    line.plan_fault("fetch", Fault::Fails(Failure::OutcomeUnknown));
    let one = poses(&line, "one", 1);
    line.keep_file("one small", vec![Ok(Bytes::from_static(b"half")), Err(Failure::Retry("cut"))]);
    line.stores(vec![one]).await;
    wait_until_async("three attempts", DEADLINE, async || (fetches(&line, "one") >= 3).then_some(())).await;
    assert_eq!(shown(&process, &account).await, Visible::Value(None));
    line.stores(vec![poses(&line, "one", 2)]).await;
    until_shown(&process, &account, "one").await;
    assert_eq!(history(&process, &account).await.len(), 1);
}

#[tokio::test]
async fn an_unavailable_photo_is_not_retried_until_the_next_one() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    line.plan_fault("fetch", Fault::Fails(Failure::Refused("gone".to_owned())));
    line.stores(vec![poses(&line, "one", 1)]).await;
    world.until_count("SELECT count(*) FROM pending_photo", 0).await;
    assert_eq!(shown(&process, &account).await, Visible::Value(None));
    // A file that is not a JPEG is not stored.
    line.keep_file("bad", vec![Ok(Bytes::from_static(b"<html>"))]);
    let bad = PhotoReference { photo: "bad".to_owned(), preview: Some("bad".to_owned()) };
    line.stores(vec![refers(bad, 2)]).await;
    line.waits_for_call(&Call::Fetch("bad".to_owned())).await;
    world.until_count("SELECT count(*) FROM pending_photo", 0).await;
    line.stores(vec![poses(&line, "two", 3)]).await;
    until_shown(&process, &account, "two").await;
    assert_eq!(history(&process, &account).await, [Some(photo("two"))]);
}

#[tokio::test]
async fn a_photo_that_is_replaced_or_hidden_during_its_fetch_is_not_shown() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    let peer = process.peer(&account, BEN).await.id;
    line.stores(vec![poses(&line, "zero", 0)]).await;
    until_shown(&process, &account, "zero").await;
    line.plan_fault("fetch", Fault::Fails(Failure::RateLimited(std::time::Duration::from_hours(1))));
    line.stores(vec![poses(&line, "one", 1)]).await;
    line.waits_for_call(&Call::Fetch("one".to_owned())).await;
    // Simulates a fetch that ends late.
    let late = windu::store::PendingPhoto {
        peer,
        reference: PhotoReference { photo: "one".to_owned(), preview: None },
        attempts: 0,
    };
    line.stores(vec![poses(&line, "two", 2)]).await;
    until_shown(&process, &account, "two").await;
    let lease = world.lease(&account).await;
    process.store.photo_fetched(&lease, &late, photo("zero")).await.unwrap();
    line.stores(vec![news(Visible::Hidden, 3)]).await;
    process.store.photo_fetched(&lease, &late, photo("zero")).await.unwrap();
    assert_eq!(shown(&process, &account).await, Visible::Hidden);
    line.stores(vec![poses(&line, "two", 4)]).await;
    assert_eq!(shown(&process, &account).await, Visible::Value(Some(photo("two"))));
    assert_eq!(history(&process, &account).await, [Some(photo("two")), Some(photo("zero"))]);
}

#[tokio::test]
async fn a_preview_is_made_when_the_network_has_none() {
    let world = World::new().await;
    let process = world.process();
    let account = process.online(&world, ANNA).await;
    let line = world.line(&account);
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(300, 150, image::Rgb([200, 0, 0]));
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    line.keep_file("avatar", vec![Ok(Bytes::from(bytes.into_inner()))]);
    line.stores(vec![refers(PhotoReference { photo: "avatar".to_owned(), preview: None }, 1)]).await;
    let stored = wait_until_async("the photo", DEADLINE, async || match shown(&process, &account).await {
        Visible::Value(photo) => photo,
        Visible::Hidden => None,
    })
    .await;
    let count: i64 = world.count("SELECT count(*) FROM media_blob WHERE mimetype = 'image/jpeg'").await;
    assert_eq!(count, 2);
    assert_ne!(stored.photo, stored.preview);
}
