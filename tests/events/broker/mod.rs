//! The events of all users in a stream of a message broker. The tests need `nats-server`.

mod faults;
mod nats_server;
mod refusals;
mod settings;

use std::sync::Arc;

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::task::block_in_place;

use self::nats_server::NatsServer;
use crate::faults::is_quiet;
use crate::support::owner::Owner;
use crate::support::postgres::Database;
use crate::support::wait::{DEADLINE, wait_until_async};

/// Waits until the stream has as many messages as there are events, and nothing is on its way.
async fn wait_until_published(nats: &NatsServer, database: &Arc<Database>) {
    let mut before = None;
    wait_until_async("all events in the stream", DEADLINE * 3, async || {
        let stored = block_in_place(|| database.sql("SELECT count(*) FROM event"));
        let count = nats.count().await?;
        let is_calm = is_quiet(database) && before == Some(count) && count.to_string() == stored;
        before = Some(count);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        is_calm.then_some(())
    })
    .await;
}

/// Waits until everything is in the stream, once and in order. While it is read, sessions may change their states.
async fn assert_complete(nats: &NatsServer, database: &Arc<Database>) {
    wait_until_async("all events, read from the stream", DEADLINE * 3, async || {
        wait_until_published(nats, database).await;
        let (followed, _) = nats.read().await;
        block_in_place(|| followed.has_all(database)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_the_same_objects_as_in_the_list() {
    let Some(nats) = NatsServer::start() else { return };
    let server = nats.setup("").env("WINDU_METRICS_LISTEN", "127.0.0.1:0").start();
    let owner = Owner::new(&server, 2).await;
    owner.sends(0, 1, "Hello").await;
    wait_until_published(&nats, server.database()).await;
    let (_, messages) = nats.read().await;
    let listed = owner.all("types=message.received").await;
    let received: Vec<_> = messages.iter().filter(|(_, event)| event["type"] == "message.received").collect();
    assert_eq!((received.len(), listed.len()), (1, 1));
    let (subject, event) = received[0];
    assert_eq!(*event, listed[0]);
    let user = subject.split('.').nth(1).expect("a user");
    assert_eq!(*subject, format!("windu.{user}.{}.message.received", owner.numbers[1]));
}

/// The permissions of the manual are enough for a reader with a consumer of one user's events.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_few_permissions_gets_the_events_of_a_user() {
    let configuration = "jetstream { store_dir: FOLDER }
        no_auth_user: all
        authorization { users: [
            { user: all, password: s3cret }
            { user: crm, password: s3cret, permissions: {
                publish: [\"$JS.API.CONSUMER.INFO.windu.crm\", \"$JS.API.CONSUMER.MSG.NEXT.windu.crm\", \"$JS.ACK.windu.crm.>\"]
                subscribe: \"_INBOX_crm.>\"
            } }
        ] }";
    let Some(nats) = NatsServer::start_with(configuration) else { return };
    let server = nats.setup("").start();
    let (owner, other) = (Owner::new(&server, 2).await, Owner::new(&server, 2).await);
    other.sends(0, 1, "not for the reader").await;
    owner.sends(0, 1, "Hello").await;
    wait_until_published(&nats, server.database()).await;
    let (_, messages) = nats.read().await;
    let (subject, _) =
        messages.iter().find(|(subject, _)| subject.contains(&owner.numbers[0])).expect("an event");
    let filter = format!("windu.{}.>", subject.split('.').nth(1).expect("a user"));
    let config = pull::Config {
        durable_name: Some("crm".to_owned()),
        filter_subject: filter.clone(),
        ..pull::Config::default()
    };
    nats.stream().await.create_consumer(config).await.expect("a consumer");
    let options = async_nats::ConnectOptions::with_user_and_password("crm".to_owned(), "s3cret".to_owned());
    let reader =
        options.custom_inbox_prefix("_INBOX_crm").connect(nats.address()).await.expect("a connection");
    let reader = jetstream::new(reader);
    let mut expected =
        messages.iter().filter(|(subject, _)| subject.starts_with(filter.trim_end_matches('>')));
    // The consumer keeps its place from one reading to the next.
    for count in [2, 3] {
        let consumer: Consumer<pull::Config> =
            reader.get_consumer_from_stream("crm", "windu").await.expect("the consumer");
        let mut fetched = consumer.fetch().max_messages(count).messages().await.expect("messages");
        for _ in 0..count {
            let message = fetched.next().await.expect("one more").expect("a message");
            assert_eq!(message.subject.as_str(), expected.next().expect("one more").0);
            message.double_ack().await.expect("a permission");
        }
    }
}

/// Of a user of whom nothing was published, all that is kept is; what was published already is dropped by its id.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_later_gets_the_past_and_nothing_twice() {
    let Some(nats) = NatsServer::start() else { return };
    let without = crate::support::server::Server::start();
    let owner = Owner::new(&without, 2).await;
    owner.sends(0, 1, "before").await;
    let mut server = nats.setup("").database(Arc::clone(without.database())).start();
    assert_complete(&nats, server.database()).await;
    block_in_place(|| {
        server.kill();
        server.database().sql("DELETE FROM broker_position");
        server.restart();
    });
    // More than before: sessions come and go with the program.
    assert_complete(&nats, server.database()).await;
    let positions = "SELECT count(*) FROM broker_position p JOIN event_sequence s USING (user_id) WHERE p.place = s.place";
    wait_until_async("the position", DEADLINE, async || {
        block_in_place(|| server.database().sql(positions) == "1").then_some(())
    })
    .await;
}

/// What the broker cannot take is published as facts alone, and what comes after it whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_does_not_block_the_next() {
    for limit in ["max_payload: 8192", "max_msg_size"] {
        let configuration =
            format!("{} \njetstream {{ store_dir: FOLDER }}", limit.replace("max_msg_size", ""));
        let Some(nats) = NatsServer::start_with(&configuration) else { return };
        if limit == "max_msg_size" {
            let config = stream::Config {
                name: "windu".to_owned(),
                subjects: vec!["windu.>".to_owned()],
                max_message_size: 8192,
                ..stream::Config::default()
            };
            nats.client().await.create_stream(config).await.expect("a stream");
        }
        let server = nats.setup("").start();
        let owner = Owner::new(&server, 2).await;
        let id = owner.sends(0, 1, &"long ".repeat(3_000)).await;
        for _ in 0..3 {
            owner.sends(0, 1, &"longer ".repeat(3_000)).await;
        }
        owner.sends(0, 1, "short").await;
        assert_complete(&nats, server.database()).await;
        let (_, messages) = nats.read().await;
        let received: Vec<_> = messages
            .iter()
            .filter(|(_, event)| event["type"] == "message.received")
            .map(|(_, event)| event)
            .collect();
        assert_eq!(
            received[0]["data"],
            json!({"chat": owner.numbers[0], "id": id, "type": "t", "too_large": true})
        );
        assert_eq!(received[4]["data"]["message"]["text"], "short");
        // The sender's events of these messages are too large as well, and all are one line.
        assert_eq!(server.log().matches("too large for the broker").count(), 1);
    }
}
