//! The sender `webhook`.

use standardwebhooks::Webhook;
use windu::verification::{Method, RequestError};

use crate::provider::Behaviour;
use crate::world::{WEBHOOK_SECRET, World};

#[tokio::test]
async fn a_code_is_posted_as_json_and_signed() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    world.request(&pending).await.unwrap();
    let asked = world.provider.only_request();
    assert_eq!(asked.uri, "/send?key=hidden-in-url");
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert!(asked.header("user-agent").unwrap().starts_with("windu/"));
    let body = asked.json();
    let code = body["code"].as_str().unwrap();
    assert_eq!(code.len(), windu::verification::CODE_LENGTH);
    let text = format!("Your Windu code is {code}. It is good for 10 minutes. Give it to nobody.");
    let expected = serde_json::json!({"number": "15551230000", "code": code, "method": "sms", "text": text});
    assert_eq!(body, expected);
    Webhook::new(WEBHOOK_SECRET).unwrap().verify(&asked.body, &asked.headers).unwrap();
    let other = Webhook::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    other.verify(&asked.body, &asked.headers).unwrap_err();
    assert!(asked.header("webhook-id").unwrap().starts_with("msg_"));
}

#[tokio::test]
async fn a_voice_code_has_a_text_to_read_out() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    world.request_at(&world.verification, &pending, Method::Voice).await.unwrap();
    let body = world.provider.only_request().json();
    assert_eq!(body["method"], "voice");
    let digits: Vec<String> = body["code"].as_str().unwrap().chars().map(String::from).collect();
    assert!(body["text"].as_str().unwrap().contains(&digits.join(", ")));
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let world = World::with(&[("WINDU_CODE_WEBHOOK_SECRET", "")]).await;
    world.request(&world.pending_account("15551230000").await).await.unwrap();
    let asked = world.provider.only_request();
    assert_eq!(asked.header("webhook-signature"), None);
    assert!(asked.header("webhook-id").is_some() && asked.header("webhook-timestamp").is_some());
}

#[tokio::test]
async fn any_2xx_is_success() {
    let world = World::new().await;
    for (turn, status) in [200, 201, 202, 204, 226].into_iter().enumerate() {
        world.provider.behave(Behaviour::status(status));
        world.request(&world.pending_account(&format!("1555123000{turn}")).await).await.unwrap();
    }
}

#[tokio::test]
async fn every_other_status_is_a_failure_and_redirects_are_not_followed() {
    let world = World::new().await;
    for (turn, status) in [301, 302, 303, 307, 308, 400, 401, 404, 410, 500, 502, 503].into_iter().enumerate()
    {
        let headers = vec![("location", world.provider.url("/elsewhere"))];
        world.provider.behave(Behaviour::Answer { status, headers, body: "no" });
        let pending = world.pending_account(&format!("155512300{turn:02}")).await;
        let outcome = world.request(&pending).await;
        assert!(
            matches!(outcome, Err(RequestError::SenderFailed { retry_after: None })),
            "{status}: {outcome:?}"
        );
        assert_eq!(world.provider.requests().len(), turn + 1);
        assert!(world.check(&pending, &world.provider.last_code()).await.is_err());
    }
    assert!(world.provider.requests().iter().all(|asked| asked.uri.path() == "/send"));
}

#[tokio::test]
async fn a_gateway_timeout_leaves_the_code_valid() {
    let world = World::new().await;
    world.provider.behave(Behaviour::status(504));
    let pending = world.pending_account("15551230000").await;
    let outcome = world.request(&pending).await;
    assert!(matches!(outcome, Err(RequestError::SenderTimedOut)), "{outcome:?}");
    let _ = world.check(&pending, &world.provider.last_code()).await.unwrap();
}

#[tokio::test]
async fn retry_after_is_passed_on() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    let soon = (windu::clock::now() + chrono::TimeDelta::seconds(90)).format("%a, %d %b %Y %H:%M:%S GMT");
    let cases = [
        ("7".to_owned(), 7..=7),
        ("0".to_owned(), 1..=1),
        (soon.to_string(), 60..=90),
        ("Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), 1..=1),
        ("99999999".to_owned(), 86_400..=86_400),
    ];
    for (value, expected) in cases {
        let headers = vec![("retry-after", value.clone())];
        world.provider.behave(Behaviour::Answer { status: 429, headers, body: "" });
        match world.request(&pending).await {
            Err(RequestError::SenderFailed { retry_after: Some(seconds) }) => {
                assert!(expected.contains(&seconds), "{value}: {seconds}");
            }
            outcome => panic!("{value}: {outcome:?}"),
        }
    }
}
