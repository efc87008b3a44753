//! Addresses that must not be reached, with a canary that would notice.

use std::net::SocketAddr;
use std::time::Duration;

use windu::fetch::{Fetch, FetchError, Policy, Post, UntrustedError, UntrustedRules};

use crate::site::{self, Canary, Names, Reply, Site, answer, fetch, get};

async fn assert_refused(fetch: &Fetch, url: &str, canary: &Canary) {
    let outcome = get(fetch, url).await;
    assert!(matches!(outcome, Err(UntrustedError::Fetch(FetchError::NotAllowed))), "{url}: {outcome:?}");
    canary.assert_untouched(url);
}

/// All known spellings of this port of this machine.
fn spellings(port: u16) -> Vec<String> {
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0.0.0.0",
        "0",
        "１２７.０.０.１",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "localhost",
        "LOCALHOST",
    ]
    .iter()
    .flat_map(|host| ["http", "https"].map(|scheme| format!("{scheme}://{host}:{port}/")))
    .collect()
}

#[tokio::test]
async fn this_machine_is_not_reached() {
    let canary = Canary::start("127.0.0.1:0");
    let fetch = Fetch::new(UntrustedRules::default());
    for url in spellings(canary.address.port()) {
        assert_refused(&fetch, &url, &canary).await;
    }
}

#[tokio::test]
async fn this_machine_is_not_reached_when_another_address_is_allowed() {
    let canary = Canary::start("127.0.0.1:0");
    let fetch = Fetch::new(UntrustedRules::new(vec!["127.0.0.2/32".parse().unwrap()]));
    for url in spellings(canary.address.port()) {
        assert_refused(&fetch, &url, &canary).await;
    }
}

#[tokio::test]
async fn this_machine_is_not_reached_on_the_usual_port() {
    // An address that is unlikely to be in use. On most machines only root may listen on this port.
    let host = format!("127.{}.{}.80", std::process::id() >> 8 & 0xff, std::process::id() & 0xff);
    let canary = match Canary::try_start(&format!("{host}:80")) {
        Ok(canary) => canary,
        Err(error) => return eprintln!("not run: this user may not listen on port 80: {error}"),
    };
    let names = Names::of(&[("name.test", &[&[&host]]), ("mapped.test", &[&[&format!("::ffff:{host}")]])]);
    let fetch = fetch(&[], names);
    for url in [
        format!("http://{host}/"),
        format!("http://[::ffff:{host}]/"),
        "http://name.test/".to_owned(),
        "http://name.test:80/".to_owned(),
        "http://mapped.test/".to_owned(),
    ] {
        assert_refused(&fetch, &url, &canary).await;
    }
}

#[tokio::test]
async fn this_machine_is_not_reached_by_ipv6() {
    let canary = match Canary::try_start("[::1]:0") {
        Ok(canary) => canary,
        Err(error) => return eprintln!("not run: this machine has no IPv6 loopback: {error}"),
    };
    let port = canary.address.port();
    let fetch = fetch(&["127.0.0.0/8"], Names::of(&[("name.test", &[&["::1"]])]));
    for host in ["[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "name.test"] {
        assert_refused(&fetch, &format!("http://{host}:{port}/"), &canary).await;
    }
    drop(canary);
    let site = Site::start(&format!("[::1]:{port}"), |_| Reply::Bytes(answer(200, &[], "six"))).await;
    let allowing = site::fetch(&["::1/128"], Names::of(&[("name.test", &[&["::1"]])]));
    for host in ["[::1]", "name.test"] {
        let (_, content) = get(&allowing, &format!("http://{host}:{port}/")).await.unwrap();
        assert_eq!(content, b"six", "{host}");
    }
    assert_eq!(site.dialled().len(), 2);
}

