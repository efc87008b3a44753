use std::io;
use std::sync::Mutex;

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;

/// Returns these answers, one after the other; then the name is unknown.
struct Answers(Mutex<Vec<Vec<IpAddr>>>);

#[async_trait]
impl Resolver for Answers {
    async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().expect("not poisoned");
        if answers.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(answers.remove(0)) }
    }
}

fn guard(allow: &[&str], answers: &[&[&str]]) -> Guard {
    let answers = answers.iter().map(|answer| answer.iter().map(|text| text.parse().expect(text)).collect());
    let rules = UntrustedRules {
        allow: allow.iter().map(|text| text.parse().expect(text)).collect(),
        timeouts: FetchTimeouts::default(),
        resolver: Arc::new(Answers(Mutex::new(answers.collect()))),
    };
    Guard::new(Arc::new(rules), Purpose::Files, Arc::new([]))
}

fn reach(allow: &[&str], url: &str) -> Option<Reach> {
    let url = Url::parse(url).expect(url);
    guard(allow, &[]).reach(&url)
}

#[test]
fn webhooks_reach_the_internet_by_https_on_its_port_alone() {
    let guard = |allow: &[&str]| Guard { purpose: Purpose::Webhooks, ..guard(allow, &[]) };
    for (url, expected) in [
        ("https://example.com/", Some(Reach::Internet)),
        ("https://8.8.8.8/", Some(Reach::Internet)),
        ("https://127.0.0.1/", None),
        ("http://8.8.8.8/", None),
        ("https://8.8.8.8:8443/", None),
        ("http://example.com/", Some(Reach::Allowed)),
        ("https://u:p@example.com/", None),
    ] {
        assert_eq!(guard(&[]).reach(&Url::parse(url).expect(url)), expected, "{url}");
    }
    let url = Url::parse("http://10.1.2.3:8080/").expect("a URL");
    assert_eq!(guard(&["10.1.0.0/16"]).reach(&url), Some(Reach::Allowed));
}

/// The addresses that the resolver returns to the client; `None`: it refuses the name.
async fn dialled(guard: &Guard, reach: Reach) -> Option<Vec<String>> {
    let resolving = guard.checked(reach).resolve("name.example".parse().expect("a name"));
    match resolving.await {
        Ok(addresses) => Some(addresses.map(|address| address.ip().to_string()).collect()),
        Err(error) => {
            assert!(error.is::<NotAllowed>(), "{error}");
            assert_eq!(error.to_string(), "not allowed");
            None
        }
    }
}

#[test]
fn names_and_public_addresses_pass_on_the_usual_ports() {
    for url in [
        "http://example.com/photo.jpg",
        "https://example.com/",
        "https://example.com./",
        "http://example.com:443/",
        "https://example.com:80/",
        "HTTP://EXAMPLE.COM/",
        "http://8.8.8.8/",
        "http://8.8.8.8./",
        "http://134744072/",
        "https://[2001:4860:4860::8888]/",
        "http://[::ffff:8.8.8.8]/",
        "http://例え.jp/",
        // No name of a user, although there is an @.
        "http://example.com/@user",
        "http://@example.com/",
    ] {
        assert_eq!(reach(&[], url), Some(Reach::Internet), "{url}");
    }
    for url in ["http://example.com:8080/", "https://example.com:8443/", "http://example.com:22/"] {
        assert_eq!(reach(&[], url), Some(Reach::Allowed), "{url}");
    }
}

#[test]
fn loopback_is_seen_in_every_spelling() {
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7F.0x0.0x0.0x1",
        "0177.0.0.1",
        "0177.1",
        "00000177.0.0.01",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0",
        "0.0.0.0",
        "0x0",
        "127.0.0.0x1.",
        // Full-width digits and dots, an ideographic full stop, percent-encoded.
        "１２７.０.０.１",
        "１２７．０．０．１",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        // A soft hyphen, which names do without.
        "127.0.\u{ad}0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fec0::1]",
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}/");
            assert_eq!(reach(&[], &url), None, "{url}");
            assert_eq!(reach(&["8.8.8.8/32"], &url), None, "{url}");
        }
    }
}

#[test]
fn other_schemes_ports_and_credentials_do_not_pass() {
    for url in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "data:text/plain,hello",
        "ws://example.com/",
        "http://user@example.com/",
        "http://user:word@example.com/",
        "http://:word@example.com/",
        "http://8.8.8.8:8080/",
        "http://[2001:4860:4860::8888]:8080/",
        "http://8.8.8.8:0/",
    ] {
        assert_eq!(reach(&[], url), None, "{url}");
    }
    let long = format!("http://example.com/{}", "a".repeat(65_536));
    assert_eq!(reach(&[], &long), None);
}

