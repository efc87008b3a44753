//! Rate limits: requests of a token, sends of an account.

use futures_util::future::join_all;

use crate::support::people::{Person, login};
use crate::support::server::Server;

const SEND: &str = "/api/messages/send-message/";

#[tokio::test]
async fn a_token_has_so_many_requests() {
    let server = Server::setup().env("WINDU_RATE_REQUESTS", "1/5").start();
    let (anna, other) = (login(&server).await, login(&server).await);
    let first = anna.get("/api/account/").await;
    assert_eq!(first.header("ratelimit-policy"), "\"requests\";q=5;w=5");
    assert_eq!(first.header("ratelimit"), "\"requests\";r=4;t=1");
    let mut refused = None;
    for _ in 0..20 {
        let answer = anna.get("/api/nothing-that-needs-a-token/").await;
        assert_eq!(answer.status, 404);
        let answer = anna.post("/api/account/nickname/", &[("nickname", "Ann")]).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("more than five at once");
    refused.refused(429, "rate_limited");
    let body = refused.json();
    assert_eq!(body["policy"], "requests");
    assert_eq!(body["retry_after"].to_string(), refused.header("retry-after"));
    assert!(
        refused.header("ratelimit").starts_with("\"requests\";r=0;t="),
        "{}",
        refused.header("ratelimit")
    );
    assert_eq!(other.get("/api/account/").await.status, 200);
    // A page may read what is left.
    let request =
        other.request(reqwest::Method::GET, "/api/account/").header("origin", "https://app.example");
    let exposed = other.send(request).await.header("access-control-expose-headers").to_owned();
    assert!(exposed.contains("ratelimit,ratelimit-policy"), "{exposed}");
}

#[tokio::test]
async fn an_account_has_so_many_sends_and_a_refused_one_does_nothing() {
    let server = Server::setup().env("WINDU_RATE_SENDS", "1/3").start();
    let (anna, bert) = Person::two_friends(&server).await;
    let mut sent = Vec::new();
    let refused = loop {
        let text = format!("text {}", sent.len());
        let answer = anna.tries_to_send(&bert.number, &text).await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        let policies: Vec<_> = answer.headers.get_all("ratelimit-policy").iter().collect();
        assert_eq!(policies, ["\"sends\";q=3;w=3"]);
        sent.push(text);
    };
    refused.refused(429, "rate_limited");
    assert_eq!(refused.json()["policy"], "sends");
    assert!(sent.len() >= 3, "{sent:?}");
    assert_eq!(anna.texts(&format!("/api/messages/chats/{}/", bert.number)).await, sent);
    // Under a key the refusal is not kept, and a kept answer is no send.
    let keyed = async || {
        let request = anna.api.request(reqwest::Method::POST, SEND).header("idempotency-key", "later");
        anna.api.send(request.form(&[("contact", bert.number.as_str()), ("message", "later")])).await
    };
    let answer = loop {
        let answer = keyed().await;
        if answer.status == 200 {
            break answer;
        }
        answer.refused(429, "rate_limited");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    for _ in 0..5 {
        assert_eq!(keyed().await.text(), answer.text());
    }
}

#[tokio::test]
async fn the_limits_of_hundreds_of_users_are_their_own() {
    let server = Server::setup().env("WINDU_RATE_REQUESTS", "1/5").start();
    server.database().sql(
        "INSERT INTO windu_user (name, password_hash) SELECT 'many' || n, '-' FROM generate_series(1, 300) n;
         INSERT INTO oauth_grant (user_id, client_id, scope)
         SELECT u.id, c.id, 'read write' FROM windu_user u, (SELECT id FROM oauth_client ORDER BY id LIMIT 1) c
         WHERE u.name LIKE 'many%';
         INSERT INTO oauth_token (grant_id, access_hash, access_scope, access_expires_at, refresh_hash, refresh_expires_at)
         SELECT g.id, sha256(('access-of-' || u.name)::bytea), 'read write', now() + interval '1 day',
                sha256(('refresh of ' || u.name)::bytea), now() + interval '1 day'
         FROM oauth_grant g JOIN windu_user u ON u.id = g.user_id WHERE u.name LIKE 'many%'",
    );
    let statuses = async |user: usize, requests: usize| {
        let api = server.client().with_token(&format!("access-of-many{user}"));
        let answers = join_all((0..requests).map(|_| api.get("/api/account/"))).await;
        answers.iter().map(|answer| answer.status).collect::<Vec<_>>()
    };
    let refused = |statuses: &[u16]| statuses.iter().filter(|status| **status == 429).count();
    for user in 1..=300 {
        // Of twice as many requests as the limit allows, some are refused; and no more after others were.
        let statuses = statuses(user, 10).await;
        assert!(
            refused(&statuses) > 0 && statuses.iter().all(|status| [200, 429].contains(status)),
            "{statuses:?}"
        );
        assert!(statuses.len() - refused(&statuses) >= 5, "user {user}: {statuses:?}");
    }
}
