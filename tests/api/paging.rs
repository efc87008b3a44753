//! Paging: `limit`, `offset`, `after`, `received_only` and `date_limit`.

use serde_json::{Value, json};

use crate::shared_server::server;
use crate::support::people::{Person, assert_time, texts, without_timestamps};
use crate::support::wait::{DEADLINE, wait_until_async};

const CHATS: &str = "/api/messages/chats/";
const LAST_READ: &str = "/api/messages/update-last-read/";

/// The uncut time in a column of a message, as a parameter.
fn uncut(column: &str, id: &str, received: bool) -> String {
    let sender = if received { "IS NOT NULL" } else { "IS NULL" };
    server().database().sql(&format!(
        "SELECT to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') FROM message
         WHERE network_id = '{id}' AND sender_peer_id {sender}"
    ))
}

/// The next microsecond.
fn after(time: &str) -> String {
    let (second, micros) = time.split_once('.').expect("a fraction");
    format!("{second}.{:06}", micros.parse::<u32>().expect("microseconds") + 1)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_chat_page_holds_the_newest_messages_after_the_offset_oldest_first() {
    let (anna, bert) = Person::two_friends(server()).await;
    let mut last = String::new();
    for number in 0..25 {
        last = anna.sends(&bert, &number.to_string()).await;
    }
    bert.waits_for(&anna, &last).await;
    let endpoint = format!("{CHATS}{}/", anna.number);
    for (query, expected) in [
        ("", numbers(5..25)),
        ("?limit=3", numbers(22..25)),
        ("?limit=3&offset=2", numbers(20..23)),
        ("?offset=20", numbers(0..5)),
        ("?offset=25", vec![]),
        ("?limit=0", vec![]),
        ("?limit=1001", numbers(0..25)),
        ("?limit=99999999999999999999", numbers(0..25)),
        ("?offset=99999999999999999999", vec![]),
        ("?limit=&limit=2", numbers(23..25)),
        ("?after=2016-05-20", numbers(5..25)),
        ("?after=9999-12-31T23:59:59.5+02:00", vec![]),
        ("?after=0&limit=100", numbers(0..25)),
    ] {
        assert_eq!(bert.texts(&format!("{endpoint}{query}")).await, expected, "{query}");
    }
    for message in bert.chat(&anna.number).await {
        assert_time(&message["time"]);
    }
}

#[tokio::test]
async fn invalid_paging_parameters_are_refused() {
    let anna = Person::new(server()).await;
    let endpoints = [
        CHATS.to_owned(),
        format!("{CHATS}{}/", anna.number),
        format!("/api/messages/delivered/{}/", anna.number),
        format!("/api/messages/read/{}/", anna.number),
    ];
    for endpoint in endpoints {
        for query in [
            "limit=-1",
            "limit=x",
            "limit=1.5",
            "offset=-1",
            "offset=1e3",
            "after=yesterday",
            "after=2016-13-01",
            "after=2016-05-20T25:00:00",
            "after=2016-05-20T05:52:45X",
        ] {
            let answer = anna.api.get(&format!("{endpoint}?{query}")).await;
            assert_eq!(answer.status, 400, "{endpoint}?{query}: {}", answer.text());
            let name = query.split('=').next().expect("a name");
            assert!(answer.refused(400, "invalid_parameter").contains(name), "{}", answer.text());
        }
    }
    let answer = anna.api.get(&format!("{CHATS}{}/?received_only=maybe", anna.number)).await;
    answer.refused(400, "invalid_parameter");
}

#[tokio::test]
async fn received_only_shows_only_received_messages() {
    let (anna, bert) = Person::two_friends(server()).await;
    for number in 0..3 {
        anna.delivers(&bert, &format!("a{number}")).await;
        bert.delivers(&anna, &format!("b{number}")).await;
    }
    let endpoint = format!("{CHATS}{}/", anna.number);
    for (query, expected) in [
        ("", vec!["a0", "b0", "a1", "b1", "a2", "b2"]),
        ("?received_only=1", vec!["a0", "a1", "a2"]),
        ("?received_only=true", vec!["a0", "a1", "a2"]),
        ("?received_only=0", vec!["a0", "b0", "a1", "b1", "a2", "b2"]),
        // Only shown messages count for limit and offset.
        ("?received_only=1&limit=2", vec!["a1", "a2"]),
        ("?received_only=1&limit=1&offset=1", vec!["a1"]),
    ] {
        assert_eq!(bert.texts(&format!("{endpoint}{query}")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn after_means_strictly_later_in_chats() {
    let (anna, bert) = Person::two_friends(server()).await;
    let first = anna.delivers(&bert, "first").await;
    let second = anna.delivers(&bert, "second").await;
    let endpoint = format!("{CHATS}{}/?after=", anna.number);
    let (of_first, of_second) = (uncut("stored_at", &first, true), uncut("stored_at", &second, true));
    assert_eq!(bert.texts(&format!("{endpoint}{of_first}")).await, ["second"]);
    assert_eq!(bert.texts(&format!("{endpoint}{of_second}")).await, [] as [&str; 0]);
    // In other notations of the same time.
    for time in [
        of_first.replace('T', "%20"),
        format!("{of_first}Z"),
        format!("{of_first}%2B00:00"),
        format!("{of_first}%2000:00"),
    ] {
        assert_eq!(bert.texts(&format!("{endpoint}{time}")).await, ["second"], "{time}");
    }
    // Without its fraction it lies before both: the comparison uses full precision.
    let cut = of_first.split('.').next().expect("a second");
    if !of_first.ends_with(".000000") {
        assert_eq!(bert.texts(&format!("{endpoint}{cut}")).await, ["first", "second"]);
    }
    // The list of chats uses the time of the last message.
    let has_chat = async |time: &str| {
        let chats = bert.api.get(&format!("{CHATS}?after={time}")).await.json();
        chats["chats"].as_array().expect("chats").len() == 1
    };
    assert!(has_chat(&of_first).await);
    assert!(!has_chat(&of_second).await);
}

#[tokio::test]
async fn after_means_at_or_later_in_delivered_and_read() {
    let (anna, bert) = Person::two_friends(server()).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let id = anna.delivers(&bert, &number.to_string()).await;
        anna.waits_until(&bert.number, &id, |message| message["delivered"].is_string()).await;
        bert.api.post(LAST_READ, &[("contact", &anna.number)]).await;
        anna.waits_until(&bert.number, &id, |message| message["read"].is_string()).await;
        ids.push(id);
    }
    for (endpoint, column) in [("delivered", "delivered_at"), ("read", "read_at")] {
        let path = format!("/api/messages/{endpoint}/{}/", bert.number);
        let listed = async |query: &str| -> Vec<String> {
            let messages = anna.list(&format!("{path}{query}")).await;
            for message in &messages {
                assert_time(&message[endpoint]);
                let message = without_timestamps(message.clone());
                assert_eq!(message.as_object().expect("an object").len(), 2);
            }
            messages.iter().map(|message| message["id"].as_str().expect("an id").to_owned()).collect()
        };
        assert_eq!(listed("").await, ids, "{endpoint}");
        assert_eq!(listed("?limit=2").await, ids[1..], "{endpoint}");
        assert_eq!(listed("?limit=1&offset=1").await, ids[1..2], "{endpoint}");
        assert_eq!(listed("?offset=3").await, [] as [&str; 0], "{endpoint}");
        let at = uncut(column, &ids[1], false);
        assert_eq!(listed(&format!("?after={at}")).await, ids[1..], "{endpoint}");
        assert_eq!(listed(&format!("?after={}", after(&at))).await, ids[2..], "{endpoint}");
    }
}

#[tokio::test]
async fn chats_are_listed_newest_first() {
    let (anna, bert) = Person::two_friends(server()).await;
    let carl = Person::new(server()).await;
    carl.adds_contact(&anna.number).await;
    assert_eq!(anna.api.get(CHATS).await.json(), json!({"chats": []}));
    bert.delivers(&anna, "from Bert").await;
    carl.delivers(&anna, "from Carl").await;
    carl.delivers(&anna, &format!("again {}", "ö".repeat(200))).await;
    anna.delivers(&carl, "to Carl").await;
    anna.api.patch(&format!("/api/contacts/{}/", bert.number), &[("last_name", "Bertsson")]).await;

    let chats = async |query: &str| {
        let mut chats =
            without_timestamps(anna.api.get(&format!("{CHATS}{query}")).await.json()["chats"].take());
        for chat in chats.as_array_mut().expect("chats") {
            assert_time(&chat["time"].take());
        }
        chats
    };
    let chat = |id: &str, title: &str, snippet: &str, unread: u32, state: &str| {
        json!({"id": id, "title": title, "is_group": false, "snippet": snippet, "type": "t", "time": null,
               "unread": unread, "received": state == "received", "state": state, "participant": null,
               "preview_photo_url": null, "photo_status": "404"})
    };
    let of_bert = chat(&bert.number, "Bertsson", "from Bert", 1, "received");
    let of_carl = chat(&carl.number, &carl.number, "to Carl", 2, "delivered");
    wait_until_async("the receipt of the message to Carl", DEADLINE, async || {
        (chats("").await == json!([of_carl, of_bert])).then_some(())
    })
    .await;
    assert_eq!(chats("?limit=1").await, json!([of_carl]));
    assert_eq!(chats("?limit=1&offset=1").await, json!([of_bert]));
    assert_eq!(chats("?offset=2").await, json!([]));
    anna.api.patch(&format!("/api/contacts/{}/", bert.number), &[("first_name", "B.")]).await;
    bert.delivers(&anna, "again").await;
    let of_bert = chat(&bert.number, "B. Bertsson", "again", 2, "received");
    assert_eq!(chats("").await, json!([of_bert, of_carl]));
}

#[tokio::test]
async fn update_last_read_marks_messages_up_to_date_limit() {
    let (anna, bert) = Person::two_friends(server()).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(anna.delivers(&bert, &number.to_string()).await);
    }
    bert.delivers(&anna, "mine is never unread").await;
    let unread = async || bert.chat_entry(&anna.number).await.expect("a chat")["unread"].clone();
    let read = async |limit: Option<&str>| {
        let mut form = vec![("contact", anna.number.as_str())];
        form.extend(limit.map(|limit| ("date_limit", limit)));
        let answer = bert.api.post(LAST_READ, &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    for wrong in ["soon", "2016-05-20T05"] {
        let form = [("contact", anna.number.as_str()), ("date_limit", wrong)];
        bert.api.post(LAST_READ, &form).await.refused(400, "invalid_parameter");
    }
    assert!(read(Some("2016-05-20T05:52:45")).await["message"].is_string());
    assert_eq!(unread().await, 4);
    // With its fraction the time includes the message stored at that time, and no later one.
    let limit = uncut("stored_at", &ids[1], true);
    assert_eq!(read(Some(&limit)).await.get("message"), None);
    assert_eq!(unread().await, 2);
    let received: Vec<Value> = bert.list(&format!("{CHATS}{}/?received_only=1", anna.number)).await;
    let seen: Vec<bool> = received.iter().map(|message| message["read"].is_string()).collect();
    assert_eq!(seen, [true, true, false, false]);
    // Without a fraction it includes its whole second, as responses show it.
    let shown = received[3]["time"].as_str().expect("a time").to_owned();
    assert_eq!(read(Some(&shown)).await.get("message"), None);
    assert_eq!(unread().await, 0);
    assert!(read(None).await["message"].is_string());
    let endpoint = format!("/api/messages/read/{}/", bert.number);
    wait_until_async("all receipts", DEADLINE, async || {
        (anna.list(&endpoint).await.len() == 4).then_some(())
    })
    .await;
    assert_eq!(texts(&anna.chat(&bert.number).await)[..4], ["0", "1", "2", "3"]);
}
