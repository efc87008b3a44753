//! Typing notifications.

use windu::domain::Typing;
use windu::upstream::UpstreamEvent;

use crate::network::Network;
use crate::phone::Phone;

pub async fn typing_reaches_a_connected_receiver(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (writing, mut watching) = (anna.online().await, ben.online().await);
    for typing in [Typing::Composing, Typing::Paused] {
        writing.connection.typing(&ben.address(), typing).await.unwrap();
        assert_eq!(
            watching.take().await,
            UpstreamEvent::Typing { from: anna.address(), typing, group: None }
        );
    }
}

pub async fn typing_to_an_offline_receiver_is_lost_without_harm(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let writing = anna.online().await;
    let nobody = anna.connector.address_of(&network.number());
    for to in [ben.address(), nobody] {
        writing.connection.typing(&to, Typing::Composing).await.unwrap();
    }
    writing.send(&ben.address(), "m1", "what was written").await.unwrap();
    let mut late = ben.open().await;
    assert_eq!(late.message().await.1, "m1");
}
