//! Blocked numbers: their messages do not arrive, and they see nothing.

use windu::domain::{ReceiptKind, Typing};
use windu::upstream::ReadReceipt;

use crate::network::Network;
use crate::observer::Observer;
use crate::phone::{Phone, Received};

pub async fn messages_of_a_blocked_number_are_accepted_and_never_arrive(network: &impl Network) {
    let (anna, ben, cleo) = (Phone::new(network).await, Phone::new(network).await, Phone::new(network).await);
    let (mut of_anna, mut of_ben, of_cleo) = (anna.online().await, ben.online().await, cleo.online().await);
    of_anna.connection.set_blocked(&[ben.address()]).await.unwrap();
    assert_eq!(of_ben.send(&anna.address(), "blocked", "text").await, Ok(()));
    of_ben.connection.typing(&anna.address(), Typing::Composing).await.unwrap();
    of_cleo.send(&anna.address(), "fence", "text").await.unwrap();
    assert_eq!(of_anna.message().await.1, "fence");
    // The other direction works, with receipts.
    of_anna.send(&ben.address(), "m1", "text").await.unwrap();
    assert_eq!(of_ben.message().await.1, "m1");
    of_ben
        .connection
        .read(&[ReadReceipt { to: anna.address(), id: "m1".to_owned(), group: None }])
        .await
        .unwrap();
    assert_eq!(of_anna.receipt().await, (ben.address(), "m1".to_owned(), ReceiptKind::Delivered));
    assert_eq!(of_anna.receipt().await, (ben.address(), "m1".to_owned(), ReceiptKind::Read));
    // After the unblock, dropped messages stay lost, and Ben gets no receipt for them.
    of_anna.connection.set_blocked(&[]).await.unwrap();
    of_ben.send(&anna.address(), "m2", "text").await.unwrap();
    assert_eq!(of_anna.message().await.1, "m2");
    assert_eq!(of_ben.receipt().await, (anna.address(), "m2".to_owned(), ReceiptKind::Delivered));
}

pub async fn a_discarded_message_is_not_delivered_again_and_makes_no_receipt<N: Network>(network: &N) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (mut of_anna, mut of_ben) = (anna.online().await, ben.online().await);
    of_ben.send(&anna.address(), "m1", "text").await.unwrap();
    let incoming = of_anna.event().await;
    of_anna.discarded(incoming).await;
    drop(of_anna);
    let mut back = anna.open().await;
    while let Received::UpstreamEvent(incoming) = back.next().await {
        assert!(N::REPEATS, "{incoming:?}");
        back.discarded(incoming).await;
    }
    of_ben.send(&anna.address(), "m2", "text").await.unwrap();
    assert_eq!(back.message().await.1, "m2");
    assert_eq!(of_ben.receipt().await, (anna.address(), "m2".to_owned(), ReceiptKind::Delivered));
}

pub async fn neither_side_of_a_block_sees_the_other(network: &impl Network) {
    let (anna, ben, cleo) = (Phone::new(network).await, Phone::new(network).await, Phone::new(network).await);
    let (mut of_anna, mut of_ben, fence) = (anna.online().await, ben.online().await, cleo.online().await);
    for (line, other, text) in [(&of_anna, &ben, "Anna"), (&of_ben, &anna, "Ben")] {
        line.connection.set_status_message(text).await.unwrap();
        line.connection.set_online(true).await.unwrap();
        line.connection.watch(&[other.address()]).await.unwrap();
    }
    let (mut annas, mut bens) = (Observer::default(), Observer::default());
    annas.follow(&mut of_anna, &anna, &ben, &fence).await;
    bens.follow(&mut of_ben, &ben, &anna, &fence).await;
    assert_eq!((annas.text(), annas.online()), (Some("Ben"), Some(true)));
    assert_eq!((bens.text(), bens.online()), (Some("Anna"), Some(true)));

    of_anna.connection.set_blocked(&[ben.address()]).await.unwrap();
    of_ben.connection.set_status_message("Ben later").await.unwrap();
    of_anna.connection.set_nickname("Anna").await.unwrap();
    annas.follow(&mut of_anna, &anna, &ben, &fence).await;
    assert_eq!(
        (annas.text(), annas.online()),
        (Some("Ben"), None),
        "the last status message, and no presence"
    );
    bens.follow(&mut of_ben, &ben, &anna, &fence).await;
    assert_eq!((bens.text(), bens.online(), bens.names), (None, None, 0));
    // Watching again does not help.
    of_ben.connection.watch(&[]).await.unwrap();
    of_ben.connection.watch(&[anna.address()]).await.unwrap();
    drop(of_ben);
    let (mut of_ben, before) = (ben.online().await, bens.events);
    // Sessions apply the desired state on each new connection, as this test does.
    of_ben.connection.set_status_message("Ben later").await.unwrap();
    of_ben.connection.set_online(true).await.unwrap();
    of_ben.connection.watch(&[anna.address()]).await.unwrap();
    bens.follow(&mut of_ben, &ben, &anna, &fence).await;
    assert_eq!(bens.events, before, "{bens:?}");

    of_anna.connection.set_blocked(&[]).await.unwrap();
    annas.follow(&mut of_anna, &anna, &ben, &fence).await;
    bens.follow(&mut of_ben, &ben, &anna, &fence).await;
    assert_eq!((annas.text(), annas.online()), (Some("Ben later"), Some(true)));
    assert_eq!((bens.text(), bens.online(), bens.names), (Some("Anna"), Some(true), 1));
}
