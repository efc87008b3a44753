//! Redirects: few are followed, and each is checked.

use std::net::IpAddr;

use windu::fetch::{FetchError, UntrustedError};

use crate::site::{Canary, Names, Reply, Site, answer, fetch, get, redirect};

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Redirects as often as the path says: /3 to /2 to /1 to /0, which has content.
async fn countdown(status: u16) -> Site {
    Site::start("127.0.0.2:0", move |path| match path.trim_start_matches('/').parse::<u8>().unwrap() {
        0 => Reply::Bytes(answer(200, &[], "the end")),
        left => redirect(status, &format!("/{}", left - 1)),
    })
    .await
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    let fetch = fetch(&["127.0.0.2/32"], Names::default());
    for status in REDIRECTS {
        let site = countdown(status).await;
        let (given, content) = get(&fetch, &site.url("/3")).await.unwrap();
        assert_eq!(content, b"the end", "{status}");
        assert_eq!(given.file_name.as_deref(), Some("3"), "the file name is that of the first URL");
        assert_eq!(site.paths(), ["/3", "/2", "/1", "/0"], "{status}");

        let site = countdown(status).await;
        assert!(
            matches!(get(&fetch, &site.url("/4")).await, Err(UntrustedError::TooManyRedirects)),
            "{status}"
        );
        assert_eq!(site.paths(), ["/4", "/3", "/2", "/1"], "{status}");
    }
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let site = Site::start("127.0.0.2:0", |path| redirect(302, path)).await;
    let outcome = get(&fetch(&["127.0.0.2/32"], Names::default()), &site.url("/round")).await;
    assert!(matches!(outcome, Err(UntrustedError::TooManyRedirects)), "{outcome:?}");
    assert_eq!(site.paths().len(), 4);
}

#[tokio::test]
async fn redirects_to_allowed_names_and_addresses_are_followed() {
    let target = Site::start("127.0.0.3:0", |_| Reply::Bytes(answer(200, &[], "there"))).await;
    let port = target.address.port();
    for to in [
        format!("http://127.0.0.3:{port}/a"),
        format!("//127.0.0.3:{port}/a"),
        format!("http://good.test:{port}/a"),
        format!("HTTP://0x7f.3:{port}/a#part"),
    ] {
        let to_there = to.clone();
        let site = Site::start("127.0.0.2:0", move |_| redirect(302, &to_there)).await;
        let names = Names::of(&[("good.test", &[&["127.0.0.3"]])]);
        let (_, content) = get(&fetch(&["127.0.0.2/31"], names), &site.url("/")).await.unwrap();
        assert_eq!(content, b"there", "{to}");
    }
    assert_eq!(target.paths(), ["/a"; 4]);
}

#[tokio::test]
async fn redirects_to_this_machine_are_refused() {
    let canary = Canary::start("127.0.0.1:0");
    let port = canary.address.port();
    for status in REDIRECTS {
        for to in [
            format!("http://127.0.0.1:{port}/"),
            format!("https://127.0.0.1:{port}/"),
            format!("//127.0.0.1:{port}/"),
            format!("\\\\127.0.0.1:{port}/"),
            format!("http://2130706433:{port}/"),
            format!("http://[::ffff:7f00:1]:{port}/"),
            format!("http://[::1]:{port}/"),
            format!("http://localhost:{port}/"),
            format!("http://bad.test:{port}/"),
            format!("http://mixed.test:{port}/"),
            format!("http://turning.test:{port}/"),
            format!("http://user@127.0.0.2:{port}/"),
            format!("http://127.0.0.2@127.0.0.1:{port}/"),
            format!("ftp://127.0.0.1:{port}/"),
            format!("gopher://127.0.0.1:{port}/"),
            "http://127.0.0.1/".to_owned(),
            "file:///etc/passwd".to_owned(),
            "data:text/plain,hello".to_owned(),
        ] {
            let names = Names::of(&[
                ("localhost", &[&["127.0.0.1"]]),
                ("bad.test", &[&["127.0.0.1"]]),
                ("mixed.test", &[&["127.0.0.2", "127.0.0.1"]]),
                // Allowed in the first lookup, and then not.
                ("turning.test", &[&["127.0.0.2"], &["127.0.0.1"]]),
            ]);
            let to_canary = to.clone();
            let site = Site::start("127.0.0.2:0", move |_| redirect(status, &to_canary)).await;
            let url = format!("http://turning.test:{}/", site.address.port());
            let outcome = get(&fetch(&["127.0.0.2/32"], names), &url).await;
            let refused = matches!(outcome, Err(UntrustedError::Fetch(FetchError::NotAllowed)));
            assert!(refused, "{status} {to}: {outcome:?}");
            canary.assert_untouched(&to);
            assert_eq!(site.dialled(), ["127.0.0.2".parse::<IpAddr>().unwrap()], "{to}");
        }
    }
}

#[tokio::test]
async fn the_last_redirect_is_checked_like_the_first() {
    let canary = Canary::start("127.0.0.1:0");
    let to_canary = format!("http://{}/", canary.address);
    let site = Site::start("127.0.0.2:0", move |path| match path {
        "/1" => redirect(301, "/2"),
        "/2" => redirect(307, "/3"),
        _ => redirect(308, &to_canary),
    })
    .await;
    let outcome = get(&fetch(&["127.0.0.2/32"], Names::default()), &site.url("/1")).await;
    assert!(matches!(outcome, Err(UntrustedError::Fetch(FetchError::NotAllowed))), "{outcome:?}");
    canary.assert_untouched("the third redirect");
    assert_eq!(site.paths(), ["/1", "/2", "/3"]);
}

#[tokio::test]
async fn a_location_header_without_a_redirect_status_is_ignored() {
    let canary = Canary::start("127.0.0.1:0");
    for status in [200, 201, 300, 304, 305, 306, 404] {
        let to_canary = format!("http://{}/", canary.address);
        let site = Site::start("127.0.0.2:0", move |_| {
            let headers = [("Location", to_canary.as_str()), ("Refresh", &format!("0; url={to_canary}"))];
            Reply::Bytes(answer(status, &headers, ""))
        })
        .await;
        let outcome = get(&fetch(&["127.0.0.0/8"], Names::default()), &site.url("/")).await;
        match outcome {
            Ok(_) => assert!(status < 300),
            Err(UntrustedError::Status(answered)) => assert_eq!(answered, status),
            Err(error) => panic!("{status}: {error:?}"),
        }
        canary.assert_untouched("another status");
    }
}

#[tokio::test]
async fn an_invalid_redirect_target_is_not_followed() {
    let fetch = fetch(&["127.0.0.0/8"], Names::default());
    for target in ["http://", "http://127.0.0.256/", "http://[::1/", "\u{80}\u{ff}://x"] {
        let site = Site::start("127.0.0.2:0", move |path| match path {
            "/" => redirect(302, target),
            _ => Reply::Bytes(answer(404, &[], "")),
        })
        .await;
        let outcome = get(&fetch, &site.url("/")).await;
        assert!(matches!(outcome, Err(UntrustedError::Status(302 | 404))), "{target}: {outcome:?}");
    }
}
