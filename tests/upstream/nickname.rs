//! Nicknames and their watchers.

use windu::upstream::UpstreamEvent;

use crate::backlog::next_message;
use crate::network::Network;
use crate::phone::Phone;

pub async fn a_watcher_receives_the_nickname_at_once_and_when_it_changes(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (shown, mut watching) = (anna.online().await, ben.online().await);
    shown.connection.set_nickname("Anna").await.unwrap();
    watching.connection.watch(&[anna.address()]).await.unwrap();
    assert_eq!(watching.take().await, nickname(&anna, "Anna"));
    shown.connection.set_nickname("Annika").await.unwrap();
    assert_eq!(watching.take().await, nickname(&anna, "Annika"));
    shown.connection.set_nickname("").await.unwrap();
    assert_eq!(watching.take().await, nickname(&anna, ""));
}

pub async fn an_offline_watcher_receives_the_change_later(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let shown = anna.online().await;
    ben.online().await.connection.watch(&[anna.address()]).await.unwrap();
    shown.connection.set_nickname("Anna").await.unwrap();
    let mut back = ben.open().await;
    assert_eq!(back.take().await, nickname(&anna, "Anna"));
}

pub async fn a_number_that_is_not_watched_any_more_sends_no_nickname(network: &impl Network) {
    let (anna, ben, cleo) = (Phone::new(network).await, Phone::new(network).await, Phone::new(network).await);
    let (of_anna, of_cleo, mut watching) = (anna.online().await, cleo.online().await, ben.online().await);
    watching.connection.watch(&[anna.address(), cleo.address()]).await.unwrap();
    watching.connection.watch(&[cleo.address()]).await.unwrap();
    of_anna.connection.set_nickname("Anna").await.unwrap();
    of_cleo.connection.set_nickname("Cleo").await.unwrap();
    assert_eq!(watching.take().await, nickname(&cleo, "Cleo"));
    of_anna.send(&ben.address(), "fence", "text").await.unwrap();
    assert_eq!(watching.message().await.1, "fence");
}

pub async fn an_unacknowledged_nickname_is_delivered_again(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let (shown, mut watching) = (anna.online().await, ben.online().await);
    shown.connection.set_nickname("Anna").await.unwrap();
    watching.connection.watch(&[anna.address()]).await.unwrap();
    assert_eq!(watching.event().await.event, nickname(&anna, "Anna"));
    drop(watching);
    // Sessions apply the desired state on each new connection, as this test does.
    let mut back = ben.open().await;
    back.connection.watch(&[anna.address()]).await.unwrap();
    shown.send(&ben.address(), "fence", "text").await.unwrap();
    assert_eq!(back.take().await, nickname(&anna, "Anna"));
}

pub async fn a_watched_number_that_registers_later_sends_its_nickname(network: &impl Network) {
    let ben = Phone::new(network).await;
    let number = network.number();
    let mut watching = ben.online().await;
    watching.connection.watch(&[ben.connector.address_of(&number)]).await.unwrap();
    let anna = Phone::on(ben.connector.clone(), number).await;
    let shown = anna.online().await;
    shown.connection.set_nickname("Anna").await.unwrap();
    shown.send(&ben.address(), "fence", "text").await.unwrap();
    // A network may learn that the number exists from the message.
    if watching.reports_states() {
        while watching.take().await != nickname(&anna, "Anna") {}
        return;
    }
    assert_eq!(watching.take().await, nickname(&anna, "Anna"));
    assert_eq!(next_message(&mut watching).await, "fence");
}

fn nickname(of: &Phone, nickname: &str) -> UpstreamEvent {
    UpstreamEvent::Profile {
        of: of.address(),
        news: windu::domain::ProfileNews::Nickname(nickname.to_owned()),
    }
}
