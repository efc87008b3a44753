//! The account endpoints for codes: request and register.

use serde_json::json;

use crate::shared_server::server;
use crate::support::client::Client;
use crate::support::people::{
    Person, account, code, fresh_number, login, other_code, pass_a_minute, prove, register,
};
use crate::support::server::mentions;

const CREATE: &str = "/api/account/create-account/";
const SMS: &str = "/api/account/request-sms-code/";
const VOICE: &str = "/api/account/request-voice-code/";
const REGISTER: &str = "/api/account/register-code/";

/// A user with an unregistered account.
async fn waiting() -> (Client, String) {
    let (api, number) = (login(server()).await, fresh_number());
    assert_eq!(api.post(CREATE, &[("account", &number)]).await.status, 201);
    (api, number)
}

#[tokio::test]
async fn a_new_code_is_sent_by_sms_or_voice_but_not_too_soon() {
    let (api, number) = waiting().await;
    for endpoint in [SMS, VOICE] {
        let soon = api.post(endpoint, &[]).await;
        soon.refused(429, "code_too_soon");
        let retry_after = soon.json()["retry_after"].as_u64().expect("seconds");
        assert!((1..=60).contains(&retry_after), "{retry_after}");
        assert_eq!(soon.header("retry-after"), retry_after.to_string());
    }
    let mut last = code(server(), &number);
    for (endpoint, method) in [(SMS, "sms"), (VOICE, "voice")] {
        pass_a_minute(server(), &number);
        let sent = api.post(endpoint, &[("account", &number)]).await;
        assert_eq!((sent.status, sent.json()), (200, json!({"method": method, "length": 6})));
        let log = std::fs::read_to_string(server().folder().join("codes.log")).expect("codes");
        assert!(log.contains(&format!(" {method} code for {number}: {}", code(server(), &number))), "{log}");
        // Only the newest code counts. Two codes are equal once in a million times.
        if last != code(server(), &number) {
            let old = api.post(REGISTER, &[("code", &last)]).await;
            old.refused(403, "code_wrong");
        }
        last = code(server(), &number);
    }
    prove(server(), &api, &number).await;
}

#[tokio::test]
async fn code_endpoints_use_the_oldest_unregistered_account() {
    let api = login(server()).await;
    let (first, second) = (fresh_number(), fresh_number());
    for endpoint in [SMS, VOICE, REGISTER] {
        api.post(endpoint, &[("code", "123456")]).await.refused(400, "no_account");
        api.post(endpoint, &[("account", &first), ("code", "123456")]).await.refused(400, "account_unknown");
    }
    // The oldest unregistered account, not the oldest one.
    register(server(), &api, &first).await;
    for endpoint in [SMS, VOICE, REGISTER] {
        api.post(endpoint, &[("code", "123456")]).await.refused(400, "no_account_waits");
    }
    api.post(CREATE, &[("account", &second)]).await;
    let registered = api.post(REGISTER, &[("code", &code(server(), &second))]).await;
    assert_eq!((registered.status, registered.json()), (200, json!({"login": second})));
}

#[tokio::test]
async fn register_code_uses_the_oldest_of_two_unregistered_accounts() {
    let (api, first) = waiting().await;
    let second = fresh_number();
    api.post(CREATE, &[("account", &second)]).await;
    let registered = api.post(REGISTER, &[("code", &code(server(), &first))]).await;
    assert_eq!((registered.status, registered.json()), (200, json!({"login": first})));
}

#[tokio::test]
async fn register_code_accepts_dashes_and_blanks_and_the_session_is_online_at_once() {
    let (api, number) = waiting().await;
    let code = code(server(), &number);
    let pretty = format!(" {}-{} {}", &code[..2], &code[2..4], &code[4..]);
    let registered = api.post(REGISTER, &[("code", &pretty)]).await;
    assert_eq!((registered.status, registered.json()), (200, json!({"login": number})));
    let listed = account(&api, &number).await.expect("listed");
    assert_eq!((&listed["registered"], &listed["session"]["state"]), (&json!(true), &json!("online")));
}

#[tokio::test]
async fn register_code_accepts_a_json_number() {
    let (api, number) = waiting().await;
    let code = code(server(), &number);
    // As a number it has lost the zeros at its beginning.
    let body = json!({"code": code.parse::<u32>().expect("digits"), "account": null});
    assert_eq!(api.post_json(REGISTER, &body).await.json(), json!({"login": number}));
}

#[tokio::test]
async fn a_code_that_begins_with_zeros_may_be_a_json_number() {
    let (api, number) = waiting().await;
    // A wrong code that is short as a number is compared with all its digits, and counts as a guess.
    let good = code(server(), &number);
    let wrong = if good == "000042" { 43 } else { 42 };
    api.post_json(REGISTER, &json!({"code": wrong})).await.refused(403, "code_wrong");
    // One code in ten begins with a zero; the limits are not this test's subject.
    let mut code = good;
    while !code.starts_with('0') {
        server().database().sql(&format!("DELETE FROM code_sent WHERE number = '{number}'"));
        assert_eq!(api.post(SMS, &[]).await.status, 200);
        code = crate::support::people::code(server(), &number);
    }
    let body = json!({"code": code.parse::<u32>().expect("digits")});
    assert_eq!(api.post_json(REGISTER, &body).await.json(), json!({"login": number}));
}

