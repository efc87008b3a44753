//! Refresh tokens: rotation, the grace period for a lost response, and reuse.

use super::{Confidential, PUBLIC, Pair, failed, introspect, log_in, login_with, refresh};
use crate::support::server::Server;

/// Ends the 10 s in which a lost answer is given again.
const END_GRACE: &str = "UPDATE oauth_token SET used_at = used_at - interval '11 seconds'";

async fn is_live(server: &Server, confidential: &Confidential, token: &str) -> bool {
    introspect(server.client(), confidential, token).await["active"] == true
}

#[tokio::test]
async fn a_refresh_gives_a_new_pair_and_ends_the_old() {
    let server = Server::start();
    let confidential = Confidential::create(&server, "backend");
    let first = log_in(server.client()).await;
    let answer = refresh(server.client(), &first.refresh).await;
    let second = Pair::of(&answer);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json()["token_type"], "Bearer");
    assert_eq!(answer.json()["expires_in"], 86_400);
    assert_eq!(answer.json()["scope"], "read write");
    for (token, live) in
        [(&first.access, false), (&first.refresh, false), (&second.access, true), (&second.refresh, true)]
    {
        assert_eq!(is_live(&server, &confidential, token).await, live);
    }
}

#[tokio::test]
async fn a_used_refresh_token_gives_the_same_pair_during_the_grace_period() {
    let server = Server::start();
    let first = log_in(server.client()).await;
    let second = Pair::of(&refresh(server.client(), &first.refresh).await);
    for _ in 0..3 {
        assert_eq!(Pair::of(&refresh(server.client(), &first.refresh).await), second);
    }
    Pair::of(&refresh(server.client(), &second.refresh).await);
}

#[tokio::test]
async fn reusing_a_refresh_token_revokes_all_tokens_of_the_login() {
    let server = Server::start();
    let confidential = Confidential::create(&server, "backend");
    // After the grace period, and within it once the successor was used.
    for in_grace in [false, true] {
        let first = log_in(server.client()).await;
        let other = log_in(server.client()).await;
        let mut last = Pair::of(&refresh(server.client(), &first.refresh).await);
        if in_grace {
            last = Pair::of(&refresh(server.client(), &last.refresh).await);
        } else {
            server.database().sql(END_GRACE);
        }
        failed(&refresh(server.client(), &first.refresh).await, 400, "invalid_grant");
        failed(&refresh(server.client(), &last.refresh).await, 400, "invalid_grant");
        assert!(!is_live(&server, &confidential, &last.access).await);
        assert!(is_live(&server, &confidential, &other.access).await, "another login stays valid");
    }
    server.wait_for_log("a refresh token was reused");
}

#[tokio::test]
async fn eight_concurrent_refreshes_get_the_same_pair() {
    let server = Server::start();
    let second = Server::setup().database(server.database().clone()).start();
    for _ in 0..5 {
        let first = log_in(server.client()).await;
        let requests = (0..8).map(|number| {
            let client = if number % 2 == 0 { server.client() } else { second.client() };
            refresh(client, &first.refresh)
        });
        let answers = futures_util::future::join_all(requests).await;
        let mut pairs: Vec<Pair> = answers.iter().map(Pair::of).collect();
        pairs.dedup();
        assert_eq!(pairs.len(), 1, "{pairs:?}");
        Pair::of(&refresh(server.client(), &pairs[0].refresh).await);
    }
}

#[tokio::test]
async fn the_stored_pair_is_encrypted_and_deleted_after_its_use() {
    let server = Server::start();
    let first = log_in(server.client()).await;
    let second = Pair::of(&refresh(server.client(), &first.refresh).await);
    let sealed = "SELECT encode(sealed_successor, 'escape') FROM oauth_token WHERE used_at IS NOT NULL";
    let text = server.database().sql(sealed);
    assert!(!text.is_empty() && !text.contains(&second.access) && !text.contains(&second.refresh));
    refresh(server.client(), &second.refresh).await;
    let count = "SELECT count(*) FROM oauth_token WHERE sealed_successor IS NOT NULL";
    assert_eq!(server.database().sql(count), "1", "it is deleted when the successor is used");
}

#[tokio::test]
async fn a_refresh_token_is_bound_to_its_client() {
    let server = Server::start();
    let confidential = Confidential::create(&server, "backend");
    let other = Confidential::create(&server, "other");
    let public = log_in(server.client()).await;
    let form = login_with(&[("client_id", &confidential.id), ("client_secret", &confidential.secret)]);
    let own = Pair::of(&server.client().post("/o/token/", &form).await);
    let try_refresh = async |token: &str, id: &str, secret: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", id),
            ("client_secret", secret),
        ];
        server.client().post("/o/token/", &form).await
    };
    failed(&try_refresh(&own.refresh, PUBLIC, "").await, 400, "invalid_grant");
    failed(&try_refresh(&own.refresh, &other.id, &other.secret).await, 400, "invalid_grant");
    failed(&try_refresh(&own.refresh, &confidential.id, "").await, 401, "invalid_client");
    failed(&try_refresh(&own.refresh, &confidential.id, "wrong").await, 401, "invalid_client");
    failed(&try_refresh(&public.refresh, &other.id, &other.secret).await, 400, "invalid_grant");
    failed(&try_refresh(&own.refresh, "", "").await, 401, "invalid_client");
    let next = Pair::of(&try_refresh(&own.refresh, &confidential.id, &confidential.secret).await);
    // Reuse by another client changes nothing either, in the grace period and after it.
    failed(&try_refresh(&own.refresh, PUBLIC, "").await, 400, "invalid_grant");
    server.database().sql(END_GRACE);
    failed(&try_refresh(&own.refresh, &other.id, &other.secret).await, 400, "invalid_grant");
    assert!(is_live(&server, &confidential, &next.access).await);
}

#[tokio::test]
async fn a_refresh_can_narrow_the_scope_for_one_pair_only() {
    let server = Server::start();
    let confidential = Confidential::create(&server, "backend");
    let refresh_with_scope = async |token: &str, scope: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", PUBLIC),
            ("scope", scope),
        ];
        server.client().post("/o/token/", &form).await
    };
    let first = Pair::of(&server.client().post("/o/token/", &login_with(&[("scope", "read")])).await);
    failed(&refresh_with_scope(&first.refresh, "read write").await, 400, "invalid_scope");
    Pair::of(&refresh_with_scope(&first.refresh, "read").await);

    let first = log_in(server.client()).await;
    failed(&refresh_with_scope(&first.refresh, "bogus").await, 400, "invalid_scope");
    let answer = refresh_with_scope(&first.refresh, "read").await;
    assert_eq!(answer.json()["scope"], "read");
    let second = Pair::of(&answer);
    assert_eq!(introspect(server.client(), &confidential, &second.access).await["scope"], "read");
    // The new refresh token has the scope of the old one (RFC 6749 section 6).
    assert_eq!(refresh_with_scope(&second.refresh, "").await.json()["scope"], "read write");
}

#[tokio::test]
async fn unknown_expired_and_access_tokens_refresh_nothing() {
    let server = Server::start();
    let pair = log_in(server.client()).await;
    for token in ["unknown", &pair.access] {
        failed(&refresh(server.client(), token).await, 400, "invalid_grant");
    }
    server.database().sql("UPDATE oauth_token SET refresh_expires_at = now()");
    failed(&refresh(server.client(), &pair.refresh).await, 400, "invalid_grant");
    let form = [("grant_type", "refresh_token"), ("client_id", PUBLIC)];
    failed(&server.client().post("/o/token/", &form).await, 400, "invalid_request");
}