/// An allowed site and a canary on the same port of two addresses.
async fn neighbours() -> (Site, Canary) {
    loop {
        let site = Site::start("127.0.0.2:0", |_| Reply::Bytes(answer(200, &[], "allowed"))).await;
        let beside = SocketAddr::from(([127, 0, 0, 1], site.address.port()));
        if let Ok(canary) = Canary::try_start(&beside.to_string()) {
            return (site, canary);
        }
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_this_machine_later_is_refused() {
    let (site, canary) = neighbours().await;
    let names = Names::of(&[("turning.test", &[&["127.0.0.2"], &["127.0.0.1"]])]);
    let fetch = fetch(&["127.0.0.2/32"], names);
    let url = format!("http://turning.test:{}/", site.address.port());
    assert_eq!(get(&fetch, &url).await.unwrap().1, b"allowed");
    assert_refused(&fetch, &url, &canary).await;
    assert_eq!(site.dialled().len(), 1);
}

#[tokio::test]
async fn a_name_with_one_forbidden_address_is_refused() {
    let (site, canary) = neighbours().await;
    let names = Names::of(&[
        ("last.test", &[&["127.0.0.2", "127.0.0.1"]]),
        ("first.test", &[&["127.0.0.1", "127.0.0.2"]]),
        ("six.test", &[&["127.0.0.2", "::1"]]),
        ("mapped.test", &[&["127.0.0.2", "::ffff:127.0.0.1"]]),
        ("dotted.test.", &[&["127.0.0.1"]]),
        ("both.test", &[&["127.0.0.2", "::ffff:127.0.0.2"]]),
    ]);
    let fetch = fetch(&["127.0.0.2/32"], names);
    for name in ["last.test", "first.test", "six.test", "mapped.test", "dotted.test."] {
        assert_refused(&fetch, &format!("http://{name}:{}/", site.address.port()), &canary).await;
    }
    assert_eq!(site.dialled(), Vec::<std::net::IpAddr>::new());
    let both = format!("http://both.test:{}/", site.address.port());
    assert_eq!(get(&fetch, &both).await.unwrap().1, b"allowed");
}

#[tokio::test]
async fn a_url_with_a_user_name_is_refused_even_if_the_address_is_allowed() {
    let canary = Canary::start("127.0.0.1:0");
    let fetch = fetch(&["127.0.0.1/32"], Names::default());
    for user in ["user@", "user:word@", ":word@"] {
        assert_refused(&fetch, &format!("http://{user}{}/", canary.address), &canary).await;
    }
}

#[tokio::test]
async fn a_post_to_an_untrusted_url_is_checked_too() {
    let (site, canary) = neighbours().await;
    let names = Names::of(&[("good.test", &[&["127.0.0.2"]]), ("bad.test", &[&["127.0.0.1"]])]);
    let fetch = fetch(&["127.0.0.2/32"], names);
    let port = site.address.port();
    let ask = async |policy, host: &str| {
        let url = format!("http://{host}:{port}/").parse().unwrap();
        fetch.post(policy, Post::json(url, "{}", Duration::from_secs(20))).await
    };
    for host in ["127.0.0.1", "[::1]", "bad.test"] {
        let outcome = ask(Policy::Untrusted, host).await;
        assert!(matches!(outcome, Err(FetchError::NotAllowed)), "{host}: {outcome:?}");
        canary.assert_untouched(host);
    }
    for host in ["127.0.0.2", "good.test"] {
        assert!(ask(Policy::Untrusted, host).await.unwrap().is_success(), "{host}");
    }
    // The URLs of the operator may lead anywhere.
    assert!(ask(Policy::Operator, "127.0.0.2").await.unwrap().is_success());
}

#[tokio::test]
async fn an_error_does_not_reveal_the_address() {
    let names = Names::of(&[("name.test", &[&["127.9.8.7"]])]);
    let fetch = fetch(&[], names);
    for url in ["http://name.test/secret", "http://127.9.8.7/secret", "http://name.test:10987/secret"] {
        let Err(error) = get(&fetch, url).await else { panic!("{url} was reached") };
        assert_eq!(windu::telemetry::chain(&error), "the URL is not allowed", "{url}");
        assert_eq!(format!("{error:?}"), "Fetch(NotAllowed)", "{url}");
    }
}
