//! The settings of the message broker to which events are published.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::{ConfigError, Env};

const URL: &str = "WINDU_EVENTS_NATS_URL";
const STREAM: &str = "WINDU_EVENTS_NATS_STREAM";

const DEFAULT_STREAM: &str = "windu";
const LONGEST_STREAM: usize = 64;

/// A NATS server or cluster, and the JetStream stream that takes the events.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerSettings {
    /// `nats://host:port` or `tls://host:port`, without the login.
    pub servers: Vec<String>,
    pub login: Option<BrokerLogin>,
    pub stream: String,
}

/// What the broker asks of a client.
#[derive(Clone, PartialEq, Eq)]
pub enum BrokerLogin {
    Password { user: String, password: String },
    Token(String),
}

impl fmt::Debug for BrokerSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BrokerSettings({})", self.servers.join(","))
    }
}

impl BrokerSettings {
    /// The variables that [`BrokerSettings::read`] reads.
    pub const NAMES: &[&str] = &[URL, STREAM];

    /// `None`: there is no broker.
    ///
    /// # Errors
    /// Of a URL nothing is shown: it may hold a password.
    pub fn read(env: &Env) -> Result<Option<Self>, ConfigError> {
        if env.get(URL).is_none() {
            return Ok(None);
        }
        let stream = env.get(STREAM).map_or(DEFAULT_STREAM, str::trim).to_owned();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if stream.is_empty() || stream.len() > LONGEST_STREAM || !stream.bytes().all(fits) {
            let problem = format!("a name of at most {LONGEST_STREAM} letters, digits, - and _ is expected");
            return Err(ConfigError::new(STREAM, problem));
        }
        let (mut servers, mut logins) = (Vec::new(), Vec::new());
        let wrong = || {
            ConfigError::new(
                URL,
                "URLs such as nats://user:password@host:4222 or tls://token@host:4222 are expected, several with \
                 commas; signs such as @ and : in a password are written as %40 and %3A",
            )
        };
        for item in env.list(URL) {
            let (server, login) = server(item).ok_or_else(wrong)?;
            servers.push(server);
            logins.push(login);
        }
        let login = logins.pop().ok_or_else(wrong)?;
        if logins.iter().any(|other| *other != login) {
            return Err(ConfigError::new(URL, "all servers need the same user and password, or token"));
        }
        Ok(Some(Self { servers, login, stream }))
    }
}

/// The server and the login of a URL.
fn server(text: &str) -> Option<(String, Option<BrokerLogin>)> {
    // The parser drops some of them.
    let text = Some(text).filter(|text| !text.contains(char::is_control))?;
    let url = Url::parse(text).ok()?;
    let scheme = url.scheme();
    let is_server = ["nats", "tls"].contains(&scheme)
        && ["", "/"].contains(&url.path())
        && url.query().is_none()
        && url.fragment().is_none()
        && url.port() != Some(0);
    let host = url.host_str().filter(|host| !host.is_empty() && is_server)?;
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().ok()?;
        (!decoded.contains(char::is_control)).then(|| decoded.into_owned())
    };
    // To the parser, an empty password is none.
    let has_empty_password = text.contains(":@");
    let login = match (decoded(url.username())?, url.password()) {
        (user, Some(password)) if !user.is_empty() => {
            Some(BrokerLogin::Password { user, password: decoded(password)? })
        }
        (_, Some(_)) => return None,
        (_, None) if has_empty_password => return None,
        (token, None) => (!token.is_empty()).then_some(BrokerLogin::Token(token)),
    };
    Some((format!("{scheme}://{host}:{}", url.port().unwrap_or(4222)), login))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Option<BrokerSettings>, ConfigError> {
        BrokerSettings::read(&Env::of([(URL, url)]))
    }

    #[test]
    fn servers_have_one_login_and_the_usual_port() {
        let settings =
            read("nats://ann:p%40ss@one.example, tls://ann:p%40ss@[::1]:5000/").expect("a cluster");
        let settings = settings.expect("a broker");
        assert_eq!(settings.servers, ["nats://one.example:4222", "tls://[::1]:5000"]);
        let password = BrokerLogin::Password { user: "ann".to_owned(), password: "p@ss".to_owned() };
        assert!(settings.login == Some(password) && settings.stream == "windu");
        let login = |url| read(url).expect("a URL").expect("a broker").login;
        assert!(login("nats://secret@h") == Some(BrokerLogin::Token("secret".to_owned())));
        assert!(login("nats://h").is_none());
        assert_eq!(read("").expect("nothing"), None);
    }

    #[test]
    fn wrong_urls_are_refused_and_not_shown() {
        for url in [
            "h:4222",
            "http://secret@h",
            "nats://secret@",
            "nats://h/secret",
            "nats://h?secret",
            "nats://:secret@h",
            "nats://h:secret",
            "nats://a:secret@h,nats://b:secret@h",
            "nats://secret@h,nats://h",
            "nats://secret:@h",
            "nats://:@h",
            ",",
            "  ",
            "nats://secret@h:0",
            "nats://a:secret%0D%0A@h",
            "nats://secret%00@h",
            "nats://a\n:secret@h",
            "nats://a:sec\nret@h",
        ] {
            let error = read(url).expect_err(url);
            assert_eq!(error.variable, URL);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let settings = read("nats://ann:secret@h").expect("a URL");
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn a_stream_has_a_plain_name() {
        let stream = |name| BrokerSettings::read(&Env::of([(URL, "nats://h"), (STREAM, name)]));
        assert_eq!(stream("Events-2_b").expect("a name").expect("a broker").stream, "Events-2_b");
        for wrong in ["a b", "a.b", "a>", "*", &"n".repeat(65)] {
            assert_eq!(stream(wrong).expect_err(wrong).variable, STREAM);
        }
    }
}
