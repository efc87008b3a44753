//! The throttle of logins: only failures count, and a stranger cannot lock a user out.

use reqwest::Method;

use super::{Pair, failed, login_with};
use crate::support::client::Answer;
use crate::support::server::{PASSWORD, Server, USER};

const HOME: &str = "198.51.100.7";
const ELSEWHERE: &str = "203.0.113.9";
const END_WAITS: &str = "UPDATE login_failure SET blocked_until = now()";

/// A server behind a proxy on this machine.
fn start() -> Server {
    Server::setup().env("WINDU_TRUSTED_PROXIES", "127.0.0.0/8").start()
}

async fn log_in_from(server: &Server, address: &str, name: &str, password: &str) -> Answer {
    let form = login_with(&[("username", name), ("password", password)]);
    let request = server.client().request(Method::POST, "/o/token/").form(&form);
    server.client().send(request.header("x-forwarded-for", format!("192.0.2.66, {address}"))).await
}

async fn fail(server: &Server, address: &str, name: &str, times: usize) {
    for _ in 0..times {
        failed(&log_in_from(server, address, name, "a wrong password").await, 400, "invalid_grant");
    }
}

#[track_caller]
fn wait(answer: &Answer) -> u64 {
    failed(answer, 429, "temporarily_unavailable");
    answer.header("retry-after").parse().expect("seconds")
}

#[tokio::test]
async fn after_five_failed_logins_each_failure_doubles_the_wait() {
    let server = start();
    // An unknown user is treated in the same way.
    for name in [USER, "nobody"] {
        fail(&server, HOME, name, 5).await;
        for expected in [5, 10, 20, 40] {
            let answer = log_in_from(&server, HOME, name, PASSWORD).await;
            let seconds = wait(&answer);
            assert!((expected / 2..=expected).contains(&seconds), "{seconds} for {expected}");
            server.database().sql(END_WAITS);
            fail(&server, HOME, name, 1).await;
        }
        server.database().sql("UPDATE login_failure SET failures = 1000, blocked_until = now()");
        fail(&server, HOME, name, 1).await;
        let seconds = wait(&log_in_from(&server, HOME, name, PASSWORD).await);
        assert!((890..=900).contains(&seconds), "{seconds}");
    }
}

#[tokio::test]
async fn failed_logins_do_not_affect_other_addresses_and_users() {
    let server = start();
    server.run(&["user", "create", "bob", "--password-stdin"], "another long password\n");
    fail(&server, ELSEWHERE, USER, 5).await;
    wait(&log_in_from(&server, ELSEWHERE, USER, PASSWORD).await);
    Pair::of(&log_in_from(&server, HOME, USER, PASSWORD).await);
    Pair::of(&log_in_from(&server, ELSEWHERE, "bob", "another long password").await);
}

#[tokio::test]
async fn successful_logins_do_not_count_and_reset_the_failures() {
    let server = start();
    for _ in 0..3 {
        fail(&server, HOME, USER, 4).await;
        Pair::of(&log_in_from(&server, HOME, USER, PASSWORD).await);
    }
    let logins = (0..12).map(|_| log_in_from(&server, HOME, USER, PASSWORD));
    for answer in futures_util::future::join_all(logins).await {
        Pair::of(&answer);
    }
}

#[tokio::test]
async fn unknown_addresses_share_an_hourly_limit_and_known_addresses_have_their_own() {
    let server = start();
    Pair::of(&log_in_from(&server, HOME, USER, PASSWORD).await);
    for number in 0..20 {
        fail(&server, &format!("203.0.113.{number}"), USER, 5).await;
    }
    let seconds = wait(&log_in_from(&server, ELSEWHERE, USER, PASSWORD).await);
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    Pair::of(&log_in_from(&server, HOME, USER, PASSWORD).await);
    fail(&server, HOME, USER, 5).await;
    wait(&log_in_from(&server, HOME, USER, PASSWORD).await);
    server.database().sql(END_WAITS);
    Pair::of(&log_in_from(&server, HOME, USER, PASSWORD).await);
    // An address without a login for 30 days is unknown again. Then the hour passes.
    server.database().sql("UPDATE login_address SET signed_in_at = now() - interval '31 days'");
    wait(&log_in_from(&server, HOME, USER, PASSWORD).await);
    server.database().sql("UPDATE login_stranger SET hour_began_at = now() - interval '61 minutes'");
    Pair::of(&log_in_from(&server, HOME, USER, PASSWORD).await);
}

