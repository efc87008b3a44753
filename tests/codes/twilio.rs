//! The sender `twilio`, against a server with the paths, forms and responses of Twilio's documentation.

use data_encoding::BASE64;
use windu::verification::{Method, RequestError};

use crate::provider::{Behaviour, ReceivedRequest};
use crate::world::{TWILIO_SID, TWILIO_TOKEN, World};

const CREATED: &str = r#"{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued","error_code":null}"#;

async fn world() -> World {
    let world = World::with(&[("WINDU_CODE_SENDER", "twilio")]).await;
    world.provider.behave(Behaviour::Answer { status: 201, headers: Vec::new(), body: CREATED });
    world
}

fn field(asked: &ReceivedRequest, name: &str) -> String {
    let mut values = asked.form().into_iter().filter(|(field, _)| field == name).map(|(_, value)| value);
    let value = values.next().unwrap_or_else(|| panic!("no field {name}"));
    assert_eq!(values.next(), None, "{name} twice");
    value
}

fn assert_common(asked: &ReceivedRequest, resource: &str) {
    assert_eq!(asked.uri, format!("/twilio/2010-04-01/Accounts/{TWILIO_SID}/{resource}.json").as_str());
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    let basic = format!("Basic {}", BASE64.encode(format!("{TWILIO_SID}:{TWILIO_TOKEN}").as_bytes()));
    assert_eq!(asked.header("authorization"), Some(basic.as_str()));
    assert_eq!(field(asked, "To"), "+15551230000");
    assert_eq!(field(asked, "From"), "+15550100000");
    assert_eq!(asked.form().len(), 3);
}

#[tokio::test]
async fn sms_is_sent_as_a_twilio_message() {
    let world = world().await;
    let pending = world.pending_account("15551230000").await;
    world.request(&pending).await.unwrap();
    let asked = world.provider.only_request();
    assert_common(&asked, "Messages");
    let text = field(&asked, "Body");
    let code: String = text.chars().filter(char::is_ascii_digit).take(6).collect();
    assert_eq!(text, format!("Your Windu code is {code}. It is good for 10 minutes. Give it to nobody."));
    let _ = world.check(&pending, &code).await.unwrap();
}

#[tokio::test]
async fn voice_is_a_twilio_call_that_says_each_digit() {
    let world = world().await;
    let pending = world.pending_account("15551230000").await;
    world.request_at(&world.verification, &pending, Method::Voice).await.unwrap();
    let asked = world.provider.only_request();
    assert_common(&asked, "Calls");
    let twiml = field(&asked, "Twiml");
    let spoken = twiml.split_once("<Say language=\"en-US\">").unwrap().1.split_once("</Say>").unwrap().0;
    let code: String = spoken.chars().filter(char::is_ascii_digit).take(6).collect();
    let apart = code.chars().map(String::from).collect::<Vec<_>>().join(", ");
    assert_eq!(spoken, format!("Your Windu code is: {apart}. Once more: {apart}. Good bye."));
    assert!(twiml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>"), "{twiml}");
    assert!(twiml.ends_with("</Response>") && twiml.len() < 4_000, "{twiml}");
    let _ = world.check(&pending, &code).await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_a_failure_and_a_new_code_may_be_requested() {
    let world = world().await;
    let number = r#"{"code":21211,"message":"The 'To' number +15551230000 is not a valid phone number.","more_info":"https://www.twilio.com/docs/errors/21211","status":400}"#;
    let wrong_token = r#"{"code":20003,"message":"Authenticate","more_info":"https://www.twilio.com/docs/errors/20003","status":401}"#;
    let busy = r#"{"code":20429,"message":"Too Many Requests","more_info":"https://www.twilio.com/docs/errors/20429","status":429}"#;
    let cases = [
        (400, number, None),
        (401, wrong_token, None),
        (429, busy, Some("3")),
        (500, "<html>not JSON</html>", None),
        (503, "", Some("120")),
    ];
    for (turn, (status, body, advice)) in cases.into_iter().enumerate() {
        let headers = advice.map(|seconds| ("retry-after", seconds.to_owned())).into_iter().collect();
        world.provider.behave(Behaviour::Answer { status, headers, body });
        let pending = world.pending_account(&format!("1555123000{turn}")).await;
        for _ in 0..2 {
            match world.request(&pending).await {
                Err(RequestError::SenderFailed { retry_after }) => {
                    assert_eq!(retry_after, advice.map(|seconds| seconds.parse().unwrap()), "{status}");
                }
                outcome => panic!("{status}: {outcome:?}"),
            }
        }
    }
    assert_eq!(world.count("SELECT count(*) FROM verification_code").await, 0);
}

#[tokio::test]
async fn a_timeout_leaves_the_code_valid() {
    let world = world().await;
    let pending = world.pending_account("15551230000").await;
    world.provider.behave(Behaviour::Hang);
    let outcome = world.request(&pending).await;
    assert!(matches!(outcome, Err(RequestError::SenderTimedOut)), "{outcome:?}");
    let text = field(&world.provider.only_request(), "Body");
    let code: String = text.chars().filter(char::is_ascii_digit).take(6).collect();
    let _ = world.check(&pending, &code).await.unwrap();
}

#[tokio::test]
async fn an_endless_error_body_is_not_read_to_its_end() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let world = World::with(&[("WINDU_CODE_SENDER", "twilio"), ("WINDU_TWILIO_BASE_URL", &base)]).await;
    let pending = world.pending_account("15551230000").await;
    let endless = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![0; 4_096];
        let _ = stream.read(&mut read).await.unwrap();
        stream.write_all(b"HTTP/1.1 500 Oops\r\ncontent-type: text/plain\r\n\r\n").await.unwrap();
        let mut written = 0_usize;
        // Until the other side closes the connection.
        while stream.write_all(&[b'x'; 4_096]).await.is_ok() {
            written += 4_096;
        }
        written
    };
    let (outcome, written) = tokio::join!(world.request(&pending), endless);
    assert!(matches!(outcome, Err(RequestError::SenderFailed { .. })), "{outcome:?}");
    // At most the content of the socket buffers.
    assert!(written < 32 * 1_024 * 1_024, "{written}");
}
