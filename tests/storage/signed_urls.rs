//! Signed URLs of files.

use std::fs;

use reqwest::Method;

use crate::sent_file::{ask, get, path, send_file, sound_file, try_send_file};
use crate::support::client::Answer;
use crate::support::people::Person;
use crate::support::server::Server;
use crate::support::wait::{DEADLINE, wait_until_async};

/// Asserts the response for an inaccessible file.
#[track_caller]
fn is_not_there(answer: &Answer) {
    answer.refused(404, "media_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_opens_its_file_without_a_token_and_supports_range_requests() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let file = sound_file(300_000, 1);
    let (_, path) = send_file(&anna, &bert, file.clone()).await;
    let whole = get(&server, &path, &[("origin", "https://page.example")]).await;
    assert_eq!((whole.status, &whole.bytes), (200, &file));
    let head = ask(&server, Method::HEAD, &path, &[("range", "bytes=10-19")]).await;
    assert_eq!((head.status, head.bytes.len()), (200, 0));
    for answer in [&whole, &head] {
        for (name, value) in [
            ("content-type", "audio/wav"),
            ("content-length", &file.len().to_string()),
            ("content-disposition", "inline"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox; default-src 'none'"),
            ("referrer-policy", "no-referrer"),
            ("accept-ranges", "bytes"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        let age = answer.header("cache-control").strip_prefix("private, max-age=").expect("an age");
        // A day, or up to an hour more.
        assert!((86_000..=90_000).contains(&age.parse::<u32>().expect("seconds")), "{age}");
    }
    assert_eq!(whole.header("access-control-allow-origin"), "*");
    assert!(whole.header("access-control-expose-headers").contains("content-range"));

    for (range, first, end) in [("bytes=10-19", 10, 20), ("bytes=-5", file.len() - 5, file.len())] {
        let part = get(&server, &path, &[("range", range)]).await;
        assert_eq!((part.status, &part.bytes[..]), (206, &file[first..end]), "{range}");
        let expected = format!("bytes {first}-{}/{}", end - 1, file.len());
        assert_eq!(part.header("content-range"), expected);
        assert_eq!(part.header("content-length"), (end - first).to_string());
    }
    let outside = get(&server, &path, &[("range", "bytes=900000-")]).await;
    outside.refused(416, "range_not_satisfiable");
    assert_eq!(outside.header("content-range"), format!("bytes */{}", file.len()));
    let etag = whole.header("etag");
    for (headers, status) in [
        (&[("range", "bytes=0-0"), ("if-range", etag)][..], 206),
        (&[("range", "bytes=0-0"), ("if-range", "\"other\"")], 200),
        (&[("range", "bytes=0-0,5-6")], 200),
        (&[("if-none-match", etag)], 304),
    ] {
        assert_eq!(get(&server, &path, headers).await.status, status, "{headers:?}");
    }
    let asked = [
        ("origin", "https://page.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "range"),
    ];
    let preflight = ask(&server, Method::OPTIONS, &path, &asked).await;
    assert!(preflight.header("access-control-allow-headers").contains("range"));
    // The log does not contain the signature, which would open the file.
    let signature = path.split_once("signature=").expect("a signature").1;
    assert!(server.log().contains("/media/message/"));
    assert!(!server.log().contains(signature) && !server.log().contains("expires="));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_url_is_answered_like_an_unknown_one() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let (_, one) = send_file(&anna, &bert, sound_file(1_000, 1)).await;
    let (_, other) = send_file(&anna, &bert, sound_file(1_000, 2)).await;
    let name = |path: &str| path.split(['/', '?']).nth(4).expect("a name").to_owned();
    let id = one.split('/').nth(3).expect("an id").to_owned();
    let (start, signature) = one.split_once("&signature=").expect("a signature");
    let never = get(&server, "/media/message/1/nothing", &[]).await;
    is_not_there(&never);
    for changed in [
        one.replace(&name(&one), &name(&other)),
        one.replace(&format!("/message/{id}/"), "/message/999999/"),
        one.replace("/message/", "/own-photo/"),
        one.replace("expires=", "expires=9"),
        start.to_owned(),
        format!("{start}&signature={}", signature.chars().rev().collect::<String>()),
        one.split_once('?').expect("a query").0.to_owned(),
    ] {
        let answer = get(&server, &changed, &[]).await;
        assert_eq!((answer.status, &answer.bytes), (404, &never.bytes), "{changed}");
    }
    for path in [&one, &other] {
        assert_eq!(get(&server, path, &[]).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_expires_and_each_listing_returns_a_fresh_one() {
    let server = Server::setup().env("WINDU_MEDIA_URL_TTL", "2s").start();
    let (anna, bert) = Person::two_friends(&server).await;
    let (id, first) = send_file(&anna, &bert, sound_file(1_000, 1)).await;
    wait_until_async("the URL to end", DEADLINE, async || {
        let answer = get(&server, &first, &[]).await;
        (answer.status != 200).then_some(answer)
    })
    .await
    .refused(404, "media_not_found");
    let message = anna.waits_until(&bert.number, &id, |_| true).await;
    let fresh = path(&anna, message["url"].as_str().expect("a URL"));
    assert_eq!(get(&server, &fresh, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_ends_when_its_message_is_deleted() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let (id, sent) = send_file(&anna, &bert, sound_file(1_000, 1)).await;
    let message = bert.waits_until(&anna.number, &id, |message| message["url"].is_string()).await;
    let received = path(&bert, message["url"].as_str().expect("a URL"));
    assert_ne!(sent, received);
    let account = |person: &Person| format!("(SELECT id FROM account WHERE number = '{}')", person.number);
    server.database().sql(&format!("DELETE FROM message WHERE account_id = {}", account(&anna)));
    is_not_there(&get(&server, &sent, &[]).await);
    assert_eq!(get(&server, &received, &[]).await.status, 200, "the receiver's own");
    let removed = bert.api.post("/api/account/remove-account/", &[]).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    is_not_there(&get(&server, &received, &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_unsafe_types_are_served_as_downloads() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let (_, path) = send_file(&anna, &bert, sound_file(1_000, 1)).await;
    for kind in ["image/svg+xml", "text/html", "application/pdf", "nonsense"] {
        server.database().sql(&format!("UPDATE media_blob SET mimetype = '{kind}'"));
        let answer = get(&server, &path, &[]).await;
        assert_eq!((answer.status, answer.header("content-disposition")), (200, "attachment"), "{kind}");
        assert_eq!(answer.header("content-type"), "application/octet-stream", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_storage_refuses_only_files() {
    let server = Server::start();
    let (anna, bert) = Person::two_friends(&server).await;
    let (_, path) = send_file(&anna, &bert, sound_file(1_000, 1)).await;
    let (media, aside) = (server.folder().join("media"), server.folder().join("aside"));
    fs::rename(&media, &aside).expect("moved");
    fs::write(&media, "in the way").expect("written");
    let refused = try_send_file(&anna, &bert, sound_file(1_000, 2)).await;
    refused.refused(503, "storage_unavailable");
    assert!(!refused.header("retry-after").is_empty());
    get(&server, &path, &[]).await.refused(503, "storage_unavailable");
    assert!(server.fail(&["check"], "").contains("failed"));
    let ready = server.client().get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"degraded".into()));
    assert_eq!(ready.json()["checks"]["media"], "failing");
    assert_eq!(anna.chat(&bert.number).await.len(), 1, "the refused message is not stored");
    anna.delivers(&bert, "text goes on").await;
    fs::remove_file(&media).expect("removed");
    fs::rename(&aside, &media).expect("moved back");
    assert_eq!(get(&server, &path, &[]).await.status, 200);
    assert_eq!(try_send_file(&anna, &bert, sound_file(1_000, 2)).await.status, 200);
    assert!(server.run(&["check"], "").contains("ok      media: folder"));
}
