//! Registration: numbers that come, go and change their owner.

use windu::domain::NeedsUser;
use windu::upstream::End;

use crate::network::Network;
use crate::phone::Phone;

const LOGGED_OUT: End = End::NeedsUser(NeedsUser::LoggedOut);

pub async fn a_number_exists_from_registering_to_unregistering(network: &impl Network) {
    let anna = Phone::new(network).await;
    let ben = Phone::new(network).await;
    let nobody = network.number();
    let asked = [anna.number.clone(), nobody, ben.number.clone()];
    let mut existing = ben.connector.existing(&asked).await.unwrap();
    existing.sort();
    assert_eq!(existing, [anna.number.clone(), ben.number.clone()]);
    anna.connector.unregister(&anna.number).await.unwrap();
    assert_eq!(ben.connector.existing(&asked).await.unwrap(), std::slice::from_ref(&ben.number));
    assert_eq!(ben.connector.existing(&[]).await.unwrap(), []);
}

pub async fn unregistering_twice_is_no_failure(network: &impl Network) {
    let anna = Phone::new(network).await;
    for _ in 0..2 {
        anna.connector.unregister(&anna.number).await.unwrap();
    }
    anna.connector.unregister(&network.number()).await.unwrap();
}

pub async fn a_new_registration_empties_the_mailbox(network: &impl Network) {
    let (anna, ben) = (Phone::new(network).await, Phone::new(network).await);
    let sending = anna.online().await;
    sending.send(&ben.address(), "before", "for the earlier owner").await.unwrap();
    let ben = Phone::on(ben.connector.clone(), ben.number.clone()).await;
    sending.send(&ben.address(), "after", "for the new owner").await.unwrap();
    let mut receiving = ben.open().await;
    assert_eq!(receiving.message().await.1, "after");
}

pub async fn a_new_registration_ends_the_open_connection(network: &impl Network) {
    let anna = Phone::new(network).await;
    let mut line = anna.online().await;
    let again = Phone::on(anna.connector.clone(), anna.number.clone()).await;
    assert_eq!(line.end().await, LOGGED_OUT);
    again.online().await;
}

pub async fn an_old_login_does_not_open(network: &impl Network) {
    let anna = Phone::new(network).await;
    let again = Phone::on(anna.connector.clone(), anna.number.clone()).await;
    assert_eq!(refusal(&anna).await, LOGGED_OUT);
    again.online().await;
}

pub async fn an_unregistered_login_does_not_open(network: &impl Network) {
    let anna = Phone::new(network).await;
    anna.connector.unregister(&anna.number).await.unwrap();
    assert_eq!(refusal(&anna).await, LOGGED_OUT);
}

pub async fn unregistering_ends_the_open_connection(network: &impl Network) {
    let anna = Phone::new(network).await;
    let mut line = anna.online().await;
    anna.connector.unregister(&anna.number).await.unwrap();
    assert_eq!(line.end().await, LOGGED_OUT);
}

/// The refusal of a login: an error of `open`, or the end of the connection.
async fn refusal(phone: &Phone) -> End {
    match phone.try_open().await {
        Ok(mut line) => line.end().await,
        Err(end) => end,
    }
}
