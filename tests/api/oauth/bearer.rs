//! Bearer tokens, and how fast a revoked one is refused. The token server in this test's process stands
//! for a second program on the same database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::routing::get;
use http::{Request, StatusCode};
use tower::ServiceExt as _;
use windu::config::{Env, OAuthSettings};
use windu::db::Db;
use windu::http::extract::caller::Caller;
use windu::http::rate_limit::RateLimits;
use windu::lifecycle::Lifecycle;
use windu::oauth::OAuth;
use windu::store::Store;

use super::{log_in, refresh, revoke};
use crate::support::server::Server;
use crate::support::wait::wait_until_async;

/// Less than the 5 s of the cache: a notification ended the token, not the expiry of the cache entry.
const AT_ONCE: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct State(Arc<OAuth>);

impl FromRef<State> for Arc<OAuth> {
    fn from_ref(state: &State) -> Self {
        Arc::clone(&state.0)
    }
}

impl FromRef<State> for RateLimits {
    fn from_ref(_: &State) -> Self {
        Self::new(None, None)
    }
}

fn token_server(server: &Server) -> (Store, Arc<OAuth>) {
    let store = Store::new(Db::from_url(&server.database().url(), 4).expect("a URL"));
    let settings = OAuthSettings::read(&Env::default()).expect("defaults");
    (store.clone(), Arc::new(OAuth::new(store, &settings)))
}

async fn ask(oauth: &Arc<OAuth>, authorization: Option<&str>, path: &str) -> (StatusCode, String, String) {
    let endpoint = get(async |caller: Caller| format!("{} {}", caller.user, caller.scopes.join(" ")));
    let router = Router::new().route("/endpoint", endpoint).with_state(State(Arc::clone(oauth)));
    let mut request = Request::builder().uri(path);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let answer = router.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let challenge =
        parts.headers.get("www-authenticate").map(|value| value.to_str().expect("ASCII").to_owned());
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    (parts.status, challenge.unwrap_or_default(), String::from_utf8(body.to_vec()).expect("UTF-8"))
}

#[tokio::test]
async fn only_a_bearer_token_in_the_header_is_accepted() {
    let server = Server::start();
    let (_, oauth) = token_server(&server);
    let pair = log_in(server.client()).await;
    let user = server.database().sql("SELECT id FROM windu_user");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let (status, _, body) = ask(&oauth, Some(&format!("{scheme} {}", pair.access)), "/endpoint").await;
        assert_eq!((status.as_u16(), body), (200, format!("{user} read write")));
    }
    for (authorization, path) in [(None, "/endpoint"), (Some("Basic YTpi"), "/endpoint")] {
        let (status, challenge, body) = ask(&oauth, authorization, path).await;
        assert_eq!((status.as_u16(), challenge.as_str()), (401, "Bearer"));
        assert!(body.contains("\"code\":\"token_missing\""), "{body}");
    }
    let in_url = format!("/endpoint?access_token={}", pair.access);
    assert_eq!(ask(&oauth, None, &in_url).await.1, "Bearer");
    let refresh = format!("Bearer {}", pair.refresh);
    let changed = format!("Bearer {}x", pair.access);
    for authorization in ["Bearer unknown", "Bearer", &refresh, &changed] {
        let (status, challenge, body) = ask(&oauth, Some(authorization), "/endpoint").await;
        assert_eq!(status.as_u16(), 401);
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
        assert!(body.contains("\"code\":\"token_invalid\"") && body.contains("\"error\":"), "{body}");
    }
}

#[tokio::test]
async fn api_endpoints_require_a_bearer_token() {
    let server = Server::start();
    let pair = log_in(server.client()).await;
    let caller = server.client().with_token(&pair.access);
    let endpoint = "/api/account/";
    for _ in 0..2 {
        assert_eq!(caller.get(endpoint).await.status, 200);
    }
    let answer = server.client().get(endpoint).await;
    answer.refused(401, "token_missing");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    server
        .client()
        .get(&format!("{endpoint}?access_token={}", pair.access))
        .await
        .refused(401, "token_missing");
    revoke(server.client(), &pair.refresh).await;
    let answer = caller.get(endpoint).await;
    answer.refused(401, "token_invalid");
    assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    server.database().go_away();
    caller.get(endpoint).await.refused(503, "database_unavailable");
}

