//! The settings of the listener: its address, the public URL, CORS, and the number of connections.

use std::net::{SocketAddr, ToSocketAddrs as _};

use url::{Host, Url};

use super::{ConfigError, Env};

/// `WINDU_LISTEN`, `WINDU_METRICS_LISTEN`, `WINDU_PUBLIC_URL`, `WINDU_CORS_ORIGINS`, `WINDU_MAX_CONNECTIONS` and
/// `WINDU_MAX_CONNECTIONS_PER_ADDRESS`.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// The address to listen on; port 0 chooses a free one.
    pub address: SocketAddr,
    /// Where the figures for Prometheus are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The start of the URLs in responses, without a slash at its end; `None`: from the listener's address.
    pub public_url: Option<String>,
    pub cors_origins: CorsOrigins,
    /// The most open connections; more wait in the operating system's queue.
    pub max_connections: usize,
    /// The most open connections of one address, or requests of one address behind a trusted proxy; more are refused.
    pub max_connections_per_address: usize,
}

/// A part of all connections is enough for one address: a quarter, but never fewer than this.
const FEWEST_PER_ADDRESS: usize = 8;

/// The origins that may call the API from a browser. No cookies are used, so any origin is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    Any,
    /// Only these, such as `https://app.example.org`.
    These(Vec<String>),
}

impl ListenSettings {
    /// The variables that [`ListenSettings::read`] reads.
    pub const NAMES: &[&str] = &[
        "WINDU_LISTEN",
        "WINDU_METRICS_LISTEN",
        "WINDU_PUBLIC_URL",
        "WINDU_CORS_ORIGINS",
        "WINDU_MAX_CONNECTIONS",
        "WINDU_MAX_CONNECTIONS_PER_ADDRESS",
    ];

    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let metrics = env.get("WINDU_METRICS_LISTEN").filter(|text| text.trim() != "off");
        let metrics = metrics.map(|text| address("WINDU_METRICS_LISTEN", text)).transpose()?;
        let address = match env.get("WINDU_LISTEN") {
            None => SocketAddr::from(([127, 0, 0, 1], 8000)),
            Some(text) => address("WINDU_LISTEN", text)?,
        };
        let max_connections = at_least_one(env, "WINDU_MAX_CONNECTIONS", 1_000)?;
        let part = (max_connections / 4).max(FEWEST_PER_ADDRESS);
        let max_connections_per_address = at_least_one(env, "WINDU_MAX_CONNECTIONS_PER_ADDRESS", part)?;
        let public_url = env.get("WINDU_PUBLIC_URL").map(public_url).transpose()?;
        let cors_origins = cors_origins(env)?;
        Ok(Self { address, metrics, public_url, cors_origins, max_connections, max_connections_per_address })
    }

    /// Whether both the listener and the public URL are on a loopback address: nobody else can reach the server.
    #[must_use]
    pub fn loopback_only(&self) -> bool {
        let public = self.public_url.as_deref().and_then(|url| Url::parse(url).ok());
        let public_is_loopback = public.as_ref().and_then(Url::host).is_none_or(|host| match host {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        });
        self.address.ip().is_loopback() && public_is_loopback
    }
}

/// A port alone is one of this machine only. A name stands for its first address.
fn address(variable: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let wrong = |problem: &str| {
        let expected =
            "a port, or an address or name with a port, is expected, such as 8000 or 127.0.0.1:8000";
        ConfigError::new(variable, format!("{expected}{problem}"))
    };
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {}
        _ => return Err(wrong("")),
    }
    let mut addresses = text.to_socket_addrs().map_err(|_| wrong("; this name has no address"))?;
    addresses.next().ok_or_else(|| wrong("; this name has no address"))
}

fn at_least_one(env: &Env, variable: &'static str, default: usize) -> Result<usize, ConfigError> {
    match env.parse(variable, default)? {
        0 => Err(ConfigError::new(variable, "at least 1 is expected")),
        number => Ok(number),
    }
}

