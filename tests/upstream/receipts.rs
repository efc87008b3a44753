//! Delivered and read receipts.

use windu::domain::ReceiptKind;
use windu::upstream::{ReadReceipt, UpstreamEvent};

use crate::backlog::next_message;
use crate::network::Network;
use crate::phone::Phone;

pub async fn only_the_acknowledgement_makes_a_delivered_receipt(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (mut sending, mut receiving) = (anna.online().await, ben.online().await);
    sending.send(&ben.address(), "stored", "one").await.unwrap();
    sending.send(&ben.address(), "dropped", "two").await.unwrap();
    let (stored, dropped) = (receiving.event().await, receiving.event().await);
    assert!(matches!(&dropped.event, UpstreamEvent::Message { id, .. } if id == "dropped"));
    receiving.stored(&[stored]).await;
    assert_eq!(sending.receipt().await, (ben.address(), "stored".to_owned(), ReceiptKind::Delivered));
    // Ben's next message comes without a receipt for the other one.
    receiving.send(&anna.address(), "fence", "next").await.unwrap();
    assert_eq!(sending.message().await.1, "fence");
}

pub async fn read_reaches_the_sender(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (mut sending, mut receiving) = (anna.online().await, ben.online().await);
    for id in ["m1", "m2"] {
        sending.send(&ben.address(), id, "text").await.unwrap();
        receiving.message().await;
        assert_eq!(sending.receipt().await, (ben.address(), id.to_owned(), ReceiptKind::Delivered));
    }
    let receipts = ["m1", "m2"].map(|id| ReadReceipt { to: anna.address(), id: id.to_owned(), group: None });
    receiving.connection.read(&receipts).await.unwrap();
    for id in ["m1", "m2"] {
        assert_eq!(sending.receipt().await, (ben.address(), id.to_owned(), ReceiptKind::Read));
    }
}

pub async fn receipts_wait_for_an_offline_sender(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let sending = anna.online().await;
    sending.send(&ben.address(), "m1", "text").await.unwrap();
    drop(sending);
    let mut receiving = ben.open().await;
    receiving.message().await;
    receiving
        .connection
        .read(&[ReadReceipt { to: anna.address(), id: "m1".to_owned(), group: None }])
        .await
        .unwrap();
    let mut sending = anna.open().await;
    assert_eq!(sending.receipt().await, (ben.address(), "m1".to_owned(), ReceiptKind::Delivered));
    assert_eq!(sending.receipt().await, (ben.address(), "m1".to_owned(), ReceiptKind::Read));
}

pub async fn acknowledging_twice_makes_one_receipt(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (mut sending, mut receiving) = (anna.online().await, ben.online().await);
    sending.send(&ben.address(), "m1", "text").await.unwrap();
    let incoming = receiving.event().await;
    for _ in 0..2 {
        receiving.stored(std::slice::from_ref(&incoming)).await;
    }
    receiving.send(&anna.address(), "fence", "next").await.unwrap();
    assert_eq!(sending.receipt().await.1, "m1");
    assert_eq!(sending.message().await.1, "fence");
}

pub async fn a_receipt_for_an_unregistered_number_is_no_failure(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let cleo = Phone::new(network).await;
    let (sending, mut receiving) = (anna.online().await, ben.online().await);
    let mut other = cleo.online().await;
    sending.send(&ben.address(), "m1", "text").await.unwrap();
    other.send(&ben.address(), "m2", "text").await.unwrap();
    let incoming = [receiving.event().await, receiving.event().await];
    anna.connector.unregister(&anna.number).await.unwrap();
    receiving.stored(&incoming).await;
    let receipts = [(&anna, "m1"), (&cleo, "m2")];
    let receipts = receipts.map(|(to, id)| ReadReceipt { to: to.address(), id: id.to_owned(), group: None });
    receiving.connection.read(&receipts).await.unwrap();
    for kind in [ReceiptKind::Delivered, ReceiptKind::Read] {
        assert_eq!(other.receipt().await, (ben.address(), "m2".to_owned(), kind));
    }
    other.send(&ben.address(), "m3", "still there").await.unwrap();
    assert_eq!(next_message(&mut receiving).await, "m3");
}
