use proptest::prelude::*;

use super::*;

/// From every block that is set apart, its first and last address, and the forms that hide one in IPv6.
const REFUSED: &[&str] = &[
    // This network
    "0.0.0.0",
    "0.255.255.255",
    // Private
    "10.0.0.0",
    "10.255.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.168.0.0",
    "192.168.255.255",
    // Shared by a provider's customers
    "100.64.0.0",
    "100.127.255.255",
    // Loopback
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    // Link-local, among it the metadata of cloud machines
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    // Protocol assignments, documentation, 6to4 relays, benchmarks
    "192.0.0.0",
    "192.0.0.255",
    "192.0.2.0",
    "192.0.2.255",
    "192.88.99.0",
    "192.88.99.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.0",
    "198.51.100.255",
    "203.0.113.0",
    "203.0.113.255",
    // Multicast, class E, broadcast
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.254",
    "255.255.255.255",
    // Unspecified, loopback
    "::",
    "::1",
    // IPv4-mapped
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:255.255.255.255",
    // IPv4-compatible
    "::127.0.0.1",
    "::10.0.0.1",
    "::169.254.169.254",
    // SIIT
    "::ffff:0:127.0.0.1",
    "::ffff:0:8.8.8.8",
    // NAT64, well-known and local
    "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    // Discard, dummy
    "100::",
    "100::ffff:ffff:ffff:ffff",
    "100:0:0:1::1",
    // Below and above the assigned range
    "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "4000::",
    // Protocol assignments: Teredo, benchmarks, ORCHID, ORCHIDv2, drones
    "2001::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:20::1",
    "2001:30::1",
    "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    // Documentation
    "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff::",
    "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
    // 6to4
    "2002::",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    // Segment routing
    "5f00::1",
    // Unique local, link-local, site-local, multicast
    "fc00::",
    "fd00:ec2::254",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::1",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fec0::1",
    "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

/// The neighbours of the blocks above.
const REACHED: &[&str] = &[
    "1.0.0.0",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "2000::",
    "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:200::",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "2001:4860:4860::8888",
    "2003::",
    "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff:1000::",
    "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn networks(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|text| text.parse().expect(text)).collect()
}

#[test]
fn the_internet_is_reached_and_nothing_else() {
    for text in REFUSED {
        assert!(!may_be_dialled(address(text), Reach::Internet, &[]), "{text}");
    }
    for text in REACHED {
        assert!(may_be_dialled(address(text), Reach::Internet, &[]), "{text}");
    }
}

#[test]
fn other_ports_reach_nothing_unless_it_is_allowed() {
    for text in REFUSED.iter().chain(REACHED) {
        assert!(!may_be_dialled(address(text), Reach::Allowed, &[]), "{text}");
    }
}

#[test]
fn what_is_allowed_is_reached_and_nothing_beside_it() {
    let allow = networks(&["127.0.0.1/32", "10.1.0.0/16", "fd00:1::/32", "2001:db8::1/128"]);
    for reach in [Reach::Internet, Reach::Allowed] {
        for text in
            ["127.0.0.1", "::ffff:127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "fd00:1::7", "2001:db8::1"]
        {
            assert!(may_be_dialled(address(text), reach, &allow), "{text}");
        }
        for text in ["127.0.0.2", "10.2.0.0", "fd00:2::7", "2001:db8::2", "::1", "64:ff9b::127.0.0.1"] {
            assert!(!may_be_dialled(address(text), reach, &allow), "{text}");
        }
    }
    assert!(may_be_dialled(address("::1"), Reach::Allowed, &networks(&["::1/128"])));
}

/// Addresses from all over, most of them near a border of some block.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let listed = proptest::sample::select([REFUSED, REACHED].concat());
    let near = (listed, -2_i8..=2).prop_map(|(text, step)| match address(text) {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_add_signed(step.into())).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add_signed(step.into())).into(),
    });
    let hidden = (any::<Ipv4Addr>(), 0_u8..5).prop_map(|(v4, form)| {
        let bits = u128::from(v4.to_bits());
        let v6 = match form {
            0 => Ipv6Addr::from_bits(bits),
            1 => v4.to_ipv6_mapped(),
            2 => Ipv6Addr::from_bits(0x64_ff9b << 96 | bits),
            3 => Ipv6Addr::from_bits(0x2002 << 112 | bits << 80),
            _ => Ipv6Addr::from_bits(0xffff << 32 | bits),
        };
        IpAddr::from(v6)
    });
    prop_oneof![
        near,
        hidden,
        any::<Ipv4Addr>().prop_map(IpAddr::from),
        any::<Ipv6Addr>().prop_map(IpAddr::from)
    ]
}

/// The same rule, by the standard library and the octets.
fn is_reserved(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || a == 0
                || (a == 100 && (64..128).contains(&b))
                || [a, b, c] == [192, 0, 0]
                || [a, b, c] == [192, 88, 99]
                || (a == 198 && (b == 18 || b == 19))
                || a >= 224
        }
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => {
                let v4 = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
                is_reserved(v4.into())
            }
            [0x2001, second, ..] => second < 0x200 || second == 0xdb8,
            [0x2002, ..] => true,
            [0x3fff, second, ..] => second < 0x1000,
            [first, ..] => !(0x2000..0x4000).contains(&first),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_list_agrees_with_the_rule_written_another_way(address in addresses()) {
        prop_assert_eq!(may_be_dialled(address, Reach::Internet, &[]), !is_reserved(address), "{}", address);
        prop_assert!(!may_be_dialled(address, Reach::Allowed, &[]));
    }

    #[test]
    fn what_is_allowed_adds_itself_alone(address in addresses(), allowed in addresses()) {
        let allow = [IpNet::from(allowed)];
        let itself = allowed == address || allowed == unwrapped(address);
        prop_assert_eq!(may_be_dialled(address, Reach::Allowed, &allow), itself);
        prop_assert_eq!(may_be_dialled(address, Reach::Internet, &allow), itself || !is_reserved(address));
    }
}
