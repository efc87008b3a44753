//! Messages that are more than text.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use windu::domain::{Card, Content, Location, MediaContent, MediaFile, MediaKind, RemoteMedia};
use windu::upstream::{Failure, Outgoing, SendFailure, UpstreamEvent};

use crate::network::Network;
use crate::phone::{Line, Phone};
use crate::support::wait::{DEADLINE, wait_until_async};

/// More than one chunk of any stream.
fn long() -> Vec<u8> {
    (0..700_000_u32).flat_map(u32::to_le_bytes).collect()
}

async fn content(line: &mut Line) -> Content {
    match line.take().await {
        UpstreamEvent::Message { content, .. } => content,
        other => panic!("a message was expected, not {other:?}"),
    }
}

/// Sends as a session does: a file that is still on its way to the network makes its message wait.
async fn send(line: &Line, to: &Phone, id: &str, content: Content) {
    let message = [Outgoing { id: id.to_owned(), to: to.address(), content }];
    wait_until_async("the message to be taken", DEADLINE, async || match line.send_all(&message).await[..] {
        [Ok(())] => Some(()),
        [Err(SendFailure::Retry)] => None,
        ref other => panic!("{other:?}"),
    })
    .await;
}

fn remote(content: Content) -> (Option<MediaKind>, Option<String>, RemoteMedia) {
    let Content::Media(media) = content else { panic!("a file was expected, not {content:?}") };
    let MediaContent { kind, caption, file } = *media;
    let MediaFile::Remote(remote) = file else { panic!("the network's file was expected") };
    (kind, caption, remote)
}

async fn fetched(line: &Line, reference: &str) -> Vec<u8> {
    let stream = line.connection.fetch(reference).await.unwrap();
    stream.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

pub async fn a_file_of_each_kind_arrives_with_equal_bytes(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (sending, mut receiving) = (anna.online().await, ben.online().await);
    let (long, caption) = (long(), Some("for you".to_owned()));
    for (kind, mimetype, bytes, caption) in [
        (MediaKind::Image, "image/png", &b"a picture"[..], caption.clone()),
        (MediaKind::Video, "video/mp4", &long, caption),
        (MediaKind::Audio, "audio/mpeg", b"music", None),
        (MediaKind::Voice, "audio/ogg", b"words", None),
    ] {
        let stored = network.store(bytes, mimetype).await;
        let file = MediaFile::Stored(stored.clone());
        let media = MediaContent { kind: Some(kind), caption: caption.clone(), file };
        send(&sending, &ben, mimetype, Content::Media(Box::new(media))).await;
        let (received, below, file) = remote(content(&mut receiving).await);
        assert_eq!((received, below), (Some(kind), caption));
        assert_eq!((file.mimetype.as_deref(), file.size), (Some(mimetype), Some(bytes.len() as u64)));
        assert!(file.hash.is_none_or(|hash| hash == stored.hash));
        assert_eq!(fetched(&receiving, &file.reference).await, bytes);
    }
}

pub async fn a_file_waits_for_an_offline_receiver_and_can_be_fetched_again(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let stored = network.store(b"a picture", "image/png").await;
    let file = MediaFile::Stored(stored);
    let media = MediaContent { kind: Some(MediaKind::Image), caption: None, file };
    send(&anna.online().await, &ben, "m1", Content::Media(Box::new(media))).await;
    let mut receiving = ben.open().await;
    let (.., file) = remote(content(&mut receiving).await);
    drop(receiving);
    let again = ben.moved_to(network.connector().await).online().await;
    for _ in 0..2 {
        assert_eq!(fetched(&again, &file.reference).await, b"a picture");
    }
}

pub async fn a_file_that_was_never_sent_is_refused(network: &impl Network) {
    let line = Phone::new(network).await.online().await;
    let refused = line.connection.fetch("nowhere").await.err();
    assert!(matches!(refused, Some(Failure::Refused(_))), "{refused:?}");
}

pub async fn locations_and_cards_arrive_unchanged(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (sending, mut receiving) = (anna.online().await, ben.online().await);
    let caption = Some("a bench & a tree".to_owned());
    let vcard = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Zoë\r\nEND:VCARD\r\n".to_owned();
    for (id, sent) in [
        ("l1", Content::Location(Location { latitude: 51.477_811, longitude: -0.001_475, caption })),
        ("l2", Content::Location(Location { latitude: -90.0, longitude: 180.0, caption: None })),
        ("c1", Content::VCard(Card { vcard: vcard.clone(), name: Some("Zoë".to_owned()) })),
        ("c2", Content::VCard(Card { vcard, name: None })),
    ] {
        send(&sending, &ben, id, sent.clone()).await;
        assert_eq!(content(&mut receiving).await, sent);
    }
}
