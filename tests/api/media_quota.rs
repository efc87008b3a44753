//! The quota of the bytes in a user's messages.

use std::fs;
use std::path::Path;
use std::time::Duration;

use axum::extract::Path as UrlPath;
use axum::routing::get;
use futures_util::future::join_all;

use crate::media_messages::{form, png, upload};
use crate::support::client::Answer;
use crate::support::people::{Person, fresh_number, register};
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

/// The job that deletes rows runs about once a minute.
const LONG: Duration = Duration::from_mins(3);
/// Files that the quota of [`start`] allows.
const FITTING: usize = 5;

/// A server whose quota allows [`FITTING`] of the pictures.
fn start() -> Server {
    let quota = png(1).len() * (FITTING + 1) - 1;
    Server::setup()
        .env("WINDU_MEDIA_PER_USER", format!("{quota} B"))
        .env("WINDU_FETCH_ALLOW", "127.0.0.1/32")
        .start()
}

/// How many answers are of messages that were accepted; the others were refused because of the quota.
fn accepted(answers: &[Answer]) -> usize {
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(400, "media_quota");
    }
    answers.iter().filter(|answer| answer.status == 200).count()
}

/// Waits until there are just so many stored files, and nothing of a file is reserved or half stored.
async fn waits_for_files(server: &Server, files: usize) {
    wait_until_async("the files", DEADLINE, async || {
        let counts = server
            .database()
            .sql("SELECT (SELECT count(*) FROM media_blob), (SELECT count(*) FROM media_reservation)");
        let media = files_in(&server.folder().join("media"));
        let spooled = files_in(&server.folder().join("spool"));
        (counts == format!("{files}|0") && (media, spooled) == (files, 0)).then_some(())
    })
    .await;
}

fn files_in(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |entry: fs::DirEntry| if entry.path().is_dir() { files_in(&entry.path()) } else { 1 };
    entries.map(|entry| count(entry.expect("an entry"))).sum()
}

#[tokio::test]
async fn files_that_are_sent_at_the_same_time_do_not_exceed_the_quota_together() {
    let server = start();
    let (anna, bert) = Person::two_friends(&server).await;
    // Another account of the same user counts as well.
    let second = fresh_number();
    register(&server, &anna.api, &second).await;
    let contact = [("account", second.as_str()), ("contact_id", &bert.number)];
    assert_eq!(anna.api.post("/api/contacts/add-contact/", &contact).await.status, 201);
    let sends = async |shades: std::ops::Range<u8>| {
        let sends = shades.map(|shade| {
            let from = if shade % 2 == 0 { &anna.number } else { &second };
            let form = form(&bert.number, "a.png", png(shade)).text("account", from.clone());
            upload(&anna.api, "send-image", form)
        });
        join_all(sends).await
    };
    let first = accepted(&sends(0..2).await);
    assert_eq!(first + accepted(&sends(2..40).await), FITTING);
    waits_for_files(&server, FITTING).await;
    // Each user has a quota.
    let (cora, dora) = Person::two_friends(&server).await;
    assert_eq!(upload(&cora.api, "send-image", form(&dora.number, "a.png", png(99))).await.status, 200);
}

#[tokio::test]
async fn files_from_urls_count_as_files_that_are_uploaded() {
    let picture = get(async |UrlPath(shade): UrlPath<u8>| png(shade));
    let files = axum::Router::new().route("/{shade}", picture);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, files).await });
    let server = start();
    let (anna, bert) = Person::two_friends(&server).await;
    let sends = async |shades: std::ops::Range<u8>| {
        let (anna, bert, url) = (&anna, &bert, &url);
        let sends = shades.map(async |shade| {
            let form = [("contact", bert.number.clone()), ("url", format!("{url}/{shade}"))];
            let form = [("contact", form[0].1.as_str()), ("url", form[1].1.as_str())];
            anna.api.post("/api/messages/send-image/", &form).await
        });
        join_all(sends).await
    };
    // No more at once than URLs of one user are fetched at once.
    let mut sent = 0;
    for first in [0, 4, 8] {
        sent += accepted(&sends(first..first + 4).await);
    }
    assert_eq!(sent, FITTING);
    waits_for_files(&server, FITTING).await;
    upload(&anna.api, "send-image", form(&bert.number, "a.png", png(99))).await.refused(400, "media_quota");
}

#[tokio::test]
async fn what_is_reserved_for_a_file_is_free_again_when_its_caller_hangs_up() {
    let server = start();
    let (anna, bert) = Person::two_friends(&server).await;
    let reserved = || server.database().sql("SELECT count(*) FROM media_reservation");
    let held = server.database().lock_number(&anna.number);
    let sends = (0..u8::try_from(FITTING).expect("few"))
        .map(|shade| upload(&anna.api, "send-image", form(&bert.number, "a.png", png(shade))));
    let all_reserved = wait_until_async("the files to be reserved", DEADLINE, async || {
        (reserved() == FITTING.to_string()).then_some(())
    });
    tokio::select! {
        answers = join_all(sends) => panic!("the account is locked: {}", answers.len()),
        () = all_reserved => {}
    }
    wait_until_async("the reserved bytes to be free", DEADLINE, async || (reserved() == "0").then_some(()))
        .await;
    held.commit();
    let sends =
        (10..40).map(|shade| upload(&anna.api, "send-image", form(&bert.number, "a.png", png(shade))));
    assert_eq!(accepted(&join_all(sends).await), FITTING);
}

#[tokio::test]
async fn a_user_sends_no_more_files_than_the_quota_allows() {
    let server = Server::setup().env("WINDU_MEDIA_PER_USER", "250 B").start();
    let (anna, bert) = Person::two_friends(&server).await;
    let size = png(1).len();
    assert!(size < 250 && 250 < 4 * size, "{size}");
    let mut sent = 0;
    let refused = loop {
        let answer = upload(&anna.api, "send-image", form(&bert.number, "a.png", png(sent))).await;
        if answer.status != 200 {
            break answer;
        }
        sent += 1;
    };
    assert_eq!(usize::from(sent), 250 / size);
    let text = refused.refused(400, "media_quota");
    assert!(text.contains("250"), "{text}");
    // What others send is stored all the same, and counts.
    let bytes = format!(
        "SELECT bytes FROM media_usage u JOIN account a ON a.id = u.account_id WHERE a.number = '{}'",
        bert.number
    );
    wait_until_async("the copies to be stored", LONG, async || {
        (server.database().sql(&bytes) == (usize::from(sent) * size).to_string()).then_some(())
    })
    .await;
    // Text is no file.
    anna.sends(&bert, "a text").await;
    let answer = upload(&bert.api, "send-image", form(&anna.number, "a.png", png(9))).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    // Removed with the account, they count no more.
    assert_eq!(anna.api.post("/api/account/remove-account/", &[]).await.status, 200);
    wait_until_async("the rows to be deleted", LONG, async || {
        let left = format!(
            "SELECT count(*) FROM media_usage u JOIN account a ON a.id = u.account_id WHERE a.number = '{}'",
            anna.number
        );
        (server.database().sql(&left) == "0").then_some(())
    })
    .await;
}
