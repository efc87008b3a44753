//! The addresses that a caller-supplied URL may lead to.
//!
//! An allow-list for IPv6: parts of 2000::/3. For IPv4, everything that no registry reserves. So Teredo, NAT64, SIIT,
//! ORCHID, site-local and whatever is assigned outside 2000::/3 later are refused without being listed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IANA's IPv4 special-purpose registry, multicast, and class E.
const SPECIAL_V4: &[Ipv4Net] = &[
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// The part of IPv6 that is assigned for the internet.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);

/// The reserved parts of it: protocol assignments (Teredo, ORCHID), documentation, 6to4, documentation.
const SPECIAL_V6: &[Ipv6Net] =
    &[v6([0x2001, 0], 23), v6([0x2001, 0xdb8], 32), v6([0x2002, 0], 16), v6([0x3fff, 0], 20)];

/// The addresses that a URL may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The internet, and the networks of the settings.
    Internet,
    /// Only the networks of the settings.
    Allowed,
}

/// Whether a connection to this address is allowed. `allow` are the networks of the settings.
pub(super) fn may_be_dialled(address: IpAddr, reach: Reach, allow: &[IpNet]) -> bool {
    let plain = unwrapped(address);
    allow.iter().any(|network| network.contains(&address) || network.contains(&plain))
        || (reach == Reach::Internet && is_on_the_internet(plain))
}

fn is_on_the_internet(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|network| network.contains(&address))
        }
    }
}

/// The IPv4 address within ::ffff:a.b.c.d and ::a.b.c.d (RFC 4291, section 2.5.5); any other address as it is.
fn unwrapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

const fn v4(address: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// A network by the first two groups of its address; the others are zero.
const fn v6([first, second]: [u16; 2], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), length)
}

#[cfg(test)]
mod tests;
