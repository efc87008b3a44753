//! A property test: with any settings, URL, names and redirects, only allowed addresses are dialled.
//!
//! One listener accepts on every address of 127.0.0.0/8 and records the dialled one.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use ipnet::{IpNet, Ipv4Net};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use windu::fetch::{Fetch, UntrustedRules};

use crate::site::{LONG_LIMITS, Names, Reply, Site, answer, get, redirect};

/// One case.
#[derive(Clone, Debug)]
struct Case {
    allow: Vec<Ipv4Net>,
    /// The addresses of `name0.test`, `name1.test` and so on, for each lookup.
    names: Vec<Vec<Vec<IpAddr>>>,
    /// The first URL, and the targets of the redirects.
    hosts: Vec<Host>,
    status: u16,
}

#[derive(Clone, Debug)]
enum Host {
    Name(usize),
    Plain(Ipv4Addr),
    Number(Ipv4Addr),
    Octal(Ipv4Addr),
    Mapped(Ipv4Addr),
}

impl Host {
    fn text(&self) -> String {
        match self {
            Self::Name(which) => format!("name{which}.test"),
            Self::Plain(address) => address.to_string(),
            Self::Number(address) => address.to_bits().to_string(),
            Self::Octal(address) => address.octets().map(|octet| format!("0{octet:o}")).join("."),
            Self::Mapped(address) => format!("[::ffff:{address}]"),
        }
    }
}

/// Few enough that networks and addresses often meet. Never a network's first or last, which cannot be dialled.
fn address() -> impl Strategy<Value = Ipv4Addr> {
    (0_u8..3, 0_u8..3, 1_u8..4).prop_map(|(b, c, d)| Ipv4Addr::new(127, b, c, d))
}

fn answer_of_a_name() -> impl Strategy<Value = Vec<IpAddr>> {
    let one = (address(), any::<bool>())
        .prop_map(|(v4, mapped)| if mapped { v4.to_ipv6_mapped().into() } else { v4.into() });
    vec(one, 1..3)
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        3 => (0_usize..3).prop_map(Host::Name),
        1 => address().prop_map(Host::Plain),
        1 => address().prop_map(Host::Number),
        1 => address().prop_map(Host::Octal),
        1 => address().prop_map(Host::Mapped),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let network = (address(), 9_u8..=32).prop_map(|(address, length)| Ipv4Net::new(address, length).unwrap());
    (
        vec(network, 0..3),
        vec(vec(answer_of_a_name(), 1..4), 3),
        vec(host(), 1..6),
        proptest::sample::select(vec![301, 302, 303, 307, 308]),
    )
        .prop_map(|(allow, names, hosts, status)| Case { allow, names, hosts, status })
}

#[test]
fn only_allowed_addresses_are_dialled() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (dialled, refused) = (Cell::new(0), Cell::new(0));
    let script = Arc::new(Mutex::new((200, Vec::<String>::new())));
    let answers = Arc::clone(&script);
    let site = runtime.block_on(Site::start("0.0.0.0:0", move |_| {
        let mut script = answers.lock().unwrap();
        match script.1.pop() {
            Some(target) => redirect(script.0, &target),
            None => Reply::Bytes(answer(200, &[], "content")),
        }
    }));
    let port = site.address.port();

    let mut runner = TestRunner::new(Config { cases: 512, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&cases(), |case| {
        let before = site.dialled().len();
        let mut urls: Vec<String> =
            case.hosts.iter().rev().map(|host| format!("http://{}:{port}/", host.text())).collect();
        let first = urls.pop().unwrap();
        *script.lock().unwrap() = (case.status, urls);
        let names = case.names.iter().enumerate();
        let names = names.map(|(which, answers)| (format!("name{which}.test"), answers.clone())).collect();
        let fetch = Fetch::new(UntrustedRules {
            allow: case.allow.iter().copied().map(IpNet::from).collect(),
            timeouts: LONG_LIMITS,
            resolver: Arc::new(Names(Mutex::new(names))),
        });
        let outcome = runtime.block_on(get(&fetch, &first));
        // A dialled connection was accepted before its response came.
        let new = site.dialled().split_off(before);
        for address in &new {
            let IpAddr::V4(address) = address.to_canonical() else { panic!("the listener has no IPv6") };
            prop_assert!(
                case.allow.iter().any(|network| network.contains(&address)),
                "{address} was dialled"
            );
        }
        dialled.set(dialled.get() + new.len());
        refused.set(refused.get() + usize::from(outcome.is_err()));
        Ok(())
    });
    outcome.unwrap();
    let (dialled, refused) = (dialled.get(), refused.get());
    assert!(dialled > 100 && refused > 100, "{dialled} dialled, {refused} refused: the cases are one-sided");
}
