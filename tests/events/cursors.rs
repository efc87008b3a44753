//! Cursors: what they lead to, and when they lead nowhere.

use std::time::Duration;

use serde_json::Value;
use tokio::task::block_in_place;
use windu::db::Db;
use windu::store::Store;

use crate::support::owner::Owner;
use crate::support::people::{fresh_number, login, register};
use crate::support::server::Server;

fn is_cursor(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=128).contains(&text.len())
        && text.bytes().all(fits)
        && !text.bytes().all(|byte| byte.is_ascii_digit())
}

fn cursor(page: &Value) -> String {
    page["cursor"].as_str().expect("a cursor").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_whatever_their_size() {
    let server = Server::start();
    let owner = Owner::new(&server, 3).await;
    for text in ["one", "two", "three"] {
        owner.sends(0, 1, text).await;
        owner.sends(2, 0, text).await;
    }
    owner.waits_for("oldest", "message.received", |event| event["data"]["message"]["text"] == "three").await;
    let all = owner.all("limit=1000").await;
    for event in &all {
        assert!(is_cursor(event["cursor"].as_str().expect("a cursor")), "{event}");
    }
    for limit in [1, 2, 7] {
        let paged = owner.all(&format!("limit={limit}")).await;
        let ids = |events: &[Value]| events.iter().map(|event| event["id"].clone()).collect::<Vec<_>>();
        // Receipts may have come meanwhile.
        assert_eq!(ids(&paged[..all.len()]), ids(&all));
    }
    // From the cursor of an event the next one follows.
    for pair in all.windows(2) {
        let after = pair[0]["cursor"].as_str().expect("a cursor");
        let page = owner.page(&format!("after={after}&limit=1")).await;
        assert_eq!(page["events"][0]["id"], pair[1]["id"]);
        assert_eq!(page["cursor"], pair[1]["cursor"]);
    }
    // Nothing is after newest; the cursor is there all the same, and nothing is asked for with a limit of zero.
    let none = owner.page("after=newest").await;
    assert_eq!((&none["events"], &none["more"]), (&serde_json::json!([]), &false.into()));
    assert!(is_cursor(&cursor(&none)));
    let zero = owner.page("limit=0").await;
    assert_eq!((&zero["events"], &zero["more"]), (&serde_json::json!([]), &true.into()));
    assert_eq!(owner.page(&format!("limit=1000&after={}", cursor(&zero))).await["events"][0], all[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_account_a_seq_is_a_place_too() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    owner.sends(0, 1, "hello").await;
    owner.waits_for("oldest", "message.received", |_| true).await;
    let number = &owner.numbers[1];
    let of_account = owner.all(&format!("account={number}")).await;
    assert!(of_account.iter().all(|event| event["account"] == number.as_str()));
    let epoch = of_account[0]["epoch"].as_str().expect("a word");
    for (index, event) in of_account.iter().enumerate() {
        let path = format!("account={number}&epoch={epoch}&limit=1&after={index}");
        assert_eq!(owner.page(&path).await["events"][0]["id"], event["id"]);
    }
    let last = of_account.len();
    let end = owner.page(&format!("account={number}&after={last}")).await;
    assert!(end["events"].as_array().expect("events").len() < 3, "{end}");

    let ask = async |query: &str| owner.api.get(&format!("/api/events/?{query}")).await;
    ask("after=1").await.refused(400, "invalid_cursor");
    ask(&format!("after=1&account={},{}", owner.numbers[0], number)).await.refused(400, "invalid_cursor");
    ask(&format!("after=1&account={number}&epoch=another")).await.refused(410, "cursor_gone");
    let beyond = ask(&format!("after=100000&account={number}")).await;
    beyond.refused(410, "cursor_gone");
    assert_eq!(beyond.json()["reason"], "epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_refused() {
    let server = Server::start();
    let owner = Owner::new(&server, 1).await;
    let other = Owner::new(&server, 1).await;
    let ask = async |query: &str| owner.api.get(&format!("/api/events/?{query}")).await;
    for wrong in ["x", "-1", "1.2", "a.b.c", "..", "%20a.1.2%2f"] {
        ask(&format!("after={wrong}")).await.refused(400, "invalid_cursor");
    }
    for wrong in ["message", "message.recieved", "message.received,nothing.here", "messages.*", "*"] {
        ask(&format!("types={wrong}")).await.refused(400, "unknown_type");
    }
    ask("account=15559876543").await.refused(400, "account_unknown");
    ask(&format!("account={}", other.numbers[0])).await.refused(400, "account_unknown");
    ask("account=12").await.refused(400, "invalid_parameter");
    ask("limit=-1").await.refused(400, "invalid_parameter");
    ask("wait=soon").await.refused(400, "invalid_parameter");
    let nobody = crate::support::client::Client::new(server.url().to_owned());
    nobody.get("/api/events/").await.refused(401, "token_missing");

    // Another user's place, another epoch's, and one that is not reached yet.
    let (mine, theirs) = (owner.now().await, other.now().await);
    let parts: Vec<&str> = mine.split('.').collect();
    let foreign_epoch = format!("abcdefabcdef.{}.{}", parts[1], parts[2]);
    let later = format!("{}.{}.{}", parts[0], parts[1], i64::MAX);
    for gone in [theirs.as_str(), &foreign_epoch, &later] {
        let answer = ask(&format!("after={gone}")).await;
        answer.refused(410, "cursor_gone");
        let body = answer.json();
        assert_eq!((&body["reason"], &body["epoch"]), (&"epoch".into(), &parts[0].into()), "{body}");
        assert_eq!(body["newest"], mine.as_str());
        let oldest = body["oldest"].as_str().expect("a cursor");
        assert_eq!(owner.page(&format!("after={oldest}&limit=1")).await["events"][0]["seq"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_are_deleted_and_their_cursors_are_gone() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let number = &owner.numbers[0];
    let young = fresh_number();
    let all = owner.all("").await;
    // All that there is gets old; then something new happens.
    let sql = |text: &str| block_in_place(|| server.database().sql(text));
    sql("UPDATE event_span SET numbered_at = numbered_at - interval '31 days'");
    register(&server, &owner.api, &young).await;
    owner.waits_for("oldest", "session.changed", |event| event["account"] == young.as_str()).await;
    let store = Store::new(Db::from_url(&server.database().url(), 2).expect("a URL"));
    let month = Duration::from_hours(30 * 24);
    assert!(store.prune_events(month, None, 1_000).await.expect("pruned").is_some());

    let left = owner.all("").await;
    assert!(left.iter().all(|event| !all.contains(event)), "{left:?}");
    assert!(left.iter().any(|event| event["account"] == young.as_str()));
    let ask = async |query: &str| owner.api.get(&format!("/api/events/?{query}")).await;
    for gone in [
        format!("after={}", all[0]["cursor"].as_str().expect("a cursor")),
        format!("after=1&account={number}"),
    ] {
        let answer = ask(&gone).await;
        answer.refused(410, "cursor_gone");
        let body = answer.json();
        assert_eq!(body["reason"], "retention", "{body}");
        let oldest = body["oldest"].as_str().expect("a cursor");
        assert_eq!(owner.page(&format!("after={oldest}")).await["events"][0], left[0]);
    }
    // The numbers go on, and the last place before them still leads there.
    let last = all.last().expect("events")["cursor"].as_str().expect("a cursor").to_owned();
    assert_eq!(owner.page(&format!("after={last}")).await["events"][0], left[0]);
    let next = owner.now().await;
    owner.sends(0, 1, "hello").await;
    let queued = owner.waits_for(&next, "message.queued", |_| true).await;
    let last_of_number =
        all.iter().filter(|event| event["account"] == number.as_str()).map(|event| event["seq"].as_i64());
    assert_eq!(queued["seq"].as_i64(), last_of_number.max().flatten().map(|seq| seq + 1));
    let of_number = owner.all(&format!("account={number}")).await;
    assert_eq!(of_number[0]["id"], queued["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_number_keeps_its_events_and_goes_on() {
    let server = Server::start();
    let owner = Owner::new(&server, 2).await;
    let (number, other) = (owner.numbers[0].clone(), owner.numbers[1].clone());
    owner.sends(1, 0, "hello").await;
    let received = owner.waits_for("oldest", "message.received", |_| true).await;
    assert_eq!(received["data"]["message"]["text"], "hello");
    let removed = owner.api.post("/api/account/remove-account/", &[("account", number.as_str())]).await;
    assert_eq!(removed.status, 200, "{}", removed.text());

    let events = owner.all(&format!("account={number}")).await;
    let last = events.last().expect("events");
    assert_eq!((&last["type"], &last["data"]), (&"account.removed".into(), &serde_json::json!({})));
    let again = events.iter().find(|event| event["id"] == received["id"]).expect("it is kept");
    assert_eq!(again["data"]["gone"], true, "{again}");
    assert_eq!(again["data"]["id"], received["data"]["id"]);
    assert_eq!((&again["data"]["chat"], again["data"].get("message")), (&other.as_str().into(), None));
    assert!(!again.to_string().contains("hello"));

    // Once more: the numbers go on, and what the earlier account had stays gone.
    let form = [("account", other.as_str()), ("contact_id", number.as_str())];
    owner.api.post("/api/contacts/add-contact/", &form).await;
    register(&server, &owner.api, &number).await;
    let events = owner.all(&format!("account={number}")).await;
    assert!(events.iter().map(|event| event["seq"].as_i64()).eq((1..).map(Some).take(events.len())));
    let added = events.iter().find(|event| event["type"] == "contact.added").expect("it is kept");
    assert_eq!(added["data"], serde_json::json!({"contact": other, "gone": true}));

    // Another user who proves the number sees nothing of it.
    let taker = login(&server).await;
    register(&server, &taker, &number).await;
    let theirs = taker.get(&format!("/api/events/?account={number}")).await.json();
    assert_eq!(theirs["events"][0]["seq"], 1);
    let unregistered = owner.waits_for("oldest", "account.unregistered", |_| true).await;
    assert_eq!(unregistered["account"], number.as_str());
}
