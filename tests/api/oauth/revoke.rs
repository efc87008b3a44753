//! Revocation and introspection.

use serde_json::json;

use super::{Confidential, PUBLIC, Pair, failed, introspect, log_in, login_with, refresh, revoke};
use crate::support::server::{Server, USER};

#[tokio::test]
async fn revoking_either_token_revokes_the_pair() {
    let server = Server::start();
    let confidential = Confidential::create(&server, "backend");
    let bystander = log_in(server.client()).await;
    for (endpoint, by_access) in [
        ("/o/revoke-token/", true),
        ("/o/revoke_token/", false),
        ("/o/revoke-token", false),
        ("/o/revoke_token", true),
    ] {
        let pair = log_in(server.client()).await;
        let token = if by_access { &pair.access } else { &pair.refresh };
        // A wrong hint is ignored.
        let hint = if by_access { "refresh_token" } else { "access_token" };
        let form = [("token", token.as_str()), ("client_id", PUBLIC), ("token_type_hint", hint)];
        let answer = server.client().post(endpoint, &form).await;
        assert_eq!((answer.status, answer.text()), (200, String::new()));
        assert_eq!(answer.header("cache-control"), "no-store");
        for token in [&pair.access, &pair.refresh] {
            assert_eq!(introspect(server.client(), &confidential, token).await, json!({"active": false}));
        }
        failed(&refresh(server.client(), &pair.refresh).await, 400, "invalid_grant");
        // An unknown token is no error.
        assert_eq!(server.client().post(endpoint, &form).await.status, 200);
    }
    assert_eq!(introspect(server.client(), &confidential, &bystander.access).await["active"], true);
}

#[tokio::test]
async fn unknown_and_other_clients_tokens_change_nothing() {
    let server = Server::start();
    let confidential = Confidential::create(&server, "backend");
    let form = login_with(&[("client_id", &confidential.id), ("client_secret", &confidential.secret)]);
    let pair = Pair::of(&server.client().post("/o/token/", &form).await);
    for token in ["unknown", &pair.access, &pair.refresh] {
        let answer = revoke(server.client(), token).await;
        assert_eq!((answer.status, answer.text()), (200, String::new()));
    }
    assert_eq!(introspect(server.client(), &confidential, &pair.access).await["active"], true);
}

#[tokio::test]
async fn without_a_token_or_a_client_nothing_is_revoked() {
    let server = Server::start();
    let confidential = Confidential::create(&server, "backend");
    let pair = log_in(server.client()).await;
    let post = async |form: &[(&str, &str)]| server.client().post("/o/revoke-token/", form).await;
    failed(&post(&[("client_id", PUBLIC)]).await, 400, "invalid_request");
    failed(&post(&[("client_id", PUBLIC), ("token", "")]).await, 400, "invalid_request");
    failed(&post(&[("token", &pair.access)]).await, 401, "invalid_client");
    failed(&post(&[("token", &pair.access), ("client_id", "nobody")]).await, 401, "invalid_client");
    let wrong = [("token", pair.access.as_str()), ("client_id", &confidential.id), ("client_secret", "no")];
    failed(&post(&wrong).await, 401, "invalid_client");
    assert_eq!(introspect(server.client(), &confidential, &pair.access).await["active"], true);
}

#[tokio::test]
async fn introspection_is_for_confidential_clients() {
    let server = Server::start();
    let confidential = Confidential::create(&server, "backend");
    let pair = log_in(server.client()).await;
    let access = introspect(server.client(), &confidential, &pair.access).await;
    let (exp, iat) = (access["exp"].as_i64().expect("a time"), access["iat"].as_i64().expect("a time"));
    assert_eq!(exp - iat, 86_400);
    let user = server.database().sql("SELECT id FROM windu_user");
    let expected = json!({
        "active": true, "scope": "read write", "client_id": PUBLIC, "username": USER, "sub": user,
        "token_type": "Bearer", "exp": exp, "iat": iat,
    });
    assert_eq!(access, expected);
    let refresh = introspect(server.client(), &confidential, &pair.refresh).await;
    assert_eq!((&refresh["active"], refresh.get("token_type")), (&json!(true), None));
    assert_eq!(refresh["exp"].as_i64().expect("a time") - iat, 90 * 86_400);
    assert_eq!(introspect(server.client(), &confidential, "unknown").await, json!({"active": false}));

    server.database().sql("UPDATE oauth_token SET access_expires_at = now()");
    assert_eq!(introspect(server.client(), &confidential, &pair.access).await, json!({"active": false}));

    let post = async |form: &[(&str, &str)]| server.client().post("/o/introspect", form).await;
    failed(&post(&[("token", &pair.refresh), ("client_id", PUBLIC)]).await, 401, "invalid_client");
    failed(&post(&[("token", &pair.refresh)]).await, 401, "invalid_client");
    let (id, secret) = (confidential.id.as_str(), confidential.secret.as_str());
    failed(&post(&[("client_id", id), ("client_secret", secret)]).await, 400, "invalid_request");
}
