//! Responses of allowed URLs.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::Notify;
use windu::fetch::{FetchError, Fetched, Sink, UntrustedError};

use crate::site::{LIMIT, Names, Reply, Site, answer, fetch, get};

#[tokio::test]
async fn an_allowed_address_is_fetched_on_any_port() {
    let site = Site::start("127.0.0.1:0", |_| {
        Reply::Bytes(answer(200, &[("Content-Type", "image/png")], "picture"))
    })
    .await;
    let fetch = fetch(&["127.0.0.1/32"], Names::of(&[("name.test", &[&["127.0.0.1"]])]));
    let (port, expected) = (site.address.port(), "picture".as_bytes().to_vec());
    for host in ["127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "name.test", "NAME.TEST"] {
        let (given, content) =
            get(&fetch, &format!("http://{host}:{port}/a/photo.png?size=2")).await.unwrap();
        let (content_type, file_name) = (Some("image/png".to_owned()), Some("photo.png".to_owned()));
        assert_eq!(given, Fetched { content_type, file_name, size: 7 }, "{host}");
        assert_eq!(content, expected, "{host}");
    }
    for head in site.heads() {
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("get /a/photo.png?size=2 http/1.1\r\n"), "{head}");
        for name in ["authorization:", "cookie:", "referer:", "accept-encoding:"] {
            assert!(!head.contains(name), "{head}");
        }
    }
}

#[tokio::test]
async fn missing_response_headers_are_not_guessed() {
    let site =
        Site::start("127.0.0.1:0", |_| Reply::Bytes(b"HTTP/1.0 200 OK\r\n\r\nuntil the end".to_vec())).await;
    let (given, content) = get(&fetch(&["127.0.0.1/32"], Names::default()), &site.url("/")).await.unwrap();
    assert_eq!(given, Fetched { content_type: None, file_name: None, size: 13 });
    assert_eq!(content, b"until the end");
}

#[tokio::test]
async fn only_a_success_status_returns_content() {
    let site = Site::start("127.0.0.1:0", |path| {
        let status = path.trim_start_matches('/').parse().unwrap();
        Reply::Bytes(answer(status, &[], if status == 304 { "" } else { "words" }))
    })
    .await;
    let fetch = fetch(&["127.0.0.1/32"], Names::default());
    for status in [200, 201, 206] {
        assert_eq!(get(&fetch, &site.url(&format!("/{status}"))).await.unwrap().1, b"words", "{status}");
    }
    // A redirect without a target is an error too.
    for status in [300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 429, 500, 503] {
        match get(&fetch, &site.url(&format!("/{status}"))).await {
            Err(UntrustedError::Status(answered)) => assert_eq!(answered, status),
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_url_that_is_not_http_is_refused() {
    let fetch = fetch(&["0.0.0.0/0", "::/0"], Names::default());
    let long = format!("http://127.0.0.1/{}", "a".repeat(65_536));
    for url in [
        "",
        "photo.jpg",
        "/photo.jpg",
        "example.com/photo.jpg",
        "ftp://127.0.0.1/photo.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "http://",
        "http://[::1",
        "http://[fe80::1%25lo]/",
        "http://127.0.0.256/",
        "http://1.2.3.4.5/",
        "http://127.0.0.1:65536/",
        "http://exa mple.com/",
        "http://\0/",
        &long,
    ] {
        assert!(matches!(get(&fetch, url).await, Err(UntrustedError::NotHttp)), "{url}");
    }
}

#[tokio::test]
async fn an_unreachable_host_is_reported_as_not_connected() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fetch = fetch(&["127.0.0.1/32"], Names::of(&[("empty.test", &[&[]])]));
    for url in
        [format!("http://{closed}/"), "http://unknown.test/".to_owned(), "http://empty.test/".to_owned()]
    {
        let outcome = get(&fetch, &url).await;
        assert!(
            matches!(outcome, Err(UntrustedError::Fetch(FetchError::NotConnected(_)))),
            "{url}: {outcome:?}"
        );
    }
}

/// A sink that lets the site go on once it has the beginning.
struct Notifying(Arc<Notify>, Vec<u8>);

impl Sink for Notifying {
    type Error = Infallible;

    async fn write(&mut self, chunk: &[u8]) -> Result<(), Infallible> {
        self.1.extend_from_slice(chunk);
        self.0.notify_one();
        Ok(())
    }
}

#[tokio::test]
async fn content_is_streamed_to_the_sink() {
    let written = Arc::new(Notify::new());
    let go_on = Arc::clone(&written);
    let site = Site::start("127.0.0.1:0", move |_| {
        let beginning = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst".to_vec();
        Reply::Held(beginning, Arc::clone(&go_on), b" rest".to_vec())
    })
    .await;
    let mut sink = Notifying(written, Vec::new());
    let fetch = fetch(&["127.0.0.1/32"], Names::default());
    assert_eq!(fetch.get_untrusted(&site.url("/"), LIMIT, &mut sink).await.unwrap().size, 10);
    assert_eq!(sink.1, b"first rest");
}

struct Full;

impl Sink for Full {
    type Error = &'static str;

    async fn write(&mut self, _: &[u8]) -> Result<(), &'static str> {
        Err("no room")
    }
}

#[tokio::test]
async fn a_failing_sink_ends_the_fetch() {
    let site = Site::start("127.0.0.1:0", |_| Reply::Drip(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b'a')).await;
    let fetch = fetch(&["127.0.0.1/32"], Names::default());
    let outcome = fetch.get_untrusted(&site.url("/"), LIMIT, &mut Full).await;
    assert!(matches!(outcome, Err(UntrustedError::Sink("no room"))), "{outcome:?}");
}