#[tokio::test]
async fn an_expired_token_is_invalid_although_it_is_cached() {
    let server = Server::setup().env("WINDU_ACCESS_TOKEN_TTL", "1s").start();
    let (_, oauth) = token_server(&server);
    let pair = log_in(server.client()).await;
    let began = Instant::now();
    wait_until_async("the token to expire", AT_ONCE * 10, async || {
        oauth.authenticate(&pair.access).await.expect("an answer").is_none().then_some(())
    })
    .await;
    assert!(began.elapsed() < AT_ONCE, "its end was not noticed: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_revoked_token_is_refused_by_every_program_at_once() {
    let server = Server::start();
    let client = server.client();
    let (store, oauth) = token_server(&server);
    let lifecycle = Lifecycle::default();
    store.db().connect_notifications(&lifecycle);
    oauth.follow_revocations(&lifecycle);
    let listening =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    wait_until_async("both programs to listen", AT_ONCE * 10, async || {
        (server.database().sql(listening) == "2").then_some(())
    })
    .await;
    server.run(&["user", "create", "bob", "--password-stdin"], "another long password\n");
    let backend = super::Confidential::create(&server, "backend");

    let live = async |token: &str| oauth.authenticate(token).await.expect("an answer").is_some();
    let seen = async |form: &[(&str, &str)]| {
        let pair = super::Pair::of(&client.post("/o/token/", form).await);
        assert!(live(&pair.access).await && live(&pair.access).await);
        pair
    };
    let alice = || super::login_with(&[]);
    let bob = || super::login_with(&[("username", "bob"), ("password", "another long password")]);
    let by_backend = || super::login_with(&[("client_id", &backend.id), ("client_secret", &backend.secret)]);
    let ended = async |token: &str, what: &str| {
        wait_until_async(what, AT_ONCE, async || (!live(token).await).then_some(())).await;
    };

    let pair = seen(&alice()).await;
    refresh(client, &pair.refresh).await;
    ended(&pair.access, "a refresh to end the old access token").await;

    let pair = seen(&alice()).await;
    revoke(client, &pair.refresh).await;
    ended(&pair.access, "a revocation").await;

    let bystander = seen(&alice()).await;
    for arguments in
        [&["set-password", "bob", "--password-stdin"][..], &["disable", "bob"], &["delete", "bob"]]
    {
        server.run(&["user", "enable", "bob"], "");
        let pair = seen(&bob()).await;
        server.run(&[&["user"], arguments].concat(), "another long password\n");
        ended(&pair.access, arguments[0]).await;
        super::failed(&refresh(client, &pair.refresh).await, 400, "invalid_grant");
    }
    for command in ["disable", "delete"] {
        server.run(&["client", "enable", "backend"], "");
        let pair = seen(&by_backend()).await;
        server.run(&["client", command, "backend"], "");
        ended(&pair.access, command).await;
        super::failed(&client.post("/o/token/", &by_backend()).await, 401, "invalid_client");
    }
    assert!(live(&bystander.access).await, "the token of another user stays valid");
    assert!(lifecycle.drained().await);
}

#[tokio::test]
async fn expired_tokens_are_deleted() {
    let server = Server::start();
    let (store, oauth) = token_server(&server);
    let old = log_in(server.client()).await;
    let pair = super::Pair::of(&refresh(server.client(), &old.refresh).await);
    let valid = log_in(server.client()).await;
    server.database().sql(
        "UPDATE oauth_token SET used_at = used_at - interval '11 seconds';
         UPDATE oauth_token SET refresh_expires_at = now(), access_expires_at = now() WHERE used_at IS NOT NULL",
    );
    store.prune_tokens(1_000).await.expect("pruned");
    let counts = "SELECT (SELECT count(*) FROM oauth_grant), (SELECT count(*) FROM oauth_token),
                         (SELECT count(sealed_successor) FROM oauth_token)";
    assert_eq!(server.database().sql(counts), "2|2|0");
    server.database().sql(
        "UPDATE oauth_token SET refresh_expires_at = now(), access_expires_at = now() WHERE parent_id IS NULL
           AND id = (SELECT min(id) FROM oauth_token)",
    );
    store.prune_tokens(1_000).await.expect("pruned");
    assert_eq!(server.database().sql(counts), "1|1|0");
    assert!(oauth.authenticate(&pair.access).await.expect("an answer").is_none());
    assert!(oauth.authenticate(&valid.access).await.expect("an answer").is_some());
}
