//! Backpressure: slow receivers delay nobody, and memory is bounded.

use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use windu::domain::NeedsUser;
use windu::upstream::{End, Signal, UpstreamEvent};

use crate::backlog::{next_message, send_many};
use crate::network::Network;
use crate::phone::{Phone, Received};
use crate::support::wait::{DEADLINE, wait_until_async};

pub async fn a_receiver_that_does_not_read_delays_nobody<N: Network>(network: &N) {
    let (anna, stuck, ben) =
        (Phone::new(network).await, Phone::new(network).await, Phone::new(network).await);
    // All accounts in one process.
    let (stuck, ben) = (stuck.moved_to(anna.connector.clone()), ben.moved_to(anna.connector.clone()));
    let (sending, deaf, mut listening) = (anna.online().await, stuck.open().await, ben.online().await);
    send_many(&sending, &stuck, 2 * N::UNACKNOWLEDGED, 100).await;
    for id in ["m1", "m2"] {
        sending.send(&ben.address(), id, "text").await.unwrap();
        assert_eq!(next_message(&mut listening).await, id);
    }
    deaf.connection.acknowledge(&[]).await.unwrap();
}

pub async fn unacknowledged_events_are_bounded_and_the_rest_follows<N: Network>(network: &N) {
    let (anna, ben, cleo) = (Phone::new(network).await, Phone::new(network).await, Phone::new(network).await);
    let sent = send_many(&anna.online().await, &ben, N::UNACKNOWLEDGED + 300, 100).await;
    let mut receiving = ben.open().await;
    let mut received = Vec::new();
    // Reads without acknowledging until nothing more comes. A round trip between others is the fence.
    let (asking, mut answering) = (cleo.online().await, anna.online().await);
    for round in 0..10 {
        let id = format!("round {round}");
        asking.send(&anna.address(), &id, "text").await.unwrap();
        while next_message(&mut answering).await != id {}
        while let Ok(signal) = receiving.signals.try_recv() {
            match signal {
                Signal::Events(events) => received.extend(events),
                Signal::Alive => {}
                other => panic!("{other:?} while more is waiting"),
            }
        }
        assert!(
            received.len() <= N::UNACKNOWLEDGED,
            "{} are delivered and none is acknowledged",
            received.len()
        );
    }
    assert!(!received.is_empty());
    receiving.stored(&received).await;
    let began = std::time::Instant::now();
    while received.len() < sent.len() {
        let incoming = receiving.event().await;
        receiving.stored(std::slice::from_ref(&incoming)).await;
        received.push(incoming);
    }
    // At once, and not only with the next keep-alive.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let ids = received.into_iter().map(|incoming| match incoming.event {
        UpstreamEvent::Message { id, .. } => id,
        other => panic!("a message was expected, not {other:?}"),
    });
    assert!(ids.eq(sent));
}

pub async fn the_end_is_signalled_once_and_last(network: &impl Network) {
    let anna = Phone::new(network).await;
    let mut line = anna.online().await;
    anna.connector.unregister(&anna.number).await.unwrap();
    anna.connector.unregister(&anna.number).await.unwrap();
    assert!(matches!(line.next().await, Received::End(End::NeedsUser(NeedsUser::LoggedOut))));
    // Dropping the connection closes its end of the channel.
    drop(line.connection);
    let closed = async || match line.signals.try_recv() {
        Err(TryRecvError::Disconnected) => Some(()),
        Err(TryRecvError::Empty) => None,
        Ok(signal) => panic!("{signal:?} after the end"),
    };
    wait_until_async("the channel to close", DEADLINE, closed).await;
}

pub async fn events_of_a_dropped_connection_are_delivered_again<N: Network>(network: &N) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let sending = anna.online().await;
    for index in 0..5 {
        let dropped = ben.online().await;
        let id = format!("m{index}");
        sending.send(&ben.address(), &id, "text").await.unwrap();
        drop(dropped);
        let mut line = ben.open().await;
        let mut came = line.message().await.1;
        while N::REPEATS && came < id {
            came = line.message().await.1;
        }
        assert_eq!(came, id);
    }
}
