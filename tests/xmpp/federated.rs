//! People on other servers.

use tokio::task::block_in_place;

use crate::support::people::Person;
use crate::support::xmpp::Software;
use crate::support::xmpp::federation::Federation;
use crate::support::xmpp::peer::is_from;
use crate::world::{is_installed, jid, outsider_of, romeo, setup};

#[tokio::test(flavor = "multi_thread")]
async fn people_of_another_server_are_outsiders_with_whom_all_works() {
    if !is_installed() {
        return;
    }
    let federation = block_in_place(Federation::start);
    for software in Software::ALL {
        let (own, other) = federation.pair(software);
        let server = setup(own).start();
        let anna = Person::new(&server).await;
        let (romeo, address) = (romeo(other).await, jid(&anna, own));

        let id = romeo.chat(&address).text_to_confirm("from afar 🌊").await;
        romeo.until("a receipt", |event| is_from(event, &address) && event["receipt"] == *id).await;
        let outsider = outsider_of(&anna).await;
        let message = anna.waits_until(&outsider, &id, |_| true).await;
        assert_eq!(message["text"], "from afar 🌊");
        let read = anna.api.post("/api/messages/update-last-read/", &[("contact", &outsider)]).await;
        assert_eq!(read.status, 200, "{}", read.text());
        romeo.until("a marker", |event| is_from(event, &address) && event["displayed"] == *id).await;

        let sent = anna.tries_to_send(&outsider, "from here 🏔").await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        let heard = romeo.hears(&address, "from here 🏔").await;
        assert_eq!(heard["id"], sent.json()["id"], "{heard}");
        let id = heard["id"].as_str().expect("an id");
        anna.waits_until(&outsider, id, |message| message["delivered"].is_string()).await;
        romeo.chat(&address).displayed(id).await;
        anna.waits_until(&outsider, id, |message| message["read"].is_string()).await;
    }
}
