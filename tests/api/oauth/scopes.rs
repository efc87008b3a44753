//! Scopes of tokens: what each method needs.

use reqwest::Method;

use super::login_with;
use crate::shared_server::{client, server};
use crate::support::client::{Answer, Client};
use crate::support::people::{fresh_number, register};

async fn with_scope(scope: &str) -> Client {
    let answer = client().post("/o/token/", &login_with(&[("scope", scope)])).await;
    assert_eq!(answer.json()["scope"], scope, "{}", answer.text());
    client().with_token(answer.json()["access_token"].as_str().expect("a token"))
}

#[track_caller]
fn lacks(answer: &Answer, scope: &str) {
    answer.refused(403, "insufficient_scope");
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("Bearer error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.ends_with(&format!("scope=\"{scope}\"")), "{challenge}");
}

#[tokio::test]
async fn a_token_that_may_only_read_changes_nothing() {
    let (whole, number) = (with_scope("read write").await, fresh_number());
    register(server(), &whole, &number).await;
    let reader = with_scope("read").await;
    let account = format!("account={number}");
    assert_eq!(reader.get(&format!("/api/account/nickname/?{account}")).await.status, 200);
    let head = reader.send(reader.request(Method::HEAD, "/api/account/")).await;
    assert_eq!(head.status, 200);
    for (method, path) in [
        (Method::POST, "/api/account/nickname/"),
        (Method::POST, "/api/messages/send-message/"),
        (Method::POST, "/api/messages/set-typing/"),
        (Method::POST, "/api/contacts/blocked-list/"),
        (Method::PATCH, "/api/contacts/15551230000/"),
        (Method::DELETE, "/api/contacts/15551230000/"),
        (Method::DELETE, "/api/account/profile-photo/"),
        (Method::POST, "/api/account/create-account/"),
        (Method::POST, "/api/account/remove-account/"),
    ] {
        let request =
            reader.request(method, path).form(&[("account", &number), ("nickname", &"x".to_owned())]);
        lacks(&reader.send(request).await, "write");
    }
    let nickname = whole.get(&format!("/api/account/nickname/?{account}")).await;
    assert_eq!(nickname.json()["nickname"], "");
}

#[tokio::test]
async fn a_token_that_may_only_write_reads_nothing() {
    let writer = with_scope("write").await;
    for path in ["/api/account/", "/api/contacts/", "/api/messages/chats/"] {
        lacks(&writer.get(path).await, "read");
    }
    let head = writer.send(writer.request(Method::HEAD, "/api/account/")).await;
    assert_eq!(head.status, 403);
    let nickname =
        writer.post("/api/account/nickname/", &[("nickname", "x"), ("account", "15550009999")]).await;
    nickname.refused(400, "account_unknown");
}
