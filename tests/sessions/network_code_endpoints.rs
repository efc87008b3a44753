//! The endpoints of codes over HTTP, for accounts whose network sends the codes.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::sync::Notify;
use windu::upstream::{CodeMethod, Failure, Proof, SentCode, Submitted};

use crate::scripted::{Call, Fault, NETWORK};
use crate::support::client::{Answer, Client};
use crate::support::wait::{DEADLINE, wait_until_async};
use crate::world::World;

const ANNA: &str = "15550100001";
const BEN: &str = "15550100002";
const CREATE: &str = "/api/account/create-account/";
const SMS: &str = "/api/account/request-sms-code/";
const VOICE: &str = "/api/account/request-voice-code/";
const REGISTER: &str = "/api/account/register-code/";
const REMOVE: &str = "/api/account/remove-account/";
/// Longer than the pause between two codes.
const A_WHILE: Duration = Duration::from_secs(61);

#[tokio::test]
async fn the_network_sends_the_code_and_register_code_submits_it() {
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let anna = process.caller(&api).await;
    let line = world.persons.line(&ANNA.parse().unwrap());
    let created = anna.post(CREATE, &[("account", ANNA)]).await;
    assert_eq!((created.status, created.json()), (201, json!({"method": "sms", "length": 5})));
    let early = anna.post(SMS, &[]).await;
    early.refused(429, "code_too_soon");
    assert!((1..=60).contains(&early.json()["retry_after"].as_u64().unwrap()), "{}", early.text());

    // The network chooses the method, and the pause.
    world.age_codes(A_WHILE).await;
    let (method, again_after) = (CodeMethod::App, Duration::from_mins(5));
    line.plan_code(SentCode { method, length: 7, again_after });
    let again = anna.post(VOICE, &[]).await;
    assert_eq!((again.status, again.json()), (200, json!({"method": "app", "length": 7})));
    world.age_codes(A_WHILE).await;
    let early = anna.post(SMS, &[]).await;
    early.refused(429, "code_too_soon");
    assert!((200..=300).contains(&early.json()["retry_after"].as_u64().unwrap()), "{}", early.text());

    line.plan_submissions(&[Submitted::Wrong, Submitted::Expired, Submitted::NoSuchAccount]);
    for (code, reason) in
        [("code_wrong", "wrong"), ("code_expired", "expired"), ("no_network_account", "no_account")]
    {
        reasoned(&anna.post(REGISTER, &[("code", "11-11 111")]).await, code, reason);
    }
    let registered = anna.post_json(REGISTER, &json!({"code": 12345})).await;
    assert_eq!((registered.status, registered.json()), (200, json!({"login": ANNA})));
    let submit = |code: &str| Call::Submit(Proof::Code(code.to_owned()));
    let (start, voice) = (Call::Start(CodeMethod::Sms), Call::Again(CodeMethod::Voice));
    let wrong = submit("1111111");
    assert_eq!(line.calls(), [start, voice, wrong.clone(), wrong.clone(), wrong, submit("0012345")]);
    assert_eq!(anna.get("/api/account/").await.json()["accounts"][0]["session"]["state"], "online");
    anna.post(REGISTER, &[("code", "12345")]).await.refused(400, "no_account_waits");
    let done = anna.post(REGISTER, &[("account", ANNA), ("code", "12345")]).await;
    reasoned(&done, "code_none", "none");
}

