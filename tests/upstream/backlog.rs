//! Messages that wait for an offline receiver.

use windu::upstream::{Incoming, Outgoing, UpstreamEvent};

use crate::network::Network;
use crate::phone::{Line, Phone, Received, message, outgoing};

pub async fn messages_wait_for_their_receiver_in_order(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    // More than a network delivers at once, sent in batches of another size.
    let sent = send_many(&anna.online().await, &ben, 257, 40).await;
    let mut receiving = ben.open().await;
    let mut received = Vec::new();
    for _ in 0..sent.len() {
        received.push(receiving.message().await.1);
    }
    assert_eq!(received, sent);
}

pub async fn unacknowledged_messages_are_delivered_again<N: Network>(network: &N) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let sent = send_many(&anna.online().await, &ben, 6, 6).await;
    // Each time in order, also while the server still sends what was for the last connection.
    let (mut first, mut received) = receive_all(&ben, &sent).await;
    for _ in 0..4 {
        drop(first);
        (first, received) = receive_all(&ben, &sent).await;
    }
    first.stored(&received[..2]).await;
    drop(first);
    // Those that were acknowledged may come again until a connection has caught up.
    let mut second = ben.open().await;
    let mut again = Vec::new();
    while let Received::UpstreamEvent(incoming) = second.next().await {
        second.stored(std::slice::from_ref(&incoming)).await;
        again.push(message(incoming.event).1);
    }
    again.retain(|id| !sent[..2].contains(id));
    assert_eq!(again, sent[2..]);
    drop(second);
    let mut third = ben.open().await;
    while let Received::UpstreamEvent(incoming) = third.next().await {
        assert!(N::REPEATS, "{incoming:?}");
    }
}

/// Opens a connection and receives these messages from it.
async fn receive_all(phone: &Phone, sent: &[String]) -> (Line, Vec<Incoming>) {
    let mut line = phone.open().await;
    let mut received = Vec::new();
    for _ in sent {
        received.push(line.event().await);
    }
    let ids: Vec<_> = received.iter().map(|incoming| message(incoming.event.clone()).1).collect();
    assert_eq!(ids, sent);
    (line, received)
}

pub async fn caught_up_comes_between_the_backlog_and_new_messages(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let sending = anna.online().await;
    let sent = send_many(&sending, &ben, 5, 5).await;
    let mut receiving = ben.open().await;
    for id in &sent {
        let Received::UpstreamEvent(incoming) = receiving.next().await else {
            panic!("{id} was to come first")
        };
        receiving.stored(std::slice::from_ref(&incoming)).await;
        assert_eq!(message(incoming.event).1, *id);
    }
    assert!(matches!(receiving.next().await, Received::CaughtUp));
    sending.send(&ben.address(), "live", "now").await.unwrap();
    assert_eq!(receiving.message().await.1, "live");
}

pub async fn a_backlog_above_every_limit_is_delivered_before_caught_up<N: Network>(network: &N) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let sent = send_many(&anna.online().await, &ben, N::UNACKNOWLEDGED + 150, 100).await;
    let mut receiving = ben.open().await;
    // Slower than the network, which delivers up to its limit before the first acknowledgement.
    let mut received = 0;
    let mut waiting = Vec::new();
    loop {
        match receiving.next().await {
            Received::UpstreamEvent(incoming) => waiting.push(incoming),
            Received::CaughtUp => break,
            Received::End(end) => panic!("ended by {end:?}"),
        }
        if waiting.len() == 400 || received + waiting.len() == sent.len() {
            receiving.stored(&waiting).await;
            received += waiting.len();
            waiting.clear();
        }
    }
    assert_eq!(received + waiting.len(), sent.len());
}

pub async fn caught_up_comes_at_once_when_nothing_waits(network: &impl Network) {
    let mut line = Phone::new(network).await.open().await;
    assert!(matches!(line.next().await, Received::CaughtUp));
}

/// Sends numbered texts in batches and returns their ids.
pub async fn send_many(line: &Line, to: &Phone, count: usize, at_once: usize) -> Vec<String> {
    let messages: Vec<Outgoing> = (0..count)
        .map(|index| outgoing(&to.address(), &format!("m{index}"), &format!("text {index}")))
        .collect();
    for batch in messages.chunks(at_once) {
        assert!(line.send_all(batch).await.iter().all(Result::is_ok));
    }
    messages.into_iter().map(|message| message.id).collect()
}

/// Takes events until a message comes, and returns its id.
pub async fn next_message(line: &mut Line) -> String {
    loop {
        if let UpstreamEvent::Message { id, .. } = line.take().await {
            return id;
        }
    }
}