#[test]
fn what_is_allowed_passes_on_any_port_but_not_with_credentials() {
    let allow = &["127.0.0.1/32", "::1/128"];
    assert_eq!(reach(allow, "http://127.0.0.1/"), Some(Reach::Internet));
    for url in
        ["http://127.0.0.1:8080/", "http://0x7f.1:8080/", "https://[::1]:9/", "http://[::ffff:7f00:1]:9/"]
    {
        assert_eq!(reach(allow, url), Some(Reach::Allowed), "{url}");
    }
    for url in ["http://127.0.0.2:8080/", "http://user@127.0.0.1:8080/", "ftp://127.0.0.1:8080/"] {
        assert_eq!(reach(allow, url), None, "{url}");
    }
}

#[tokio::test]
async fn a_name_is_refused_if_any_of_its_addresses_is_not_allowed() {
    for answer in [
        &["127.0.0.1"] as &[&str],
        &["8.8.8.8", "127.0.0.1"],
        &["127.0.0.1", "8.8.8.8"],
        &["2001:4860:4860::8888", "8.8.8.8", "::ffff:10.0.0.1"],
        &["::1"],
        &["64:ff9b::808:808"],
        &["169.254.169.254"],
    ] {
        assert_eq!(dialled(&guard(&[], &[answer]), Reach::Internet).await, None, "{answer:?}");
    }
    let answer = &["8.8.8.8", "2001:4860:4860::8888"];
    let expected = Some(answer.map(str::to_owned).to_vec());
    assert_eq!(dialled(&guard(&[], &[answer]), Reach::Internet).await, expected);
    assert_eq!(dialled(&guard(&[], &[answer]), Reach::Allowed).await, None);
    let allow = &["8.8.8.0/24", "2001:4860::/32"];
    assert_eq!(dialled(&guard(allow, &[answer]), Reach::Allowed).await, expected);
}

#[tokio::test]
async fn each_lookup_is_checked() {
    let guard = guard(&[], &[&["8.8.8.8"], &["127.0.0.1"]]);
    assert_eq!(dialled(&guard, Reach::Internet).await, Some(vec!["8.8.8.8".to_owned()]));
    assert_eq!(dialled(&guard, Reach::Internet).await, None);
}

#[tokio::test]
async fn the_operating_system_is_asked_for_names() {
    let guard = Guard::new(Arc::default(), Purpose::Files, Arc::new([]));
    let resolving = guard.checked(Reach::Internet).resolve("localhost".parse().expect("a name"));
    assert!(resolving.await.err().expect("refused").is::<NotAllowed>());
    let allow = vec!["127.0.0.0/8".parse().expect("a network"), "::1/128".parse().expect("a network")];
    let guard = Guard::new(Arc::new(UntrustedRules::new(allow)), Purpose::Files, Arc::new([]));
    let resolving = guard.checked(Reach::Allowed).resolve("localhost".parse().expect("a name"));
    assert!(resolving.await.expect("allowed").all(|address| address.ip().is_loopback()));
}

/// Hosts that look like addresses, more or less.
fn hosts() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<u8>().prop_map(|number| number.to_string()),
        any::<u8>().prop_map(|number| format!("0{number:o}")),
        any::<u8>().prop_map(|number| format!("0x{number:x}")),
        any::<u32>().prop_map(|number| number.to_string()),
        "[0-9a-fx０-９]{1,4}",
    ];
    let dotted =
        (proptest::collection::vec(number, 1..6), proptest::sample::select(vec![".", "．", "。", "%2e"]))
            .prop_map(|(numbers, dot)| numbers.join(dot));
    let dotted = (dotted, proptest::sample::select(vec!["", "."])).prop_map(|(host, end)| host + end);
    let bracketed = any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]"));
    let hidden = any::<std::net::Ipv4Addr>().prop_map(|address| format!("[::ffff:{address}]"));
    prop_oneof![dotted, bracketed, hidden, "[a-z0-9.:\\[\\]@%\\\\]{1,20}", "\\PC{1,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() })]

    /// The client parses the host again from the URL's text, and calls the resolver unless it is an address: whatever
    /// it takes for an address must have been checked as one.
    #[test]
    fn the_client_dials_the_literal_that_was_checked(host in hosts(), port in 0_u16.., path in "\\PC{0,8}") {
        let Ok(url) = Url::parse(&format!("http://{host}:{port}/{path}")) else { return Ok(()) };
        let Some(reach) = guard(&["10.0.0.0/8"], &[]).reach(&url) else { return Ok(()) };
        let read: http::Uri = url.as_str().parse().expect("checked");
        let read_host = read.host().expect("a host").trim_matches(['[', ']']);
        if let Ok(address) = read_host.parse::<IpAddr>() {
            let allow = ["10.0.0.0/8".parse().expect("a network")];
            prop_assert!(may_be_dialled(address, reach, &allow), "{}", url);
            prop_assert!(!matches!(url.host(), Some(Host::Domain(_))), "{}", url);
        } else {
            prop_assert_eq!(url.host(), Some(Host::Domain(read_host)));
        }
        prop_assert!(reach == Reach::Allowed || matches!(read.port_u16(), None | Some(80 | 443)), "{}", url);
    }
}