#[tokio::test]
async fn a_network_that_sends_no_code_leaves_no_account() {
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let anna = process.caller(&api).await;
    let line = world.persons.line(&ANNA.parse().unwrap());
    for (failure, status, code) in [
        (Failure::Retry("network_unreachable"), 503, "network_unavailable"),
        (Failure::Refused("the number is banned".to_owned()), 502, "network_refused"),
        (Failure::RateLimited(Duration::from_secs(90)), 429, "network_rate_limited"),
        (Failure::Unsupported("send codes by SMS"), 501, "unsupported"),
    ] {
        line.plan_fault("start", Fault::Fails(failure));
        let refused = anna.post(CREATE, &[("account", ANNA)]).await;
        refused.refused(status, code);
        if status == 429 {
            assert_eq!((&refused.json()["retry_after"], refused.header("retry-after")), (&json!(90), "90"));
        }
        assert_eq!(anna.get("/api/account/").await.json(), json!({"accounts": []}));
    }
    // A definite refusal does not count for the pause.
    assert_eq!(anna.post(CREATE, &[("account", ANNA)]).await.status, 201);
    world.age_codes(Duration::from_hours(24)).await;
    line.plan_fault("again", Fault::Fails(Failure::OutcomeUnknown));
    anna.post(SMS, &[]).await.refused(504, "outcome_unknown");
    // The network may have sent it.
    anna.post(SMS, &[]).await.refused(429, "code_too_soon");
    // The account that was there before stays.
    assert_eq!(anna.get("/api/account/").await.json()["accounts"][0]["account"], ANNA);
}

#[tokio::test]
async fn the_limits_on_codes_hold_for_the_networks_own() {
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let (anna, ben) = (process.caller(&api).await, process.caller(&api).await);
    anna.post(CREATE, &[("account", "25550100001")]).await.refused(403, "number_not_allowed");
    assert_eq!(anna.post(CREATE, &[("account", ANNA)]).await.status, 201);
    ben.post(CREATE, &[("account", ANNA)]).await.refused(429, "code_too_soon");
    assert_eq!(ben.get("/api/account/").await.json(), json!({"accounts": []}));
    // To remove the account and to create it again begins no new count: five codes a day.
    for _ in 0..4 {
        world.age_codes(A_WHILE).await;
        assert_eq!(anna.post(REMOVE, &[]).await.status, 200);
        assert_eq!(anna.post(CREATE, &[("account", ANNA)]).await.status, 201);
    }
    world.age_codes(A_WHILE).await;
    anna.post(VOICE, &[]).await.refused(429, "too_many_codes");
    let asked = world.persons.line(&ANNA.parse().unwrap()).calls();
    assert_eq!(asked, vec![Call::Start(CodeMethod::Sms); 5]);
}

#[tokio::test]
async fn guesses_are_limited_by_this_server_and_by_the_network() {
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let anna = process.caller(&api).await;
    anna.post(CREATE, &[("account", ANNA)]).await;
    let line = world.persons.line(&ANNA.parse().unwrap());
    line.plan_fault("submit", Fault::Fails(Failure::RateLimited(Duration::from_secs(40))));
    let limited = anna.post(REGISTER, &[("code", "12345")]).await;
    limited.refused(429, "too_many_guesses");
    assert_eq!((&limited.json()["retry_after"], limited.header("retry-after")), (&json!(40), "40"));
    for failure in [Failure::Retry("network_unreachable"), Failure::Refused("no".to_owned())] {
        line.plan_fault("submit", Fault::Fails(failure));
        assert!(anna.post(REGISTER, &[("code", "12345")]).await.status >= 502);
    }
    // Only what the network has compared counts.
    line.plan_submissions(&vec![Submitted::Wrong; 5]);
    for _ in 0..5 {
        reasoned(&anna.post(REGISTER, &[("code", "11111")]).await, "code_wrong", "wrong");
    }
    anna.post(REGISTER, &[("code", "12345")]).await.refused(429, "too_many_guesses");
    let submissions = line.calls().iter().filter(|call| matches!(call, Call::Submit(_))).count();
    assert_eq!(submissions, 8);
    // A new code has its own guesses.
    world.age_codes(A_WHILE).await;
    anna.post(SMS, &[]).await;
    assert_eq!(anna.post(REGISTER, &[("code", "12345")]).await.status, 200);
}

