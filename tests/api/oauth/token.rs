//! The password grant.

use serde_json::json;

use super::{Confidential, LOGIN, PUBLIC, Pair, failed, introspect, log_in, login_with};
use crate::support::server::{PASSWORD, Server, USER};

#[tokio::test]
async fn the_password_grant_returns_a_pair_of_tokens() {
    let server = Server::start();
    let answer = server.client().post("/o/token/", &LOGIN).await;
    let pair = Pair::of(&answer);
    let expected = json!({
        "access_token": pair.access, "refresh_token": pair.refresh,
        "token_type": "Bearer", "expires_in": 86_400, "scope": "read write",
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_ne!(pair.access, pair.refresh);
    // The path works without a slash too, and a second login does not end the first one.
    let second = Pair::of(&server.client().post("/o/token", &LOGIN).await);
    assert_ne!(pair.access, second.access);
}

#[tokio::test]
async fn only_hashes_of_tokens_and_passwords_are_stored() {
    let server = Server::start();
    let pair = log_in(server.client()).await;
    let count = |token: &str| {
        server.database().sql(&format!(
            "SELECT count(*) FROM oauth_token WHERE sha256('{token}') IN (access_hash, refresh_hash)"
        ))
    };
    assert_eq!((count(&pair.access), count(&pair.refresh)), ("1".into(), "1".into()));
    let endpoints = server.database().sql("SELECT t, g, u FROM oauth_token t, oauth_grant g, windu_user u");
    assert!(
        !endpoints.contains(&pair.access)
            && !endpoints.contains(&pair.refresh)
            && !endpoints.contains(PASSWORD)
    );
}

#[tokio::test]
async fn a_client_authenticates_by_basic_or_form() {
    let server = Server::start();
    let client = server.client();
    let confidential = Confidential::create(&server, "backend");
    let (id, secret) = (confidential.id.as_str(), confidential.secret.as_str());
    let post =
        |form: Vec<(&'static str, String)>| client.request(reqwest::Method::POST, "/o/token/").form(&form);
    let login = || {
        [("grant_type", "password"), ("username", USER), ("password", PASSWORD)]
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec()
    };

    let by_basic = client.send(post(login()).basic_auth(id, Some(secret))).await;
    let by_form =
        client.post("/o/token/", &login_with(&[("client_id", id), ("client_secret", secret)])).await;
    let public_by_basic = client.send(post(login()).basic_auth(PUBLIC, Some(""))).await;
    for answer in [by_basic, by_form, public_by_basic] {
        Pair::of(&answer);
    }

    for (basic_id, basic_secret) in [(id, "wrong"), (id, ""), ("nobody", secret), (PUBLIC, "secret")] {
        let answer = client.send(post(login()).basic_auth(basic_id, Some(basic_secret))).await;
        failed(&answer, 401, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic realm="));
    }
    for changes in [
        &[("client_id", "")][..],
        &[("client_id", "nobody")],
        &[("client_id", id)],
        &[("client_id", id), ("client_secret", "wrong")],
        &[("client_secret", "secret")],
    ] {
        failed(&client.post("/o/token/", &login_with(changes)).await, 401, "invalid_client");
    }

    // Two secrets are refused, but the same id twice is fine.
    let mut form = login();
    form.push(("client_id", id.to_owned()));
    Pair::of(&client.send(post(form.clone()).basic_auth(id, Some(secret))).await);
    form.push(("client_secret", secret.to_owned()));
    failed(&client.send(post(form).basic_auth(id, Some(secret))).await, 400, "invalid_request");
}

#[tokio::test]
async fn every_wrong_login_has_the_same_response() {
    let server = Server::start();
    let client = server.client();
    server.run(&["user", "create", "bob", "--password-stdin"], "another long password\n");
    server.run(&["user", "disable", "bob"], "");
    let mut bodies = Vec::new();
    for (name, password) in [(USER, "wrong password"), ("nobody", PASSWORD), ("bob", "another long password")]
    {
        let form = login_with(&[("username", name), ("password", password)]);
        let answer = client.post("/o/token/", &form).await;
        failed(&answer, 400, "invalid_grant");
        bodies.push(answer.text());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    server.run(&["user", "enable", "bob"], "");
    let form = login_with(&[("username", "bob"), ("password", "another long password")]);
    Pair::of(&client.post("/o/token/", &form).await);
}

#[tokio::test]
async fn missing_and_unknown_parameters_have_their_error_codes() {
    let server = Server::start();
    for (changes, error) in [
        ([("password", "")], "invalid_request"),
        ([("username", "")], "invalid_request"),
        ([("grant_type", "")], "invalid_request"),
        ([("grant_type", "client_credentials")], "unsupported_grant_type"),
        ([("grant_type", "refresh_token")], "invalid_request"),
        ([("scope", "bogus")], "invalid_scope"),
        ([("scope", "read bogus")], "invalid_scope"),
        ([("scope", "re\"ad")], "invalid_scope"),
    ] {
        let answer = server.client().post("/o/token/", &login_with(&changes)).await;
        failed(&answer, 400, error);
    }
    // An empty parameter counts as missing.
    let mut form = LOGIN.to_vec();
    form.push(("scope", ""));
    assert_eq!(server.client().post("/o/token/", &form).await.json()["scope"], "read write");
}

#[tokio::test]
async fn a_narrower_scope_is_granted_and_returned_sorted() {
    let server = Server::start();
    let confidential = Confidential::create(&server, "backend");
    for (requested, granted) in [("read", "read"), ("write read", "read write"), ("read read", "read")] {
        let answer = server.client().post("/o/token/", &login_with(&[("scope", requested)])).await;
        assert_eq!(answer.json()["scope"], granted);
        let token = Pair::of(&answer).access;
        assert_eq!(introspect(server.client(), &confidential, &token).await["scope"], granted);
    }
}

#[tokio::test]
async fn token_lifetimes_are_configurable() {
    let server =
        Server::setup().env("WINDU_ACCESS_TOKEN_TTL", "90s").env("WINDU_REFRESH_TOKEN_TTL", "2h").start();
    assert_eq!(server.client().post("/o/token/", &LOGIN).await.json()["expires_in"], 90);
    let left = "SELECT round(extract(epoch FROM refresh_expires_at - created_at)) FROM oauth_token";
    assert_eq!(server.database().sql(left), "7200");
}

#[tokio::test]
async fn an_outdated_password_hash_is_replaced_at_login() {
    use argon2::password_hash::PasswordHasher as _;
    use argon2::{Algorithm, Argon2, Params, Version};
    let server = Server::start();
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).expect("params"));
    let hash = weak.hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16]).expect("a hash").to_string();
    server.database().sql(&format!("UPDATE windu_user SET password_hash = '{hash}'"));
    // All at once: the second login must not mistake the new hash for a new password.
    let logins = (0..4).map(|_| server.client().post("/o/token/", &LOGIN));
    for answer in futures_util::future::join_all(logins).await {
        Pair::of(&answer);
    }
    let hash = server.database().sql("SELECT password_hash FROM windu_user");
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    log_in(server.client()).await;
}

#[tokio::test]
async fn the_log_contains_no_secret() {
    let server = Server::start();
    let client = server.client();
    let confidential = Confidential::create(&server, "backend");
    let first = log_in(client).await;
    let second = Pair::of(&super::refresh(client, &first.refresh).await);
    client.post("/o/token/", &login_with(&[("password", "a wrong password")])).await;
    client.post(&format!("/o/token/?password={PASSWORD}"), &[]).await;
    introspect(client, &confidential, &second.access).await;
    super::revoke(client, &second.refresh).await;
    super::refresh(client, &first.refresh).await;
    server.wait_for_log("answered");
    let log = server.log() + &server.output();
    let secrets =
        [PASSWORD, "a wrong password", &first.access, &first.refresh, &second.access, &second.refresh];
    for secret in secrets.into_iter().chain([confidential.secret.as_str(), "argon2id"]) {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
