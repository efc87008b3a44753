//! The list of events: filters, and the poll that waits.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::task::block_in_place;

use crate::support::owner::Owner;
use crate::support::server::Server;
use crate::support::wait::DEADLINE;

#[tokio::test(flavor = "multi_thread")]
async fn filters_leave_out_and_the_cursor_moves_on() {
    let server = Server::start();
    let owner = Owner::new(&server, 3).await;
    owner.sends(0, 1, "hello").await;
    owner.waits_for("oldest", "message.received", |_| true).await;
    let all = owner.all("").await;
    let (first, second) = (&owner.numbers[0], &owner.numbers[1]);
    for (query, takes) in [
        (
            "types=contact.added".to_owned(),
            Box::new(|event: &serde_json::Value| event["type"] == "contact.added") as Box<dyn Fn(&_) -> bool>,
        ),
        (
            "types=message.*,account.registered".to_owned(),
            Box::new(|event: &serde_json::Value| {
                let kind = event["type"].as_str().expect("a type");
                kind.starts_with("message.") || kind == "account.registered"
            }),
        ),
        (
            format!("account={first}"),
            Box::new(|event: &serde_json::Value| event["account"] == first.as_str()),
        ),
        (
            format!("account={first},%2B{second}&types=session.*"),
            Box::new(|event: &serde_json::Value| {
                (event["account"] == first.as_str() || event["account"] == second.as_str())
                    && event["type"] == "session.changed"
            }),
        ),
        ("types=poll.x".replace("poll.x", "message.poll_closed"), Box::new(|_: &serde_json::Value| false)),
    ] {
        let expected: Vec<_> =
            all.iter().filter(|event| takes(event)).map(|event| event["id"].clone()).collect();
        for limit in [1, 1000] {
            let found: Vec<_> = owner
                .all(&format!("{query}&limit={limit}"))
                .await
                .iter()
                .map(|event| event["id"].clone())
                .collect();
            assert_eq!(found[..expected.len()], expected, "{query}");
        }
    }
    // Also when nothing matches, the cursor is at the end.
    let page = owner.page("types=message.scheduled").await;
    let end = page["cursor"].as_str().expect("a cursor");
    assert_eq!(owner.page(&format!("after={end}&types=contact.added")).await["events"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_waits_for_the_next_event_and_no_longer() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let after = owner.now().await;
    // What does not match does not wake it; it answers after its time, with the cursor moved on.
    let began = Instant::now();
    let poll = owner.page_later(&format!("after={after}&wait=2&types=message.poll_closed"));
    owner.sends(0, 1, "hello").await;
    let page = poll.await.expect("a page");
    assert_eq!((&page["events"], &page["more"]), (&json!([]), &false.into()));
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_ne!(page["cursor"], after.as_str());

    let after = owner.now().await;
    let poll = owner.page_later(&format!("after={after}&wait=50&types=message.received"));
    let id = owner.sends(1, 0, "now").await;
    let page = tokio::time::timeout(DEADLINE, poll).await.expect("in time").expect("a page");
    assert_eq!(
        (&page["events"][0]["data"]["id"], &page["events"][0]["data"]["message"]["text"]),
        (&id.as_str().into(), &"now".into())
    );
    // The first event of a new account of the user is among all.
    let after = owner.now().await;
    let poll = owner.page_later(&format!("after={after}&wait=50&types=account.registered"));
    let number = crate::support::people::fresh_number();
    crate::support::people::register(&server, &owner.api, &number).await;
    let page = tokio::time::timeout(DEADLINE, poll).await.expect("in time").expect("a page");
    assert_eq!(
        (&page["events"][0]["account"], &page["events"][0]["seq"]),
        (&number.as_str().into(), &1.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_polls_use_no_connection_and_answer_at_the_stop() {
    let mut server = Server::start();
    let owner = Owner::new(&server, 1).await;
    let after = owner.now().await;
    let polls: Vec<_> = (0..60).map(|_| owner.page_later(&format!("after={after}&wait=50"))).collect();
    server_waits(&server, 60).await;
    // More than there are connections wait, and others are served.
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
                AND pid <> pg_backend_pid()";
    assert!(block_in_place(|| server.database().sql(busy)).parse::<usize>().expect("a count") < 10);
    assert_eq!(owner.api.get("/api/account/").await.status, 200);
    let began = Instant::now();
    server.terminate();
    for poll in polls {
        let page = tokio::time::timeout(DEADLINE, poll).await.expect("in time").expect("an answer");
        assert_eq!(page["cursor"], after.as_str());
    }
    assert!(block_in_place(|| server.wait()).success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Waits until so many polls wait.
async fn server_waits(server: &Server, count: usize) {
    let counted = || server.log().matches("a poll waits").count();
    crate::support::wait::wait_until_async("the polls", DEADLINE, async || {
        (counted() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_waiting_polls_and_no_more() {
    let server = Server::setup().env("WINDU_STREAMS_PER_USER", "2").start();
    let owner = Owner::new(&server, 1).await;
    let other = Owner::new(&server, 1).await;
    let after = owner.now().await;
    let polls = [(); 2].map(|()| owner.page_later(&format!("after={after}&wait=50&types=contact.blocked")));
    server_waits(&server, 2).await;
    let refused = owner.api.get(&format!("/api/events/?after={after}&wait=50")).await;
    refused.refused(429, "too_many_streams");
    assert!(!refused.header("retry-after").is_empty());
    // One that does not wait, and another user's.
    assert_eq!(owner.page(&format!("after={after}")).await["more"], false);
    assert_eq!(other.page("after=newest&wait=1").await["events"], json!([]));
    owner.api.post("/api/contacts/15550001111/block/", &[]).await;
    for poll in polls {
        assert_eq!(poll.await.expect("a page")["events"][0]["type"], "contact.blocked");
    }
}

/// What several users' pages show is looked up in one query.
#[tokio::test(flavor = "multi_thread")]
async fn users_who_read_at_the_same_time_see_their_own_messages() {
    let server = Server::start();
    let owners = join_all((0..6).map(|_| Owner::new(&server, 2))).await;
    join_all(owners.iter().map(async |owner| {
        for number in 0..10 {
            let id = owner.sends(0, 1, &format!("{number} of {}", owner.numbers[0])).await;
            owner.waits_for("oldest", "message.received", |event| event["data"]["id"] == id.as_str()).await;
        }
    }))
    .await;
    for _ in 0..20 {
        join_all(owners.iter().map(async |owner| {
            let received = owner.all("types=message.received&limit=3").await;
            let shown: Vec<_> = received
                .iter()
                .map(|event| (event["account"].clone(), event["data"]["message"]["text"].clone()))
                .collect();
            let expected: Vec<_> = (0..10)
                .map(|number| (json!(owner.numbers[1]), json!(format!("{number} of {}", owner.numbers[0]))))
                .collect();
            assert_eq!(shown, expected);
        }))
        .await;
    }
}