#[tokio::test]
async fn a_password_is_asked_for_and_neither_it_nor_the_code_is_written_anywhere() {
    log::capture();
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let anna = process.caller(&api).await;
    anna.post(CREATE, &[("account", ANNA)]).await;
    let line = world.persons.line(&ANNA.parse().unwrap());
    anna.post(REGISTER, &[]).await.refused(400, "missing_parameter");
    anna.post(REGISTER, &[("password", "")]).await.refused(400, "missing_parameter");
    let (code, secret) = ("864209", "tr0ub4dor blank ");
    let alone = anna.post(REGISTER, &[("password", secret)]).await;
    assert!(alone.refused(400, "missing_parameter").contains("code"), "{}", alone.text());
    anna.post(REGISTER, &[("password", &"x".repeat(257))]).await.refused(400, "invalid_parameter");
    line.plan_submissions(&[Submitted::NeedsPassword, Submitted::Wrong]);
    let needed = anna.post(REGISTER, &[("code", code)]).await;
    reasoned(&needed, "password_needed", "password");
    assert!(needed.text().contains("password"), "{}", needed.text());
    let wrong = anna.post(REGISTER, &[("password", &format!("{secret}2"))]).await;
    reasoned(&wrong, "password_wrong", "wrong");
    let done = keyed(&anna, "k", REGISTER, &[("password", secret)]).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let password = Call::Submit(Proof::Password(secret.to_owned()));
    assert_eq!(line.calls().last(), Some(&password));

    let lines = log::captured();
    assert!(lines.contains("register-code"), "the requests are logged: {lines}");
    let dump = world.dump();
    assert!(dump.contains(ANNA) && dump.contains("account.registered"), "the tables are read");
    // Binary columns are shown in hexadecimal.
    for hidden in [code, "tr0ub4dor", "383634323039", "747230756234646f72"] {
        assert!(!lines.contains(hidden), "{lines}");
        assert!(!dump.contains(hidden), "{hidden} is in the database");
        assert!(![&needed, &wrong, &done, &alone].iter().any(|answer| answer.text().contains(hidden)));
    }
}

#[tokio::test]
async fn a_repeat_under_a_key_asks_the_network_for_nothing() {
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let anna = process.caller(&api).await;
    let line = world.persons.line(&ANNA.parse().unwrap());
    line.plan_fault("start", Fault::Fails(Failure::Retry("network_unreachable")));
    keyed(&anna, "one", CREATE, &[("account", ANNA)]).await.refused(503, "network_unavailable");
    line.plan_code(SentCode { method: CodeMethod::Voice, length: 8, again_after: Duration::ZERO });
    for _ in 0..2 {
        let created = keyed(&anna, "one", CREATE, &[("account", ANNA)]).await;
        assert_eq!((created.status, created.json()), (201, json!({"method": "voice", "length": 8})));
    }
    world.age_codes(A_WHILE).await;
    for _ in 0..2 {
        assert_eq!(keyed(&anna, "two", SMS, &[]).await.json(), json!({"method": "sms", "length": 5}));
    }
    let (start, again) = (Call::Start(CodeMethod::Sms), Call::Again(CodeMethod::Sms));
    assert_eq!(line.calls(), [start.clone(), start, again.clone()]);

    // The program dies while the network is asked: the code may have been sent.
    world.age_codes(A_WHILE).await;
    let released = Arc::new(Notify::new());
    line.plan_fault("again", Fault::Waits(released.clone()));
    let account = [("account", ANNA)];
    let ((), _) = tokio::join!(
        async {
            let asked = async || (line.calls().len() == 4).then_some(());
            wait_until_async("the request to the network", DEADLINE, asked).await;
            world.sql("UPDATE idempotency_key SET process_id = 0 WHERE key = 'three'");
            let repeated = keyed(&anna, "three", SMS, &account).await;
            assert_eq!((repeated.status, repeated.json()), (200, json!({"method": "sms", "length": 5})));
            released.notify_one();
        },
        keyed(&anna, "three", SMS, &account)
    );
    assert_eq!(line.calls().len(), 4);
}

