//! Codes whose sender refuses, times out or is unreachable; and secrets that must not reach the log.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tracing_subscriber::fmt::MakeWriter;
use windu::verification::{CheckError, Method, RequestError};

use crate::provider::Behaviour;
use crate::support::people::other_code;
use crate::world::{TWILIO_TOKEN, WEBHOOK_SECRET, World};

#[tokio::test]
async fn a_code_can_be_entered_before_the_sender_has_answered() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    let release = Arc::new(Notify::new());
    world.provider.behave(Behaviour::AnswerLater(Arc::clone(&release), 200));
    let enter = async {
        world.provider.wait_for_request().await;
        let _ = world.check(&pending, &world.provider.last_code()).await.unwrap();
        release.notify_one();
    };
    let (outcome, ()) = tokio::join!(world.request(&pending), enter);
    outcome.unwrap();
}

#[tokio::test]
async fn a_sender_that_times_out_leaves_the_code_valid() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    world.provider.behave(Behaviour::Hang);
    let outcome = world.request(&pending).await;
    assert!(matches!(outcome, Err(RequestError::SenderTimedOut)), "{outcome:?}");
    let _ = world.check(&pending, &world.provider.last_code()).await.unwrap();
    // The number may have received its code, so the usual pause applies.
    let outcome = world.request(&pending).await;
    assert!(matches!(outcome, Err(RequestError::TooSoon { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_code_that_was_not_sent_leaves_the_older_one_valid() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    let code = world.code(&pending).await;
    world.age(61.0).await;
    world.provider.behave(Behaviour::status(503));
    let outcome = world.request(&pending).await;
    assert!(matches!(outcome, Err(RequestError::SenderFailed { retry_after: None })), "{outcome:?}");
    let unsent = world.provider.last_code();
    if unsent != code {
        assert!(matches!(world.check(&pending, &unsent).await, Err(CheckError::Wrong)));
    }
    let _ = world.check(&pending, &code).await.unwrap();
    world.provider.behave(Behaviour::status(204));
    let newer = world.code(&pending).await;
    let _ = world.check(&pending, &newer).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_disconnects_leaves_no_pending_code() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    let release = Arc::new(Notify::new());
    world.provider.behave(Behaviour::AnswerLater(Arc::clone(&release), 500));
    tokio::select! {
        outcome = world.request(&pending) => panic!("{outcome:?}"),
        () = world.provider.wait_for_request() => {}
    }
    assert_eq!(world.count("SELECT count(*) FROM code_sent WHERE refused").await, 0);
    release.notify_one();
    world.until("SELECT count(*) FROM code_sent WHERE refused", 1).await;
    world.until("SELECT count(*) FROM verification_code", 0).await;
}

#[tokio::test]
async fn an_unreachable_sender_has_sent_nothing() {
    let url = format!("http://{}/", closed_port().await);
    let world = World::with(&[("WINDU_CODE_WEBHOOK_URL", &url)]).await;
    let pending = world.pending_account("15551230000").await;
    for _ in 0..2 {
        let outcome = world.request(&pending).await;
        assert!(matches!(outcome, Err(RequestError::SenderFailed { retry_after: None })), "{outcome:?}");
    }
    assert!(matches!(world.check(&pending, "123456").await, Err(CheckError::NoneAsked)));
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_leaves_the_code_valid() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let world = World::with(&[("WINDU_CODE_WEBHOOK_URL", &url)]).await;
    let pending = world.pending_account("15551230000").await;
    let breaking = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains('}') {
            stream.read_buf(&mut read).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 20").await.unwrap();
        drop(stream);
        let text = String::from_utf8(read).unwrap();
        let body: serde_json::Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        body["code"].as_str().unwrap().to_owned()
    };
    let (outcome, code) = tokio::join!(world.request(&pending), breaking);
    assert!(matches!(outcome, Err(RequestError::SenderTimedOut)), "{outcome:?}");
    let _ = world.check(&pending, &code).await.unwrap();
    // Exactly one attempt: there was no second connection.
    let again = std::pin::pin!(listener.accept());
    assert!(futures_util::future::FutureExt::now_or_never(again).is_none());
}

#[tokio::test]
async fn without_the_database_nothing_is_sent() {
    let world = World::new().await;
    let pending = world.pending_account("15551230000").await;
    world.store.db().close().await;
    assert!(matches!(world.request(&pending).await, Err(RequestError::Store(_))));
    assert!(matches!(world.check(&pending, "123456").await, Err(CheckError::Store(_))));
    assert!(world.provider.requests().is_empty());
}

#[tokio::test]
async fn the_log_sender_writes_to_the_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let settings = windu::config::CodeSettings::read(
        &windu::config::Env::default(),
        windu::config::CodeSurroundings { loopback_only: true, terminal: false, data_dir: folder.path() },
    )
    .unwrap();
    let world = World::with_settings(settings).await;
    let path = folder.path().join("codes.log");
    assert!(world.verification.destination().contains(&format!(" or to {}", path.display())));
    let pending = world.pending_account("15551230000").await;
    world.request(&pending).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let code = text.trim_end().rsplit(' ').next().unwrap();
    let _ = world.check(&pending, code).await.unwrap();
}

#[tokio::test]
async fn neither_codes_nor_numbers_nor_secrets_reach_the_log() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    // With a single dispatcher, a callsite that is first reached on another thread is off for all of them.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    // This test and its tasks run on one thread.
    let guard = tracing::subscriber::set_default(subscriber);
    let refusal = r#"{"code":21211,"message":"The 'To' number +15551230000 is not a valid phone number."}"#;
    for sender in ["webhook", "twilio"] {
        let world = World::with(&[("WINDU_CODE_SENDER", sender)]).await;
        let pending = world.pending_account("15551230000").await;
        world.provider.behave(Behaviour::Answer { status: 400, headers: Vec::new(), body: refusal });
        world.request(&pending).await.unwrap_err();
        world.provider.behave(Behaviour::status(201));
        world.request_at(&world.verification, &pending, Method::Voice).await.unwrap();
        world.check(&pending, "817263").await.unwrap_err();
        if sender == "webhook" {
            let code = world.provider.last_code();
            world.check(&pending, &other_code(&code)).await.unwrap_err();
            let text = lines.text();
            assert!(!text.contains(&code) && !text.contains(&other_code(&code)), "{text}");
        }
    }
    // A failure to connect, whose error in the HTTP client contains the URL.
    let url = format!("http://{}/send?key=hidden-in-url", closed_port().await);
    let world = World::with(&[("WINDU_CODE_WEBHOOK_URL", &url)]).await;
    world.request(&world.pending_account("15551230000").await).await.unwrap_err();
    drop(guard);
    let text = lines.text();
    assert!(text.contains("no connection to the server"), "{text}");
    assert!(text.contains("the code sender failed") && text.contains("error 21211"), "{text}");
    for hidden in ["15551230000", "817263", "hidden-in-url", TWILIO_TOKEN, &WEBHOOK_SECRET[6..]] {
        let found: Vec<&str> = text.lines().filter(|line| line.contains(hidden)).collect();
        assert!(found.is_empty(), "{hidden} is in the log: {found:#?}");
    }
}

/// An address that refuses connections.
async fn closed_port() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Collects what the log would say.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
