//! Concurrent requests that conflict with each other.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::Value;
use tokio::join;

use crate::shared_server::server;
use crate::support::client::{Answer, Client};
use crate::support::people::{Person, account, code, fresh_number, login, pass_a_minute};
use crate::support::wait::{DEADLINE, wait_until_async};

/// Sends the same request `times` times at once; returns the sorted statuses.
async fn at_once(api: &Client, times: usize, path: &str, form: &[(&str, &str)]) -> Vec<u16> {
    let requests = (0..times).map(|_| api.send(api.request(Method::POST, path).form(form)));
    let mut statuses: Vec<u16> = join_all(requests).await.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}

/// Sends texts until one is refused; returns that response.
async fn until_refused(person: &Person, to: &str) -> Answer {
    for number in 0.. {
        let answer = person.tries_to_send(to, &number.to_string()).await;
        if answer.status != 200 {
            return answer;
        }
    }
    unreachable!("numbers do not end")
}

#[tokio::test]
async fn only_one_of_many_equal_requests_creates_the_account_or_contact() {
    let api = login(server()).await;
    let number = fresh_number();
    let statuses = at_once(&api, 5, "/api/account/create-account/", &[("account", &number)]).await;
    assert_eq!(statuses, [201, 400, 400, 400, 400]);
    let form = [("code", code(server(), &number))];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let form = [form, vec![("account", &number)]].concat();
    let statuses = at_once(&api, 3, "/api/account/register-code/", &form).await;
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 403, 503].contains(status)), "{statuses:?}");
    let contact = [("contact_id", "15550099999")];
    let statuses = at_once(&api, 5, "/api/contacts/add-contact/", &contact).await;
    assert_eq!(statuses, [201, 400, 400, 400, 400]);
}

#[tokio::test]
async fn concurrent_changes_of_one_account_do_not_deadlock() {
    let anna = Person::new(server()).await;
    let mut friends = Vec::new();
    for _ in 0..15 {
        let number = fresh_number();
        let insert = "INSERT INTO localnet_subscriber (number, incarnation) VALUES";
        server().database().sql(&format!("{insert} ('{number}', 'x')"));
        anna.adds_contact(&number).await;
        friends.push(number);
    }
    let deadlocks = || {
        let count = "SELECT pg_stat_clear_snapshot(), deadlocks FROM pg_stat_database
                     WHERE datname = current_database()";
        server().database().sql(count)
    };
    let before = deadlocks();
    // New chats, while the list of contacts changes and the session applies it.
    let sends = friends.iter().map(|friend| anna.tries_to_send(friend, "hello"));
    let added: Vec<String> = (0..15).map(|_| fresh_number()).collect();
    let forms: Vec<_> = added.iter().map(|number| [("contact_id", number.as_str())]).collect();
    let adds = forms.iter().map(|form| anna.api.post("/api/contacts/add-contact/", form));
    let paths: Vec<_> = friends.iter().map(|number| format!("/api/contacts/{number}/")).collect();
    let removes = paths.iter().map(|path| anna.api.delete(path));
    let names = (0..5).map(|number| {
        let form = serde_json::json!({"nickname": number.to_string()});
        let request = anna.api.request(Method::POST, "/api/account/nickname/").json(&form);
        anna.api.send(request)
    });
    let (sends, adds, removes, names) =
        join!(join_all(sends), join_all(adds), join_all(removes), join_all(names));
    for (answers, expected) in [(sends, &[200, 400][..]), (adds, &[201]), (removes, &[200]), (names, &[200])]
    {
        for answer in answers {
            assert!(expected.contains(&answer.status), "{} {}", answer.status, answer.text());
        }
    }
    assert_eq!(deadlocks(), before);
}

#[tokio::test]
async fn a_number_that_two_users_prove_at_once_is_registered_once() {
    for _ in 0..3 {
        let number = fresh_number();
        let (one, other) = (login(server()).await, login(server()).await);
        let mut codes = Vec::new();
        for api in [&one, &other] {
            pass_a_minute(server(), &number);
            let created = api.post("/api/account/create-account/", &[("account", &number)]).await;
            assert_eq!(created.status, 201, "{}", created.text());
            codes.push(code(server(), &number));
        }
        let register = async |api: &Client, code: &str| {
            api.post("/api/account/register-code/", &[("code", code)]).await.status
        };
        let statuses = join!(register(&one, &codes[0]), register(&other, &codes[1]));
        assert!([statuses.0, statuses.1].contains(&200), "{statuses:?}");
        let is_registered = async |api: &Client| {
            account(api, &number).await.expect("listed")["registered"].as_bool().expect("a flag")
        };
        let (first, second) = (is_registered(&one).await, is_registered(&other).await);
        assert!(first != second, "{first} {second}");
        // And its owner can use it.
        let owner = Person { api: if first { one } else { other }, number };
        let friend = Person::new(server()).await;
        owner.adds_contact(&friend.number).await;
        owner.delivers(&friend, "mine").await;
        friend.delivers(&owner, "yours").await;
    }
}

#[tokio::test]
async fn messages_sent_while_the_number_moves_are_refused_or_fail() {
    let (anna, bert) = Person::two_friends(server()).await;
    let carl = login(server()).await;
    pass_a_minute(server(), &anna.number);
    carl.post("/api/account/create-account/", &[("account", &anna.number)]).await;
    let form = [("code", code(server(), &anna.number))];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (one, two, three, four, moved) = join!(
        until_refused(&anna, &bert.number),
        until_refused(&anna, &bert.number),
        until_refused(&anna, &bert.number),
        until_refused(&anna, &bert.number),
        carl.post("/api/account/register-code/", &form),
    );
    assert_eq!(moved.status, 200, "{}", moved.text());
    for refused in [one, two, three, four] {
        refused.refused(400, "account_not_registered");
    }
    let chat = format!("/api/messages/chats/{}/?limit=1000&account={}", bert.number, anna.number);
    wait_until_async("each message to be sent or to have failed", DEADLINE, async || {
        let messages = anna.list(&chat).await;
        let settled = |message: &Value| message["state"] == "sent" || message["state"] == "failed";
        messages.iter().all(settled).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_during_remove_account_are_done_or_refused() {
    for _ in 0..3 {
        let (anna, bert) = Person::two_friends(server()).await;
        let (is_removed, statuses) = (Cell::new(false), RefCell::new(BTreeSet::new()));
        let send = async || {
            while !is_removed.get() {
                let answer = anna.tries_to_send(&bert.number, "hello").await;
                statuses.borrow_mut().insert(answer.status);
            }
        };
        let write = async |path: &str, name: &str| {
            while !is_removed.get() {
                let number = fresh_number();
                let answer = anna.api.post(path, &[(name, &number)]).await;
                statuses.borrow_mut().insert(answer.status);
            }
        };
        let remove = async || {
            let removed = anna.api.post("/api/account/remove-account/", &[]).await;
            is_removed.set(true);
            removed
        };
        let (removed, ..) = join!(
            remove(),
            send(),
            send(),
            write("/api/contacts/add-contact/", "contact_id"),
            write("/api/account/nickname/", "nickname"),
        );
        assert_eq!(removed.status, 200, "{}", removed.text());
        let allowed = [200, 201, 400, 503];
        assert!(statuses.borrow().iter().all(|status| allowed.contains(status)), "{statuses:?}");
        assert_eq!(account(&anna.api, &anna.number).await, None);
    }
}