fn public_url(text: &str) -> Result<String, ConfigError> {
    let wrong =
        || ConfigError::new("WINDU_PUBLIC_URL", "a URL is expected, such as https://windu.example.org");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain { Ok(url.as_str().trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

fn cors_origins(env: &Env) -> Result<CorsOrigins, ConfigError> {
    let list = env.list("WINDU_CORS_ORIGINS");
    if list.is_empty() || list.contains(&"*") {
        return Ok(CorsOrigins::Any);
    }
    let origins = list.into_iter().map(|text| {
        let origin = Url::parse(text).ok().map(|url| url.origin().ascii_serialization());
        origin.filter(|origin| origin != "null" && origin == text.trim_end_matches('/')).ok_or_else(|| {
            ConfigError::new(
                "WINDU_CORS_ORIGINS",
                "origins separated by commas are expected, such as https://app.example.org, or *",
            )
        })
    });
    Ok(CorsOrigins::These(origins.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<ListenSettings, ConfigError> {
        ListenSettings::read(&Env::of(values.iter().copied()))
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        let settings = read(&[]).expect("defaults");
        assert_eq!(settings.address.to_string(), "127.0.0.1:8000");
        assert_eq!(settings.public_url, None);
        assert_eq!(settings.cors_origins, CorsOrigins::Any);
        assert_eq!((settings.max_connections, settings.max_connections_per_address), (1_000, 250));
    }

    #[test]
    fn an_address_is_a_port_alone_or_has_a_name() {
        let address = |text| read(&[("WINDU_LISTEN", text)]).expect(text).address.to_string();
        assert_eq!(address("9000"), "127.0.0.1:9000");
        assert_eq!(address("[::1]:9000"), "[::1]:9000");
        assert!(["127.0.0.1:9000", "[::1]:9000"].contains(&address("localhost:9000").as_str()));
        for text in
            ["everywhere", ":9000", "localhost", "127.0.0.1:", "127.0.0.1:99999", "no.such.name.invalid:80"]
        {
            assert_eq!(read(&[("WINDU_LISTEN", text)]).expect_err(text).variable, "WINDU_LISTEN", "{text}");
        }
    }

    #[test]
    fn there_are_no_figures_without_an_address() {
        let metrics = |text| read(&[("WINDU_METRICS_LISTEN", text)]).expect(text).metrics;
        assert_eq!((metrics(""), metrics("off")), (None, None));
        assert_eq!(metrics("9464").expect("an address").to_string(), "127.0.0.1:9464");
    }

    #[test]
    fn one_address_gets_a_part_of_all_connections() {
        let of = |values: &[(&str, &str)]| read(values).expect("settings").max_connections_per_address;
        assert_eq!(of(&[("WINDU_MAX_CONNECTIONS", "4000")]), 1_000);
        assert_eq!(of(&[("WINDU_MAX_CONNECTIONS", "2")]), 8);
        assert_eq!(of(&[("WINDU_MAX_CONNECTIONS_PER_ADDRESS", "1000")]), 1_000);
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for (name, value) in [
            ("WINDU_LISTEN", "everywhere"),
            ("WINDU_PUBLIC_URL", "windu.example.org"),
            ("WINDU_PUBLIC_URL", "https://name:word@windu.example.org"),
            ("WINDU_CORS_ORIGINS", "app.example.org"),
            ("WINDU_CORS_ORIGINS", "https://app.example.org/page"),
            ("WINDU_MAX_CONNECTIONS", "0"),
            ("WINDU_MAX_CONNECTIONS", "many"),
            ("WINDU_MAX_CONNECTIONS_PER_ADDRESS", "0"),
        ] {
            assert_eq!(read(&[(name, value)]).expect_err(value).variable, name);
        }
    }

    #[test]
    fn only_loopback_addresses_are_loopback() {
        for (listen, public_url, expected) in [
            ("127.0.0.1:8000", "", true),
            ("[::1]:8000", "http://localhost:8000", true),
            ("127.0.0.1:8000", "http://[::1]:8000", true),
            ("127.0.0.1:8000", "https://windu.example.org", false),
            ("127.0.0.1:8000", "https://localhost.example.org", false),
            ("0.0.0.0:8000", "", false),
            ("192.0.2.1:8000", "http://127.0.0.1:8000", false),
        ] {
            let settings = read(&[("WINDU_LISTEN", listen), ("WINDU_PUBLIC_URL", public_url)]);
            assert_eq!(settings.expect("settings").loopback_only(), expected, "{listen} {public_url}");
        }
    }

    #[test]
    fn urls_lose_the_slash_at_their_end() {
        let settings = read(&[
            ("WINDU_PUBLIC_URL", "https://windu.example.org/api-server/"),
            ("WINDU_CORS_ORIGINS", "https://a.example/, http://localhost:3000"),
        ])
        .expect("settings");
        assert_eq!(settings.public_url.as_deref(), Some("https://windu.example.org/api-server"));
        let origins = ["https://a.example", "http://localhost:3000"].map(str::to_owned).to_vec();
        assert_eq!(settings.cors_origins, CorsOrigins::These(origins));
    }
}
