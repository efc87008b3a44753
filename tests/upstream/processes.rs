//! One network from several processes.

use windu::domain::{NeedsUser, ReceiptKind, Typing};
use windu::upstream::{End, ReadReceipt, UpstreamEvent};

use crate::network::Network;
use crate::phone::Phone;

pub async fn everything_reaches_another_process(network: &impl Network) {
    let anna = Phone::new(network).await;
    let ben = Phone::new(network).await.moved_to(network.connector().await);
    let (mut of_anna, mut of_ben) = (anna.online().await, ben.online().await);
    for index in 0..10 {
        let id = format!("m{index}");
        of_anna.send(&ben.address(), &id, "there").await.unwrap();
        assert_eq!(of_ben.message().await.1, id);
        assert_eq!(of_anna.receipt().await, (ben.address(), id, ReceiptKind::Delivered));
    }
    of_ben
        .connection
        .read(&[ReadReceipt { to: anna.address(), id: "m9".to_owned(), group: None }])
        .await
        .unwrap();
    assert_eq!(of_anna.receipt().await, (ben.address(), "m9".to_owned(), ReceiptKind::Read));
    of_ben.connection.typing(&anna.address(), Typing::Composing).await.unwrap();
    assert_eq!(
        of_anna.take().await,
        UpstreamEvent::Typing { from: ben.address(), typing: Typing::Composing, group: None }
    );
    of_anna.connection.watch(&[ben.address()]).await.unwrap();
    of_ben.connection.set_nickname("Ben").await.unwrap();
    assert_eq!(
        of_anna.take().await,
        UpstreamEvent::Profile {
            of: ben.address(),
            news: windu::domain::ProfileNews::Nickname("Ben".to_owned())
        }
    );
    // The account moves to another process: unacknowledged messages move with it.
    of_ben.send(&anna.address(), "last", "text").await.unwrap();
    assert!(matches!(of_anna.event().await.event, UpstreamEvent::Message { id, .. } if id == "last"));
    drop(of_anna);
    let mut moved = anna.moved_to(network.connector().await).open().await;
    assert_eq!(moved.message().await.1, "last");
}

pub async fn a_new_registration_ends_the_connection_of_another_process(network: &impl Network) {
    let anna = Phone::new(network).await;
    let mut line = anna.online().await;
    Phone::on(network.connector().await, anna.number.clone()).await.online().await;
    assert_eq!(line.end().await, End::NeedsUser(NeedsUser::LoggedOut));
}
