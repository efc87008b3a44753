//! The settings of requests to caller-supplied URLs.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{ConfigError, Env};

/// `WINDU_FETCH_ALLOW`.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// Networks that caller-supplied URLs may reach on any port, although they are not on the internet.
    pub allow: Vec<IpNet>,
}

impl FetchSettings {
    /// The variables that [`FetchSettings::read`] reads.
    pub const NAMES: &[&str] = &["WINDU_FETCH_ALLOW"];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let allow = env.list("WINDU_FETCH_ALLOW").into_iter().map(network);
        Ok(Self { allow: allow.collect::<Result<_, _>>()? })
    }
}

fn network(text: &str) -> Result<IpNet, ConfigError> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        ConfigError::new(
            "WINDU_FETCH_ALLOW",
            "networks separated by commas are expected, such as 10.1.0.0/16, fd00:1::/64",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<FetchSettings, ConfigError> {
        FetchSettings::read(&Env::of([("WINDU_FETCH_ALLOW", value)]))
    }

    #[test]
    fn nothing_set_allows_nothing() {
        assert_eq!(read("").expect("defaults").allow, []);
    }

    #[test]
    fn networks_and_addresses_are_accepted() {
        let allow = read("10.1.0.0/16, fd00:1::/64,127.0.0.1").expect("settings").allow;
        assert_eq!(
            allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.1.0.0/16", "fd00:1::/64", "127.0.0.1/32"]
        );
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for value in ["localhost", "10.0.0.0/33", "*", "http://10.0.0.1/", "10.0.0.1:80"] {
            assert_eq!(read(value).expect_err(value).variable, "WINDU_FETCH_ALLOW");
        }
    }
}
