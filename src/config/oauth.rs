//! The settings of OAuth: the lifetimes of tokens, the trusted proxies, and the first user.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::{ConfigError, Env};

const LONGEST_LIFETIME: Duration = Duration::from_hours(3_650 * 24);

/// `WINDU_ACCESS_TOKEN_TTL`, `WINDU_REFRESH_TOKEN_TTL`, `WINDU_TRUSTED_PROXIES`, `WINDU_BOOTSTRAP_USER` and
/// `WINDU_BOOTSTRAP_PASSWORD`.
#[derive(Clone, Debug)]
pub struct OAuthSettings {
    pub access_lifetime: Duration,
    /// Each refresh issues a new token with the whole lifetime.
    pub refresh_lifetime: Duration,
    pub trusted_proxies: TrustedProxies,
    pub bootstrap: Bootstrap,
}

/// The user that is created at the start if missing.
#[derive(Clone, Default)]
pub struct Bootstrap {
    /// `None`: `admin`, when there is no user at all or a password is set.
    pub user: Option<String>,
    /// `None`: a random one, shown once.
    pub password: Option<String>,
}

/// The proxies whose `X-Forwarded-For` is trusted.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl OAuthSettings {
    /// The variables that [`OAuthSettings::read`] reads.
    pub const NAMES: &[&str] = &[
        "WINDU_ACCESS_TOKEN_TTL",
        "WINDU_REFRESH_TOKEN_TTL",
        "WINDU_TRUSTED_PROXIES",
        "WINDU_BOOTSTRAP_USER",
        "WINDU_BOOTSTRAP_PASSWORD",
    ];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let networks = env.list("WINDU_TRUSTED_PROXIES").into_iter().map(network);
        Ok(Self {
            access_lifetime: lifetime(env, "WINDU_ACCESS_TOKEN_TTL", Duration::from_hours(24))?,
            refresh_lifetime: lifetime(env, "WINDU_REFRESH_TOKEN_TTL", Duration::from_hours(90 * 24))?,
            trusted_proxies: TrustedProxies(networks.collect::<Result<_, _>>()?),
            bootstrap: Bootstrap {
                user: env.get("WINDU_BOOTSTRAP_USER").map(str::to_owned),
                password: env.get("WINDU_BOOTSTRAP_PASSWORD").map(str::to_owned),
            },
        })
    }
}

impl TrustedProxies {
    /// Whether this is the address of a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The caller's address: the peer's, or, as long as that is a trusted proxy's, the one before it in the values
    /// of `X-Forwarded-For` (in the order of the headers), from right to left.
    pub fn client<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut client = peer.to_canonical();
        for hop in forwarded.rev().flat_map(|value| value.rsplit(',')) {
            if !self.contains(client) {
                break;
            }
            let Some(address) = address(hop.trim()) else { break };
            client = address.to_canonical();
        }
        client
    }
}

impl fmt::Debug for Bootstrap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bootstrap").field("user", &self.user).finish_non_exhaustive()
    }
}

fn lifetime(env: &Env, variable: &'static str, default: Duration) -> Result<Duration, ConfigError> {
    let lifetime = env.duration(variable, default)?;
    if lifetime > LONGEST_LIFETIME {
        return Err(ConfigError::new(variable, "at most 3650d are possible"));
    }
    Ok(lifetime)
}

fn network(text: &str) -> Result<IpNet, ConfigError> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        ConfigError::new(
            "WINDU_TRUSTED_PROXIES",
            "networks separated by commas are expected, such as 10.0.0.0/8, 2001:db8::/32",
        )
    })
}

/// The address in an entry of `X-Forwarded-For`; some proxies add the port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<OAuthSettings, ConfigError> {
        OAuthSettings::read(&Env::of(values.iter().copied()))
    }

    fn client(proxies: &str, peer: &str, forwarded: &[&str]) -> String {
        let settings = read(&[("WINDU_TRUSTED_PROXIES", proxies)]).expect("settings");
        let peer = peer.parse().expect("an address");
        settings.trusted_proxies.client(peer, forwarded.iter().copied()).to_string()
    }

    #[test]
    fn nothing_set_gives_a_day_and_ninety() {
        let settings = read(&[]).expect("defaults");
        assert_eq!(settings.access_lifetime, Duration::from_hours(24));
        assert_eq!(settings.refresh_lifetime, Duration::from_hours(90 * 24));
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for (name, value) in [
            ("WINDU_ACCESS_TOKEN_TTL", "0"),
            ("WINDU_REFRESH_TOKEN_TTL", "4000d"),
            ("WINDU_TRUSTED_PROXIES", "localhost"),
            ("WINDU_TRUSTED_PROXIES", "10.0.0.0/33"),
        ] {
            assert_eq!(read(&[(name, value)]).expect_err(value).variable, name);
        }
    }

    #[test]
    fn only_a_trusted_proxy_counts() {
        assert_eq!(client("", "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.0/8", "::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn the_rightmost_untrusted_address_counts() {
        let proxies = "10.0.0.0/8,2001:db8::1";
        assert_eq!(client(proxies, "10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(client(proxies, "10.0.0.1", &["1.1.1.1", "198.51.100.7", "2001:db8::1"]), "198.51.100.7");
        assert_eq!(client(proxies, "10.0.0.1", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(client(proxies, "10.0.0.1", &["[2001:db8::9]:4711"]), "2001:db8::9");
        assert_eq!(client(proxies, "10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1");
        assert_eq!(client(proxies, "10.0.0.1", &[]), "10.0.0.1");
    }
}
