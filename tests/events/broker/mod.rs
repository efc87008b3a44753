//! The events of all users in a stream of a message broker. The tests need `nats-server`.

mod faults;
mod nats_server;
mod settings;

use std::sync::Arc;

use async_nats::jetstream::stream;
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
        assert_eq!(received[1]["data"]["message"]["text"], "short");
    }
}
