//! FetchTimeouts of size and time.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use windu::fetch::{Fetch, FetchError, FetchTimeouts, Resolver, UntrustedError};

use crate::site::{LONG_LIMITS, Names, Reply, Site, Taken, answer, fetch, fetch_within, get, redirect};

const SHORT: Duration = Duration::from_millis(200);

/// Ten bytes with a content length, in chunks, or without a length.
async fn ten_bytes() -> Site {
    Site::start("127.0.0.1:0", |path| {
        Reply::Bytes(match path {
            "/length" => answer(200, &[], "0123456789"),
            "/chunked" => {
                let chunks = "4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n";
                format!("HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").into_bytes()
            }
            _ => b"HTTP/1.1 200 -\r\n\r\n0123456789".to_vec(),
        })
    })
    .await
}

#[tokio::test]
async fn no_more_than_the_limit_reaches_the_sink() {
    let site = ten_bytes().await;
    let fetch = fetch(&["127.0.0.1/32"], Names::default());
    for path in ["/length", "/chunked", "/close"] {
        let mut taken = Taken::default();
        assert_eq!(fetch.get_untrusted(&site.url(path), 10, &mut taken).await.unwrap().size, 10, "{path}");
        assert_eq!(taken.0, b"0123456789", "{path}");

        let mut taken = Taken::default();
        let outcome = fetch.get_untrusted(&site.url(path), 9, &mut taken).await;
        let too_long = matches!(outcome, Err(UntrustedError::Fetch(FetchError::TooLong { limit: 9 })));
        assert!(too_long, "{path}: {outcome:?}");
        assert!(taken.0.len() <= 9, "{path}: {} bytes were taken", taken.0.len());
        assert!(
            path != "/length" || taken.0.is_empty(),
            "a content length above the limit is refused at once"
        );
    }
}

#[tokio::test]
async fn endless_content_is_cut_at_the_limit() {
    let flood = format!("HTTP/1.1 200 -\r\n\r\n{}", "a".repeat(1 << 22));
    let site = Site::start("127.0.0.1:0", move |_| Reply::Drip(flood.clone().into_bytes(), b'a')).await;
    let mut taken = Taken::default();
    let outcome =
        fetch(&["127.0.0.1/32"], Names::default()).get_untrusted(&site.url("/"), 1 << 20, &mut taken).await;
    assert!(matches!(outcome, Err(UntrustedError::Fetch(FetchError::TooLong { .. }))), "{outcome:?}");
    assert!(taken.0.len() <= 1 << 20);
}

#[tokio::test]
async fn truncated_content_is_an_error() {
    let site = Site::start("127.0.0.1:0", |path| {
        Reply::Bytes(match path {
            "/length" => b"HTTP/1.1 200 -\r\nContent-Length: 10\r\n\r\n01234".to_vec(),
            "/chunked" => b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n".to_vec(),
            "/head" => b"HTTP/1.1 200 -\r\nContent-".to_vec(),
            "/silent" => Vec::new(),
            _ => b"220 mail.test ESMTP\r\n\r\n".to_vec(),
        })
    })
    .await;
    let fetch = fetch(&["127.0.0.1/32"], Names::default());
    for path in ["/length", "/chunked", "/head", "/silent", "/other"] {
        let outcome = get(&fetch, &site.url(path)).await;
        assert!(matches!(outcome, Err(UntrustedError::Fetch(FetchError::Broken(_)))), "{path}: {outcome:?}");
    }
}

/// Checks that the fetch ends long before the other limit.
async fn assert_timed_out(fetch: &Fetch, url: &str) {
    let outcome = tokio::time::timeout(LONG_LIMITS.head, get(fetch, url)).await.expect("an end in time");
    assert!(matches!(outcome, Err(UntrustedError::Fetch(FetchError::TimedOut(_)))), "{url}: {outcome:?}");
}

#[tokio::test]
async fn a_missing_response_head_times_out() {
    let limits = FetchTimeouts { head: SHORT, ..LONG_LIMITS };
    let fetch = fetch_within(limits, &["127.0.0.1/32"], Names::default());
    let silent = Site::start("127.0.0.1:0", |_| Reply::Hang).await;
    assert_timed_out(&fetch, &silent.url("/")).await;
    // A head that comes byte by byte times out too.
    let dripping =
        Site::start("127.0.0.1:0", |_| Reply::Drip(b"HTTP/1.1 200 -\r\nX-Long: ".to_vec(), b'a')).await;
    assert_timed_out(&fetch, &dripping.url("/")).await;
    let to_silent = silent.url("/");
    let leading = Site::start("127.0.0.1:0", move |_| redirect(302, &to_silent)).await;
    assert_timed_out(&fetch, &leading.url("/")).await;
}

#[tokio::test]
async fn slow_content_times_out() {
    let limits = FetchTimeouts { total: SHORT, ..LONG_LIMITS };
    let fetch = fetch_within(limits, &["127.0.0.1/32"], Names::default());
    let site = Site::start("127.0.0.1:0", |_| Reply::Drip(b"HTTP/1.1 200 -\r\n\r\n".to_vec(), b'a')).await;
    assert_timed_out(&fetch, &site.url("/")).await;
}

/// A name server that says nothing.
struct Silent;

#[async_trait]
impl Resolver for Silent {
    async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_silent_name_server_times_out() {
    let fetch = fetch_within(FetchTimeouts { head: SHORT, ..LONG_LIMITS }, &["127.0.0.1/32"], Silent);
    assert_timed_out(&fetch, "http://name.test/").await;
}

#[test]
fn the_default_timeouts_are_ten_seconds_and_a_minute() {
    let limits = FetchTimeouts { head: Duration::from_secs(10), total: Duration::from_mins(1) };
    assert_eq!(FetchTimeouts::default(), limits);
}
