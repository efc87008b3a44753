//! Text messages.

use windu::domain::{Content, FailureReason};
use windu::upstream::{SendFailure, UpstreamEvent};

use crate::network::Network;
use crate::phone::{Phone, outgoing};

pub async fn a_message_reaches_a_connected_receiver(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (sending, mut receiving) = (anna.online().await, ben.online().await);
    let before = windu::clock::now() - chrono::TimeDelta::minutes(1);
    sending.send(&ben.address(), "m1", "Hello, Ben").await.unwrap();
    let UpstreamEvent::Message { from, id, content, sent_at, group: None, .. } = receiving.take().await
    else {
        panic!("a message")
    };
    assert_eq!((from, id.as_str()), (anna.address(), "m1"));
    assert_eq!(content, Content::Text("Hello, Ben".to_owned()));
    assert!(sent_at > before && sent_at < before + chrono::TimeDelta::minutes(2), "{sent_at}");
}

pub async fn texts_arrive_unchanged<N: Network>(network: &N) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (sending, mut receiving) = (anna.online().await, ben.online().await);
    let long = "long ".repeat(13_107);
    let texts = [
        " blank around ",
        "line\nline\r\n\ttab",
        "<a href='x'>&amp;\"</a>",
        "\\u0041 %s {}",
        "🦆 日本 \u{202e}",
        &long,
    ];
    for (index, text) in texts.iter().enumerate() {
        sending.send(&ben.address(), &format!("m{index}"), text).await.unwrap();
        assert_eq!(receiving.message().await.2, N::carried(text));
    }
}

pub async fn three_numbers_receive_only_their_own_messages(network: &impl Network) {
    let (anna, ben, cleo) = (Phone::new(network).await, Phone::new(network).await, Phone::new(network).await);
    let (of_anna, mut of_ben, mut of_cleo) = (anna.online().await, ben.online().await, cleo.online().await);
    let batch = [
        outgoing(&ben.address(), "b1", "to Ben"),
        outgoing(&cleo.address(), "c1", "to Cleo"),
        outgoing(&ben.address(), "b2", "to Ben again"),
    ];
    assert_eq!(of_anna.send_all(&batch).await, [Ok(()); 3]);
    of_cleo.send(&ben.address(), "b3", "from Cleo").await.unwrap();
    for (from, id) in [(&anna, "b1"), (&anna, "b2"), (&cleo, "b3")] {
        let received = of_ben.message().await;
        assert_eq!((received.0, received.1.as_str()), (from.address(), id));
    }
    // Cleo's next message is Ben's answer: there was no message for Ben in between.
    of_ben.send(&cleo.address(), "c2", "from Ben").await.unwrap();
    let mut received_ids = Vec::new();
    while received_ids.len() < 2 {
        if let UpstreamEvent::Message { id, .. } = of_cleo.take().await {
            received_ids.push(id);
        }
    }
    assert_eq!(received_ids, ["c1", "c2"]);
}

pub async fn a_message_to_oneself_arrives(network: &impl Network) {
    let anna = Phone::new(network).await;
    let mut line = anna.online().await;
    line.send(&anna.address(), "m1", "milk, bread").await.unwrap();
    assert_eq!(line.message().await, (anna.address(), "m1".to_owned(), "milk, bread".to_owned()));
}

pub async fn one_id_sent_twice_arrives_with_the_same_id(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (sending, mut receiving) = (anna.online().await, ben.online().await);
    for _ in 0..2 {
        sending.send(&ben.address(), "m1", "again").await.unwrap();
    }
    sending.send(&ben.address(), "m2", "other").await.unwrap();
    // A network may drop the duplicate; what it delivers has the id by which the store recognises it.
    let mut ids = vec![receiving.message().await.1];
    while ids.last().map(String::as_str) != Some("m2") {
        ids.push(receiving.message().await.1);
    }
    ids.dedup();
    assert_eq!(ids, ["m1", "m2"]);
}

pub async fn a_message_to_an_unknown_number_is_refused_and_harms_no_other(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (sending, mut receiving) = (anna.online().await, ben.online().await);
    let nobody = anna.connector.address_of(&network.number());
    let batch = [
        outgoing(&ben.address(), "m1", "one"),
        outgoing(&nobody, "m2", "two"),
        outgoing(&ben.address(), "m3", "three"),
    ];
    let gone = Err(SendFailure::Refused(FailureReason::RecipientGone));
    assert_eq!(sending.send_all(&batch).await, [Ok(()), gone, Ok(())]);
    assert_eq!((receiving.message().await.1, receiving.message().await.1), ("m1".into(), "m3".into()));
}

pub async fn empty_calls_are_no_failure(network: &impl Network) {
    let line = Phone::new(network).await.online().await;
    assert_eq!(line.send_all(&[]).await, []);
    line.connection.acknowledge(&[]).await.unwrap();
    line.connection.read(&[]).await.unwrap();
    line.connection.watch(&[]).await.unwrap();
}

pub async fn an_old_login_sends_nothing(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (old, mut receiving) = (anna.online().await, ben.online().await);
    let again = Phone::on(anna.connector.clone(), anna.number.clone()).await;
    assert_eq!(old.send(&ben.address(), "old", "from before").await, Err(SendFailure::Retry));
    again.online().await.send(&ben.address(), "new", "from now").await.unwrap();
    assert_eq!(receiving.message().await.1, "new");
}