#[tokio::test]
async fn a_client_that_hangs_up_stops_nothing_half_way() {
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let anna = process.caller(&api).await;
    anna.post(CREATE, &[("account", ANNA)]).await;
    let line = world.persons.line(&ANNA.parse().unwrap());
    let released = Arc::new(Notify::new());
    line.plan_fault("submit", Fault::Waits(released.clone()));
    let submitted = Call::Submit(Proof::Code("12345".to_owned()));
    tokio::select! {
        answer = anna.post(REGISTER, &[("code", "12345")]) => panic!("{answer:?}"),
        () = line.waits_for_call(&submitted) => {}
    }
    released.notify_one();
    let registered = async || {
        let accounts = anna.get("/api/account/").await.json();
        (accounts["accounts"][0]["registered"] == true).then_some(())
    };
    wait_until_async("the registration", DEADLINE, registered).await;
}

#[tokio::test]
async fn a_registered_number_asks_again_and_its_removal_logs_it_out() {
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let anna = process.caller(&api).await;
    let account = [("account", BEN)];
    anna.post(CREATE, &account).await;
    assert_eq!(anna.post(REGISTER, &[("code", "12345")]).await.status, 200);
    world.age_codes(A_WHILE).await;
    assert_eq!(anna.post(SMS, &account).await.status, 200);
    let again = anna.post(REGISTER, &[("account", BEN), ("code", "12345")]).await;
    assert_eq!(again.status, 200, "{}", again.text());
    let line = world.persons.line(&BEN.parse().unwrap());
    line.opened(2).await;
    line.plan_fault("log_out", Fault::Fails(Failure::Refused("no".to_owned())));
    let online = async || {
        let accounts = anna.get("/api/account/").await.json();
        (accounts["accounts"][0]["session"]["state"] == "online").then_some(())
    };
    wait_until_async("the session", DEADLINE, online).await;
    anna.post(REMOVE, &[]).await.refused(502, "network_refused");
    assert_eq!(anna.post(REMOVE, &[]).await.status, 200);
    let logins: Vec<_> = line.log_outs().into_iter().map(|(login, _)| login.0).collect();
    assert_eq!(logins, [b"login 1", b"login 2", b"login 2"]);
}

#[tokio::test]
async fn the_codes_of_other_networks_are_still_ours() {
    let world = World::new().await;
    let process = world.process();
    let api = process.serve(&world).await;
    let anna = process.caller(&api).await;
    // Its provider cannot be reached.
    let ours = [("account", ANNA), ("network", NETWORK)];
    anna.post(CREATE, &ours).await.refused(502, "code_sender_failed");
    assert_eq!(world.persons.line(&ANNA.parse().unwrap()).calls(), []);
    assert_eq!(world.network.line(&ANNA.parse().unwrap()).calls(), []);
}

/// POST of a form under an `Idempotency-Key`.
async fn keyed(client: &Client, key: &str, path: &str, form: &[(&str, &str)]) -> Answer {
    client.send(client.request(Method::POST, path).header("idempotency-key", key).form(form)).await
}

/// Asserts a 403 with this code and reason.
#[track_caller]
fn reasoned(answer: &Answer, code: &str, reason: &str) {
    answer.refused(403, code);
    assert_eq!(answer.json()["reason"], reason, "{}", answer.text());
}

mod log {
    use std::cell::RefCell;
    use std::io::{self, Write};
    use std::sync::Once;

    use tracing_subscriber::filter::dynamic_filter_fn;
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

    thread_local! {
        static LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
    }

    struct Writer;

    impl Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LINES.with_borrow_mut(|lines| lines.as_mut().map_or(Ok(bytes.len()), |lines| lines.write(bytes)))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Begins to capture the log of this thread, at every level.
    pub fn capture() {
        static GLOBAL: Once = Once::new();
        // One for the process: what the threads of other tests log first is asked of this one, too, whether to log it.
        GLOBAL.call_once(|| {
            let is_captured = dynamic_filter_fn(|_, _| LINES.with_borrow(Option::is_some));
            let layer = tracing_subscriber::fmt::layer().with_writer(|| Writer).with_ansi(false);
            let subscriber = tracing_subscriber::registry().with(layer.with_filter(is_captured));
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        LINES.set(Some(Vec::new()));
    }

    /// Ends it.
    pub fn captured() -> String {
        String::from_utf8(LINES.take().unwrap()).unwrap()
    }
}