#[tokio::test]
async fn an_address_has_an_hourly_limit_over_all_user_names() {
    let server = start();
    server.run(&["user", "create", "bob", "--password-stdin"], "another long password\n");
    Pair::of(&log_in_from(&server, ELSEWHERE, "bob", "another long password").await);
    for number in 0..20 {
        fail(&server, ELSEWHERE, &format!("user{number}"), 1).await;
    }
    // Failures of a user who has signed in there before do not count.
    fail(&server, ELSEWHERE, "bob", 2).await;
    let failures = server.database().sql("SELECT failures FROM login_address_failure");
    assert_eq!(failures, "20");
    server.database().sql("UPDATE login_address_failure SET failures = 99");
    Pair::of(&log_in_from(&server, ELSEWHERE, "bob", "another long password").await);
    fail(&server, ELSEWHERE, "one more", 1).await;
    let seconds = wait(&log_in_from(&server, ELSEWHERE, USER, PASSWORD).await);
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    wait(&log_in_from(&server, ELSEWHERE, "nobody", PASSWORD).await);
    // Who has signed in there before is not locked out, and other addresses are not affected.
    Pair::of(&log_in_from(&server, ELSEWHERE, "bob", "another long password").await);
    Pair::of(&log_in_from(&server, HOME, USER, PASSWORD).await);
    server.database().sql("UPDATE login_address_failure SET hour_began_at = now() - interval '61 minutes'");
    Pair::of(&log_in_from(&server, ELSEWHERE, USER, PASSWORD).await);
}

#[tokio::test]
async fn failed_and_throttled_logins_are_logged_without_what_was_typed() {
    let server = start();
    for name in [USER, "hunter2-typed-as-a-name"] {
        fail(&server, ELSEWHERE, name, 5).await;
        wait(&log_in_from(&server, ELSEWHERE, name, PASSWORD).await);
    }
    let log = server.log();
    let lines =
        |text: &str| log.lines().filter(|line| line.contains(text) && line.contains(ELSEWHERE)).count();
    assert_eq!(lines("a login failed"), 10);
    assert!(lines("a login has to wait") >= 2, "{log}");
    assert!(log.lines().any(|line| line.contains("a login failed") && line.contains("unknown")), "{log}");
    for typed in ["hunter2", "a wrong password", PASSWORD] {
        assert!(!log.contains(typed), "{typed}");
    }
}

#[tokio::test]
async fn concurrent_guesses_get_no_further_than_serial_ones() {
    let server = start();
    let guesses = (0..30).map(|_| log_in_from(&server, HOME, USER, "a wrong password"));
    let answers = futures_util::future::join_all(guesses).await;
    let compared = answers.iter().filter(|answer| answer.status == 400).count();
    let cores = std::thread::available_parallelism().expect("cores").get();
    assert!((5..5 + cores).contains(&compared), "{compared} guesses were compared");
}

#[tokio::test]
async fn without_a_trusted_proxy_x_forwarded_for_is_ignored() {
    let server = Server::start();
    for number in 0..5 {
        fail(&server, &format!("203.0.113.{number}"), USER, 1).await;
    }
    wait(&log_in_from(&server, HOME, USER, PASSWORD).await);
    assert_eq!(server.database().sql("SELECT address FROM login_failure"), "127.0.0.1");
}