#[tokio::test]
async fn what_cannot_be_a_code_is_refused_before_it_counts_as_a_guess() {
    let (api, number) = waiting().await;
    let good = code(server(), &number);
    for _ in 0..4 {
        for typed in
            [format!("١{}", &good[1..]), format!("{good}٧"), "１２３４５６".to_owned(), "é".repeat(6)]
        {
            let refused = api.post(REGISTER, &[("code", &typed)]).await;
            refused.refused(400, "invalid_parameter");
        }
        for wrong in [json!(-123_456), json!(123_456.0), json!([good]), json!(true)] {
            api.post_json(REGISTER, &json!({"code": wrong})).await.refused(400, "invalid_parameter");
        }
        api.post(REGISTER, &[("code", "")]).await.refused(400, "missing_parameter");
    }
    // More than five refusals, and the right code is still accepted, with what a copied text has around it.
    let typed = format!("\u{202a}{}\u{2013}{}\u{202c}", &good[..3], &good[3..]);
    assert_eq!(api.post(REGISTER, &[("code", &typed)]).await.status, 200);
}

#[tokio::test]
async fn wrong_codes_are_logged_without_the_code_and_the_number() {
    let (api, number) = waiting().await;
    let good = code(server(), &number);
    for _ in 0..5 {
        api.post(REGISTER, &[("code", &other_code(&good))]).await.refused(403, "code_wrong");
    }
    api.post(REGISTER, &[("code", &good)]).await.refused(429, "too_many_guesses");
    let (log, end) = (server().log(), &number[number.len() - 3..]);
    let lines = |text: &str| {
        log.lines().filter(|line| line.contains(text) && line.contains(&format!("…{end}"))).count()
    };
    assert!(lines("a wrong code was entered") >= 5);
    assert!(lines("too many wrong codes") >= 1);
    assert!(!mentions(&log, &number) && !mentions(&log, &other_code(&good)));
}

#[tokio::test]
async fn register_code_tells_wrong_expired_and_missing_codes_apart() {
    let (api, number) = waiting().await;
    api.post(REGISTER, &[]).await.refused(400, "missing_parameter");
    api.post(REGISTER, &[("code", &"1".repeat(65))]).await.refused(400, "invalid_parameter");
    let good = code(server(), &number);
    let wrong = api.post(REGISTER, &[("code", &other_code(&good))]).await;
    wrong.refused(403, "code_wrong");
    assert_eq!(wrong.json()["reason"], "wrong");

    let account = format!("account_id = (SELECT id FROM account WHERE number = '{number}')");
    let age = |by: &str| {
        let change =
            format!("UPDATE verification_code SET expires_at = expires_at {by} interval '10 minutes'");
        server().database().sql(&format!("{change} WHERE {account}"));
    };
    age("-");
    let expired = api.post(REGISTER, &[("code", &good)]).await;
    expired.refused(403, "code_expired");
    assert_eq!(expired.json()["reason"], "expired");

    age("+");
    assert_eq!(api.post(REGISTER, &[("code", &good)]).await.status, 200);
    let used = api.post(REGISTER, &[("account", &number), ("code", &good)]).await;
    used.refused(403, "code_none");
    assert_eq!(used.json()["reason"], "none");
}

#[tokio::test]
async fn after_five_wrong_guesses_a_new_code_is_needed() {
    let (api, number) = waiting().await;
    let good = code(server(), &number);
    for _ in 0..5 {
        api.post(REGISTER, &[("code", &other_code(&good))]).await.refused(403, "code_wrong");
    }
    let late = api.post(REGISTER, &[("code", &good)]).await;
    late.refused(429, "too_many_guesses");
    assert_eq!(late.header("retry-after"), late.json()["retry_after"].to_string());
    pass_a_minute(server(), &number);
    assert_eq!(api.post(SMS, &[]).await.status, 200);
    prove(server(), &api, &number).await;
}

#[tokio::test]
async fn a_registered_number_may_be_proved_again_and_keeps_its_data() {
    let (anna, bert) = Person::two_friends(server()).await;
    anna.delivers(&bert, "before").await;
    for endpoint in [SMS, VOICE] {
        pass_a_minute(server(), &anna.number);
        assert_eq!(anna.api.post(endpoint, &[("account", &anna.number)]).await.status, 200);
    }
    prove(server(), &anna.api, &anna.number).await;
    assert_eq!(anna.chat(&bert.number).await.len(), 1);
    anna.delivers(&bert, "after").await;
    bert.delivers(&anna, "answer").await;
    assert_eq!(anna.chat(&bert.number).await.len(), 3);
}
