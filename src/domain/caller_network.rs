//! Networks of callers.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The unit in which callers are counted: an IPv4 address, or the /64 network of an IPv6 address, which belongs to one
/// customer at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerNetwork(IpAddr);

impl From<IpAddr> for CallerNetwork {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl fmt::Display for CallerNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(formatter),
            IpAddr::V6(address) => write!(formatter, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_ipv6_count_as_one() {
        let of = |text: &str| CallerNetwork::from(text.parse::<IpAddr>().expect("an address")).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }
}
